"""Number formats for weights that are kept: half floats, int8 rows, codebooks of 256 numbers; each states its error.

A weight is kept as named tensors and comes back as float32 of its shape. Formats that depend on the values are fitted
to each weight alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightmeter.errors import InvalidValueError

_HALF_MOST = 65504.0
_HALF_STEP, _HALF_LEAST = 2.0**-11, 2.0**-25  # half a step, relative among normal numbers and absolute below them
_LEVELS = 256
_LEAST_ROW = 64


@dataclass(frozen=True, eq=False)
class Kept:
    """One weight in a format.

    parts: tensors by name, what is saved · shape: of the weight · bound: largest error of any element, weight units
    """

    format: str
    parts: Mapping[str, Tensor]
    shape: tuple[int, ...]
    bound: float

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(each.numel() * each.element_size() for each in self.parts.values())

    def weight(self) -> Tensor:
        """The weight as it is now: float32 of its shape."""
        return restored(self.parts, self.shape)


def restored(parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """float32 of a shape from the tensors of a `Kept`: `values`, or `codes` with `scale` or with `book`."""
    if "values" in parts:
        return parts["values"].float().reshape(shape)
    if "scale" in parts:
        return (parts["codes"].float() * parts["scale"]).reshape(shape)
    return parts["book"][parts["codes"].long()].reshape(shape)


def float32(weight: Tensor) -> Kept:
    """As it is: no error, 4 bytes an element."""
    return Kept("float32", {"values": _checked(weight)}, tuple(weight.shape), 0.0)


def float16(weight: Tensor) -> Kept:
    """IEEE half floats, ties to even.

    weight: float of any shape, within ±65504 -> values float16
    Error: at most max|w|·2⁻¹¹ an element, and 2⁻²⁵ where that is less.  Size: 2 bytes an element.
    """
    weight = _checked(weight)
    largest = float(weight.abs().max()) if weight.numel() else 0.0
    if largest > _HALF_MOST:
        raise InvalidValueError(
            f"a weight kept as float16 must be within ±65504, got {largest:.6g}: keep it as float32"
        )
    bound = max(largest * _HALF_STEP, _HALF_LEAST)
    return Kept("float16", {"values": weight.half()}, tuple(weight.shape), bound)


def int8_rows(weight: Tensor) -> Kept:
    """Symmetric int8, one scale a row: codes = round(w / s), s = max|w| / 127.

    weight: float [O, I] -> codes int8 [O, I], scale float32 [O, 1] (weight units a step; 1 for a row of zeros)
    Of more axes, a row is the last one where it has 64 numbers or more, else all after the first (`rows_of`).
    Error: at most s/2 an element.  Size: 4·O·I -> O·I + 4·O bytes.
    Source: Jacob et al. 2018, arXiv:1712.05877, eq. 1 with Z = 0; ties round to even.
    """
    rows = _checked(weight).reshape(rows_of(tuple(weight.shape)))
    scale = rows.abs().amax(1, keepdim=True) / 127 if rows.numel() else rows.new_ones(len(rows), 1)
    scale = torch.where(scale > 0, scale, 1.0)
    codes = (rows / scale).round().clamp(-127, 127).to(torch.int8)
    bound = float(scale.max()) / 2 if bool(rows.any()) else 0.0
    return Kept("int8", {"codes": codes, "scale": scale}, tuple(weight.shape), _rounded_up(bound, rows))


def uniform_book(weight: Tensor) -> Kept:
    """256 numbers evenly from the least to the largest value.

    Error: at most half a step, (max - min) / 510.  Size: 1 byte an element and 1,024.
    Source: Skalic & Austin 2018, "Building a size constrained predictive model for video classification", §3.3.
    """
    flat = _checked(weight).flatten().sort().values
    ends = (float(flat[0]), float(flat[-1])) if len(flat) else (0.0, 0.0)
    return _coded("uniform", weight, torch.linspace(*ends, _LEVELS, dtype=torch.float64))


def quantile_book(weight: Tensor) -> Kept:
    """256 numbers, each the mean of as many values of the weight: fine where they are dense, coarse at the ends.

    Error: at most half the widest gap between neighbours, or what lies beyond the ends.  Size: 1 byte an element and
    1,024.
    Source: as `uniform_book`.
    """
    flat = _checked(weight).flatten().double().sort().values
    return _coded("quantile", weight, _means(flat, _evenly(flat)))


def kmeans_book(weight: Tensor, steps: int = 20) -> Kept:
    """256 numbers by k-means on the values: less squared error than either other book, whose numbers it starts from.

    steps: at most this many of Lloyd's from each start; they stop when no value changes its number.  Cost: sorts the
    values once; then 256 searches a step, for in one dimension a cluster is a run of the sorted values.
    Error: as of `quantile_book`.  Size: 1 byte an element and 1,024.
    Source: as `uniform_book`; Lloyd 1982, "Least squares quantization in PCM".
    """
    flat = _checked(weight).flatten().double().sort().values
    if not len(flat):
        return _coded("kmeans", weight, torch.zeros(_LEVELS))
    ladder = torch.linspace(float(flat[0]), float(flat[-1]), _LEVELS, dtype=torch.float64)
    books = [_settled(flat, cuts, steps) for cuts in (_evenly(flat), _cuts(flat, ladder))]
    errors = [float((book[torch.bucketize(flat, _between(book))] - flat).square().sum()) for book in books]
    return _coded("kmeans", weight, books[errors.index(min(errors))])


FORMATS: dict[str, Callable[[Tensor], Kept]] = {
    "float32": float32,
    "float16": float16,
    "int8": int8_rows,
    "uniform": uniform_book,
    "quantile": quantile_book,
    "kmeans": kmeans_book,
}
"""By name; what a weight is kept in is one of these."""


def rows_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """As how many rows of how many numbers int8 takes a weight of two axes or more; the mixture's three are many rows.

    >>> rows_of((5, 4716, 1152)), rows_of((512, 300, 8))
    ((23580, 1152), (512, 2400))
    """
    if shape[-1] >= _LEAST_ROW:
        return math.prod(shape[:-1]), shape[-1]
    return shape[0], math.prod(shape[1:])


def bare(format: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """What a weight of a shape would be kept as: tensors of the right types and shapes without memory (`meta`)."""
    if format in ("float32", "float16"):
        return {"values": torch.empty(shape, dtype=getattr(torch, format), device="meta")}
    if format == "int8":
        rows = rows_of(shape)
        scale = torch.empty(rows[0], 1, device="meta")
        return {"codes": torch.empty(rows, dtype=torch.int8, device="meta"), "scale": scale}
    codes = torch.empty(shape, dtype=torch.uint8, device="meta")
    return {"codes": codes, "book": torch.empty(_LEVELS, device="meta")}


def _checked(weight: Tensor) -> Tensor:
    if not weight.is_floating_point() or not bool(weight.isfinite().all()):
        raise InvalidValueError(
            f"a weight must be finite floats, got {weight.dtype} with NaN or infinity, or whole numbers"
        )
    return weight.detach().float()


def _evenly(flat: Tensor) -> Tensor:
    """Ends of 256 runs of the sorted values, as even as can be: int64 [257]."""
    return torch.arange(_LEVELS + 1) * len(flat) // _LEVELS


def _between(book: Tensor) -> Tensor:
    """Where the nearest number of a rising book changes: [255]."""
    return (book[1:] + book[:-1]) / 2


def _cuts(flat: Tensor, book: Tensor) -> Tensor:
    """Ends of the runs of sorted values that are nearest to each number of a book: int64 [257]."""
    inner = torch.searchsorted(flat, _between(book))
    return torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), len(flat))])


def _settled(flat: Tensor, cuts: Tensor, steps: int) -> Tensor:
    """The book that Lloyd's steps come to from some runs: float64 [256], rising."""
    for _ in range(steps):
        moved = _cuts(flat, _means(flat, cuts))
        if torch.equal(moved, cuts):
            break
        cuts = moved
    return _means(flat, cuts)


