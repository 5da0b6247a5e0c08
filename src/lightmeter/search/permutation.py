"""Permutation sort: rows that see the pivots in the same order as the query are measured first; any dissimilarity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from lightmeter.assets.saving import expect, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import Spelled
from lightmeter.search.dissimilarity import Gallery, Stack, dissimilarity, hold_check
from lightmeter.search.protocol import Abilities, Neighbours
from lightmeter.types import Array

Rank = Literal["rho", "footrule"]
_MOST_PIVOTS = 255


@dataclass(frozen=True)
class Permutation(Spelled):
    """A row's code is the rank of each pivot by distance; a share of the rows with the nearest codes is measured.

    metric: l2, cosine, chi2, jensen-shannon, kl, or another name in `DISSIMILARITIES`
    pivots: rows drawn as pivots, at most 255 · rank: of codes, Spearman's rho Σ (a − b)² or footrule Σ |a − b|
    check: share of the rows measured; 1 is exact · seed: of the draw
    Cost: fit N·R dissimilarities; N bytes a row beside the vectors; a query N + check·R dissimilarities and 3·N·R
    operations on small integers.
    Source: Chávez, Figueroa & Navarro, "Effective proximity retrieval by ordering permutations", TPAMI 2008; the method
    that NonMetricSpaceLib calls proj_incsort with projType=perm, 32 pivots. Ours is written from the description.
    """

    metric: str = "l2"
    pivots: int = 32
    rank: Rank = "rho"
    check: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        dissimilarity(self.metric)
        if not 1 <= self.pivots <= _MOST_PIVOTS:
            raise InvalidValueError(f"pivots must be 1 to {_MOST_PIVOTS}, got {self.pivots}")
        hold_check(self.check)

    def fit(self, vectors: Array) -> FittedPermutation:
        """Index vectors: float [R, D] in the dissimilarity's domain."""
        gallery = Gallery.of(dissimilarity(self.metric), vectors)
        rows = len(gallery.vectors)
        drawn = np.random.default_rng(self.seed).choice(rows, min(self.pivots, rows), replace=False)
        pivots = gallery.vectors[drawn]
        return FittedPermutation(self, gallery, pivots, ranks(gallery.measure.matrix(gallery.vectors, pivots)))


def ranks(distances: Array) -> Array:
    """The rank of each pivot by distance, 0 the nearest, ties to the first: float [R, N] → uint8 [R, N].

    Cost: R·N·log N.

    >>> ranks(np.array([[0.3, 0.1, 0.2]])).tolist()
    [[2, 0, 1]]
    """
    order = np.argsort(distances, axis=1, kind="stable")
    out = np.empty(distances.shape, np.uint8)
    np.put_along_axis(out, order, np.arange(distances.shape[1], dtype=np.uint8)[None], axis=1)
    return out


def rank_gap(codes: Array, code: Array, rank: Rank) -> Array:
    """How unlike permutations are: uint8 [R, N], [N] → int32 [R].  Cost: 3·R·N."""
    off = codes.astype(np.int32) - code if rank == "rho" else codes.astype(np.int16) - code
    gaps: Array = (off * off if rank == "rho" else np.abs(off)).sum(axis=1, dtype=np.int32)
    return gaps


class FittedPermutation:
    """Rows and their codes. One thread may change it while no other searches."""

    def __init__(self, recipe: Permutation, gallery: Gallery, pivots: Array, codes: Array) -> None:
        self.recipe, self.gallery, self.pivots = recipe, gallery, pivots
        self._codes = Stack(codes)

    def __len__(self) -> int:
        return len(self.gallery)

    @property
    def codes(self) -> Array:
        """Ranks of the pivots: uint8 [R, N]."""
        return self._codes.rows

    @property
    def abilities(self) -> Abilities:
        """Everything; exact where every row is measured."""
        return Abilities(exact=self.recipe.check == 1, add=True, remove=True, among=True, save=True)

    @property
    def size_bytes(self) -> int:
        """Bytes held beside the vectors."""
        return int(self.codes.nbytes + self.pivots.nbytes + self.gallery.alive.nbytes)

    def search(self, queries: Array, k: int = 1, *, among: Array | None = None) -> Neighbours:
        """The k nearest of the rows measured; each certificate counts the dissimilarities, pivots too, in `refined`.

        queries: float [Q, D] · among: int [M], the ids that may answer.  Cost: see `Permutation`.
        """
        return self.gallery.search_by_codes(
            queries, k, among=among, check=self.recipe.check, unlike=self._unlike,
            code_bytes=int(self.codes.nbytes), measured=len(self.pivots),
        )  # fmt: skip

    def add(self, vectors: Array) -> Array:
        """Add rows: float [N, D] → their ids int64 [N].  Cost: a dissimilarity a row and pivot; the pivots stay."""
        vectors = self.gallery.checked(vectors)
        self._codes.add(ranks(self.gallery.measure.matrix(vectors, self.pivots)))
        return self.gallery.add(vectors)

    def remove(self, ids: Array) -> None:
        """Forget rows: they never answer again; the pivots are copies and stay.  Cost: O(1) a row."""
        self.gallery.remove(ids)

    def save(self, folder: Path) -> None:
        """Write vectors, codes and pivots into a folder."""
        save_model(
            folder, {**self.gallery.arrays(), "pivots": self.pivots, "codes": self.codes}, {"spec": self.recipe.spec}
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        recipe = expect_recipe(about, "index", Permutation)
        gallery = Gallery.kept(dissimilarity(recipe.metric), arrays)
        rows, dim = gallery.vectors.shape
        pivots = expect(arrays, "pivots", "float32", None, dim)
        most = min(recipe.pivots, rows)
        insist(1 <= len(pivots) <= most, f"pivots of a model must be 1 to {most}, got {len(pivots)}")
        try:
            gallery.measure.check("pivots", pivots)
        except InvalidValueError as error:
            raise RejectedFileError("damaged", str(error)) from error
        codes = expect(arrays, "codes", "uint8", rows, len(pivots))
        insist(codes.max() < len(pivots), f"codes of a model must be below {len(pivots)}, got {codes.max()}")
        return cls(recipe, gallery, pivots, codes)

    def _unlike(self, query: Array) -> Array:
        code = ranks(self.gallery.measure.to_rows(query, self.pivots)[None])[0]
        return rank_gap(self.codes, code, self.recipe.rank)
