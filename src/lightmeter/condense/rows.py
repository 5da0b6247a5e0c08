"""Rows of features that may lie on disk: read a block at a time, so that memory does not grow with the data set."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

HELD_BYTES = 64 << 20
"""Fewer bytes as float32 than this are read once and held."""
_BLOCK_BYTES = 8 << 20
_EXACT_BYTES = 1 << 20


class Rows(Protocol):
    """A matrix [N, D] of which some rows can be read: an array, a memory-mapped file, or `RowsOf` either."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N and D."""
        ...

    def __getitem__(self, which: Any, /) -> Array:
        """Rows by a slice or by int64 [n]: [n, D]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RowsOf:
    """Some rows of a matrix, read when they are asked for, as float32.

    of: [M, D] · at: int64 [N], rows of it · unit: scaled to length 1; a row of zeros stays
    """

    of: Rows
    at: Array
    unit: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """N and D."""
        return len(self.at), self.of.shape[1]

    def __getitem__(self, which: Any, /) -> Array:
        """Some of them: float32 [n, D]."""
        rows = taken(self.of, self.at[which])
        if not self.unit:
            return rows
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
        return (rows / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)


def expect_rows(rows: Rows, least: int) -> tuple[int, int]:
    """N and D; raises InvalidValueError where rows are no matrix or fewer than `least`."""
    shape = tuple(rows.shape)
    if len(shape) != 2 or not shape[1]:
        raise InvalidValueError(f"rows must be [N, D] with D of 1 or more, got {list(shape)}")
    if shape[0] < least:
        raise InvalidValueError(f"rows must be {least} or more, got {shape[0]}: ask for fewer")
    return shape[0], shape[1]


def held(rows: Rows) -> Rows:
    """The same rows in memory as float32 where they are below HELD_BYTES, else as they are."""
    count, dim = rows.shape
    return rows if count * dim * 4 > HELD_BYTES else whole(rows)


def taken(rows: Rows, which: Any) -> Array:
    """Some rows, by a slice or int64 [n]: float32 [n, D]."""
    some: Array = np.asarray(rows[which], np.float32)
    _let_go(rows)
    return some


def whole(rows: Rows) -> Array:
    """All rows: float32 [N, D], contiguous, a copy.  Memory: 4·N·D bytes."""
    made = np.empty(rows.shape, np.float32)
    for start, block in blocks(rows):
        made[start : start + len(block)] = block
    return made


def blocks(rows: Rows, *, width_bytes: int = _BLOCK_BYTES) -> Iterator[tuple[int, Array]]:
    """All rows in order, a few megabytes at a time: where a block starts, and float32 [n, D].

    Raises InvalidValueError for NaN and infinity.
    """
    count, dim = rows.shape
    step = max(1, width_bytes // (4 * dim))
    for start in range(0, count, step):
        block = taken(rows, slice(start, min(start + step, count)))
        if not np.isfinite(block).all():
            raise InvalidValueError("rows must be finite, got NaN or infinity: check what was encoded")
        yield start, block


def mean_of(rows: Rows) -> Array:
    """The mean row: float64 [D]."""
    total = np.zeros(rows.shape[1])
    for _, block in blocks(rows):
        total += block.sum(axis=0, dtype=np.float64)
    return total / rows.shape[0]


def squares_from(rows: Rows, point: Array) -> Array:
    """Squared distance of each row to a point float64 [D]: float64 [N].

    By differences and not by products: equal rows are equally far to the last bit, so that ties go by row.
    Cost: 3·N·D, memory 2 MB.
    """
    apart = np.empty(rows.shape[0])
    for start, block in blocks(rows, width_bytes=_EXACT_BYTES):
        away = block - point
        apart[start : start + len(block)] = np.einsum("nd,nd->n", away, away)
    return apart


def _let_go(rows: Rows) -> None:
    """Hand pages of a read-only mapped file back: they count as ours until then, and come back when they are read."""
    base: Any = rows
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    if base is None or base.mode != "r" or not hasattr(mmap, "MADV_DONTNEED"):  # others may hold changes
        return
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None:
        base.madvise(mmap.MADV_DONTNEED)
