"""In which order examples are learnt from: a function of seed and step, so that a run goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

BLOCK = 64
WINDOW = 512
_ORDER = 0x0DE7
"""Keeps these draws apart from others of the same seed."""


@dataclass(frozen=True, slots=True)
class Order:
    """`rows(step)` of a run over all items, epoch after epoch, each epoch in an order of its own.

    Blocks of 64 neighbours are shuffled, then the rows of each 512 of them (32,768 rows) among each other: as good as a
    full shuffle where rows do not stand in long runs of a kind, and a disk is read in one place after another.
    Batches run across the ends of epochs; what is left after the last whole batch is dropped.
    Cost: a window is shuffled once, 1 ms.  Memory: 8 bytes a block of the set, and a window.
    """

    items: int
    batch: int
    epochs: int
    seed: int

    def __post_init__(self) -> None:
        if min(self.items, self.batch, self.epochs) < 1 or self.seed < 0:
            got = f"{self.items}, {self.batch}, {self.epochs} and {self.seed}"
            raise InvalidValueError(f"items, batch and epochs must be 1 or more and seed 0 or more, got {got}")

    @property
    def steps(self) -> int:
        """Batches in all."""
        return max(1, self.items * self.epochs // self.batch)

    def rows(self, step: int) -> Array:
        """Numbers of items, int64 [batch]; fewer only where all epochs together have fewer."""
        start = step * self.batch
        stop = min(start + self.batch, self.items * self.epochs)
        parts = []
        while start < stop:
            epoch, at = divmod(start, self.items)
            part = self._part(epoch, at, min(self.items, at + stop - start))
            parts.append(part)
            start += len(part)
        return np.concatenate(parts)

    def _part(self, epoch: int, start: int, stop: int) -> Array:
        """Rows from one place of an epoch on, up to another or to the end of a window."""
        ends = _blocks(self.items, self.seed, epoch)[1][WINDOW - 1 :: WINDOW]
        number = int(np.searchsorted(ends, start, side="right"))
        first = int(ends[number - 1]) if number else 0
        window = _window(self.items, self.seed, epoch, number)
        part: Array = window[start - first : stop - first]
        return part


@lru_cache(maxsize=4)
def _blocks(items: int, seed: int, epoch: int) -> tuple[Array, Array]:
    """Blocks in the order of an epoch, int64 [M], and where each ends in it, int64 [M]."""
    order = np.random.default_rng([_ORDER, seed, epoch]).permutation(-(-items // BLOCK))
    return order, np.cumsum(np.minimum(BLOCK, items - order * BLOCK))


@lru_cache(maxsize=4)
def _window(items: int, seed: int, epoch: int, number: int) -> Array:
    """The rows of one window in their order: int64 [W], read-only."""
    order, _ = _blocks(items, seed, epoch)
    starts = order[number * WINDOW : (number + 1) * WINDOW] * BLOCK
    rows = (starts[:, None] + np.arange(BLOCK)).ravel()
    rows = np.random.default_rng([_ORDER, seed, epoch, number]).permutation(rows[rows < items])
    rows.flags.writeable = False
    return rows
