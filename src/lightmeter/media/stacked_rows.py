"""Several arrays, one after the other, read as one: rows are fetched from the part that holds them, when asked."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array


class StackedRows:
    """Arrays that differ only in how many rows they have, joined along axis 0 without being copied.

    Reads as numpy does: `rows[3]`, `rows[2:9]`, `rows[[5, 0]]`, `rows[mask]`, `rows[numbers, frames]`. What is read is
    an array of its own; `np.asarray(rows)` reads everything.  Cost: the rows that are asked for, O(parts) a call.
    """

    def __init__(self, parts: Sequence[Array]) -> None:
        first = parts[0] if parts else None
        if first is None or any(part.shape[1:] != first.shape[1:] or part.dtype != first.dtype for part in parts):
            raise InvalidValueError(
                "parts must be one or more arrays of equal type and shape but for axis 0, got "
                f"{[(part.dtype.name, list(part.shape)) for part in parts][:4]}: make them by one recipe"
            )
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.shape: tuple[int, ...] = (int(self._starts[-1]), *first.shape[1:])
        self.dtype: np.dtype[Any] = first.dtype
        self.ndim = first.ndim

    @property
    def size(self) -> int:
        """Elements in all."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes in all, on disk or in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("rows of several parts cannot be one array without a copy: leave copy out")
        whole = np.concatenate(self._parts)
        return whole if dtype is None else whole.astype(dtype)

    def __getitem__(self, key: Any) -> Array:
        """Rows as numpy would give them: an int, a slice, int [R] or bool [N], with keys of further axes behind.

        Raises IndexError for rows that are not there, InvalidValueError for row keys of more than one axis.
        """
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis or first is None:
            raise InvalidValueError("rows must be an int, a slice or a list of ints, got ... or None: name the rows")
        if isinstance(first, slice):
            picked = self._gather(np.arange(len(self))[first], [])
            return picked[(slice(None), *rest)] if rest else picked
        if isinstance(first, list | np.ndarray) and np.ndim(first):
            return self._gather(self._numbered(np.asarray(first)), [_key_array(each) for each in rest])
        part, row = self._find(operator.index(first.item() if isinstance(first, np.ndarray) else first))
        found: Array = np.asarray(self._parts[part][(row, *rest)])
        return found

    def _numbered(self, rows: Array) -> Array:
        """Row keys as int64 [R], 0..N-1."""
        if rows.ndim != 1:
            raise InvalidValueError(f"rows must be [R], got {list(rows.shape)}: flatten them")
        if rows.dtype == bool:
            if len(rows) != len(self):
                raise IndexError(f"a mask of rows must be of {len(self)}, got {len(rows)}")
            return np.flatnonzero(rows)
        if len(rows) and not np.issubdtype(rows.dtype, np.integer):
            raise IndexError(f"rows must be whole numbers, got {rows.dtype}")
        rows = rows.astype(np.int64)
        rows = np.where(rows < 0, rows + len(self), rows)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows must be 0..{len(self) - 1}, got {rows.min()}..{rows.max()}")
        return rows

    def _find(self, row: int) -> tuple[int, int]:
        row += len(self) if row < 0 else 0
        if not 0 <= row < len(self):
            raise IndexError(f"a row must be 0..{len(self) - 1}, got {row}")
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return part, row - int(self._starts[part])

    def _gather(self, rows: Array, rest: list[Any]) -> Array:
        """Rows from the parts that hold them, back in the order asked; arrays among `rest` go with the rows."""
        if not len(rows):
            return np.asarray(self._parts[0][:0][(np.zeros(0, np.int64), *rest)])
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        out: Array | None = None
        for part in np.unique(owners):
            mine = np.flatnonzero(owners == part)
            keys = [each[mine] if isinstance(each, np.ndarray) else each for each in rest]
            picked = self._parts[part][(rows[mine] - self._starts[part], *keys)]
            if out is None:
                out = np.empty((len(rows), *picked.shape[1:]), self.dtype)
            out[mine] = picked
        assert out is not None
        return out


def _key_array(key: Any) -> Any:
    return np.asarray(key) if isinstance(key, list) or (isinstance(key, np.ndarray) and key.ndim) else key
