"""What a sequential decision came to: who is nearest, who is ruled out, how sure, and at what price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightmeter.search.fixed_point import Rows, View, runs
from lightmeter.search.rules import Rule
from lightmeter.types import Array

UNKNOWN = -1
"""The label of a query that no level was sure of, when the recipe defers."""


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What was decided for each query, when, how surely, and at what price.

    labels: int64 [Q], −1 unknown (deferred, or no rows) · ids: int64 [Q] nearest row, the lowest of equals
    distances: float64 [Q] squared L2 to it over the components read · levels: int64 [Q] levels read
    survivors: int64 [Q, L] rows of what is not ruled out after each level, 0 for levels that were not reached
    reliable_at: int64 [Q] level, from 1, that was sure; 0 for none · confidence: float64 [Q] at the last level read,
    higher is surer: 1 − ρ₁/ρ₂, p or ρ₂ − ρ₁, by the rule
    multiply_adds, bytes_read: int64 [Q] as the rule counts, in float32: projecting the query, and at each level every
    row that is not ruled out. What computes it may do with less, or, in numpy, read some rows twice
    left: labels of the classes not ruled out, rising, int64 [≤ C] a query
    """

    labels: Array
    ids: Array
    distances: Array
    levels: Array
    survivors: Array
    reliable_at: Array
    confidence: Array
    multiply_adds: Array
    bytes_read: Array
    left: Sequence[Array]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(slots=True, eq=False)
class Course:
    """One query on its way: its coordinates as far as needed, and what came of it."""

    view: View
    edges: tuple[int, ...]
    prepared: Array
    seen: list[Array]
    multiply_adds: int = 0
    bytes_read: int = 0
    survivors: tuple[int, ...] = ()
    nearest: int = -1
    distance: float = np.inf
    score: float = np.nan
    reliable_at: int = 0
    rows: Array | None = None  # positions of what is left, class by class

    @property
    def levels(self) -> int:
        """Levels that were read."""
        return len(self.survivors)

    def granule(self, level: int) -> Array:
        """The query's coordinates at a level, projected when first asked for: float32 [m]."""
        while len(self.seen) <= level:
            start, stop = self.edges[len(self.seen)], self.edges[len(self.seen) + 1]
            self.seen.append(self.view.coordinates(self.prepared, start, stop)[0])
            self.reads(stop - start, len(self.view.mean))
        return self.seen[level]

    def reads(self, rows: int, width: int) -> None:
        """Note what was multiplied and read."""
        self.multiply_adds += rows * width
        self.bytes_read += rows * width * 4


def decisions_of(courses: Sequence[Course], rows: Rows, rule: Rule, *, defer: bool) -> Decisions:
    """Put the queries together; with `defer`, a query that no level was sure of is unknown."""
    levels = len(rows.blocks)
    nearest = np.array([each.nearest for each in courses], np.int64)
    reliable_at = np.array([each.reliable_at for each in courses], np.int64)
    padded = [[*each.survivors, *[0] * levels][:levels] for each in courses]
    answered = (nearest >= 0) & ((reliable_at > 0) | (not defer))
    labels, ids = (np.append(each, UNKNOWN) for each in (rows.labels, rows.ids))  # −1 finds the last
    return Decisions(
        labels=np.where(answered, labels[nearest], UNKNOWN),
        ids=ids[nearest],
        distances=np.array([each.distance for each in courses], np.float64),
        levels=np.array([each.levels for each in courses], np.int64),
        survivors=np.array(padded, np.int64).reshape(len(courses), levels),
        reliable_at=reliable_at,
        confidence=np.asarray(rule.confidence(np.array([each.score for each in courses], np.float64))),
        multiply_adds=np.array([each.multiply_adds for each in courses], np.int64),
        bytes_read=np.array([each.bytes_read for each in courses], np.int64),
        left=tuple(_classes_left(each, rows) for each in courses),
    )


def _classes_left(course: Course, rows: Rows) -> Array:
    if course.rows is None:
        return rows.classes[:0]
    codes = rows.codes[course.rows]
    return np.asarray(rows.classes[codes[runs(codes)]])
