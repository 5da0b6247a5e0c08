"""What every index is: a recipe that `fit` turns into something that answers, and says what it can and cannot do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes

Metric = Literal["l2", "cosine"]
"""`l2`: squared Euclidean distance, 0 or more. `cosine`: 2 − 2·cosine, 0 to 4; a zero vector is 2 from everything."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a fitted index can do. exact: every answer is the true one · the rest: the call of that name works."""

    exact: bool
    add: bool = False
    remove: bool = False
    among: bool = False
    save: bool = False


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one query took, and what its answer is worth.

    exact: whether the answer is proven to be the true one
    gap: least lower bound of the rows that were not measured, less the last distance answered; 0 or more proves it
    levels: granules that were read · survivors: rows still in the race after each · refined: rows measured in full
    bytes_read: of the index and the vectors
    """

    exact: bool
    gap: float
    levels: int
    survivors: tuple[int, ...]
    refined: int
    bytes_read: int


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The k nearest rows of each query, nearest first; equal distances go to the lowest id.

    ids: int64 [Q, k], −1 where there are fewer · distances: float64 [Q, k] in the index's metric, inf there
    certificates: one a query, none where the index cannot tell
    """

    ids: Array
    distances: Array
    certificates: Sequence[Certificate] = ()


class Index(Protocol):
    """A recipe: a frozen dataclass in `search.table`, with a `metric` among its options where it takes several."""

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    def fit(self, vectors: Array) -> FittedIndex:
        """Index vectors: float [N, D], N ≥ 1; the rows' ids are 0 … N − 1."""
        ...


class FittedIndex(Protocol):
    """An index of some rows. Ids are given in order and never used again."""

    @property
    def abilities(self) -> Abilities:
        """What it can do."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes held beside the vectors themselves."""
        ...

    def __len__(self) -> int:
        """Rows that can be found."""
        ...

    def search(self, queries: Array, k: int = 1, *, among: Array | None = None) -> Neighbours:
        """The k nearest: queries float [Q, D] → Neighbours.  among: int [M] ids that may answer, None for all."""
        ...

    def add(self, vectors: Array) -> Array:
        """Add rows: float [N, D] → their ids int64 [N]."""
        ...

    def remove(self, ids: Array) -> None:
        """Forget rows; raises InvalidValueError for an id that is not there."""
        ...

    def save(self, folder: Path) -> None:
        """Write it into a folder as safetensors and JSON; `load` of the same class reads it."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote."""
        ...


def checked_vectors(name: str, vectors: Array, dim: int | None = None) -> Array:
    """Vectors as C-ordered float32 [N, D], without a copy where they are that already.

    Raises InvalidValueError on another shape, on what is no number, on NaN and infinity (also beyond float32).

    >>> checked_vectors("queries", np.zeros((2, 3)), 4)
    Traceback (most recent call last):
    lightmeter.types.InvalidValueError: queries must be [N, 4], got [2, 3]
    """
    check_axes(name, vectors, f"N {dim or 'D'}")
    if vectors.dtype.kind not in "fiu":
        raise InvalidValueError(f"{name} must be numbers, got {vectors.dtype}: convert them to float32 first")
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(vectors, np.float32)
    if not np.isfinite(out).all():
        raise InvalidValueError(f"{name} must be finite float32, got NaN or infinity: check what was encoded")
    return out


def refuse(index: str, ability: str) -> InvalidValueError:
    """The error for a call that an index cannot answer."""
    return InvalidValueError(f"{index} cannot {ability}: fit it anew, or take one that can (`granular` can)")
