"""Randomised KD trees, FLANN's, as OpenCV carries it: the baseline of the seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightmeter.parts import Spelled, need
from lightmeter.search.backends.peer import Peer, at_least_one
from lightmeter.search.backends.rerank import unit_or_same
from lightmeter.search.dissimilarity import Gallery, dissimilarity
from lightmeter.search.protocol import Abilities, Metric, refuse
from lightmeter.types import Array

_KD_TREES = 1
_NODE_BYTES = 40


@dataclass(frozen=True)
class KdForest(Spelled):
    """Several KD trees, each cut at a dimension drawn among those of the largest variance, searched best bin first.

    trees: 4 is usual · checks: leaves looked at, a query: more is slower and better · seed: of OpenCV's generator
    It cannot grow, shrink or choose among rows; its files are not read: the reader trusts them. One thread.
    Source: Silpa-Anan & Hartley 2008; Muja & Lowe 2009 (FLANN); OpenCV's `flann_Index`, Apache-2.0.
    """

    metric: Metric = "l2"
    trees: int = 4
    checks: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one(self, "trees", "checks")

    def fit(self, vectors: Array) -> Peer:
        """Index vectors: float [N, D].  Raises MissingExtraError without OpenCV."""
        cv2 = need("cv2", "ann")
        gallery = Gallery.of(dissimilarity(self.metric), vectors)
        rows = unit_or_same(self.metric, gallery.vectors)
        cv2.setRNGSeed(self.seed)
        index = cv2.flann_Index(rows, {"algorithm": _KD_TREES, "trees": self.trees})
        return Peer(self, gallery, _Engine(self, index, rows))

    def thawed(self, frozen: Array, gallery: Gallery) -> _Engine:
        """There is nothing to read: it is never saved."""
        raise refuse("kd-forest", "be loaded")


class _Engine:
    abilities = Abilities(exact=False)

    def __init__(self, recipe: KdForest, index: Any, rows: Array) -> None:
        self.recipe, self.index, self.rows = recipe, index, rows  # FLANN may look at the rows: they must live as long

    @property
    def size_bytes(self) -> int:
        """Nodes, 2·N − 1 a tree, by their size in FLANN's source; and the rows, where they are a copy."""
        copied = self.rows.nbytes if self.recipe.metric == "cosine" else 0
        return int(self.recipe.trees * (2 * len(self.rows) - 1) * _NODE_BYTES + copied)

    def candidates(self, queries: Array, count: int, allowed: Array | None) -> Array:
        options = {"checks": max(self.recipe.checks, count), "sorted": True}
        ids: Array = self.index.knnSearch(queries, count, params=options)[0]
        return ids

    def add(self, vectors: Array, first: int) -> None:
        raise refuse("kd-forest", "add rows")

    def remove(self, ids: Array) -> None:
        raise refuse("kd-forest", "remove rows")

    def frozen(self) -> Array:
        raise refuse("kd-forest", "be saved")
