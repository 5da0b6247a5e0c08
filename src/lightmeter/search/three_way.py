"""Three-way decisions on granules of principal components: accept the nearest class, drop classes, or look closer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

import numpy as np

from lightmeter.assets.saving import load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled, build
from lightmeter.search.decisions import Course, Decisions, decisions_of
from lightmeter.search.fixed_point import Rows, View, partial_distances, rows_of, runs, view_of
from lightmeter.search.pca import fit_basis
from lightmeter.search.protocol import Abilities, Certificate, Neighbours, checked_vectors, refuse
from lightmeter.search.rules import RULES, kept, top_posteriors
from lightmeter.search.thresholds import GRIDS, by_false_positives, by_step_up, held_out, on_grid
from lightmeter.types import Array, check_axes

Choice = Literal["fixed", "grid", "false-positives", "step-up"]
_CELLS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class ThreeWay(Spelled):
    """The seed's sequential three-way decisions, as published.

    The conventional rules know two levels: all rows over the first m components, and, where the first is not reliable,
    all rows over all components. The multi-level rule adds m components a level and keeps the classes (or, with
    prune=instance, the rows) that are at most 1/threshold times as far as the nearest, until one class is left.

    rule: multi-level, posteriors, bayes-factor or distance-factor (`search.rules`) · m: components of the first level
    components: at most so many in all · prune: of the multi-level rule · threshold: none is the published one
    thresholds: where they come from; all but fixed hold out half of each class, choose, and fit on all rows again
      (`search.thresholds`) · rate: of false positives or false acceptances · normalise: bring vectors to length 1 first
    lazy: project a query granule by granule, or all at once (same answers, other cost)
    defer: answer −1 where no level is reliable; else the last level's nearest class · seed: of the basis and halves
    Cost: fit as `fit_basis` and N·D·K; a query D·m + N·m multiply–adds and D·m·8 + N·m·4 bytes for the first level,
    then what the rule asks for.
    Source: as `search.rules`; lazy projection, deferring and thresholds by rule are ours.
    """

    rule: Literal["multi-level", "posteriors", "bayes-factor", "distance-factor"] = "multi-level"
    m: int = 64
    components: int = 256
    prune: Literal["class", "instance"] = "class"
    threshold: float | None = None
    thresholds: Choice = "fixed"
    rate: float = 0.01
    normalise: bool = True
    lazy: bool = True
    defer: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.m <= self.components:
            raise InvalidValueError(
                f"m must be 1 to components, got {self.m} and {self.components}: 64 of 256 suits most"
            )
        if self.prune == "instance" and self.rule != "multi-level":
            raise InvalidValueError(
                f"prune=instance is for rule=multi-level, got rule={self.rule}, which drops nothing"
            )
        if self.threshold is not None and self.thresholds != "fixed":
            raise InvalidValueError(f"give threshold or thresholds={self.thresholds}, got both: one of them decides")
        if not 0 < self.rate < 1:
            raise InvalidValueError(f"rate must be between 0 and 1, got {self.rate}")
        if self.rule == "multi-level" and not 0 < self._fixed <= 1:
            raise InvalidValueError(f"threshold must be above 0 and at most 1, got {self.threshold}: it is 1/δ, so 0.7")

    @property
    def _fixed(self) -> float:
        return RULES[self.rule].threshold if self.threshold is None else self.threshold

    def fit(self, vectors: Array, labels: Array | None = None) -> FittedThreeWay:
        """Learn vectors float [N, D], N ≥ 1, of labels int [N] ≥ 0; without labels each row is its own class."""
        vectors = checked_vectors("vectors", vectors)
        if not vectors.size:
            raise InvalidValueError(f"vectors must be [N, D] with N and D of 1 or more, got {list(vectors.shape)}")
        known = None if labels is None else _checked_labels(labels, len(vectors))
        fitted = self._fit(vectors, known)
        if self.thresholds == "fixed":
            return fitted
        if known is None:
            raise InvalidValueError(f"thresholds={self.thresholds} needs labels to know what is a mistake: give labels")
        held = held_out(known, seed=self.seed)
        half = self._fit(vectors[~held], known[~held])
        chosen = half.calibrated(vectors[held], known[held], self.thresholds, rate=self.rate).thresholds
        levels = len(fitted.thresholds)  # half of a small gallery may vary in fewer directions than all of it
        return fitted.with_thresholds([*chosen, *[chosen[-1]] * levels][:levels])

    def _fit(self, vectors: Array, labels: Array | None) -> FittedThreeWay:
        seen = vectors
        if self.normalise:
            lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
            seen = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
        view = view_of(fit_basis(seen, self.components, seed=self.seed), vectors, normalise=self.normalise)
        edges = _edges(self, len(view.components))
        ids = np.arange(len(vectors))
        blocks = _blocks(view, edges, vectors)
        rows = rows_of(blocks, ids, ids if labels is None else labels)
        return FittedThreeWay(self, view, rows, [self._fixed] * len(blocks), labelled=labels is not None)


def _edges(recipe: ThreeWay, components: int) -> tuple[int, ...]:
    """Where each level's components end, from 0; a level may be empty when nothing varies."""
    if components <= recipe.m:
        return (0, components)
    if recipe.rule != "multi-level":
        return (0, recipe.m, components)
    return (*range(0, components, recipe.m), components)


