"""Maximum-likelihood directed enumeration: distances to a few pivots say which rows to measure first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from lightmeter.assets.saving import expect, expect_number, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.search.dissimilarity import (
    Answers,
    Dissimilarity,
    Gallery,
    Stack,
    dissimilarity,
    hold_check,
    rows_to_check,
)
from lightmeter.search.exact import top
from lightmeter.search.protocol import Abilities, Neighbours
from lightmeter.types import Array, check_axes

Matrix = Literal["pivots", "full"]
Variance = Literal["constant", "distance"]
Choice = Literal["farthest", "drawn"]
_MOST_FULL = 20_000


@dataclass(frozen=True)
class Pivots(Spelled):
    """Rows are measured in the order of how likely the query's distances to what was measured before would be for them.

    metric: l2, cosine, chi2, jensen-shannon, kl, or another name in `DISSIMILARITIES`
    pivots: measured first; none is 0.0175 of the rows, 5 to 32 (1 with the full matrix)
    choice: farthest, each the row with the greatest sum of distances to those before (published: outliers, therefore),
    or drawn at random, which found more in the Gaussian mixtures that we tried
    check: share of the rows measured at most; 1 without an early stop is exact
    false_accept: stop as soon as k rows lie nearer than this quantile of what the nearest row of another class is from
    a pivot (from any row, with the full matrix); none never stops early
    variance: of a distance about its mean: constant, or proportional to it as theory has it for kl
    matrix: keep the distances of all rows from the pivots, or from each other: then each row measured adds to the
    likelihood of the rest · at_once: rows measured between two looks; none is 32, 2 with the full matrix
    seed: of the first pivot, or of the draw
    Cost: fit N·R dissimilarities and 4·N·R bytes (R² with the full matrix); a query N + check·R dissimilarities at
    most and 3·N·R operations (3·R more for each row measured, with the full matrix).
    Source: Savchenko, Pattern Recognition 61 (2017) 459–469; IbPRIA 2017; LNCS 9124 (2015).  Changed: k > 1, rounds of
    several rows, seeded first pivot, drawn pivots, filters; without another class there is no early stop.
    """

    metric: str = "l2"
    pivots: int | None = None
    choice: Choice = "farthest"
    check: float = 0.1
    false_accept: float | None = 0.01
    variance: Variance = "constant"
    matrix: Matrix = "pivots"
    at_once: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        dissimilarity(self.metric)
        for name in ("pivots", "at_once"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidValueError(f"{name} must be at least 1, got {value}")
        hold_check(self.check)
        if self.false_accept is not None and not 0 <= self.false_accept < 1:
            raise InvalidValueError(f"false_accept must be 0 or more and below 1, got {self.false_accept}: or none")

    @property
    def exact(self) -> bool:
        """Whether every row is measured."""
        return self.check == 1 and self.false_accept is None

    @property
    def rows_a_round(self) -> int:
        """Rows measured between two looks at the likelihood and the early stop."""
        return self.at_once or (32 if self.matrix == "pivots" else 2)

    def pivots_of(self, rows: int) -> int:
        """Pivots for so many rows.

        >>> [Pivots().pivots_of(rows) for rows in (3, 100, 1000, 5000)]
        [3, 5, 17, 32]
        """
        usual = 1 if self.matrix == "full" else min(max(5, int(0.0175 * rows)), 32)
        return min(self.pivots or usual, rows)

    def fit(self, vectors: Array, labels: Array | None = None) -> FittedPivots:
        """Index vectors: float [R, D] in the dissimilarity's domain.

        labels: int [R], for the early stop only; none takes every row as a class of its own
        """
        gallery = Gallery.of(dissimilarity(self.metric), vectors)
        rows = len(gallery.vectors)
        if self.matrix == "full" and rows > _MOST_FULL:
            raise InvalidValueError(f"matrix=full takes at most {_MOST_FULL} rows, got {rows}: take matrix=pivots")
        labels = np.arange(rows) if labels is None else np.asarray(labels)
        check_axes("labels", labels, str(rows))
        if self.choice == "drawn":
            pivots = np.random.default_rng(self.seed).choice(rows, self.pivots_of(rows), replace=False)
            seen = gallery.measure.matrix(gallery.vectors, gallery.vectors[pivots])
        else:
            pivots, seen = _farthest(gallery, self.pivots_of(rows), self.seed)
        if self.matrix == "full":
            seen = _all_pairs(gallery.measure, gallery.vectors)
            others = _nearest_other(seen.T, labels, labels)
        else:
            others = _nearest_other(seen, labels, labels[pivots])
        stop_below = 0.0 if self.false_accept is None else _quantile(others, self.false_accept)
        return FittedPivots(self, gallery, pivots, seen.astype(np.float32, copy=False), stop_below)


def _farthest(gallery: Gallery, count: int, seed: int) -> tuple[Array, Array]:
    """Pivots by greedy farthest sum, and every row's distance to them: int64 [N], float64 [R, N]."""
    pivots = np.empty(count, np.int64)
    seen = np.empty((len(gallery.vectors), count))
    total = np.zeros(len(gallery.vectors))
    for at in range(count):
        # argmax takes the lowest id among equals; a pivot is at −inf and never chosen again
        pivots[at] = np.random.default_rng(seed).integers(len(total)) if at == 0 else np.argmax(total)
        seen[:, at] = gallery.measure.matrix(gallery.vectors, gallery.vectors[pivots[at : at + 1]])[:, 0]
        total += seen[:, at]
        total[pivots[at]] = -math.inf
    return pivots, seen