def _means(flat: Tensor, cuts: Tensor) -> Tensor:
    """Mean of each run; an empty run takes the value that stands where it would, so that the book never falls."""
    if not len(flat):
        return torch.zeros(_LEVELS, dtype=torch.float64)
    sums = torch.cat([flat.new_zeros(1), flat.cumsum(0)])[cuts].diff()
    sizes = cuts.diff()
    there = flat[cuts[:-1].clamp(max=len(flat) - 1)]
    return torch.where(sizes > 0, sums / sizes.clamp(min=1), there).sort().values


def _coded(name: str, weight: Tensor, book: Tensor) -> Kept:
    """Codes of the nearest numbers of a rising book, and how far off they are at most."""
    values = _checked(weight).flatten()
    book = book.float()
    codes = torch.bucketize(values, _between(book))
    bound = 0.0
    if len(values):
        ends = torch.stack([book[0] - values.min(), values.max() - book[-1]]).clamp(min=0)
        bound = max(float(book.diff().max()) / 2, float(ends.max()))
    parts = {"codes": codes.to(torch.uint8).reshape(weight.shape), "book": book}
    return Kept(name, parts, tuple(weight.shape), _rounded_up(bound, values))


def _rounded_up(bound: float, values: Tensor) -> float:
    """A bound of exact arithmetic, and what float32 itself adds: two roundings of the largest value."""
    return bound + (float(values.abs().max()) * 2.0**-23 if values.numel() else 0.0)
