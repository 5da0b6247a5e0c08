"""Coordinates on a fixed grid: sums of their products are exact in float64, and no order of summing moves a decision.

A query answered alone and among a thousand, by numpy, BLAS or a compiled kernel, granule by granule or at once, meets
the same distances bit for bit, and duplicates are at distance 0. For vectors of length 1 the grid is about as fine as
float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.search.pca import Basis
from lightmeter.types import Array

_COMPONENT_BITS = 24
_VECTOR_BITS = 28
"""Together 52: a product of a unit vector and a component is a whole number of 2⁻⁵², and their sum is below 2."""
_COORDINATE_BITS = 24
"""Squares of differences are whole numbers of 2⁻⁴⁸, and their sum is exact below 2⁵: up to 4 units from the mean."""
_FARTHEST = 1e15
"""Coordinates are cut here, in units, so that float32 can multiply them: from so far away all rows look alike."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How vectors are seen: fitted once, the same for all rows added later and for every query.

    mean: float64 [D] · components: float32 [K, D] whole numbers of 2⁻²⁴ · variances: float64 [K], of the basis
    unit: a power of two, what a coordinate of 1 is worth · normalise: bring vectors to length 1 first
    """

    mean: Array
    components: Array
    variances: Array
    unit: float
    normalise: bool

    def prepared(self, vectors: Array) -> Array:
        """Float32 [N, D] → centred float64 [N, D], each row on a grid of 2⁻²⁸ of the power of two above its length."""
        rows = vectors.astype(np.float64)
        if self.normalise:
            rows = unit_length(rows)
        rows -= self.mean
        _, exponents = np.frexp(_lengths(rows))
        down = np.ldexp(1.0, _VECTOR_BITS - exponents)[:, None]
        up = np.ldexp(1.0, exponents - _VECTOR_BITS)[:, None]
        return np.asarray(np.rint(rows * down) * up)

    def coordinates(self, prepared: Array, start: int, stop: int) -> Array:
        """Some coordinates of prepared rows: float32 [N, stop − start] in units, whole numbers of 2⁻²⁴.

        Cost: N·D·(stop − start).
        """
        seen = prepared @ self.components[start:stop].astype(np.float64).T
        seen /= self.unit
        np.clip(seen, -_FARTHEST, _FARTHEST, out=seen)
        return np.asarray(_on_grid(seen, _COORDINATE_BITS), np.float32)


def view_of(basis: Basis, vectors: Array, *, normalise: bool) -> View:
    """The view through a basis; its unit is the power of two above the longest of the centred float32 [N, D]."""
    components = _on_grid(basis.components, _COMPONENT_BITS).astype(np.float32)
    longest = 0.0 if normalise else float(_lengths(vectors.astype(np.float64) - basis.mean).max(initial=0))
    unit = float(np.ldexp(1.0, np.frexp(longest)[1])) if longest else 1.0
    return View(basis.mean, components, basis.variances, unit, normalise)


def unit_length(rows: Array) -> Array:
    """Float64 rows of length 1; rows of zeros stay zero."""
    lengths = _lengths(rows)[:, None]
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def _on_grid(values: Array, bits: int) -> Array:
    return np.asarray(np.rint(values * 2.0**bits) * 2.0**-bits)


def _lengths(rows: Array) -> Array:
    return np.asarray(np.sqrt(folded(rows * rows)))


def folded(values: Array) -> Array:
    """Sums along the last axis in an order that every machine and language can keep: the last half onto the first.

    values: float64 [N, D], spoilt → float64 [N], 0 where D = 0.  Cost: N·D.

    >>> folded(np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 8.0]])).tolist()
    [7.0, 8.0]
    """
    width = values.shape[-1]
    while width > 1:
        half = width // 2
        values[..., :half] += values[..., width - half : width]
        width -= half
    return np.asarray(values[..., 0] if width else np.zeros(values.shape[:-1]))


def partial_distances(block: Array, rows: Array, query: Array) -> Array:
    """Squared L2 distances of chosen rows to a query over one granule: the inner step of every later level.

    block: float32 [R, m] · rows: int64 [n] · query: float32 [m] → float64 [n].  Cost: n·m.
    Exact where query and rows are within 2.7 units of the mean: whatever a kernel's order of summing, the result is the
    same. Farther away it is that of `folded`.
    """
    apart = block[rows].astype(np.float64)
    apart -= query
    apart *= apart
    return folded(apart)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of a gallery in the order of their ids, and who belongs together.

    blocks: float32 [R, m] a granule · energies: float32 [R] a granule, squared lengths · longest: of them, a granule
    ids, labels: int64 [R], ids rising · classes: int64 [C] labels, rising · codes: int64 [R] index into classes
    order: int64 [R] positions, class by class, ids rising within
    starts: int64 [C] where each class begins in it · counts: int64 [C] its rows
    """

    blocks: tuple[Array, ...]
    energies: tuple[Array, ...]
    longest: tuple[float, ...]
    ids: Array
    labels: Array
    classes: Array
    codes: Array
    order: Array
    starts: Array
    counts: Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def width(self) -> int:
        """Components in all."""
        return sum(block.shape[1] for block in self.blocks)

    def of_class(self, code: int) -> Array:
        """Positions of one class's rows: int64 [n]."""
        return self.order[self.starts[code] : self.starts[code] + self.counts[code]]

    def members(self, codes: Array) -> Array:
        """Positions of all rows of some classes, class by class: codes int [M] → int64 [n]."""
        chosen = np.zeros(len(self.classes), bool)
        chosen[codes] = True
        return self.order[chosen[self.codes[self.order]]]


def rows_of(blocks: tuple[Array, ...], ids: Array, labels: Array) -> Rows:
    """Rows from their coordinates, a block [R, m] a granule.  Cost: O(R·K + R log R)."""
    classes, codes = np.unique(labels, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    exact = [np.einsum("rm,rm->r", block, block, dtype=np.float64) for block in blocks]
    return Rows(
        blocks=tuple(np.ascontiguousarray(block, np.float32) for block in blocks),
        energies=tuple(each.astype(np.float32) for each in exact),
        longest=tuple(float(np.sqrt(each.max(initial=0))) for each in exact),
        ids=ids,
        labels=labels,
        classes=classes,
        codes=codes,
        order=order,
        starts=np.searchsorted(codes[order], np.arange(len(classes))),
        counts=np.bincount(codes, minlength=len(classes)),
    )


def runs(codes: Array) -> Array:
    """Where runs of equal codes begin: sorted int [n], n ≥ 1 → int64 [C']."""
    return np.flatnonzero(np.concatenate([_FIRST, codes[1:] != codes[:-1]]))


_FIRST = np.ones(1, bool)
