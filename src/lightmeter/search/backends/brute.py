"""Every row is measured: a matrix product in float32, and in float64 what its rounding could have misplaced."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from lightmeter.assets.saving import expect_recipe, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.search.backends.rerank import nearest_of
from lightmeter.search.dissimilarity import Answers, Gallery, Stack, dissimilarity
from lightmeter.search.protocol import Abilities, Metric, Neighbours
from lightmeter.types import Array

_PRODUCTS = 1 << 24
"""Products held at once."""


@dataclass(frozen=True)
class Brute(Spelled):
    """A scan by numpy's BLAS that answers as a scan in float64 would: the floor for every index.

    A product of float32 errs by at most (D + 2)·2⁻²⁴ of both lengths, whatever the order of its sums; rows that lie
    within that of the k-th are measured again. Far from the origin these are many, and it is slow, not wrong.

    threads: rows are shared among them; BLAS may take more by itself, as OPENBLAS_NUM_THREADS says
    Cost: N·D·4 bytes read (several queries share them) and N·D multiply–adds a query; 8 bytes a row beside the vectors.
    Source: Higham 2002, "Accuracy and stability of numerical algorithms", §3.1 (error of an inner product).
    """

    metric: Metric = "l2"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise InvalidValueError(f"threads must be at least 1, got {self.threads}")

    def fit(self, vectors: Array) -> FittedBrute:
        """Index vectors: float [N, D]; kept as they are where they are float32."""
        return FittedBrute(self, Gallery.of(dissimilarity(self.metric), vectors))


def _lengths(vectors: Array) -> Array:
    out = np.empty(len(vectors))
    step = max(1, (1 << 16) // vectors.shape[1])
    for at in range(0, len(vectors), step):
        some = vectors[at : at + step].astype(np.float64)
        out[at : at + step] = np.sqrt(np.vecdot(some, some))
    return out


def _shift(length: float, longest: float) -> int:
    """The power of two for a query of this length, so that no product overflows and little vanishes."""
    if not length:
        return 60
    return math.floor(min(60 - math.log2(length) - math.log2(max(longest, 1e-300)), 100 - math.log2(length)))


class FittedBrute:
    """Rows and their lengths. One thread may change it while no other searches."""

    def __init__(self, recipe: Brute, gallery: Gallery) -> None:
        self.recipe, self.gallery = recipe, gallery
        self._lengths = Stack(_lengths(gallery.vectors))
        self._longest = float(self._lengths.rows.max())
        self._pool = ThreadPoolExecutor(recipe.threads, "brute") if recipe.threads > 1 else None

    def __len__(self) -> int:
        return len(self.gallery)

    @property
    def abilities(self) -> Abilities:
        """Everything."""
        return Abilities(exact=True, add=True, remove=True, among=True, save=True)

    @property
    def size_bytes(self) -> int:
        """Bytes held beside the vectors."""
        return int(self._lengths.rows.nbytes + self.gallery.alive.nbytes)

    def search(self, queries: Array, k: int = 1, *, among: Array | None = None) -> Neighbours:
        """The k nearest, as a scan in float64 finds them: queries float [Q, D].  Cost: see `Brute`."""
        queries = self.gallery.queries(queries, k)
        allowed = None if among is None and self.gallery.whole else self.gallery.allowed(among)
        answers = Answers(len(queries), k)
        rows, dim = self.gallery.vectors.shape
        step = max(1, _PRODUCTS // rows)
        for at in range(0, len(queries), step):
            some = queries[at : at + step]
            wide = some.astype(np.float64)
            lengths = np.sqrt(np.vecdot(wide, wide)).tolist()
            shifts = [_shift(length, self._longest) for length in lengths]
            products = self._products(wide, shifts)
            for query, length, row, shift in zip(some, lengths, products, shifts, strict=True):
                ids = self._near(row, length, shift, allowed, k)
                found = nearest_of(self.gallery, query, ids, k)
                answers.put(
                    found, complete=True, survivors=(len(ids),), refined=rows,
                    bytes_read=int(self.gallery.vectors.nbytes) + 4 * dim * len(ids),
                )  # fmt: skip
        return answers.done()

    def _products(self, queries: Array, shifts: list[int]) -> Array:
        """x·q·2^shift of every pair: float64 [Q, D] → float32 [Q, N]."""
        vectors = self.gallery.vectors
        if len(queries) == self.recipe.threads == 1:
            one: Array = vectors @ np.ldexp(queries[0], shifts[0]).astype(np.float32)
            return one[None]
        shifted = np.ldexp(queries, np.array(shifts)[:, None]).astype(np.float32)
        out = np.empty((len(queries), len(vectors)), np.float32)
        parts = np.linspace(0, len(vectors), self.recipe.threads + 1).astype(int)

        def fill(part: int) -> None:
            rows = slice(parts[part], parts[part + 1])
            if len(queries) == 1:
                np.matmul(vectors[rows], shifted[0], out=out[0, rows])
            else:
                out[:, rows] = shifted @ vectors[rows].T

        list((map if self._pool is None else self._pool.map)(fill, range(self.recipe.threads)))
        return out

    def _near(self, products: Array, length: float, shift: int, allowed: Array | None, k: int) -> Array:
        """Ids that may be among the k nearest, rounding considered.

        Distances are compared as ‖x‖²/2 − x·q, or −x·q/‖x‖ for cosine, each with what its product may be wrong by.
        """
        lengths = self._lengths.rows
        least = products * np.float64(math.ldexp(-1.0, -shift))
        wrong = (self.gallery.vectors.shape[1] + 2) * 2.0**-24 * length
        if self.recipe.metric == "cosine":
            np.divide(least, lengths, out=least, where=lengths > 0)
            errors = np.full(1, wrong)
        else:
            least += lengths * lengths / 2
            errors = lengths * wrong + least * 1e-15
            np.abs(errors, out=errors)
        if allowed is not None:
            least[~allowed] = np.inf
        most = least + errors
        edge = most.min() if k == 1 else np.partition(most, k - 1)[k - 1] if k < len(most) else math.inf
        least -= errors
        near = least <= edge
        return np.flatnonzero(near if allowed is None else near & allowed)

    def add(self, vectors: Array) -> Array:
        """Add rows: float [N, D] → their ids int64 [N].  Cost: N·D, amortised."""
        vectors = self.gallery.checked(vectors)
        lengths = _lengths(vectors)
        self._lengths.add(lengths)
        self._longest = max(self._longest, float(lengths.max(initial=0)))
        return self.gallery.add(vectors)

    def remove(self, ids: Array) -> None:
        """Forget rows: they never answer again; their place is kept.  Cost: O(1) a row."""
        self.gallery.remove(ids)

    def save(self, folder: Path) -> None:
        """Write the vectors into a folder."""
        save_model(folder, self.gallery.arrays(), {"spec": self.recipe.spec})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        recipe = expect_recipe(about, "index", Brute)
        return cls(recipe, Gallery.kept(dissimilarity(recipe.metric), arrays))
