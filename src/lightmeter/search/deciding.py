"""Three-way decisions by the compiled kernel, without finding out addresses for each query."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from lightmeter.search.decisions import Decisions
from lightmeter.search.fixed_point import View
from lightmeter.search.kernels import DECIDED, DeciderStruct, address
from lightmeter.search.protocol import Certificate, Neighbours, checked_vectors
from lightmeter.search.row_store import RowStore
from lightmeter.search.rules import RULES, Rule
from lightmeter.types import Array

_NUMBERS = {"multi-level": 0, "posteriors": 1, "bayes-factor": 2, "distance-factor": 3}
"""Of rules, as in native/three_way.h."""


@dataclass(frozen=True, slots=True)
class How:
    """What of a recipe the kernel has to know: rule as in `RULES`, by_row of the multi-level rule."""

    rule: str
    by_row: bool
    lazy: bool
    defer: bool


class Decider:
    """A gallery as the kernel reads it; made anew when the gallery changes."""

    def __init__(
        self, library: Any, how: How, view: View, store: RowStore, edges: Sequence[int], thresholds: Sequence[float]
    ) -> None:
        self._library, self._rule, self._view, self._names = library, how.rule, view, store.names
        self._edges, self._thresholds = np.array(edges, np.int64), np.array(thresholds)
        self._thresholds_at = address(self._thresholds)
        self._blocks = np.array([address(block) for block in store.blocks], np.uint64)
        self._held = store.arrays
        self._struct = DeciderStruct(
            rows=len(store.ids), alive=len(store), classes=len(store.names), dim=len(view.mean),
            levels=len(store.blocks), rule=_NUMBERS[how.rule], by_row=how.by_row, lazy=how.lazy,
            normalise=view.normalise, defer=how.defer, edges=address(self._edges), blocks=address(self._blocks),
            longest=address(store.longest), coarse=address(store.coarse), lost=address(store.lost),
            coarse_squares=address(store.coarse_squares), coarse_step=store.coarse_step,
            coarse_width=store.coarse.shape[1], codes=address(store.codes), counts=address(store.counts),
            ids=address(store.ids), labels=address(store.labels), mean=address(view.mean),
            components=address(view.components), unit=view.unit,
        )  # fmt: skip
        self._mine = threading.local()

    @property
    def _dim(self) -> int:
        return len(self._view.mean)

    def decide(self, queries: Array, k: int) -> Outcome:
        """Decide for queries float [Q, D], with the k nearest of the rows that are left, or none."""
        if queries.shape == (1, self._dim) and queries.dtype.kind in "fiu":
            room = self._room(k)
            room.queries[:] = queries
        else:
            queries = checked_vectors("queries", queries, self._dim)
            room = _Room(self._library, self._struct, queries, k)
        if room.run(self._thresholds_at):
            checked_vectors("queries", queries, self._dim)
        if self._rule == "posteriors":
            self._judge(room)
        return room.outcome(self._names)

    def _room(self, k: int) -> _Room:
        """This thread's room for one query: it reads and writes where the last one did."""
        room: _Room | None = getattr(self._mine, "room", None)
        if room is None or room.ids.shape[1] != k:
            room = self._mine.room = _Room(self._library, self._struct, np.empty((1, self._dim), np.float32), k)
        return room

    def _judge(self, room: _Room) -> None:
        """Posteriors next to a threshold are compared here: another library's exp may differ in the last bit."""
        rule = RULES[self._rule]
        for at in np.flatnonzero(room.told["unclear"]):
            one = _Room(self._library, self._struct, room.queries[at : at + 1], room.ids.shape[1])
            thresholds, told = self._thresholds.copy(), room.told[at]
            while level := int(told["unclear"]):
                sure = rule.sure(rule.score(told["nearest"]), thresholds[level - 1])
                thresholds[level - 1] = -np.inf if sure else np.inf
                one.run(address(thresholds))
                told = one.told[0]
            for mine, its in zip(room.arrays, one.arrays, strict=True):
                mine[at] = its[0]


