"""faiss: flat, inverted lists, HNSW, PCA and refine, 8-bit and 1-bit codes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lightmeter.assets.saving import insist
from lightmeter.parts import Spelled, need
from lightmeter.search.backends.peer import Peer, at_least_one
from lightmeter.search.backends.rerank import unit_or_same
from lightmeter.search.dissimilarity import Gallery, dissimilarity
from lightmeter.search.protocol import Abilities, Metric
from lightmeter.types import Array

Kind = Literal["flat", "ivf", "hnsw", "pca-refine", "sq8", "one-bit"]
_ROWS_A_LIST = 39
"""faiss warns of fewer rows for each list that it learns."""


@dataclass(frozen=True)
class Faiss(Spelled):
    """One of faiss's indexes, in float32.

    kind: flat (`Flat`) · ivf (`IVFn,Flat`) · hnsw (`HNSWn,Flat`) · pca-refine (`PCAn,Flat,RFlat`) · sq8 (`SQ8`)
    · one-bit (`RRn,RaBitQ,RFlat`: random rotation, RaBitQ codes)
    lists, probes: of ivf, and how many are read; 0 lists is √N, at most N / 39
    links, build_width, width: of hnsw: M, efConstruction, efSearch · components: of PCA, at most D and N − 1
    keep: rows refined for each one asked for, by pca-refine and one-bit · digits: of one-bit's query, in bits
    threads: of OpenMP, set for each call
    Nothing is promised to be exact, flat neither: float32 may swap rows that are nearly as far, and loses them far from
    the origin. ivf deletes; hnsw cannot; the others hide removed rows from then on, and keep their memory.
    Source: Douze et al. 2024, "The Faiss library", arXiv 2401.08281; github.com/facebookresearch/faiss, MIT.
    """

    metric: Metric = "l2"
    kind: Kind = "flat"
    lists: int = 0
    probes: int = 16
    links: int = 32
    build_width: int = 100
    width: int = 64
    components: int = 64
    keep: int = 10
    digits: int = 4
    threads: int = 1

    def __post_init__(self) -> None:
        at_least_one(self, "probes", "links", "build_width", "width", "components", "keep", "digits", "threads")

    def factory(self, rows: int, dim: int) -> str:
        """faiss's own spelling for so many rows.

        >>> Faiss(kind="ivf").factory(10_000, 64), Faiss(kind="one-bit").factory(100, 60)
        ('IVF100,Flat', 'RR64,RaBitQ,RFlat')
        """
        lists = max(1, min(self.lists or math.isqrt(rows), rows // _ROWS_A_LIST))
        return {
            "flat": "Flat",
            "ivf": f"IVF{lists},Flat",
            "hnsw": f"HNSW{self.links},Flat",
            "pca-refine": f"PCA{max(1, min(self.components, dim, rows - 1))},Flat,RFlat",
            "sq8": "SQ8",
            "one-bit": f"RR{8 * -(-dim // 8)},RaBitQ,RFlat",
        }[self.kind]

    def fit(self, vectors: Array) -> Peer:
        """Index vectors: float [N, D].  Raises MissingExtraError without faiss."""
        faiss = need("faiss", "ann")
        gallery = Gallery.of(dissimilarity(self.metric), vectors)
        rows = unit_or_same(self.metric, gallery.vectors)
        index = faiss.index_factory(rows.shape[1], self.factory(*rows.shape))
        if self.kind == "hnsw":
            index.hnsw.efConstruction = self.build_width
        if self.kind == "ivf":
            index.cp.min_points_per_centroid = 1  # else faiss prints a warning on stdout, where data belong
        with _threads(faiss, self.threads):
            index.train(rows)
            index.add(rows)
        return Peer(self, gallery, _Engine(self, faiss, index, gallery))

    def thawed(self, frozen: Array, gallery: Gallery) -> _Engine:
        """The engine from what `frozen` made."""
        faiss = need("faiss", "ann")
        index = faiss.deserialize_index(np.array(frozen))
        held, (rows, dim) = len(gallery) if self.kind == "ivf" else len(gallery.vectors), gallery.vectors.shape
        empty = faiss.index_factory(dim, self.factory(rows, dim))
        insist(
            (index.d, index.ntotal) == (dim, held) and _kinds(faiss, index) == _kinds(faiss, empty),
            f"the index of a model must be {self.kind} of {held} rows [{dim}], got {index.ntotal} rows [{index.d}]",
        )
        return _Engine(self, faiss, index, gallery)


def _kinds(faiss: Any, index: Any) -> list[str]:
    """The classes of an index and of those that it wraps."""
    kinds, inner = [], index  # the outermost owns the rest and must outlive the walk
    while inner is not None:
        inner = faiss.downcast_index(inner)
        kinds.append(type(inner).__name__.removesuffix("L2"))  # IndexFlatL2 is what IndexFlat is read back as
        inner = getattr(inner, "base_index", None) or getattr(inner, "index", None)
    return kinds


@contextmanager
def _threads(faiss: Any, count: int) -> Iterator[None]:
    """faiss has one number of threads for the whole process: it is put back."""
    before = faiss.omp_get_max_threads()
    if before == count:
        yield
        return
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class _Engine:
    def __init__(self, recipe: Faiss, faiss: Any, index: Any, gallery: Gallery) -> None:
        self.recipe, self.faiss, self.index, self.gallery = recipe, faiss, index, gallery
        self._usual = self._parameters(None)  # made once: it takes as long as a small search

    @property
    def abilities(self) -> Abilities:
        return Abilities(exact=False, add=True, remove=self.recipe.kind != "hnsw", among=True, save=True)

    @property
    def size_bytes(self) -> int:
        """Of the index as faiss would write it, which is counted and not kept."""
        count = 0

        def passed(part: bytes) -> int:
            nonlocal count
            count += len(part)
            return len(part)

        self.faiss.write_index(self.index, self.faiss.PyCallbackIOWriter(passed, 1 << 24))
        return count

    def candidates(self, queries: Array, count: int, allowed: Array | None) -> Array:
        if allowed is None and self.recipe.kind != "ivf" and not self.gallery.whole:
            allowed = self.gallery.alive
        parameters = self._usual
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")  # it must outlive the search
            parameters = self._parameters(self.faiss.IDSelectorBitmap(bits))
        if self.faiss.omp_get_max_threads() == self.recipe.threads:  # as below; a `with` takes a few µs
            found: Array = self.index.search(queries, count, params=parameters)[1]
            return found
        with _threads(self.faiss, self.recipe.threads):
            ids: Array = self.index.search(queries, count, params=parameters)[1]
        return ids

    def _parameters(self, selector: Any) -> Any:
        faiss, recipe = self.faiss, self.recipe
        chosen: dict[str, Any] = {} if selector is None else {"sel": selector}
        if recipe.kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=recipe.probes, **chosen)
        if recipe.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=recipe.width, **chosen)
        if recipe.kind in ("pca-refine", "one-bit"):
            if recipe.kind == "one-bit":
                chosen["qb"] = recipe.digits
            own = faiss.RaBitQSearchParameters if recipe.kind == "one-bit" else faiss.SearchParameters
            base = faiss.SearchParametersPreTransform(index_params=own(**chosen))
            return faiss.IndexRefineSearchParameters(k_factor=recipe.keep, base_index_params=base)
        return faiss.SearchParameters(**chosen) if chosen else None

    def add(self, vectors: Array, first: int) -> None:
        with _threads(self.faiss, self.recipe.threads):
            self.index.add_with_ids(
                vectors, np.arange(first, first + len(vectors))
            ) if self._numbered else self.index.add(vectors)

    @property
    def _numbered(self) -> bool:
        """Whether rows carry their ids; else they are numbered as they come, and none may leave."""
        return self.recipe.kind == "ivf"

    def remove(self, ids: Array) -> None:
        if self._numbered:
            self.index.remove_ids(self.faiss.IDSelectorBatch(ids))

    def frozen(self) -> Array:
        out: Array = self.faiss.serialize_index(self.index)
        return out