def _blocks(view: View, edges: Sequence[int], vectors: Array) -> tuple[Array, ...]:
    parts = [
        view.coordinates(view.prepared(vectors[at : at + 4096]), 0, edges[-1]) for at in range(0, len(vectors), 4096)
    ]
    whole = np.concatenate(parts) if parts else np.empty((0, edges[-1]), np.float32)
    return tuple(np.ascontiguousarray(whole[:, a:b]) for a, b in pairwise(edges))


def _checked_labels(labels: Array, count: int) -> Array:
    check_axes("labels", labels, str(count))
    if labels.dtype.kind not in "iu" or (labels < 0).any():
        raise InvalidValueError(f"labels must be whole numbers of 0 or more, got {labels.dtype}: number the classes")
    return labels.astype(np.int64)


class FittedThreeWay:
    """A gallery seen through its principal components. One thread may change it while no other decides."""

    def __init__(
        self,
        recipe: ThreeWay,
        view: View,
        rows: Rows,
        thresholds: Sequence[float],
        *,
        labelled: bool,
        next_id: int = -1,
    ) -> None:
        self.recipe, self.view, self.rows, self.labelled = recipe, view, rows, labelled
        self.thresholds = tuple(float(each) for each in thresholds)
        self._next_id = len(rows) if next_id < 0 else next_id
        self._rule = RULES[recipe.rule]
        widths = [block.shape[1] for block in rows.blocks]
        self._edges = tuple(int(edge) for edge in np.cumsum([0, *widths]))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def abilities(self) -> Abilities:
        """Changes and keeps, but an answer may be another than the nearest row's."""
        return Abilities(exact=False, add=True, remove=True, save=True)

    @property
    def classes(self) -> Array:
        """Labels of the classes, rising: int64 [C]; columns of `class_distances`."""
        return self.rows.classes

    @property
    def size_bytes(self) -> int:
        """Bytes of the view, the coordinates and the labels; the vectors themselves are not held."""
        rows, view = self.rows, self.view
        arrays = [
            *rows.blocks,
            *rows.energies,
            rows.ids,
            rows.labels,
            rows.codes,
            rows.order,
            rows.starts,
            rows.classes,
        ]
        return sum(int(each.nbytes) for each in (*arrays, view.mean, view.components, view.variances))

    # -- deciding ----------------------------------------------------------------------------------------------------

    def decide(self, queries: Array) -> Decisions:
        """Decide for queries float [Q, D]; each is decided as if it were alone."""
        return decisions_of(self._courses(queries), self.rows, self._rule, defer=self.recipe.defer)

    def search(self, queries: Array, k: int = 1, *, among: Array | None = None) -> Neighbours:
        """The k nearest of the rows that are not ruled out, over the components that were read.

        Distances are squared L2 over these components: at most the true ones, and they rise with the levels read. Where
        fewer rows are left than k, ids are −1. The first is what `decide` answers with. Nothing is proven of them.
        """
        if k < 1:
            raise InvalidValueError(f"k must be at least 1, got {k}")
        if among is not None:
            raise refuse("three-way", "search among some ids")
        courses = self._courses(queries)
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

    def _courses(self, queries: Array) -> list[Course]:
        prepared = self.view.prepared(checked_vectors("queries", queries, len(self.view.mean)))
        courses: list[Course] = []
        step = max(_CELLS_AT_ONCE // max(len(self), 1), 1)
        for at in range(0, len(prepared), step):
            some = prepared[at : at + step]
            last = len(self._edges) - 1 if not self.recipe.lazy else 1
            seen = self.view.coordinates(some, 0, self._edges[last])
            products = self._products(0, seen[:, : self._edges[1]])
            for row, coordinates, product in zip(some, seen, products, strict=True):
                parts = np.split(coordinates, self._edges[1:last])
                course = Course(self.view, self._edges, row[None], parts)
                course.reads(self._edges[last], len(row), 8)
                if len(self):
                    self._run(course, product)
                courses.append(course)
        return courses

    def _products(self, level: int, seen: Array) -> Array:
        """‖r‖² − 2⟨z, r⟩ of every row by one product in float32: [Q, R]. Who might matter is then measured exactly."""
        made: Array = seen @ self.rows.blocks[level].T
        made *= -2
        made += self.rows.energies[level]
        return made

    def _run(self, course: Course, products: Array) -> None:
        course.reads(len(self), self._edges[1] + 1, 4)
        if self.recipe.rule == "multi-level":
            self._narrow(course, products)
        else:
            self._two_levels(course, products)

    def _two_levels(self, course: Course, products: Array) -> None:
        """The conventional rules: every row at every level, until one is reliable."""
        for level, threshold in enumerate(self.thresholds):
            if level:
                products = products + self._products(level, course.granule(level)[None])[0]
                course.reads(len(self), self.rows.blocks[level].shape[1] + 1, 4)
            rows = self._candidates(course, products, level)
            distances = self._distances(course, rows, range(level + 1))
            self._lead(course, rows, distances, np.minimum.reduceat(distances, runs(self.rows.codes[rows])))
            if self._rule.sure(course.score, threshold):
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
            distances += self._distances(course, rows, (level,))
            codes = self.rows.codes[rows]
            starts = runs(codes)
            minima = np.minimum.reduceat(distances, starts)
            self._lead(course, rows, distances, minima)
            if self.recipe.prune == "class":
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
        rows, rule = self.rows, self._rule
        seen = np.concatenate(course.seen[: level + 1]).astype(np.float64)
        energy = float(seen @ seen)
        longest = float(np.sqrt(sum(each**2 for each in rows.longest[: level + 1])))
        slack = 2.0**-23 * (len(seen) + 8) * (np.sqrt(energy) + longest) ** 2 + 1e-37
        sorted_products = products[rows.order]
        minima = np.minimum.reduceat(sorted_products, rows.starts)
        looked_at = min(rule.looks_at, len(minima))
        bound = float(np.partition(minima, looked_at - 1)[looked_at - 1]) + 2 * slack
        narrowing = self.recipe.rule == "multi-level"
        if narrowing:
            least, factor = max(float(minima.min()) + energy + slack, 0), self.thresholds[0]
            bound = max(bound, least / factor * (1 + 1e-9) + slack - energy) if factor > 0 else np.inf
        top = np.nextafter(np.float32(min(bound, 1e38)), np.float32(np.inf))
        if narrowing and self.recipe.prune == "class":
            return np.asarray(rows.order[np.repeat(minima <= top, rows.counts)])
        return np.asarray(rows.order[sorted_products <= top])

    def _distances(self, course: Course, rows: Array, levels: Sequence[int]) -> Array:
        """Exact squared distances in units over some levels: float64 [n]."""
        total = np.zeros(len(rows))
        for level in levels:
            query = course.granule(level)
            total += partial_distances(self.rows.blocks[level], rows, query)
            course.reads(len(rows), len(query), 4)
        return total

    def _lead(self, course: Course, rows: Array, distances: Array, minima: Array) -> None:
        """Who is nearest now, and by how much."""
        least = distances.min()
        course.nearest = int(rows[distances == least].min())
        course.distance = float(least) * self.view.unit**2
        looked_at = min(self._rule.looks_at, len(minima))
        nearest = np.sort(np.partition(minima, looked_at - 1)[:looked_at])  # so that no other class moves the last bit
        course.score = float(self._rule.score(nearest * self.view.unit**2))

    # -- classes -----------------------------------------------------------------------------------------------------

    def class_distances(self, queries: Array, classes: Array | None = None) -> Array:
        """Squared L2 distance to each class's nearest row over all components: float [Q, D] → float64 [Q, C].

        classes: labels int [M], in any order, for these columns only; None for all, in the order of `classes`.
        Cost: Q·n·K, n = rows of these classes, in float64.
        """
        codes = np.arange(len(self.classes)) if classes is None else self._codes(classes)
        ascending, back = np.unique(codes, return_inverse=True)
        *_, last = self._levels_of_classes(queries, ascending)
        return last[:, back]

    def posteriors(self, queries: Array) -> Array:
        """`rules.top_posteriors` of `class_distances`: float [Q, D] → float64 [Q, C]; the five nearest sum to 1."""
        return top_posteriors(self.class_distances(queries))

    def level_scores(self, queries: Array) -> tuple[Array, Array]:
        """The rule's score and the nearest class at every level, as if none had been dropped: float64, int64 [Q, L].

        Cost: as `class_distances`.
        """
        found = self._levels_of_classes(queries, np.arange(len(self.classes)))
        pairs = [(self._rule.score(each), self.classes[each.argmin(axis=1)]) for each in found]
        return np.stack([score for score, _ in pairs], axis=1), np.stack([answer for _, answer in pairs], axis=1)

    def _codes(self, labels: Array) -> Array:
        codes = np.searchsorted(self.classes, labels)
        wrong = (codes >= len(self.classes)) | (self.classes[np.minimum(codes, len(self.classes) - 1)] != labels)
        if wrong.any():
            raise InvalidValueError(
                f"classes must be labels of rows that are there, got {np.asarray(labels)[wrong][0]}"
            )
        return codes

    def _levels_of_classes(self, queries: Array, codes: Array) -> list[Array]:
        """Class distances [Q, M] after each level; the products are exact, and so equal to `partial_distances`."""
        if not len(codes):
            raise InvalidValueError("a gallery must have rows to be at a distance, got none: add some")
        prepared = self.view.prepared(checked_vectors("queries", queries, len(self.view.mean)))
        positions = self.rows.members(codes)
        starts = runs(self.rows.codes[positions])
        out = [np.empty((len(prepared), len(codes))) for _ in self.rows.blocks]
        step = max(_CELLS_AT_ONCE // len(positions), 1)
        for at in range(0, len(prepared), step):
            total = np.zeros((len(prepared[at : at + step]), len(positions)))
            for level, block in enumerate(self.rows.blocks):
                start, stop = self._edges[level : level + 2]
                seen = self.view.coordinates(prepared[at : at + step], start, stop).astype(np.float64)
                rows = block[positions].astype(np.float64)
                total += (seen * seen).sum(axis=1)[:, None] + (rows * rows).sum(axis=1) - 2 * (seen @ rows.T)
                least = np.minimum.reduceat(total, starts, axis=1)
                out[level][at : at + step] = np.maximum(least, 0) * self.view.unit**2
        return out

    # -- thresholds --------------------------------------------------------------------------------------------------

    def with_thresholds(self, thresholds: Sequence[float]) -> FittedThreeWay:
        """The same rows with one threshold a level, in the rule's own units (1/δ for the multi-level rule)."""
        if len(thresholds) != len(self.thresholds):
            raise InvalidValueError(f"thresholds must be {len(self.thresholds)}, one a level, got {len(thresholds)}")
        return FittedThreeWay(
            self.recipe, self.view, self.rows, thresholds, labelled=self.labelled, next_id=self._next_id
        )

    def calibrated(
        self, queries: Array, labels: Array, how: Literal["grid", "false-positives", "step-up"], *, rate: float = 0.01
    ) -> FittedThreeWay:  # fmt: skip
        """The same rows with thresholds chosen on held-out queries float [Q, D] of known labels int [Q].

        grid: one for all levels, the cheapest in multiply–adds among the most accurate of `thresholds.GRIDS`
        false-positives, step-up: one a level, each judged on all queries (`by_false_positives`, `by_step_up`)
        """
        check_axes("labels", labels, str(len(queries)))
        if how == "grid":
            grid, recipe = GRIDS[self.recipe.rule], replace(self.recipe, defer=False)
            plain = FittedThreeWay(recipe, self.view, self.rows, self.thresholds, labelled=self.labelled)
            tried = [plain.with_thresholds([each] * len(self.thresholds)).decide(queries) for each in grid]
            errors = np.array([np.mean(each.labels != labels) for each in tried])
            best = on_grid(errors, np.array([each.multiply_adds.mean() for each in tried]))
            return self.with_thresholds([grid[best]] * len(self.thresholds))
        scores, answers = self.level_scores(queries)
        sign = 1 if self._rule.higher else -1
        chosen = []
        for score, answer in zip(scores.T, answers.T, strict=True):
            if how == "false-positives":
                least = by_false_positives(sign * score, answer == labels, rate=rate)
            else:
                least = by_step_up(sign * score, answer == labels, rate=rate, seed=self.recipe.seed)
            chosen.append(sign * least)
        return self.with_thresholds(chosen)

    # -- changing and keeping ----------------------------------------------------------------------------------------

    def add(self, vectors: Array, labels: Array | None = None) -> Array:
        """Add rows, of old or new classes, seen through the basis of the first rows: float [N, D] → ids int64 [N].

        What the first rows do not vary in stays unseen: fit anew when the gallery has become another one.
        Cost: N·D·K, and a copy of all coordinates.
        """
        vectors = checked_vectors("vectors", vectors, len(self.view.mean))
        if not len(self.view.components):
            raise InvalidValueError("rows can be added where the first rows vary, and these are equal: fit all anew")
        if self.labelled != (labels is not None):
            raise InvalidValueError(f"labels must be given {'as' if self.labelled else 'only when they were'} in fit")
        ids = np.arange(self._next_id, self._next_id + len(vectors))
        own = ids if labels is None else _checked_labels(labels, len(vectors))
        more = _blocks(self.view, self._edges, vectors)
        blocks = tuple(np.concatenate(pair) for pair in zip(self.rows.blocks, more, strict=True))
        self.rows = rows_of(blocks, np.append(self.rows.ids, ids), np.append(self.rows.labels, own))
        self._next_id += len(vectors)
        return ids

    def remove(self, ids: Array) -> None:
        """Forget rows: int [M].  Cost: a copy of all coordinates."""
        ids = np.asarray(ids)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise InvalidValueError(f"ids must be int [M], got {ids.dtype} {list(ids.shape)}")
        wrong = ids[~np.isin(ids, self.rows.ids)]
        if len(wrong):
            raise InvalidValueError(
                f"ids must be of rows that are there, got {wrong[0]}: it was never given or removed"
            )
        stay = ~np.isin(self.rows.ids, ids)
        self.rows = rows_of(tuple(each[stay] for each in self.rows.blocks), self.rows.ids[stay], self.rows.labels[stay])

    def save(self, folder: Path) -> None:
        """Write view, coordinates, labels and thresholds into a folder; the vectors are not needed again."""
        arrays = {
            "mean": self.view.mean, "components": self.view.components, "variances": self.view.variances,
            "coordinates": np.concatenate(self.rows.blocks, axis=1), "ids": self.rows.ids, "labels": self.rows.labels,
            "thresholds": np.array(self.thresholds),
        }  # fmt: skip
        about = {
            "spec": self.recipe.spec, "edges": self._edges, "unit": self.view.unit, "labelled": self.labelled,
            "next_id": self._next_id,
        }  # fmt: skip
        save_model(folder, arrays, about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote."""
        arrays, about = load_model(folder)
        recipe = build(about["spec"], "index")
        view = View(arrays["mean"], arrays["components"], arrays["variances"], about["unit"], recipe.normalise)
        blocks = tuple(np.split(arrays["coordinates"], about["edges"][1:-1], axis=1))
        rows = rows_of(blocks, arrays["ids"], arrays["labels"])
        return cls(
            recipe, view, rows, arrays["thresholds"].tolist(), labelled=about["labelled"], next_id=about["next_id"]
        )
