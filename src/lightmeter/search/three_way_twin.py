"""Three-way decisions in numpy: the twin of `native/three_way.c`, for machines without a C compiler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightmeter.search.decisions import Course
from lightmeter.search.fixed_point import Rows, View, partial_distances, runs
from lightmeter.search.protocol import Certificate, Neighbours
from lightmeter.search.rules import Rule, kept
from lightmeter.types import Array

_CELLS_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Twin:
    """The kernel's decisions, equal bit for bit: rows are sorted out in float32, and the rest measured exactly.

    edges: where each level's components end, from 0 · thresholds: one a level · narrowing: the multi-level rule, which
    drops classes or, by_row, rows · lazy: project a query granule by granule
    """

    view: View
    rows: Rows
    rule: Rule
    edges: tuple[int, ...]
    thresholds: tuple[float, ...]
    narrowing: bool
    by_row: bool
    lazy: bool

    def courses(self, prepared: Array) -> list[Course]:
        """How it went for each of some prepared queries: float64 [Q, D]."""
        courses: list[Course] = []
        step = max(_CELLS_AT_ONCE // max(len(self.rows), 1), 1)
        for at in range(0, len(prepared), step):
            some = prepared[at : at + step]
            last = len(self.edges) - 1 if not self.lazy else 1
            seen = self.view.coordinates(some, 0, self.edges[last])
            products = self._products(0, seen[:, : self.edges[1]])
            for row, coordinates, product in zip(some, seen, products, strict=True):
                parts = np.split(coordinates, self.edges[1:last])
                course = Course(self.view, self.edges, row[None], parts)
                course.reads(self.edges[last], len(row))
                if len(self.rows):
                    self._run(course, product)
                courses.append(course)
        return courses

    def neighbours(self, prepared: Array, k: int) -> Neighbours:
        """The k nearest of the rows that are not ruled out, over the components that were read."""
        courses = self.courses(prepared)
        ids, distances = np.full((len(courses), k), -1), np.full((len(courses), k), np.inf)
        for at, course in enumerate(courses):
            if course.rows is not None:
                positions = np.sort(course.rows)
                found = self._distances(course, positions, range(course.levels))
                nearest = np.argsort(found, kind="stable")[:k]
                ids[at, : len(nearest)] = self.rows.ids[positions[nearest]]
                distances[at, : len(nearest)] = found[nearest] * self.view.unit**2
        certificates = tuple(
            Certificate(False, -np.inf, each.levels, each.survivors, 0, each.bytes_read) for each in courses
        )
        return Neighbours(ids, distances, certificates)

    def _products(self, level: int, seen: Array) -> Array:
        """‖r‖² − 2⟨z, r⟩ of every row by one product in float32: [Q, R]. Who might matter is then measured exactly."""
        made: Array = seen @ self.rows.blocks[level].T
        made *= -2
        made += self.rows.energies[level]
        return made

    def _run(self, course: Course, products: Array) -> None:
        course.reads(len(self.rows), self.edges[1])
        if self.narrowing:
            self._narrow(course, products)
        else:
            self._two_levels(course, products)

    def _two_levels(self, course: Course, products: Array) -> None:
        """The conventional rules: every row at every level, until one is reliable."""
        for level, threshold in enumerate(self.thresholds):
            if level:
                products = products + self._products(level, course.granule(level)[None])[0]
                course.reads(len(self.rows), self.rows.blocks[level].shape[1])
            rows = self._candidates(course, products, level)
            distances = self._distances(course, rows, range(level + 1))
            self._lead(course, rows, distances, np.minimum.reduceat(distances, runs(self.rows.codes[rows])))
            if self.rule.sure(course.score, threshold):
                course.rows = self.rows.of_class(int(self.rows.codes[course.nearest]))
                course.reliable_at = level + 1
            else:
                course.rows = self.rows.order
            course.survivors += (len(course.rows),)
            if course.reliable_at:
                return

    def _narrow(self, course: Course, products: Array) -> None:
        """The multi-level rule: only those who were kept are read again."""
        rows = self._candidates(course, products, 0)
        distances = np.zeros(len(rows))
        for level, threshold in enumerate(self.thresholds):
            if level:
                course.reads(len(rows), self.rows.blocks[level].shape[1])
            distances += self._distances(course, rows, (level,))
            codes = self.rows.codes[rows]
            starts = runs(codes)
            minima = np.minimum.reduceat(distances, starts)
            self._lead(course, rows, distances, minima)
            if not self.by_row:
                stay = np.repeat(kept(minima, threshold), np.append(starts[1:], len(rows)) - starts)
            else:
                stay = kept(distances, threshold)
            rows, distances, codes = rows[stay], distances[stay], codes[stay]
            course.rows = rows
            course.survivors += (len(rows),)
            if codes[0] == codes[-1]:
                course.reliable_at = level + 1
                return

    def _candidates(self, course: Course, products: Array, level: int) -> Array:
        """Positions, class by class, of all rows that the rule can ask for after this level, and a few more.

        Products in float32 are off by at most `slack` (Higham 2002, 3.1, doubled); every row that may be among the
        nearest classes that the score looks at, or may stay in the race, is let through to be measured exactly.
        """
        rows, rule = self.rows, self.rule
        seen = np.concatenate(course.seen[: level + 1]).astype(np.float64)
        energy = float(seen @ seen)
        longest = float(np.sqrt(sum(each**2 for each in rows.longest[: level + 1])))
        slack = 2.0**-23 * (len(seen) + 8) * (np.sqrt(energy) + longest) ** 2 + 1e-37
        sorted_products = products[rows.order]
        minima = np.minimum.reduceat(sorted_products, rows.starts)
        looked_at = min(rule.looks_at, len(minima))
        bound = float(np.partition(minima, looked_at - 1)[looked_at - 1]) + 2 * slack
        if self.narrowing:
            least, factor = max(float(minima.min()) + energy + slack, 0), self.thresholds[0]
            bound = max(bound, least / factor * (1 + 1e-9) + slack - energy) if factor > 0 else np.inf
        top = np.nextafter(np.float32(min(bound, 1e38)), np.float32(np.inf))
        if self.narrowing and not self.by_row:
            return np.asarray(rows.order[np.repeat(minima <= top, rows.counts)])
        return np.asarray(rows.order[sorted_products <= top])

    def _distances(self, course: Course, rows: Array, levels: Sequence[int]) -> Array:
        """Exact squared distances in units over some levels: float64 [n]."""
        total = np.zeros(len(rows))
        for level in levels:
            query = course.granule(level)
            total += partial_distances(self.rows.blocks[level], rows, query)
        return total

    def _lead(self, course: Course, rows: Array, distances: Array, minima: Array) -> None:
        """Who is nearest now, and by how much."""
        least = distances.min()
        course.nearest = int(rows[distances == least].min())
        course.distance = float(least) * self.view.unit**2
        looked_at = min(self.rule.looks_at, len(minima))
        nearest = np.sort(np.partition(minima, looked_at - 1)[:looked_at])  # so that no other class moves the last bit
        course.score = float(self.rule.score(nearest * self.view.unit**2))