class _Room:
    """Arrays that a call of the kernel reads and writes, and their addresses."""

    def __init__(self, library: Any, struct: DeciderStruct, queries: Array, k: int) -> None:
        self._decide, self._struct, self.queries = library.lm_decide, ctypes.addressof(struct), queries
        count = len(queries)
        scratch = np.empty(library.lm_decide_scratch(self._struct), np.uint8)
        self.words = np.empty(count * DECIDED.itemsize // 8, np.int64)  # numpy copies them faster than records
        self.told, self.survivors = self.words.view(DECIDED), np.empty((count, struct.levels), np.int64)
        self.left = np.empty((count, -(-struct.classes // 8)), np.uint8)
        self.ids, self.distances = np.empty((count, k), np.int64), np.empty((count, k))
        self.arrays = self.told, self.survivors, self.left, self.ids, self.distances
        self._held = scratch, struct
        self._asked = address(queries), count, k, address(scratch), *(address(each) for each in self.arrays)

    def run(self, thresholds: int | None) -> int:
        """Decide by thresholds float64 [L] at an address; 0, or 1 + the place of a query that is not finite."""
        return int(self._decide(self._struct, thresholds, *self._asked))

    def outcome(self, names: Array) -> Outcome:
        """What was written; a copy where the next query would write over it."""
        if len(self.queries) > 1:
            return Outcome(*self.arrays, names)
        told = self.words.copy().view(DECIDED)
        return Outcome(told, self.survivors.copy(), self.left.copy(), self.ids.copy(), self.distances.copy(), names)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What the kernel wrote: told [Q], survivors [Q, L], left: bits of classes [Q, ⌈C/8⌉], ids, distances [Q, k].

    names: the classes' labels int64 [C]
    """

    told: Array
    survivors: Array
    left: Array
    ids: Array
    distances: Array
    names: Array

    def decisions(self, rule: Rule) -> Decisions:
        """As decisions; posteriors are numpy's, for the last bit."""
        told = self.told
        confidence = told["confidence"]
        if rule is RULES["posteriors"]:
            confidence = rule.confidence(rule.score(told["nearest"]))
        return Decisions(
            labels=told["label"], ids=told["id"], distances=told["distance"], levels=told["levels"],
            survivors=self.survivors, reliable_at=told["reliable_at"], confidence=confidence,
            multiply_adds=told["multiply_adds"], bytes_read=told["bytes_read"], left=_Left(self.left, self.names),
        )  # fmt: skip

    def neighbours(self) -> Neighbours:
        """As neighbours, of which nothing is proven."""
        return Neighbours(self.ids, self.distances, _Certificates(self.told, self.survivors))


@dataclass(frozen=True, slots=True, eq=False)
class _Left(Sequence[Array]):
    """Labels of the classes that are not ruled out, made when they are looked at."""

    bits: Array
    names: Array

    def __len__(self) -> int:
        return len(self.bits)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Array]: ...
    def __getitem__(self, index: int | slice) -> Array | Sequence[Array]:
        if isinstance(index, slice):
            return _Left(self.bits[index], self.names)
        there = np.unpackbits(self.bits[index], count=len(self.names), bitorder="little")
        return np.sort(self.names[there.view(bool)])


@dataclass(frozen=True, slots=True, eq=False)
class _Certificates(Sequence[Certificate]):
    """Certificates of a batch, made when they are looked at."""

    told: Array
    survivors: Array

    def __len__(self) -> int:
        return len(self.told)

    @overload
    def __getitem__(self, index: int) -> Certificate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Certificate]: ...
    def __getitem__(self, index: int | slice) -> Certificate | Sequence[Certificate]:
        if isinstance(index, slice):
            return _Certificates(self.told[index], self.survivors[index])
        told = self.told[index]
        levels = int(told["levels"])
        survivors = tuple(self.survivors[index, :levels].tolist())
        return Certificate(False, -np.inf, levels, survivors, 0, int(told["bytes_read"]))
