"""Run lengths of masks as COCO writes them: counts, their short text, and polygons drawn as COCO draws them.

A mask is read column by column; counts are the lengths of its runs, of 0 first (so the first count may be 0). In the
text a count from the fourth on stands as its difference from the count two before it, in groups of 5 bits, the lowest
first; bit 5 says that another group follows, and each group is a character from `0` on.
Source: Lin et al., "Microsoft COCO", ECCV 2014, and the mask format of its tools, whose bits these are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lightmeter.errors import RejectedFileError
from lightmeter.types import Array, check_axes

MOST_PIXELS = 100_000_000
_FINER = 5  # polygons are drawn on a grid so much finer than the pixels
_MOST_POINTS = 50_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Rle:
    """A binary mask of height x width pixels.  counts: int64 [R], lengths of its runs, of 0 first, column by column"""

    height: int
    width: int
    counts: Array

    def __post_init__(self) -> None:
        if not 1 <= self.height * self.width <= MOST_PIXELS or self.height < 1:
            raise RejectedFileError("too-large", f"a mask of {self.height} x {self.width} must have 1 to {MOST_PIXELS}")
        check_axes("counts", self.counts, "R", "int64")
        total = int(self.counts.sum())
        if (self.counts < 0).any() or (self.counts > MOST_PIXELS).any() or total != self.height * self.width:
            wanted = f"{self.height} x {self.width} = {self.height * self.width}"
            raise RejectedFileError("broken-mask", f"run lengths must be 0 or more and sum to {wanted}, got {total}")

    @classmethod
    def of(cls, mask: Array) -> Rle:
        """From a mask [H, W]: every value but 0 is 1.

        >>> Rle.of(np.array([[0, 1], [1, 1]])).counts
        array([1, 3])
        """
        check_axes("mask", mask, "H W")
        flat = (np.asarray(mask) != 0).ravel(order="F")
        ends = np.concatenate([np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
        counts = np.diff(ends, prepend=0).astype(np.int64)
        height, width = mask.shape
        return cls(height, width, np.concatenate([np.zeros(1, np.int64), counts]) if flat[0] else counts)

    @classmethod
    def from_text(cls, height: int, width: int, text: str) -> Rle:
        """From COCO's compressed counts.  Raises RejectedFileError where they are none, or of another size."""
        return cls(height, width, counts_of(text))

    @property
    def text(self) -> str:
        """COCO's compressed counts.

        >>> Rle(2, 4, np.array([1, 3, 4])).text
        '134'
        """
        return text_of(self.counts)

    @property
    def area(self) -> int:
        """How many pixels are 1."""
        return int(self.counts[1::2].sum())

    def mask(self) -> Array:
        """uint8 [H, W] of 0 and 1."""
        bits = np.arange(len(self.counts), dtype=np.int64) % 2
        flat = np.repeat(bits.astype(np.uint8), self.counts)
        return np.ascontiguousarray(flat.reshape(self.width, self.height).T)


def counts_of(text: str) -> Array:
    """int64 [R] from COCO's text.  Raises RejectedFileError for what is none."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 30:
            raise RejectedFileError("broken-mask", f"a mask's counts must be COCO's text, got {character!r} in it")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise RejectedFileError("broken-mask", "a mask's counts must not end within a number")
    if any(abs(count) > MOST_PIXELS for count in counts):
        raise RejectedFileError("broken-mask", f"a run must be at most {MOST_PIXELS} pixels long")
    return np.array(counts, np.int64)


def text_of(counts: Array) -> str:
    """COCO's text of run lengths."""
    numbers = np.asarray(counts, np.int64).tolist()
    made = bytearray()
    for place, count in enumerate(numbers):
        value = count - numbers[place - 2] if place > 2 else count
        while True:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            made.append(group + 48 + 32 * more)
            if not more:
                break
    return made.decode("ascii")


def polygon_mask(height: int, width: int, rings: Iterable[Sequence[float]]) -> Array:
    """uint8 [H, W]: pixels within any of some polygons, each x1, y1, x2, y2 … in pixels from the upper left corner.

    Within one polygon, parts that it surrounds twice are outside. Corners may lie outside the picture, by three times
    its size. Bits are those of COCO's tools: the outline is walked on a grid 5 times as fine, and of each column of
    pixels the rows are kept where it is crossed.  Cost: O(outline + H*W) a polygon.
    """
    found = np.zeros((height, width), np.uint8)
    for ring in rings:
        found |= _one_polygon(height, width, ring)
    return found


