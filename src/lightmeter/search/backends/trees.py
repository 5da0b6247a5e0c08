"""scikit-learn's KD and ball trees: exact, and fast in few dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lightmeter.parts import Spelled, need
from lightmeter.search.backends.peer import Peer, at_least_one
from lightmeter.search.dissimilarity import Gallery, dissimilarity
from lightmeter.search.protocol import Abilities, Metric, refuse
from lightmeter.types import Array


@dataclass(frozen=True)
class Trees(Spelled):
    """A tree in float64 that answers exactly; above some 20 dimensions it reads nearly every row, slower than a scan.

    kind: kd (boxes) or ball (spheres) · leaf: rows that are measured together
    For cosine a coordinate is added, 1 for a zero row and 0 for others: zero rows are then as far as they must be.
    It cannot grow or shrink; it could be kept only as a pickle, so it is not. One thread.
    Source: Bentley 1975; Omohundro 1989; scikit-learn, BSD-3.
    """

    metric: Metric = "l2"
    kind: Literal["kd", "ball"] = "kd"
    leaf: int = 40

    def __post_init__(self) -> None:
        at_least_one(self, "leaf")

    def fit(self, vectors: Array) -> Peer:
        """Index vectors: float [N, D].  Raises MissingExtraError without scikit-learn."""
        neighbors = need("sklearn.neighbors", "ann")
        gallery = Gallery.of(dissimilarity(self.metric), vectors)
        tree = (neighbors.KDTree if self.kind == "kd" else neighbors.BallTree)(
            _seen(self.metric, gallery.vectors), self.leaf
        )
        return Peer(self, gallery, _Engine(self, tree))

    def thawed(self, frozen: Array, gallery: Gallery) -> _Engine:
        """There is nothing to read: it is never saved."""
        raise refuse("trees", "be loaded")


def _seen(metric: str, rows: Array) -> Array:
    """Rows as the tree has them: float64."""
    rows = rows.astype(np.float64)
    if metric != "cosine":
        return rows
    lengths = np.sqrt(np.vecdot(rows, rows))[:, None]
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return np.concatenate([unit, lengths == 0], axis=1)


class _Engine:
    abilities = Abilities(exact=True)

    def __init__(self, recipe: Trees, tree: Any) -> None:
        self.recipe, self.tree = recipe, tree

    @property
    def size_bytes(self) -> int:
        return sum(int(np.asarray(each).nbytes) for each in self.tree.get_arrays())

    def candidates(self, queries: Array, count: int, allowed: Array | None) -> Array:
        """Rows no farther than the last one: all of equal distance, so that the lowest ids can be taken."""
        queries = _seen(self.recipe.metric, queries)
        far = self.tree.query(queries, count)[0][:, -1]
        found = self.tree.query_radius(queries, far * (1 + 1e-9))
        out = np.full((len(queries), max(map(len, found), default=0)), -1, np.int64)
        for row, ids in zip(out, found, strict=True):
            row[: len(ids)] = ids
        return out

    def add(self, vectors: Array, first: int) -> None:
        raise refuse("trees", "add rows")

    def remove(self, ids: Array) -> None:
        raise refuse("trees", "remove rows")

    def frozen(self) -> Array:
        raise refuse("trees", "be saved")
