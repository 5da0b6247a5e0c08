"""The shapes that flow between parts: pictures, clips, sounds, words, labels, and the items of a library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

if TYPE_CHECKING:  # a command that needs no arrays must not pay for numpy
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]
else:
    Array = Any

Kind = Literal["image", "video", "sound"]
State = Literal["ok", "damaged", "rejected"]


class LightmeterError(Exception):
    """Something known went wrong; the message says what must be, what was got and what to do."""

    exit_code: ClassVar[int] = 1


class InvalidValueError(LightmeterError, ValueError):
    """A value of the wrong shape, range or type."""


def check_axes(name: str, array: Array, axes: str, dtype: str = "") -> None:
    """Hold an array to named axes; a number in `axes` fixes that length.

    Raises InvalidValueError with both shapes, and the axis to move where a fixed length stands elsewhere.

    >>> import numpy as np
    >>> check_axes("pixels", np.zeros((3, 5, 8)), "H W 3")
    Traceback (most recent call last):
    lightmeter.types.InvalidValueError: pixels must be [H, W, 3], got [3, 5, 8]: the 3 is on axis 0, move it to axis 2
    """
    wanted = axes.split()
    shape = list(getattr(array, "shape", ()))
    fits = len(shape) == len(wanted) and all(not w.isdigit() or int(w) == n for w, n in zip(wanted, shape, strict=True))
    if not fits:
        raise InvalidValueError(f"{name} must be [{', '.join(wanted)}], got {shape}{_moved_axis(wanted, shape)}")
    if dtype and array.dtype.name != dtype:
        raise InvalidValueError(f"{name} must be {dtype}, got {array.dtype}: convert it first")


def _moved_axis(wanted: list[str], shape: list[int]) -> str:
    if len(wanted) == len(shape):
        for axis, want in enumerate(wanted):
            if want.isdigit() and shape[axis] != int(want) and shape.count(int(want)) == 1:
                return f": the {want} is on axis {shape.index(int(want))}, move it to axis {axis}"
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One picture.

    pixels: uint8 [H, W, 3]  RGB, 0..255, upright (EXIF rotation applied), sRGB
    """

    pixels: Array

    def __post_init__(self) -> None:
        check_axes("pixels", self.pixels, "H W 3", "uint8")


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames and the moments they were shown.

    frames:  uint8   [T, H, W, 3]  RGB, 0..255
    times_s: float64 [T]           seconds from the start of the source, never falling
    """

    frames: Array
    times_s: Array

    def __post_init__(self) -> None:
        check_axes("frames", self.frames, "T H W 3", "uint8")
        check_axes("times_s", self.times_s, str(len(self.frames)))
        if (self.times_s[1:] < self.times_s[:-1]).any():
            raise InvalidValueError("times_s must never fall: sort the frames by time")


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """One channel of sound.

    samples: float32 [S]  -1..1
    rate_hz: samples a second
    """

    samples: Array
    rate_hz: int

    def __post_init__(self) -> None:
        check_axes("samples", self.samples, "S", "float32")
        if self.rate_hz <= 0:
            raise InvalidValueError(f"rate_hz must be above 0, got {self.rate_hz}")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate_hz


@dataclass(frozen=True, slots=True)
class Words:
    """What people wrote about an item, and where it was found.

    source: `sidecar`, `metadata`, `embedded`, `name` (the file's own name) or `query`
    """

    title: str = ""
    keywords: tuple[str, ...] = ()
    source: str = "sidecar"

    @property
    def text(self) -> str:
        """Title and keywords as one string, for text encoders."""
        return ", ".join(part for part in (self.title, *self.keywords) if part)


@dataclass(frozen=True, slots=True)
class Item:
    """One content of a library, known by the hash of its bytes; paths are where it was last seen.

    id: sha256 of the bytes, hex · duration_s: seconds, None for pictures · reason: why it is not ok, else ""
    """

    id: str
    kind: Kind
    size_bytes: int
    state: State = "ok"
    reason: str = ""
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InvalidValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.state not in get_args(State):
            raise InvalidValueError(f"state must be one of {', '.join(get_args(State))}, got {self.state!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Which of K classes N items have: those of item i are `classes[offsets[i] : offsets[i + 1]]`.

    offsets: int64 [N + 1], from 0 on, never falling · classes: int32 [L], 0..K-1, rising and each once within an item
    count: K
    """

    offsets: Array
    classes: Array
    count: int

    def __post_init__(self) -> None:
        check_axes("offsets", self.offsets, "N+1", "int64")
        check_axes("classes", self.classes, "L", "int32")
        ends = (int(self.offsets[0]), int(self.offsets[-1])) if len(self.offsets) else (-1, -1)
        if ends != (0, len(self.classes)) or (self.offsets[1:] < self.offsets[:-1]).any():
            raise InvalidValueError(f"offsets must rise from 0 to {len(self.classes)}, got {ends[0]} to {ends[1]}")
        if len(self.classes) and not 0 <= int(self.classes.min()) <= int(self.classes.max()) < self.count:
            raise InvalidValueError(f"classes must be 0 to {self.count - 1}, got {int(self.classes.max())}")
        falls = self.classes[1:] <= self.classes[:-1]
        falls[self.offsets[1:-1][(self.offsets[1:-1] > 0) & (self.offsets[1:-1] < len(self.classes))] - 1] = False
        if falls.any():
            raise InvalidValueError("the classes of an item must rise, each once: sort them and drop doubles")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, lists: Iterable[Iterable[int]], count: int) -> Labels:
        """From one list of classes an item, in any order; doubles are dropped.

        >>> Labels.of([[2, 0], [], [1, 1]], 3).dense().astype(int).tolist()
        [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
        """
        import numpy as np

        sorted_lists = [sorted(set(each)) for each in lists]
        offsets = np.zeros(len(sorted_lists) + 1, np.int64)
        np.cumsum([len(each) for each in sorted_lists], out=offsets[1:])
        return cls(offsets, np.array([each for some in sorted_lists for each in some], np.int32), count)

    def take(self, rows: Array) -> Labels:
        """The labels of some items, in this order: int [R], repeats allowed."""
        import numpy as np

        lengths = np.diff(self.offsets)[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return Labels(offsets, self.classes[places], self.count)

    def dense(self) -> Array:
        """bool [N, K].  Memory: N·K bytes: take a batch at a time."""
        import numpy as np

        made = np.zeros((len(self), self.count), bool)
        made[np.repeat(np.arange(len(self)), np.diff(self.offsets)), self.classes] = True
        return made