def _all_pairs(measure: Dissimilarity, vectors: Array) -> Array:
    """ρ(row, p) in row p: float32 [R, R], so that all rows' distances to one lie together."""
    out = np.empty((len(vectors), len(vectors)), np.float32)
    if not measure.symmetric:
        out.T[:] = measure.matrix(vectors, vectors)
        return out
    for at in range(len(vectors)):
        out[at, at:] = out[at:, at] = measure.to_rows(vectors[at], vectors[at:])
    return out


def _nearest_other(seen: Array, labels: Array, of: Array) -> Array:
    """The least distance of each column to a row of another class: float64 [≤ N], without those that have none."""
    least: Array = np.where(labels[:, None] != of[None], seen, np.inf).min(axis=0)
    there: Array = least[np.isfinite(least)]
    return there


def _quantile(distances: Array, share: float) -> float:
    """The ⌊share·n⌋-th of n rising distances, as the author takes it; 0 of none, and no row is nearer than that."""
    return float(np.sort(distances)[int(share * len(distances))]) if len(distances) else 0.0


class FittedPivots:
    """Rows and their distances to the pivots. One thread may change it while no other searches."""

    def __init__(self, recipe: Pivots, gallery: Gallery, pivots: Array, seen: Array, stop_below: float) -> None:
        self.recipe, self.gallery, self.pivots, self.stop_below = recipe, gallery, pivots, stop_below
        self._seen = Stack(seen)
        self._full = recipe.matrix == "full"

    def __len__(self) -> int:
        return len(self.gallery)

    @property
    def seen(self) -> Array:
        """Distances of all rows to the pivots, float32 [R, N]; with the full matrix [R, R], those to row p in row p."""
        return self._seen.rows

    @property
    def measure(self) -> Dissimilarity:
        """The dissimilarity."""
        return self.gallery.measure

    @property
    def abilities(self) -> Abilities:
        """Everything; exact where every row is measured."""
        return Abilities(exact=self.recipe.exact, add=True, remove=True, among=True, save=True)

    @property
    def size_bytes(self) -> int:
        """Bytes held beside the vectors."""
        return int(self.seen.nbytes + self.pivots.nbytes + self.gallery.alive.nbytes)

    # -- asking ------------------------------------------------------------------------------------------------------

    def search(self, queries: Array, k: int = 1, *, among: Array | None = None) -> Neighbours:
        """The k nearest of the rows measured; each certificate counts the dissimilarities in `refined`.

        queries: float [Q, D] · among: int [M], the ids that may answer; pivots are measured whether they may or not
        Cost: see `Pivots`.
        """
        queries = self.gallery.queries(queries, k)
        allowed = self.gallery.allowed(among)
        answers = Answers(len(queries), k)
        for query in queries:
            self._search_one(query, k, allowed, answers)
        return answers.done()

    def _search_one(self, query: Array, k: int, allowed: Array, answers: Answers) -> None:
        race = _Race(self, query, k, allowed)
        race.measure_pivots()
        after_pivots = race.measured
        if not race.stopped:
            (race.measure_by_all if self._full else race.measure_by_pivots)()
        ids = np.flatnonzero(race.known & allowed)
        vectors = self.gallery.vectors
        answers.put(
            self.gallery.best(query, ids, race.distances[ids], k),
            complete=len(ids) == np.count_nonzero(allowed),
            survivors=(after_pivots, race.measured),
            refined=race.measured,
            bytes_read=race.measured * vectors.shape[1] * vectors.itemsize + race.bytes_of_matrix,
        )

    # -- changing ----------------------------------------------------------------------------------------------------

    def add(self, vectors: Array) -> Array:
        """Add rows: float [N, D] → their ids int64 [N].  Cost: as many dissimilarities as pivots for each row (rows,
        with the full matrix, which is copied). Pivots and early stop stay.
        """
        vectors = self.gallery.checked(vectors)
        if self._full:
            before = len(self.gallery.vectors)
            if before + len(vectors) > _MOST_FULL:
                raise InvalidValueError(f"matrix=full takes at most {_MOST_FULL} rows: fit with matrix=pivots")
            ids = self.gallery.add(vectors)
            whole = np.empty((before + len(vectors), before + len(vectors)), np.float32)
            whole[:before, :before] = self.seen
            whole[before:] = self.measure.matrix(self.gallery.vectors, vectors).T
            whole[:before, before:] = self.measure.matrix(vectors, self.gallery.vectors[:before]).T
            self._seen = Stack(whole)
            return ids
        self._seen.add(self.measure.matrix(vectors, self.gallery.vectors[self.pivots]).astype(np.float32))
        return self.gallery.add(vectors)

    def remove(self, ids: Array) -> None:
        """Forget rows: they never answer again; a pivot still points the way.  Cost: O(1) a row."""
        self.gallery.remove(ids)

    # -- keeping -----------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write vectors, distances and pivots into a folder."""
        arrays = {**self.gallery.arrays(), "pivots": self.pivots, "seen": self.seen}
        save_model(folder, arrays, {"spec": self.recipe.spec, "stop_below": self.stop_below})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        recipe = expect_recipe(about, "index", Pivots)
        gallery = Gallery.kept(dissimilarity(recipe.metric), arrays)
        rows, pivots = len(gallery.vectors), expect(arrays, "pivots", "int64", None)
        insist(
            len(pivots) and pivots.min() >= 0 and pivots.max() < rows and len(np.unique(pivots)) == len(pivots),
            f"pivots of a model must be some of its {rows} rows, none twice",
        )
        full = recipe.matrix == "full"
        insist(not full or rows <= _MOST_FULL, f"matrix=full takes at most {_MOST_FULL} rows, got {rows}")
        seen = expect(arrays, "seen", "float32+inf", rows, rows if full else len(pivots))
        return cls(recipe, gallery, pivots, seen, expect_number(about, "stop_below", zero=True))


