"""What every dense encoder is: a map of features for one frame of a clip, always the same map, and a stated price."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np

from lightmeter.encoders.by_path import content_sha256
from lightmeter.errors import InvalidValueError, nearest
from lightmeter.meter.record import hash_of
from lightmeter.types import Array, check_axes

Policy = Literal["static", "real"]
Pool = Literal["mean", "last", "at", "concat"]

VERSION = "dense 1"
"""Raise it with any change to how frames are chosen, prepared or pooled: it is in every fingerprint."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """One map that an encoder can give for a frame of H x W pixels: float32 [channels, H / stride, W / stride]."""

    name: str
    channels: int
    stride: int


@dataclass(frozen=True, slots=True)
class Volume:
    """The same before time is pooled away: [channels, times, H / stride, W / stride]."""

    channels: int
    times: int
    stride: int


@runtime_checkable
class DenseEncoder(Protocol):
    """Clips to maps, each of one labelled frame. Same frames, same weights: the same map, whatever is in the batch.

    Dense encoders are frozen dataclasses that hold only their options. Three of these are alike in all of them:
    maps: names of the feature sets that are given · clip: how the `frames` that it looks at come of a clip: `static`,
    the labelled frame repeated, `real`, the frames around it (as near to the middle as the clip allows), `sampled`,
    a future that the encoder draws itself (only where it says so) · pool: how time is pooled away: `mean`, `last`,
    `at` (the moment of the labelled frame), `concat` (all moments, as channels).
    """

    @property
    def spec(self) -> str:
        """Names all that changes the features but the weights."""
        ...

    @property
    def feature_sets(self) -> Mapping[str, FeatureSet]:
        """Every map it can give, by name."""
        ...

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the maps that `features` gives."""
        ...

    @property
    def size_multiple(self) -> int:
        """Height and width of the frames must be multiples of it."""
        ...

    @property
    def frames(self) -> int:
        """How many frames it looks at for one map; 1: a single picture."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of options and weights: the key of everything that was made with it, wherever its files lie."""
        ...

    def features(self, clips: Array, at: Array) -> dict[str, Array]:
        """Clips uint8 [N, T, H, W, 3] and the frame of each, int64 [N] -> chosen maps float32 [N, C, h, w], by name."""
        ...

    def windows(self, clips: Array, at: Array) -> tuple[Array, Array]:
        """The frames it looks at, uint8 [N, frames, H, W, 3], and which of them is the labelled one: int64 [N]."""
        ...

    def seen(self, clips: Array, at: Array) -> Iterator[tuple[Array, int]]:
        """What the maps of every row depend on, and no more: the key of what is kept of them."""
        ...

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates of its matrix products and convolutions for the maps of one frame."""
        ...

    def net(self) -> Any:
        """A trainable copy, a torch module: forward(float32 [N, frames, 3, H, W] in 0..1, place int64 [N] or None).

        It gives the chosen maps by name, as tensors. place: as `windows` gives it, None for the middle.
        Raises InvalidValueError where the encoder cannot be fine-tuned.
        """
        ...


class Windowed:
    """Mixin of dense encoders: what they share, above the four things that each one says itself.

    Said by the encoder: `maps` `clip` `pool` `frames` (options), `size_multiple`, and the three below.
    """

    maps: tuple[str, ...]
    clip: str
    pool: str
    causal = False
    """Whether the first moment holds one frame and every later one the next k, as in causal video autoencoders."""

    def _volumes(self) -> Mapping[str, Volume]:
        """Every map it can give."""
        raise NotImplementedError

    def _run(self, window: Array, names: tuple[str, ...]) -> Mapping[str, Array]:
        """uint8 [frames, H, W, 3] -> maps float32 [C, T', h, w] by name."""
        raise NotImplementedError

    def _only_side(self) -> int | None:
        """The one height and width that it takes, where it was made for one; None: any multiple of `size_multiple`."""
        return None

    def _defaults(self) -> tuple[str, ...]:
        """What `chosen` is where `maps` is empty: the last of all."""
        return tuple(self._volumes())[-1:]

    @property
    def feature_sets(self) -> dict[str, FeatureSet]:
        """Every map it can give, by name."""
        return {
            name: FeatureSet(name, each.channels * (each.times if self.pool == "concat" else 1), each.stride)
            for name, each in self._volumes().items()
        }

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the maps that `features` gives: `maps`, or the encoder's own choice where that is empty."""
        names, known = self.maps or self._defaults(), self._volumes()
        for name in names:
            if name not in known:
                raise InvalidValueError(f"maps must be of {_listed(tuple(known))}, got {name!r}{nearest(name, known)}")
        return names

    @property
    def fingerprint(self) -> str:
        """sha256 over the options, with the content of files in place of their paths.  Cost: reads them once."""
        return hash_of([VERSION, *_content(self)])

    def windows(self, clips: Array, at: Array) -> tuple[Array, Array]:
        """The frames that it looks at, uint8 [N, frames, H, W, 3], and where among them the labelled one is."""
        self._check(clips, at)
        made = [self._window(clips[row], int(at[row])) for row in range(len(clips))]
        shape = (0, _frames(self), *clips.shape[2:])
        frames = np.stack([window for window, _ in made]) if made else np.zeros(shape, np.uint8)
        return frames, np.asarray([place for _, place in made], np.int64)

    def seen(self, clips: Array, at: Array) -> Iterator[tuple[Array, int]]:
        """What the maps of every row depend on, and no more: a frame alone, or frames and the place of the labelled."""
        self._check(clips, at)
        for row in range(len(clips)):
            if self.clip == "real":
                yield self._window(clips[row], int(at[row]))
            else:
                yield clips[row, int(at[row])][None], 0

    def features(self, clips: Array, at: Array) -> dict[str, Array]:
        """Clips uint8 [N, T, H, W, 3], frames int64 [N] -> float32 [N, C, h, w] by name; one run a row."""
        self._check(clips, at)
        sets, names = self.feature_sets, self.chosen
        height, width = clips.shape[2:4]
        made = {
            name: np.empty((len(clips), sets[name].channels, height // sets[name].stride, width // sets[name].stride),
                           np.float32)
            for name in names
        }  # fmt: skip
        for row in range(len(clips)):
            window, place = self._window(clips[row], int(at[row]))
            for name, volume in self._run(window, names).items():
                made[name][row] = pooled(volume, self.pool, moment(place, len(window), volume.shape[1], self.causal))
        return made

    def _check(self, clips: Array, at: Array) -> None:
        check_axes("clips", clips, "N T H W 3", "uint8")
        check_axes("at", at, str(len(clips)), "int64")
        times, height, width = clips.shape[1:4]
        multiple = cast(DenseEncoder, self).size_multiple
        side = self._only_side()
        if side and (height, width) != (side, side):
            raise InvalidValueError(f"frames must be {side} x {side}, got {height} x {width}: resize them")
        if height % multiple or width % multiple or not height or not width:
            raise InvalidValueError(
                f"frames must be multiples of {multiple} high and wide, got {height} x {width}: resize or pad them"
            )
        if len(at) and not 0 <= int(at.min()) <= int(at.max()) < times:
            raise InvalidValueError(f"at must be 0 to {times - 1}, got {int(at.min())} to {int(at.max())}")
        if self.clip == "real" and times < _frames(self):
            raise InvalidValueError(
                f"clip=real needs clips of {_frames(self)} frames or more, got {times}: take clip=static or fewer"
            )

    def _window(self, clip: Array, at: int) -> tuple[Array, int]:
        count = _frames(self)
        if self.clip == "sampled":
            return np.repeat(np.asarray(clip[at])[None], count, axis=0), 0  # a future is drawn from its first frame
        if self.clip == "real":
            first = min(max(at - count // 2, 0), len(clip) - count)
            return np.asarray(clip[first : first + count]), at - first
        return np.repeat(np.asarray(clip[at])[None], count, axis=0), count // 2


def _frames(encoder: Any) -> int:
    count: int = encoder.frames
    return count


def moment(place: int, frames: int, times: int, causal: bool) -> int:
    """Which of T' moments holds a frame.

    causal: the first moment holds the first frame alone

    >>> [moment(at, 8, 4, False) for at in range(8)], [moment(at, 9, 3, True) for at in range(9)]
    ([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 1, 1, 1, 2, 2, 2, 2])
    """
    if causal and frames > 1:
        return -(-place * (times - 1) // (frames - 1))
    return place * times // frames


def pooled(volume: Array, pool: str, at: int) -> Array:
    """Time pooled away: float32 [C, T', h, w] -> [C, h, w], or [C * T', h, w] (moment by moment) for `concat`."""
    if pool == "mean":
        return cast(Array, volume.mean(axis=1, dtype=np.float32))
    if pool == "concat":
        return volume.transpose(1, 0, 2, 3).reshape(-1, *volume.shape[2:])
    return volume[:, at if pool == "at" else -1]


def check_options(encoder: Any, policies: tuple[str, ...] = ("static", "real")) -> None:
    """Hold the options that all dense encoders share to what they may be; call it from `__post_init__`."""
    if encoder.clip not in policies:
        raise InvalidValueError(f"clip must be {_listed(policies)}, got {encoder.clip!r}")
    if encoder.pool not in ("mean", "last", "at", "concat"):
        raise InvalidValueError(f"pool must be mean, last, at or concat, got {encoder.pool!r}")
    if encoder.frames < 1:
        raise InvalidValueError(f"frames must be 1 or more, got {encoder.frames}")
    if len(set(encoder.maps)) < len(encoder.maps):
        raise InvalidValueError(f"maps must name each map once, got {_listed(encoder.maps)}")


def chosen_sets(encoder: DenseEncoder) -> dict[str, FeatureSet]:
    """The feature sets that `features` gives: what a mask head is made for."""
    sets = encoder.feature_sets
    return {name: sets[name] for name in encoder.chosen}


def at_least(name: str, value: int, least: int = 1) -> None:
    """Raise InvalidValueError for an option below its least value."""
    if value < least:
        raise InvalidValueError(f"{name} must be {least} or more, got {value}")


def _content(part: Any) -> list[Any]:
    """Class and options, files by what they hold, parts inside by theirs."""
    found: list[Any] = [type(part).__name__]
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, Path):
            value = content_sha256(value)
        elif dataclasses.is_dataclass(value):
            value = value.fingerprint if isinstance(value, Windowed) else _content(value)
        found.append([field.name, list(value) if isinstance(value, tuple) else repr(value)])
    return found


def _listed(names: tuple[str, ...]) -> str:
    return " or ".join(names) if len(names) < 3 else ", ".join(names)
