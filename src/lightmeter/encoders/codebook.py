"""A few centres for many vectors: k-means with weights, so that each word is seen once however often it stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from lightmeter.assets.saving import expect, expect_count, insist, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes

Metric = Literal["l1", "l2"]
_CELLS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class KMeans:
    """Lloyd's k-means from k-means++ seeds, over rows that count as often as they weigh.

    fit: rows float [N, D], weights float [N] -> Codebook.  The sum of weight · squared distance to the nearest centre
    never rises from round to round; stops when no row changes its centre or after `rounds`.
    N words with their counts as weights have the objective of all tokens with repetition: 48,000 points instead of
    21 million for YouTube-8M's keywords. A centre that nobody chose moves to the row that costs most.
    Cost: clusters·N·D multiply-adds for the seeds and as many a round; memory 8·N·D bytes and 8 MB.
    Source: Lloyd 1982; Arthur and Vassilvitskii 2007. The published code fits mini-batches of 10,240 tokens instead
    (scikit-learn's MiniBatchKMeans, seed 7).
    """

    clusters: int = 1024
    rounds: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clusters < 1 or self.rounds < 1:
            raise InvalidValueError(f"clusters and rounds must be at least 1, got {self.clusters} and {self.rounds}")

    def fit(self, rows: Array, weights: Array | None = None) -> Codebook:
        """Centres of rows float [N, D]; weights: float [N], 0 or more, None: all alike.

        Raises InvalidValueError where fewer different rows than clusters have a weight.
        """
        check_axes("rows", rows, "N D")
        counts = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
        check_axes("weights", counts, str(len(rows)))
        points = np.ascontiguousarray(rows, np.float64)
        if not (np.isfinite(points).all() and np.isfinite(counts).all()) or (counts < 0).any():
            raise InvalidValueError("rows must be finite and weights finite and 0 or more: check what was counted")
        points, counts = points[counts > 0], counts[counts > 0]
        centres = points[_seeds(points.astype(np.float32), counts, self.clusters, np.random.default_rng(self.seed))]
        chosen = np.full(len(points), -1)
        for _ in range(self.rounds):
            nearest, cost = _nearest_l2(points, centres)
            _fill_empty(nearest, cost * counts, len(centres))
            if (nearest == chosen).all():
                break
            chosen = nearest
            centres = _means(points, counts, chosen, len(centres))
        return Codebook(centres.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """Centres float32 [C, D]."""

    centres: Array

    def __post_init__(self) -> None:
        check_axes("centres", self.centres, "C D", "float32")

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def dim(self) -> int:
        """Numbers a centre."""
        return int(self.centres.shape[1])

    @property
    def size_bytes(self) -> int:
        """Bytes of the centres."""
        return int(self.centres.nbytes)

    def assign(self, rows: Array, metric: Metric = "l2") -> Array:
        """The nearest centre of each row float [N, D] -> int32 [N], the lowest among equals.

        l2: as the centres were fitted · l1: as the published code assigns, though it fits by l2
        Cost: C·N·D; l2 by a matrix product, l1 about 20 times as long.
        """
        check_axes("rows", rows, f"N {self.dim}")
        if metric not in get_args(Metric):
            raise InvalidValueError(f"metric must be l1 or l2, got {metric!r}")
        if metric == "l2":
            return _nearest_l2(rows.astype(np.float64), self.centres.astype(np.float64))[0].astype(np.int32)
        step = max(1, _CELLS_AT_ONCE // self.centres.size)
        found = np.empty(len(rows), np.int32)
        for at in range(0, len(rows), step):
            apart = np.abs(rows[at : at + step, None, :].astype(np.float32) - self.centres)
            found[at : at + step] = apart.sum(axis=2).argmin(axis=1)
        return found

    def save(self, folder: Path | str, **about: Any) -> Path:
        """Write it into a folder as safetensors and JSON; about: what else is to be known, such as who made it."""
        facts = {"kind": "codebook", "clusters": len(self), "dim": self.dim, **about}
        return save_model(folder, {"centres": self.centres}, facts)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        insist(about.get("kind") == "codebook", "a codebook must be of the kind codebook")
        shape = expect_count(about, "clusters"), expect_count(about, "dim")
        return cls(expect(arrays, "centres", "float32", *shape))


def spread_of(rows: Array, codebook: Codebook, weights: Array | None = None) -> float:
    """The mean squared distance of rows float [N, D] to their nearest centres, by weight: what `fit` makes small."""
    _, cost = _nearest_l2(np.asarray(rows, np.float64), codebook.centres.astype(np.float64))
    return float(np.average(cost, weights=weights))


def _seeds(points: Array, counts: Array, clusters: int, chance: np.random.Generator) -> list[int]:
    """Rows to begin with, by k-means++: the next is drawn by weight · squared distance to the nearest so far."""
    too_few = f"rows must hold at least {clusters} different ones that weigh, got fewer: take fewer clusters"
    if len(points) < 1:
        raise InvalidValueError(too_few)
    chosen = [_drawn(counts, chance)]
    apart = _squares(points - points[chosen[0]])
    while len(chosen) < clusters:
        if not apart.any():
            raise InvalidValueError(too_few)
        chosen.append(_drawn(apart * counts, chance))
        np.minimum(apart, _squares(points - points[chosen[-1]]), out=apart)
    return chosen


def _drawn(shares: Array, chance: np.random.Generator) -> int:
    """A place drawn by its share, never one whose share is 0; repeats side by side are drawn as one of their sum."""
    ends = np.cumsum(shares)
    at = min(chance.random() * ends[-1], np.nextafter(ends[-1], 0))
    return int(np.searchsorted(ends, at, side="right"))


def _squares(rows: Array) -> Array:
    made: Array = np.einsum("nd,nd->n", rows, rows)
    return made


def _nearest_l2(points: Array, centres: Array) -> tuple[Array, Array]:
    """The nearest centre of each point, int64 [N], and its squared distance, float64 [N]."""
    found, cost = np.empty(len(points), np.int64), np.empty(len(points))
    lengths = _squares(centres)
    step = max(1, _CELLS_AT_ONCE // len(centres))
    for at in range(0, len(points), step):
        some = points[at : at + step]
        apart = lengths - 2 * (some @ centres.T)
        found[at : at + step] = best = apart.argmin(axis=1)
        cost[at : at + step] = _squares(some - centres[best])
    return found, cost


def _fill_empty(chosen: Array, cost: Array, clusters: int) -> None:
    """Give each centre that nobody chose the row that costs most, in place; a row moves only where its own has more."""
    sizes = np.bincount(chosen, minlength=clusters)
    dearest = iter(np.argsort(-cost, kind="stable").tolist())
    for empty in np.flatnonzero(sizes == 0).tolist():
        row = next((each for each in dearest if sizes[chosen[each]] > 1), None)
        if row is None:
            return
        sizes[chosen[row]] -= 1
        chosen[row], sizes[empty] = empty, 1


def _means(points: Array, counts: Array, chosen: Array, clusters: int) -> Array:
    """The weighted mean of each centre's points."""
    order = np.argsort(chosen, kind="stable")
    seen, starts = np.unique(chosen[order], return_index=True)
    sums = np.add.reduceat(points[order] * counts[order, None], starts)
    made = np.zeros((clusters, points.shape[1]))
    made[seen] = sums / np.add.reduceat(counts[order], starts)[:, None]
    return made
