"""The kernels' twin in numpy: the same bounds in the same order, where there was no compiler and to test against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lightmeter.search.granules import Coded, Lens
from lightmeter.types import Array

_ROUNDING = 1e-5
_TOP = 16_383
_AT_ONCE = 4_096


@dataclass(slots=True, eq=False)
class Told:
    """What a query took. proof: the least proven bound of all rows that were not measured."""

    levels: int = 0
    refined: int = 0
    bytes: int = 0
    survivors: tuple[int, ...] = ()
    proof: float = math.inf


class _Query:
    """One query: its codes, and what of it the granules read so far have left over."""

    def __init__(self, lens: Lens, x: Array, *, cosine: bool) -> None:
        self.lens, self.x = lens, x.astype(np.float64)
        length = math.sqrt(float(self.x @ self.x))
        self.inverse_norm = (1 / length if length else 0.0) if cosine else 1.0
        centred = (self.x * self.inverse_norm - lens.mean) * lens.scale
        energy = float(centred @ centred)
        own = lens.scale**2 if cosine and not length else 0.0
        self.boundless = not energy < 1e30
        self.codes, self.step, error = _quantised(centred)
        self.energy = energy + own
        self.rest = (math.sqrt(energy) + error) ** 2
        self.constant, self.factor = self.energy * (1 - _ROUNDING), 1 - _ROUNDING
        self.t = max(lens.typical, math.sqrt(energy))
        self._charge(error + 2e-7 * math.sqrt(energy))
        self.seen = np.zeros(len(lens.basis))

    def _charge(self, error: float) -> None:
        self.constant -= 1.02 * error * self.t
        self.factor -= 1.02 * error / self.t

    @property
    def left(self) -> float:
        """|x_res|, rounded up."""
        return math.sqrt(self.rest + 4e-6 * self.energy)

    def granule(self, start: int, stop: int) -> tuple[Array, float]:
        """Coordinates of one granule as they are multiplied, and their length."""
        lens = self.lens
        basis = lens.basis[start:stop, : len(self.x)].astype(np.float64)
        self.seen[start:stop] = (basis @ self.codes) * lens.basis_step[start:stop] * self.step
        z = lens.mix[start:stop, :stop].astype(np.float64) @ self.seen[:stop]
        codes, step, error = _quantised(z)
        self._charge(error)
        squared = float(z @ z)
        self.rest = max(self.rest - squared * (1 - 1e-6), 0.0)
        return codes * step, math.sqrt(squared) * (1 + 1e-6)


def _quantised(values: Array) -> tuple[Array, float, float]:
    most = float(np.abs(values).max(initial=0))
    if not 0 < most < math.inf:
        return np.zeros(len(values)), 0.0, 0.0
    step = most / _TOP
    codes = np.rint(values / step)
    return codes, step, float(np.linalg.norm(values - codes * step)) * 1.001


@dataclass(slots=True, eq=False)
class Race:
    """All that a search runs over: the rows as given, as coded, and how they are compared."""

    lens: Lens
    coded: Coded
    vectors: Array
    inverse_norms: Array | None

    def distances(self, query: _Query, rows: Array) -> Array:
        """Distances in full, float64, of some rows."""
        parts = [self._distances(query, rows[at : at + _AT_ONCE]) for at in range(0, len(rows), _AT_ONCE)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _distances(self, query: _Query, rows: Array) -> Array:
        vectors = self.vectors[rows].astype(np.float64)
        if self.inverse_norms is None:
            return np.asarray(((vectors - query.x) ** 2).sum(axis=1))
        norms = self.inverse_norms[rows]
        unit = vectors * norms[:, None] - query.x * query.inverse_norm
        return np.where((norms == 0) | (query.inverse_norm == 0), 2.0, (unit**2).sum(axis=1))

    def search(
        self, x: Array, k: int, kappas: tuple[float, ...], *, few: int, among: Array | None
    ) -> tuple[Array, Array, Told]:
        """ids int64 [≤ k], distances float64 [≤ k], and what it took."""
        query, told = _Query(self.lens, x, cosine=self.inverse_norms is not None), Told()
        may = np.isfinite(self.coded.energies) if among is None else np.isfinite(self.coded.energies) & among
        rows = np.flatnonzero(may)
        bounds = np.full(len(rows), -math.inf)
        proven = bounds.copy()
        ids, distances = np.empty(0, np.int64), np.empty(0)
        start = 0
        for level, width in enumerate(self.lens.widths):
            if query.boundless or not len(rows) or (level and len(rows) <= few):
                break
            bounds, proven = self._bounds(query, level, start, rows, bounds, kappas)
            told.levels, told.bytes = (
                level + 1,
                told.bytes + width * self.lens.basis.shape[1] + len(rows) * (width + 12),
            )
            start += width
            first = np.argsort(bounds, kind="stable")[: k if level == 0 else 1]
            ids, distances = self._measure(query, rows[first], ids, distances, k, told)
            keep = bounds <= _limit(distances, k) * self.lens.scale**2
            keep[first] = False
            dropped = ~keep
            dropped[first] = False
            told.proof = min(told.proof, float(proven[dropped].min(initial=math.inf)))
            rows, bounds, proven = rows[keep], bounds[keep], proven[keep]
            told.survivors += (len(rows),)
        order = np.argsort(bounds, kind="stable")
        for at in range(0, len(order), 64):
            some = order[at : at + 64]
            if len(some) and bounds[some[0]] > _limit(distances, k) * self.lens.scale**2:
                told.proof = min(told.proof, float(proven[order[at:]].min()))
                break
            ids, distances = self._measure(query, rows[some], ids, distances, k, told)
        told.proof /= self.lens.scale**2
        return ids, distances, told

    def _bounds(
        self, query: _Query, level: int, start: int, rows: Array, before: Array, kappas: tuple[float, ...]
    ) -> tuple[Array, Array]:
        """Bounds with this level's granule, by kappa and by Cauchy–Schwarz."""
        coded, lens = self.coded, self.lens
        if level == 0:
            base = query.constant + query.factor * coded.energies[rows].astype(np.float64)
        else:
            base = before + 2 * kappas[level - 1] * query.left * coded.residuals[level - 1][rows]
        constant, factor = query.constant, query.factor
        z, length = query.granule(start, start + lens.widths[level])
        base = base + (query.constant - constant) + (query.factor - factor) * np.abs(coded.energies[rows])
        base -= 2 * lens.steps[level] * (coded.codes[level][rows].astype(np.float32) @ z.astype(np.float32))
        base -= 2 * length * coded.errors[level][rows]
        across = 2 * query.left * coded.residuals[level][rows].astype(np.float64)
        return base - kappas[level] * across, base - across

    def _measure(
        self, query: _Query, rows: Array, ids: Array, distances: Array, k: int, told: Told
    ) -> tuple[Array, Array]:
        told.refined += len(rows)
        told.bytes += len(rows) * self.vectors.shape[1] * 4
        ids, distances = np.concatenate([ids, rows]), np.concatenate([distances, self.distances(query, rows)])
        best = np.lexsort((ids, distances))[:k]
        return ids[best], distances[best]


def _limit(distances: Array, k: int) -> float:
    return float(distances[k - 1]) if len(distances) >= k else math.inf
