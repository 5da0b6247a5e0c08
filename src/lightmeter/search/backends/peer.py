"""What all peers share: a library proposes rows, we measure them; what it cannot do is refused by name."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from lightmeter.assets.saving import expect, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError, LightmeterError, RejectedFileError
from lightmeter.search.backends.rerank import nearest_of_each, unit_or_same
from lightmeter.search.dissimilarity import Gallery, dissimilarity
from lightmeter.search.protocol import Abilities, Metric, Neighbours, refuse
from lightmeter.types import Array

_SCANNED = 64
"""Galleries, and choices among them, of so few rows are measured whole: no library is faster there."""


class Engine(Protocol):
    """A library's index, given float32 rows; for cosine they have length 1, and zero rows are zero."""

    @property
    def abilities(self) -> Abilities:
        """What the library can do."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes it holds, its own copy of the vectors among them."""
        ...

    def candidates(self, queries: Array, count: int, allowed: Array | None) -> Array:
        """Ids of rows that may be nearest: float32 [Q, D] → int [Q, ≥ count], −1 where there are fewer.

        allowed: bool [N], or None for every row that was not removed
        """
        ...

    def add(self, vectors: Array, first: int) -> None:
        """Add rows float32 [N, D] with ids from `first` on."""
        ...

    def remove(self, ids: Array) -> None:
        """Forget rows."""
        ...

    def frozen(self) -> Array:
        """The index in the library's own format: uint8 [bytes]."""
        ...


class PeerRecipe(Protocol):
    """A recipe of this folder."""

    @property
    def spec(self) -> str: ...  # noqa: D102

    @property
    def metric(self) -> Metric: ...  # noqa: D102

    def thawed(self, frozen: Array, gallery: Gallery) -> Engine: ...  # noqa: D102


class Peer:
    """Vectors, and another library's index of them. One thread may change it while no other searches.

    The library is asked for k rows; they are measured in float64, so that distances are ours, exactly, and the order
    among what it found is right. What it did not find is missing, were it only by rounding or a tie at the last place.
    """

    def __init__(self, recipe: PeerRecipe, gallery: Gallery, engine: Engine) -> None:
        self.recipe, self.gallery, self.engine = recipe, gallery, engine

    def __len__(self) -> int:
        return len(self.gallery)

    @property
    def abilities(self) -> Abilities:
        """What the library can do."""
        return self.engine.abilities

    @property
    def size_bytes(self) -> int:
        """Bytes held beside the vectors; most libraries copy them."""
        return self.engine.size_bytes + int(self.gallery.alive.nbytes)

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.spec.partition("/")[0]

    def search(self, queries: Array, k: int = 1, *, among: Array | None = None) -> Neighbours:
        """The k nearest of what the library finds, without certificates: queries float [Q, D].

        among: int [M] ids that may answer; raises InvalidValueError where the library cannot choose.
        Cost: the library's, and k·D to measure what it found. For one query of 64 numbers, checks and measuring took
        36 µs of CPU at k = 1 and 65 at k = 10, and about 100 and 120 by cosine, beside the 14 that faiss's flat takes.
        """
        queries = self.gallery.queries(queries, k)
        if among is not None and not self.abilities.among:
            raise refuse(self.name, "answer among some of its rows")
        k = operator.index(k)  # numpy's integers are none to a library
        allowed = None if among is None else self.gallery.allowed(among)
        may = len(self.gallery) if allowed is None else int(np.count_nonzero(allowed))
        if may <= max(_SCANNED, k) or not len(queries):
            proposed = np.broadcast_to(self._first(allowed, may), (len(queries), may))
        else:
            proposed = self.engine.candidates(unit_or_same(self.recipe.metric, queries), k, allowed)
            if self.recipe.metric == "cosine":
                zero: Array = np.logical_not(queries.any(axis=1, keepdims=True))
                if zero.any():
                    proposed = np.where(zero, self._first(allowed, proposed.shape[1]), proposed)
        return Neighbours(*nearest_of_each(self.gallery, queries, proposed, k))

    def _first(self, allowed: Array | None, count: int) -> Array:
        """The first ids that may answer: to a zero query of cosine every row is as far."""
        if allowed is None and self.gallery.whole:
            return np.arange(count)
        return np.flatnonzero(self.gallery.alive if allowed is None else allowed)[:count]

    def add(self, vectors: Array) -> Array:
        """Add rows: float [N, D] → their ids int64 [N]; raises InvalidValueError where the library cannot."""
        if not self.abilities.add:
            raise refuse(self.name, "add rows")
        vectors = self.gallery.checked(vectors)
        if len(vectors):
            self.engine.add(unit_or_same(self.recipe.metric, vectors), len(self.gallery.vectors))
        return self.gallery.add(vectors)

    def remove(self, ids: Array) -> None:
        """Forget rows; raises InvalidValueError where the library cannot, or for an id that is not there."""
        if not self.abilities.remove:
            raise refuse(self.name, "remove rows")
        ids = np.unique(self.gallery.ids(ids))
        self.engine.remove(ids)
        self.gallery.remove(ids)

    def save(self, folder: Path) -> None:
        """Write vectors and the library's index into a folder; raises InvalidValueError where it has no safe format.

        The library's bytes are kept as one array, under the hash of the whole. The hash finds damage, not malice: the
        library's reader is C++ that was not written for hostile files, so load only what you saved.
        """
        if not self.abilities.save:
            raise refuse(self.name, "be saved without running code when it is loaded")
        arrays = {**self.gallery.arrays(), "index": self.engine.frozen()}
        save_model(folder, arrays, {"spec": self.recipe.spec})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote. Raises RejectedFileError for anything else, by the hash before the library reads it."""
        arrays, about = load_model(folder)
        recipe: Any = expect_recipe(about, "index", object)
        insist(hasattr(recipe, "thawed"), f"the spec of a model must be of a peer, got {recipe.spec:.80}")
        gallery = Gallery.kept(dissimilarity(recipe.metric), arrays)
        frozen = expect(arrays, "index", "uint8", None)
        try:
            engine: Engine = recipe.thawed(frozen, gallery)
        except (RuntimeError, ValueError, LightmeterError) as error:
            raise RejectedFileError("damaged", f"{recipe.spec} cannot read its index: {str(error)[-200:]}") from error
        return cls(recipe, gallery, engine)


def at_least_one(recipe: object, *names: str) -> None:
    """Hold options of a recipe to 1 or more."""
    for name in names:
        if getattr(recipe, name) < 1:
            raise InvalidValueError(f"{name} must be at least 1, got {getattr(recipe, name)}")
