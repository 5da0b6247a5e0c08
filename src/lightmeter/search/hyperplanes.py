"""Random hyperplanes: a bit says on which side of a plane a row lies; rows with the nearest bits are measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from lightmeter.assets.saving import expect, expect_recipe, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.search.dissimilarity import Gallery, Stack, dissimilarity, hold_check
from lightmeter.search.protocol import Abilities, Metric, Neighbours
from lightmeter.types import Array

_WORD = 64
_MOST_BITS = 8192


@dataclass(frozen=True)
class Hyperplanes(Spelled):
    """Codes of sign bits; the share of the rows that differ from the query in the fewest bits is measured.

    metric: l2 or cosine · bits: a multiple of 64, 64 to 8192 · check: share of the rows measured; 1 is exact
    centre: hash rows less the mean of those it was fitted to: else features that are all 0 or more share most bits
    (rows are brought to unit length first for cosine) · seed: of the planes
    Two rows differ in a bit with probability angle/π; l2 counts lengths only when it measures.
    Cost: fit bits·D multiply–adds a row; bits/8 bytes a row beside the vectors, and 4·bits·D; a query bits·D +
    check·R·D multiply–adds and bits/64·R words compared.
    Source: Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002, §3.  Changed: centring;
    all codes are compared instead of buckets looked up.
    """

    metric: Metric = "l2"
    bits: int = 256
    check: float = 0.05
    centre: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not _WORD <= self.bits <= _MOST_BITS or self.bits % _WORD:
            raise InvalidValueError(f"bits must be a multiple of {_WORD}, up to {_MOST_BITS}, got {self.bits}")
        hold_check(self.check)

    def fit(self, vectors: Array) -> FittedHyperplanes:
        """Index vectors: float [R, D]."""
        gallery = Gallery.of(dissimilarity(self.metric), vectors)
        dim = gallery.vectors.shape[1]
        planes = np.random.default_rng(self.seed).standard_normal((self.bits, dim), np.float32)
        mean = np.zeros(dim, np.float32)
        if self.centre:
            mean = _unscaled(gallery.vectors, self.metric).mean(axis=0, dtype=np.float64).astype(np.float32)
        codes = sign_bits(_unscaled(gallery.vectors, self.metric), planes, planes @ mean)
        return FittedHyperplanes(self, gallery, (planes, planes @ mean), codes)


def _unscaled(vectors: Array, metric: Metric) -> Array:
    """Rows as they are hashed: of unit length for cosine, where length says nothing."""
    if metric == "l2":
        return vectors
    lengths = np.sqrt(np.vecdot(vectors, vectors))[:, None]
    unit: Array = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def sign_bits(vectors: Array, planes: Array, offsets: Array) -> Array:
    """Which planes each row lies above: [R, D], [B, D], [B] → uint64 [R, B/64].  Cost: R·B·D multiply–adds."""
    above = vectors @ planes.T > offsets
    return np.packbits(above, axis=1).view(np.uint64)


def hamming(codes: Array, code: Array) -> Array:
    """Bits in which codes differ: uint64 [R, W], [W] → int32 [R].  Cost: R·W words."""
    differing: Array = np.bitwise_count(codes ^ code).sum(axis=1, dtype=np.int32)
    return differing


class FittedHyperplanes:
    """Rows and their bits. One thread may change it while no other searches."""

    def __init__(self, recipe: Hyperplanes, gallery: Gallery, planes: tuple[Array, Array], codes: Array) -> None:
        self.recipe, self.gallery = recipe, gallery
        self.planes, self.offsets = planes
        self._codes = Stack(codes)

    def __len__(self) -> int:
        return len(self.gallery)

    @property
    def codes(self) -> Array:
        """The bits: uint64 [R, bits/64]."""
        return self._codes.rows

    @property
    def abilities(self) -> Abilities:
        """Everything; exact where every row is measured."""
        return Abilities(exact=self.recipe.check == 1, add=True, remove=True, among=True, save=True)

    @property
    def size_bytes(self) -> int:
        """Bytes held beside the vectors."""
        return int(self.codes.nbytes + self.planes.nbytes + self.offsets.nbytes + self.gallery.alive.nbytes)

    def search(self, queries: Array, k: int = 1, *, among: Array | None = None) -> Neighbours:
        """The k nearest of the rows measured; each certificate counts them in `refined`.

        queries: float [Q, D] · among: int [M], the ids that may answer.  Cost: see `Hyperplanes`.
        """
        return self.gallery.search_by_codes(
            queries, k, among=among, check=self.recipe.check, unlike=self._unlike,
            code_bytes=int(self.codes.nbytes + self.planes.nbytes),
        )  # fmt: skip

    def add(self, vectors: Array) -> Array:
        """Add rows: float [N, D] → their ids int64 [N].  Cost: bits·D multiply–adds a row; planes and centre stay."""
        vectors = self.gallery.checked(vectors)
        self._codes.add(self._bits(vectors))
        return self.gallery.add(vectors)

    def remove(self, ids: Array) -> None:
        """Forget rows: they never answer again.  Cost: O(1) a row."""
        self.gallery.remove(ids)

    def save(self, folder: Path) -> None:
        """Write vectors, bits and planes into a folder."""
        arrays = {"planes": self.planes, "offsets": self.offsets, "codes": self.codes.view(np.uint8)}
        save_model(folder, {**self.gallery.arrays(), **arrays}, {"spec": self.recipe.spec})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        recipe = expect_recipe(about, "index", Hyperplanes)
        gallery = Gallery.kept(dissimilarity(recipe.metric), arrays)
        rows, dim = gallery.vectors.shape
        planes = expect(arrays, "planes", "float32", recipe.bits, dim)
        offsets = expect(arrays, "offsets", "float32", recipe.bits)
        codes = expect(arrays, "codes", "uint8", rows, recipe.bits // 8)
        return cls(recipe, gallery, (planes, offsets), codes.view(np.uint64))

    def _bits(self, vectors: Array) -> Array:
        return sign_bits(_unscaled(vectors, self.recipe.metric), self.planes, self.offsets)

    def _unlike(self, query: Array) -> Array:
        return hamming(self.codes, self._bits(query[None])[0])
