"""Rows that a function reads from files when they are asked for, used as an array; one chain of hashes for all sets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np

from lightmeter.media.stacked_rows import StackedRows
from lightmeter.types import Array

ReadRows = Callable[[Array], Iterator[Array]]
"""Rows int64 [R], in any order, to one array a row."""


def rows_on_demand(shape: tuple[int, ...], dtype: str, read: ReadRows) -> Array:
    """What reads like an array of this shape and type; rows are read when they are indexed, and never kept.

    Typed as an array, as those of `open_clips`: it is indexed by rows first (`StackedRows` says how).
    Cost: `read` of each row that is asked for, whole, whatever is then taken of it.
    """
    return cast("Array", StackedRows([cast("Array", _Rows(shape, dtype, read))]))


class _Rows:
    """The one part of such an array. Keys come from StackedRows: row numbers from 0, and keys that go with them."""

    def __init__(self, shape: tuple[int, ...], dtype: str, read: ReadRows) -> None:
        self.shape, self.dtype, self.ndim, self._read = shape, np.dtype(dtype), len(shape), read

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)

    def __getitem__(self, key: Any) -> Array:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, slice):
            first = np.arange(len(self))[first]
        if np.ndim(first) == 0:
            only: Array = np.asarray(next(self._read(np.array([first], np.int64)))[tuple(rest)])
            return only
        if not len(first):
            nothing: Array = np.zeros((0, *self.shape[1:]), self.dtype)[(np.zeros(0, np.int64), *rest)]
            return nothing
        out: Array | None = None
        for place, row in enumerate(self._read(first)):
            picked = row[tuple(each[place] if isinstance(each, np.ndarray) and each.ndim else each for each in rest)]
            if out is None:
                out = np.empty((len(first), *np.shape(picked)), self.dtype)
            out[place] = picked
        assert out is not None
        return out


def fingerprint_of(hashes: Iterable[str]) -> str:
    """Of a set, from the `clip_hashes` of its clips: the same as `ClipSet.of` gives it."""
    digest = hashlib.sha256()
    for each in hashes:
        digest.update(each.encode())
    return digest.hexdigest()
