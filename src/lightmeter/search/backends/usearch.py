"""usearch: HNSW over vectors kept in fewer bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lightmeter.assets.saving import insist
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled, need
from lightmeter.search.backends.peer import Peer, at_least_one
from lightmeter.search.backends.rerank import unit_or_same
from lightmeter.search.dissimilarity import Gallery, dissimilarity
from lightmeter.search.protocol import Abilities, Metric
from lightmeter.types import Array

Stored = Literal["f32", "bf16", "f16", "i8"]


@dataclass(frozen=True)
class Usearch(Spelled):
    """usearch's graph.

    stored: how it keeps its copy of a number; i8 is for cosine alone · links, build_width, width: connectivity,
    expansion_add, expansion_search · scan: compare with every row of that copy instead · threads: for each call
    Python has no way to choose among rows. Source: github.com/unum-cloud/usearch, Apache-2.0.
    """

    metric: Metric = "l2"
    stored: Stored = "f32"
    links: int = 16
    build_width: int = 100
    width: int = 64
    scan: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        at_least_one(self, "links", "build_width", "width", "threads")
        if self.stored == "i8" and self.metric != "cosine":
            raise InvalidValueError("stored=i8 keeps numbers of -1 to 1: take metric=cosine, or stored=bf16")

    def fit(self, vectors: Array) -> Peer:
        """Index vectors: float [N, D].  Raises MissingExtraError without usearch."""
        gallery = Gallery.of(dissimilarity(self.metric), vectors)
        engine = _Engine(self, self._empty(gallery.vectors.shape[1]))
        engine.add(unit_or_same(self.metric, gallery.vectors), 0)
        return Peer(self, gallery, engine)

    def _empty(self, dim: int) -> Any:
        return need("usearch.index", "ann").Index(
            ndim=dim, metric="l2sq" if self.metric == "l2" else "cos", dtype=self.stored, connectivity=self.links,
            expansion_add=self.build_width, expansion_search=self.width,
        )  # fmt: skip

    def thawed(self, frozen: Array, gallery: Gallery) -> _Engine:
        """The engine from what `frozen` made."""
        index = self._empty(gallery.vectors.shape[1])
        index.load(frozen.tobytes())
        dim, dtype = gallery.vectors.shape[1], str(index.dtype).rpartition(".")[2].lower()
        insist(
            (index.ndim, len(index), dtype) == (dim, len(gallery), self.stored),
            f"the index of a model must be of {len(gallery)} rows [{dim}] in {self.stored}, got {len(index)} rows "
            f"[{index.ndim}] in {dtype}",
        )
        return _Engine(self, index)


class _Engine:
    abilities = Abilities(exact=False, add=True, remove=True, save=True)

    def __init__(self, recipe: Usearch, index: Any) -> None:
        self.recipe, self.index = recipe, index

    @property
    def size_bytes(self) -> int:
        return int(self.index.memory_usage)

    def candidates(self, queries: Array, count: int, allowed: Array | None) -> Array:
        out = np.full((len(queries), count), -1, np.int64)
        for query, row in zip(queries, out, strict=True):  # a batch leaves what was not found undefined
            keys = self.index.search(query, count, threads=self.recipe.threads, exact=self.recipe.scan).keys
            row[: len(keys)] = keys
        return out

    def add(self, vectors: Array, first: int) -> None:
        self.index.add(np.arange(first, first + len(vectors)), vectors, threads=self.recipe.threads)

    def remove(self, ids: Array) -> None:
        self.index.remove(ids, threads=self.recipe.threads)

    def frozen(self) -> Array:
        return np.frombuffer(self.index.save(), np.uint8)
