"""The rows of a gallery that changes: new ones lie behind, removed ones are marked, and seldom is all copied."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.search.fixed_point import Rows, rows_of
from lightmeter.search.growing import grown
from lightmeter.types import Array

_REMOVED = -1
_LANES = 16
_MOST_STEPS = 127


class RowStore:
    """Coordinates, ids and labels in the order of their coming, as the kernels read them.

    blocks: float32 [R, m] a granule · longest: float64 [L] a bound of the rows' lengths within each granule
    coarse: int8 [R, ⌈m/16⌉·16] the first granule in steps of coarse_step, zeros behind it, to see who can matter
    lost: float32 [R] at least the length of what the steps lose · coarse_squares: int32 [R] of the codes
    ids, labels: int64 [R], ids rising · codes: int32 [R] index into names, −1 where removed
    names: int64 [C] labels, in the order of their coming · counts: int64 [C] rows that are there
    """

    def __init__(self, blocks: Sequence[Array], ids: Array, labels: Array, *, next_id: int | None = None) -> None:
        self._hold(blocks, ids, labels)
        self.next_id = len(ids) if next_id is None else next_id

    def _hold(self, blocks: Sequence[Array], ids: Array, labels: Array) -> None:
        names, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        self.blocks = tuple(np.ascontiguousarray(block, np.float32) for block in blocks)
        self.longest = np.array([_longest(block) for block in self.blocks])
        most = float(np.abs(self.blocks[0]).max(initial=0))
        self.coarse_step = most / _MOST_STEPS if most else 1.0
        self.coarse, self.lost, self.coarse_squares = _coarse(self.blocks[0], self.coarse_step)
        self.ids, self.labels, self.names, self.counts = ids, labels, names, counts
        self.codes = codes.astype(np.int32)
        self._alive = len(ids)
        self._own = self._own_codes = False
        self._numbers = dict(zip(names.tolist(), range(len(names)), strict=True))
        self._rows: Rows | None = None

    def __len__(self) -> int:
        return self._alive

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays, without room to grow."""
        return sum(int(each.nbytes) for each in self.arrays)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """All that is held."""
        coarse = self.coarse, self.lost, self.coarse_squares
        return *self.blocks, *coarse, self.longest, self.ids, self.labels, self.codes, self.names, self.counts

    @property
    def rows(self) -> Rows:
        """The rows that are there, class by class; made when first asked for after a change.  Cost: O(R·K)."""
        if self._rows is None:
            blocks, ids, labels = self.present()
            self._rows = rows_of(blocks, ids, labels)
        return self._rows

    def present(self) -> tuple[tuple[Array, ...], Array, Array]:
        """Blocks, ids and labels of the rows that are there; copies only where some were removed."""
        if self._alive == len(self.ids):
            return self.blocks, self.ids, self.labels
        stay = self.codes != _REMOVED
        return tuple(block[stay] for block in self.blocks), self.ids[stay], self.labels[stay]

    def shared(self) -> RowStore:
        """The same rows for somebody else: whoever changes them first takes a copy.  Cost: O(C)."""
        self._own = self._own_codes = False
        other = copy(self)
        other._numbers = dict(self._numbers)
        return other

    def add(self, blocks: Sequence[Array], labels: Array | None) -> Array:
        """New rows float32 [N, m] a granule, each of its own class without labels → their ids int64 [N].

        Cost: O(N·K) amortised.
        """
        ids = np.arange(self.next_id, self.next_id + len(blocks[0]))
        labels = ids if labels is None else labels
        codes = [self._numbers.setdefault(label, len(self._numbers)) for label in labels.tolist()]
        names = list(self._numbers)[len(self.names) :] if len(self._numbers) > len(self.names) else []
        more = partial(grown, own=self._own)
        self.blocks = tuple(map(more, self.blocks, blocks))
        self.coarse, self.lost, self.coarse_squares = map(
            more, (self.coarse, self.lost, self.coarse_squares), _coarse(blocks[0], self.coarse_step)
        )
        self.longest = np.maximum(self.longest, [_longest(block) for block in blocks])
        self.ids, self.labels = more(self.ids, ids), more(self.labels, labels)
        self.names = more(self.names, np.array(names, np.int64))
        self.codes = grown(self.codes, np.array(codes, np.int32), own=self._own_codes)
        self.counts = grown(self.counts, np.zeros(len(names), np.int64), own=self._own_codes)
        np.add.at(self.counts, codes, 1)
        self._own = self._own_codes = True
        self.next_id += len(ids)
        self._changed(len(ids))
        return ids

    def remove(self, ids: Array) -> None:
        """Mark rows, int [M]; when fewer than half are left, the others move together.  Cost: O(M·(K + log R)).

        Amortised; the first time after `shared` 4 bytes a row are copied.
        """
        places = self._places(ids)
        if not self._own_codes:
            self.codes, self.counts, self._own_codes = self.codes.copy(), self.counts.copy(), True
        np.subtract.at(self.counts, self.codes[places], 1)
        self.codes[places] = _REMOVED
        self._changed(-len(places))
        if 2 * self._alive < len(self.ids):
            self._hold(*self.present())

    def _changed(self, rows: int) -> None:
        self._alive += rows
        self._rows = None

    def _places(self, ids: Array) -> Array:
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise InvalidValueError(f"ids must be int [M], got {ids.dtype} {list(ids.shape)}")
        places = np.searchsorted(self.ids, ids)
        there = places < len(self.ids)
        there[there] = (self.ids[places[there]] == ids[there]) & (self.codes[places[there]] != _REMOVED)
        if not there.all():
            raise InvalidValueError(
                f"ids must be of rows that are there, got {ids[~there][0]}: it was never given or removed"
            )
        return np.unique(places)


def _longest(block: Array) -> float:
    """A bound of the rows' lengths, a little more than the longest: float32 [N, m]."""
    return float(np.sqrt(np.einsum("nm,nm->n", block, block, dtype=np.float64).max(initial=0))) * (1 + 1e-9)


def _coarse(block: Array, step: float) -> tuple[Array, Array, Array]:
    """Codes int8 [N, ⌈m/16⌉·16] of a granule float32 [N, m], what they lose float32 [N], their squares int32 [N].

    Rows that are longer than the first ones lose more: their bounds are wide, and true.
    """
    codes = np.zeros((len(block), -(-block.shape[1] // _LANES) * _LANES), np.int8)
    steps = np.clip(np.rint(block / np.float64(step)), -_MOST_STEPS, _MOST_STEPS)
    codes[:, : block.shape[1]] = steps
    lost = np.sqrt(((block - steps * step) ** 2).sum(axis=1)) * (1 + 1e-6)
    return codes, lost.astype(np.float32), (steps * steps).sum(axis=1).astype(np.int32)
