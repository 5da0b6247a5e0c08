"""Mask pictures to 0, 1 and 255 (not judged), whatever way the binary was written; frames and masks to one size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.clip_set import NOT_JUDGED
from lightmeter.media.door import at_the_door, read_bytes
from lightmeter.media.images import open_picture
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.types import Array

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True, slots=True)
class MaskValues:
    """What the values of a mask picture mean.

    wanted: values that are foreground, all others are not; without any, masks must be binary: 0/1, 0/255 or (16 bits)
    0/65535, the greater one wanted · not_judged: a value whose pixels neither teach nor count, such as 255
    """

    wanted: tuple[int, ...] = ()
    not_judged: int | None = None

    def __post_init__(self) -> None:
        if self.not_judged in self.wanted or any(not 0 <= each <= 65535 for each in self.wanted):
            raise InvalidValueError(f"wanted must be values of 0..65535 without not_judged, got {list(self.wanted)}")


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put a file's path in front of a RejectedFileError that does not name it: of hundreds, one must be found."""
    try:
        yield
    except RejectedFileError as error:
        if path.name in error.detail:
            raise
        raise RejectedFileError(error.code, f"{path}: {error.detail}") from error


def read_mask(path: Path, values: MaskValues | None = None, limits: MediaLimits = DEFAULT_LIMITS) -> Array:
    """A mask picture as uint8 [H, W] of 0, 1 and, where an option allows it, 255.

    Read are grey and black-and-white pictures, colours of equal channels, and palettes: by colour where it is only
    black and white, else by number.
    Raises RejectedFileError, naming the file: `not-binary`, `not-a-picture`, `unreadable`, `too-large` …
    """
    with named(path), at_the_door(path.name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_picture(read_bytes(path, limits.picture_bytes), limits) as picture:
            picture.load()
            return binary(_numbers(picture, path), values or MaskValues(), str(path))


def _numbers(picture: Picture, path: Path) -> Array:
    """The values of a mask picture, [H, W]."""
    if picture.mode == "P":
        return _palette_numbers(picture)
    if picture.mode in ("1", "L", "I", "I;16", "I;16B", "I;16L"):
        return np.asarray(picture).astype(np.int64)
    if picture.mode not in ("LA", "RGB", "RGBA"):
        raise RejectedFileError("not-binary", f"{path} must be a grey or palette picture, got mode {picture.mode}")
    bands = np.asarray(picture)
    if picture.mode in ("LA", "RGBA") and (bands[..., -1] != 255).any():
        raise RejectedFileError("not-binary", f"{path} must be opaque: save the mask as black and white")
    colours = bands[..., : 1 if picture.mode == "LA" else 3]
    if (colours != colours[..., :1]).any():
        raise RejectedFileError("not-binary", f"{path} must be grey, got colours: save the mask as black and white")
    return colours[..., 0].astype(np.int64)


def _palette_numbers(picture: Picture) -> Array:
    """Numbers of the palette; 0 and 255 where only black and white are used, since programs number those as they like.

    (Two colours may be 0 = white, 1 = black.)
    """
    numbers = np.asarray(picture).astype(np.int64)
    flat = picture.getpalette("RGB") or []
    palette = np.zeros((256, 3), np.int64)
    palette[: len(flat) // 3] = np.array(flat[: len(flat) // 3 * 3], np.int64).reshape(-1, 3)
    used = palette[np.unique(numbers)]
    if len(used) > 1 and all(each.tolist() in ([0, 0, 0], [255, 255, 255]) for each in used):
        black_or_white: Array = palette[numbers, 0]
        return black_or_white
    return numbers


def binary(numbers: Array, values: MaskValues, name: str) -> Array:
    """Values [H, W] to uint8 0, 1 and 255, or RejectedFileError `not-binary` that names the mask."""
    skipped = np.zeros(numbers.shape, bool) if values.not_judged is None else numbers == values.not_judged
    if values.wanted:
        wanted = np.isin(numbers, values.wanted)
    else:
        there = np.unique(numbers[~skipped])
        greatest = int(there[-1]) if len(there) else 0
        if len(there) > 2 or greatest not in (0, 1, 255, 65535) or (len(there) == 2 and there[0] != 0):
            some = ", ".join(str(each) for each in there[:5].tolist())
            raise RejectedFileError(
                "not-binary",
                f"{name} must hold 0 and 1, or 0 and 255, got {len(there)} values ({some}{' …' * (len(there) > 5)}): "
                "say which are wanted, or save it without smoothing and JPEG",
            )
        wanted = numbers > 0
    return np.where(skipped, np.uint8(NOT_JUDGED), wanted.astype(np.uint8))


def resized_frame(pixels: Array, size: tuple[int, int] | None) -> Array:
    """uint8 [H, W, 3] at another (height, width): means of whole pixels where both sides divide, else Lanczos."""
    if size is None or pixels.shape[:2] == size:
        return pixels
    from PIL import Image as pillow  # noqa: N813

    divides = pixels.shape[0] % size[0] == 0 and pixels.shape[1] % size[1] == 0
    how = pillow.Resampling.BOX if divides else pillow.Resampling.LANCZOS
    return np.asarray(pillow.fromarray(np.ascontiguousarray(pixels)).resize((size[1], size[0]), how))


def resized_mask(mask: Array, size: tuple[int, int] | None) -> Array:
    """uint8 [H, W] of 0, 1, 255 at another (height, width): of what a new pixel covers, the greater area decides.

    Half not judged or more is not judged; of the rest, half wanted or more is wanted. Enlarged, this is the nearest
    pixel.
    """
    if size is None or mask.shape == size:
        return mask
    skipped, wanted = (_area((mask == value).astype(np.float32), size) for value in (NOT_JUDGED, 1))
    small = (wanted >= 0.5 * (1 - skipped) - 1e-4).astype(np.uint8)
    return np.where(skipped >= 0.5 - 1e-4, np.uint8(NOT_JUDGED), small)


def _area(share: Array, size: tuple[int, int]) -> Array:
    from PIL import Image as pillow  # noqa: N813

    return np.asarray(pillow.fromarray(share).resize((size[1], size[0]), pillow.Resampling.BOX))