def _one_polygon(height: int, width: int, ring: Sequence[float]) -> Array:
    try:
        corners = np.array(ring, np.float64)
    except (TypeError, ValueError) as error:
        raise RejectedFileError("broken-mask", "a polygon must be a list of numbers x1, y1, x2, y2 …") from error
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
        raise RejectedFileError("broken-mask", f"a polygon must be 3 or more pairs x, y, got {corners.size} numbers")
    most = 4 * max(height, width)
    if not np.isfinite(corners).all() or np.abs(corners).max() > most:
        raise RejectedFileError("broken-mask", f"a polygon's corners must lie within -{most} to {most} pixels")
    right, down = _outline(np.trunc(_FINER * corners + 0.5).astype(np.int64).reshape(-1, 2))
    crossed = np.flatnonzero(right[1:] != right[:-1])
    if not len(crossed):
        return np.zeros((height, width), np.uint8)
    before, after = right[crossed], right[crossed + 1]
    column = (np.where(after < before, after, after - 1) + 0.5) / _FINER - 0.5
    row = (np.minimum(down[crossed], down[crossed + 1]) + 0.5) / _FINER - 0.5
    kept = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    places = column[kept].astype(np.int64) * height + np.ceil(np.clip(row[kept], 0, height)).astype(np.int64)
    turns = np.bincount(places, minlength=height * width + 1)[: height * width]
    inside = (np.cumsum(turns) % 2).astype(np.uint8)
    return np.ascontiguousarray(inside.reshape(width, height).T)


def _outline(corners: Array) -> tuple[Array, Array]:
    """Every grid point on the way from corner to corner and back to the first: int64 [P] right and down."""
    ends = np.roll(corners, -1, axis=0)
    if np.abs(ends - corners).max(1).sum() > _MOST_POINTS:
        raise RejectedFileError(
            "too-large", f"a polygon's outline must be at most {_MOST_POINTS // _FINER} pixels long"
        )
    rights, downs = [], []
    for (x, y), (to_x, to_y) in zip(corners.tolist(), ends.tolist(), strict=True):
        wide, high = abs(to_x - x), abs(to_y - y)
        flat = wide >= high
        if (flat and x > to_x) or (not flat and y > to_y):  # the same points whichever way an edge is walked
            low_x, low_y, high_x, high_y, step = to_x, to_y, x, y, -1
        else:
            low_x, low_y, high_x, high_y, step = x, y, to_x, to_y, 1
        along = np.arange(max(wide, high) + 1)[::step]
        if flat:
            slope = (high_y - low_y) / wide if wide else 0.0
            rights.append(low_x + along)
            downs.append(np.trunc(low_y + slope * along + 0.5).astype(np.int64))
        else:
            slope = (high_x - low_x) / high
            rights.append(np.trunc(low_x + slope * along + 0.5).astype(np.int64))
            downs.append(low_y + along)
    return np.concatenate(rights), np.concatenate(downs)


def coco_mask(segmentation: object, height: int, width: int) -> Array:
    """uint8 [H, W] of a COCO annotation's `segmentation`: polygons, run lengths as numbers, or as text.

    Raises RejectedFileError where it is neither, or of another size than its picture.
    """
    if isinstance(segmentation, list):
        if not segmentation:
            raise RejectedFileError("broken-mask", "a segmentation must hold a polygon, got none")
        return polygon_mask(height, width, segmentation)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= set(segmentation):
        raise RejectedFileError("broken-mask", "a segmentation must be polygons, or size and counts")
    if segmentation["size"] != [height, width]:
        raise RejectedFileError("wrong-size", f"size must be [{height}, {width}], got {segmentation['size']}"[:200])
    counts = segmentation["counts"]
    if isinstance(counts, str):
        return Rle.from_text(height, width, counts).mask()
    if not isinstance(counts, list) or not all(type(each) is int and 0 <= each <= MOST_PIXELS for each in counts):
        raise RejectedFileError("broken-mask", f"counts must be text, or whole numbers of 0 to {MOST_PIXELS}")
    return Rle(height, width, np.array(counts, np.int64)).mask()


def as_coco(rle: Rle) -> dict[str, object]:
    """`{"size": [H, W], "counts": text}`, as COCO's tools read it."""
    return {"size": [rle.height, rle.width], "counts": rle.text}
