"""hnswlib: the reference HNSW, header-only C++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.parts import Spelled, need
from lightmeter.search.backends.peer import Peer, at_least_one
from lightmeter.search.backends.rerank import unit_or_same
from lightmeter.search.dissimilarity import Gallery, dissimilarity
from lightmeter.search.protocol import Abilities, Metric, refuse
from lightmeter.types import Array


@dataclass(frozen=True)
class Hnswlib(Spelled):
    """hnswlib's graph, in float32.

    links, build_width, width: M, efConstruction, ef · threads: for building and for each batch; one builds the same
    graph every time · seed: of the levels
    Rows that were removed stay in the graph and are passed through. It may find fewer than k among few: the rest is −1.
    A choice (`among`) asks Python for every row it meets, and is slow. Its files are not read: the reader trusts them.
    Source: Malkov & Yashunin 2016, arXiv 1603.09320; github.com/nmslib/hnswlib, Apache-2.0.
    """

    metric: Metric = "l2"
    links: int = 16
    build_width: int = 100
    width: int = 64
    threads: int = 1
    seed: int = 100

    def __post_init__(self) -> None:
        at_least_one(self, "build_width", "width", "threads")
        at_least_one(self, "links")

    def fit(self, vectors: Array) -> Peer:
        """Index vectors: float [N, D].  Raises MissingExtraError without hnswlib."""
        gallery = Gallery.of(dissimilarity(self.metric), vectors)
        index = need("hnswlib", "bench").Index("l2", gallery.vectors.shape[1])
        index.init_index(len(gallery), self.links, self.build_width, self.seed)
        index.set_num_threads(self.threads)
        engine = _Engine(self, index)
        engine.add(unit_or_same(self.metric, gallery.vectors), 0)
        return Peer(self, gallery, engine)

    def thawed(self, frozen: Array, gallery: Gallery) -> _Engine:
        """There is nothing to read: it is never saved."""
        raise refuse("hnswlib", "be loaded")


class _Engine:
    abilities = Abilities(exact=False, add=True, remove=True, among=True)

    def __init__(self, recipe: Hnswlib, index: Any) -> None:
        self.recipe, self.index = recipe, index

    @property
    def size_bytes(self) -> int:
        return int(self.index.index_file_size())

    def candidates(self, queries: Array, count: int, allowed: Array | None) -> Array:
        self.index.set_ef(max(self.recipe.width, count))
        choice = None if allowed is None else allowed.__getitem__
        out = np.full((len(queries), count), -1, np.int64)
        try:
            out[:] = self.index.knn_query(queries, count, self.recipe.threads, choice)[0]
        except RuntimeError:  # one of them met fewer than it was asked for: each as many as it can
            for query, row in zip(queries, out, strict=True):
                found = self._fewer(query[None], count, choice)
                row[: len(found)] = found
        return out

    def _fewer(self, query: Array, count: int, choice: Any) -> Array:
        while count:
            try:
                found: Array = self.index.knn_query(query, count, 1, choice)[0][0]
            except RuntimeError:
                count //= 2
            else:
                return found
        return np.empty(0, np.int64)

    def add(self, vectors: Array, first: int) -> None:
        needed = first + len(vectors)
        if needed > self.index.get_max_elements():
            self.index.resize_index(max(needed, first + first // 2))
        self.index.add_items(vectors, np.arange(first, needed), self.recipe.threads)

    def remove(self, ids: Array) -> None:
        for each in ids.tolist():
            self.index.mark_deleted(each)

    def frozen(self) -> Array:
        raise refuse("hnswlib", "be saved")