class _Race:
    """One query: what was measured, and how unlikely the rest are."""

    def __init__(self, index: FittedPivots, query: Array, k: int, allowed: Array) -> None:
        self.index, self.query, self.k, self.allowed = index, query, k, allowed
        self.known = np.zeros(len(allowed), bool)
        self.distances = np.full(len(allowed), np.inf)
        self.most = rows_to_check(index.recipe.check, allowed, k)
        self.measured = self.answering = self.bytes_of_matrix = 0
        self.stopped = False
        self._step = index.recipe.rows_a_round
        self._near = 0

    def measure_pivots(self) -> None:
        """The pivots in rounds, until enough of them are near."""
        pivots = self.index.pivots
        for at in range(0, len(pivots), self._step):
            self._measure(pivots[at : at + self._step])
            if self.stopped:
                return

    def measure_by_pivots(self) -> None:
        """Rows in the order of their likelihood given the pivots, fixed from the start."""
        at = self.index.pivots
        self.bytes_of_matrix = int(self.index.seen.nbytes)
        asked = self.distances[at].astype(np.float32)
        unlikely = _unlikely(self.index.seen, asked, self.index.recipe.variance).sum(axis=1)
        left = np.flatnonzero(self.allowed & ~self.known)
        count = min(self.most - self.answering, len(left))
        if count <= 0:
            return
        order = left[top(-unlikely[left], count)]
        for start in range(0, len(order), self._step):
            self._measure(order[start : start + self._step])
            if self.stopped:
                return

    def measure_by_all(self) -> None:
        """The likeliest rows, then the likeliest given those too, and so on."""
        seen, variance = self.index.seen, self.index.recipe.variance
        unlikely = np.where(self.allowed & ~self.known, 0.0, np.inf)
        fresh = np.flatnonzero(self.known)
        left = int(np.count_nonzero(unlikely == 0))
        while left and self.answering < self.most and not self.stopped:
            for row in fresh:
                self.bytes_of_matrix += seen[row].nbytes
                unlikely += _unlikely(seen[row], np.float32(self.distances[row]), variance)
            count = min(self._step, self.most - self.answering, left)
            fresh = np.empty(count, np.int64)
            for at in range(count):
                fresh[at] = np.argmin(unlikely)  # the lowest id among equals
                unlikely[fresh[at]] = np.inf
            self._measure(fresh)
            left -= count

    def _measure(self, rows: Array) -> None:
        found = self.index.measure.to_rows(self.query, self.index.gallery.vectors, rows)
        self.distances[rows] = found
        self.known[rows] = True
        self.measured += len(rows)
        may = self.allowed[rows]
        self.answering += int(np.count_nonzero(may))
        self._near += int(np.count_nonzero(found[may] < self.index.stop_below))
        self.stopped = self._near >= self.k


def _unlikely(seen: Array, asked: Array | np.float32, variance: Variance) -> Array:
    """(ρ(q, p) − ρ(r, p))², over ρ(r, p) where that is the variance: [R, N] and [N], or [R] and one number.

    Their sum over the pivots is twice the negative log-likelihood less its logarithm of the variance, as published.
    Where ρ(r, p) is 0 the variance is taken as a millionth of the mean one: such a row is a pivot's twin.
    """
    off: Array = seen - asked
    off *= off
    if variance == "distance":
        off /= np.maximum(seen, max(1e-6 * float(seen.mean()), 1e-30))
    return off
