"""What can be measured of a picture without a model: how bright, how large, how tall, how even, which way its edges go.

Sums are of whole numbers, so a picture's measures do not depend on what is measured with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from lightmeter.encoders.captioning.palette import NAMES, nearest_names
from lightmeter.encoders.captioning.protocol import as_rgb
from lightmeter.types import Array, check_axes

ATTRIBUTES = ("brightness", "texture", "coverage", "aspect", "asymmetry", "top", "edges", "size")
MEASURES = (*ATTRIBUTES, "colour", "background", "chroma")
_COLOURED = 24
_CHUNK_BYTES = 1 << 21
"""Pictures are measured so many at once that their bytes stay in a cache."""


def measures(images: Sequence[Array], threshold: float) -> Array:
    """The MEASURES of each picture: float32 [N, 11].

    images: as a captioner takes them · threshold: how far from the background a pixel is foreground, 0 to 1 of the
    range, in any channel; the background is the median colour of the outermost pixels, channel by channel

    brightness, texture: mean and standard deviation of the foreground's luminance, 0 to 255 · coverage: its share of
    the pixels · aspect, size: height by width, and share of the picture, of the box around it · asymmetry: mean
    difference between the picture and its mirror image, 0 to 255 · top: share of the foreground in the upper half
    edges: how much more changes along rows than along columns, -1 (level stripes) to 1 (upright stripes)
    colour, background: rows of the palette's names: most of the foreground, the background · chroma: share of pixels
    that are not grey. Without any foreground: 0, aspect 1, top 0.5, the background's colour.
    Cost: about 25 ns a pixel.
    """
    level = int(threshold * 255)
    parts = [_measured(chunk, level) for chunk in _chunks(images)]
    return np.concatenate(parts) if parts else np.zeros((0, len(MEASURES)), np.float32)


def _chunks(images: Sequence[Array]) -> Iterator[Array]:
    """Pictures of one shape in a row as one array [n, H, W, C], a few MB at a time."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
        check_axes("images", images, f"N H W {images.shape[-1] if images.shape[-1] in (1, 3) else 3}", "uint8")
        step = max(1, _CHUNK_BYTES // max(1, int(np.prod(images.shape[1:]))))
        for start in range(0, len(images), step):
            yield np.asarray(images[start : start + step])
        return
    for _, alike in groupby((_checked(each) for each in images), key=lambda each: each.shape):
        held: list[Array] = []
        for each in alike:
            held.append(each)
            if len(held) * each.nbytes >= _CHUNK_BYTES:
                yield np.stack(held)
                held = []
        if held:
            yield np.stack(held)


def _checked(image: Array) -> Array:
    as_rgb(image[:1] if getattr(image, "ndim", 0) == 3 else image)
    return image


def _measured(chunk: Array, level: int) -> Array:
    """MEASURES of pictures uint8 [n, H, W, C] of one shape."""
    planes = [np.ascontiguousarray(chunk[..., at]) for at in range(chunk.shape[-1])]
    grey = luminance(planes)
    backs = [_border_median(plane) for plane in planes]
    mask = _foreground(planes, backs, level)
    found = np.empty((len(chunk), len(MEASURES)), np.float64)
    found[:, 0], found[:, 1] = _light(grey, mask)
    found[:, 2], found[:, 3], found[:, 7] = _box(mask)
    found[:, 4] = _asymmetry(grey)
    found[:, 5] = _top(mask)
    found[:, 6] = _edges(grey)
    found[:, 8], found[:, 9], found[:, 10] = _colours(planes, backs, mask)
    return found.astype(np.float32)


def luminance(planes: Sequence[Array]) -> Array:
    """Grey of colour planes, each uint8: 77 red, 150 green and 29 blue of 256, rounded down; grey stays as it is.

    Source: ITU-R BT.601's weights in 8 bits.
    """
    if len(planes) == 1:
        return planes[0]
    red, green, blue = planes
    total = red.astype(np.uint16) * 77
    total += green.astype(np.uint16) * 150
    total += blue.astype(np.uint16) * 29
    return (total >> 8).astype(np.uint8)


def _border_median(plane: Array) -> Array:
    """The lower median of the outermost pixels of each picture: uint8 [n]."""
    ring = np.concatenate([plane[:, 0], plane[:, -1], plane[:, :, 0], plane[:, :, -1]], axis=1)
    middle = (ring.shape[1] - 1) // 2
    return np.partition(ring, middle, axis=1)[:, middle]


def _foreground(planes: Sequence[Array], backs: Sequence[Array], level: int) -> Array:
    far: Array | None = None
    for plane, back in zip(planes, backs, strict=True):
        one = _apart(plane, back[:, None, None])
        far = one if far is None else np.maximum(far, one, out=far)
    assert far is not None
    return far > level


def _apart(one: Array, other: Array) -> Array:
    """|a - b| of bytes, without leaving bytes."""
    return np.maximum(one, other) - np.minimum(one, other)


def _light(grey: Array, mask: Array) -> tuple[Array, Array]:
    count = np.maximum(mask.sum(axis=(1, 2)), 1)
    lit = (grey * mask).reshape(len(grey), -1)
    first = lit.sum(axis=1, dtype=np.int64)
    square = lit.astype(np.uint16)
    second = (square * square).sum(axis=1, dtype=np.int64)
    mean = first / count
    return mean, np.sqrt(np.maximum(second / count - mean**2, 0))


def _box(mask: Array) -> tuple[Array, Array, Array]:
    """Coverage; aspect and size of the box around the foreground."""
    _, height, width = mask.shape
    tall, wide = _extent(np.any(mask, axis=2)), _extent(np.any(mask, axis=1))
    aspect = np.divide(tall, wide, out=np.ones(len(mask)), where=wide > 0)
    return mask.sum(axis=(1, 2)) / (height * width), aspect, tall * wide / (height * width)


def _extent(seen: Array) -> Array:
    """From the first to the last True of each row, both counted: int64 [n], 0 where there is none."""
    length = seen.shape[1]
    extent: Array = (length - seen.argmax(axis=1) - seen[:, ::-1].argmax(axis=1)) * seen.any(axis=1)
    return extent


def _asymmetry(grey: Array) -> Array:
    _, height, width = grey.shape
    half = width // 2
    apart = _apart(grey[:, :, :half], grey[:, :, ::-1][:, :, :half])
    mean: Array = 2 * apart.sum(axis=(1, 2), dtype=np.int64) / (height * width)
    return mean


def _top(mask: Array) -> Array:
    rows = mask.sum(axis=2)
    height = rows.shape[1]
    upper = rows[:, : height // 2].sum(axis=1) + (rows[:, height // 2] / 2 if height % 2 else 0)
    count = rows.sum(axis=1)
    share: Array = np.divide(upper, count, out=np.full(len(mask), 0.5), where=count > 0)
    return share


def _edges(grey: Array) -> Array:
    across, down = (_mean_change(one, other) for one, other in (
        (grey[:, :, 1:], grey[:, :, :-1]), (grey[:, 1:], grey[:, :-1]),
    ))  # fmt: skip
    both = across + down
    share: Array = np.divide(across - down, both, out=np.zeros(len(grey)), where=both > 0)
    return share


def _mean_change(one: Array, other: Array) -> Array:
    pairs = max(1, one.shape[1] * one.shape[2])
    mean: Array = _apart(one, other).sum(axis=(1, 2), dtype=np.int64) / pairs
    return mean


def _colours(planes: list[Array], backs: list[Array], mask: Array) -> tuple[Array, Array, Array]:
    """Names' rows of foreground and background, and the share of pixels that are not grey."""
    (red, green, blue), ground = (planes * 3, backs * 3) if len(planes) == 1 else (planes, backs)
    background: Array = nearest_names(*ground).astype(np.int64)
    count = len(mask)
    seen = nearest_names(red, green, blue).astype(np.int64)
    seen += (np.arange(count) * len(NAMES))[:, None, None]
    often = np.bincount(seen[mask], minlength=count * len(NAMES)).reshape(count, len(NAMES))
    dominant = np.where(often.any(axis=1), often.argmax(axis=1), background)
    if len(planes) == 1:
        return dominant, background, np.zeros(count)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return dominant, background, (spread > _COLOURED).mean(axis=(1, 2))
