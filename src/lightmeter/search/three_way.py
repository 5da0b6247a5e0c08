"""Three-way decisions on granules of principal components: accept the nearest class, drop classes, or look closer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

import numpy as np

from lightmeter.assets.saving import expect, load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import Spelled, build
from lightmeter.search.deciding import Decider, How
from lightmeter.search.decisions import Decisions, decisions_of
from lightmeter.search.fixed_point import Rows, View, runs, view_of
from lightmeter.search.kernels import compiled
from lightmeter.search.pca import fit_basis
from lightmeter.search.protocol import Abilities, Neighbours, checked_vectors, refuse
from lightmeter.search.row_store import RowStore
from lightmeter.search.rules import RULES, top_posteriors
from lightmeter.search.three_way_twin import Twin
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
    Cost: fit as `fit_basis` and N·D·K, 4·K + m + 28 bytes a row; a query D·m + N·m multiply–adds and (D + N)·m·4 bytes
    for the first level, then what the rule asks for. The kernel reads N·m bytes of the first level, and of its rows
    those that may stay, when the rule is multi-level.
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
        store = RowStore(blocks, ids, ids if labels is None else labels)
        return FittedThreeWay(self, view, store, [self._fixed] * len(blocks), labelled=labels is not None)


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
        self, recipe: ThreeWay, view: View, store: RowStore, thresholds: Sequence[float], *, labelled: bool
    ) -> None:
        self.recipe, self.view, self.labelled = recipe, view, labelled
        self.thresholds = tuple(float(each) for each in thresholds)
        self._store = store
        self._rule = RULES[recipe.rule]
        self._edges = tuple(np.cumsum([0, *(block.shape[1] for block in store.blocks)]).tolist())
        self._compiled = compiled()
        self._decider: Decider | None = None

    def __len__(self) -> int:
        return len(self._store)

    @property
    def abilities(self) -> Abilities:
        """Changes and keeps, but an answer may be another than the nearest row's."""
        return Abilities(exact=False, add=True, remove=True, save=True)

    @property
    def rows(self) -> Rows:
        """The rows that are there, class by class; made when first asked for after a change."""
        return self._store.rows

    @property
    def classes(self) -> Array:
        """Labels of the classes, rising: int64 [C]; columns of `class_distances`."""
        return self.rows.classes

    @property
    def size_bytes(self) -> int:
        """Bytes of the view, the coordinates and the labels; the vectors themselves are not held."""
        view = self.view
        return self._store.size_bytes + sum(int(each.nbytes) for each in (view.mean, view.components, view.variances))

    # -- deciding ----------------------------------------------------------------------------------------------------

    def decide(self, queries: Array) -> Decisions:
        """Decide for queries float [Q, D]; each is decided as if it were alone."""
        if self._compiled is None:
            courses = self._twin().courses(self._prepared(queries))
            return decisions_of(courses, self.rows, self._rule, defer=self.recipe.defer)
        return self._kernel().decide(queries, 0).decisions(self._rule)

    def search(self, queries: Array, k: int = 1, *, among: Array | None = None) -> Neighbours:
        """The k nearest of the rows that are not ruled out, over the components that were read.

        Distances are squared L2 over these components: at most the true ones, and they rise with the levels read. Where
        fewer rows are left than k, ids are −1. The first is what `decide` answers with. Nothing is proven of them.
        """
        if k < 1:
            raise InvalidValueError(f"k must be at least 1, got {k}")
        if among is not None:
            raise refuse("three-way", "search among some ids")
        if self._compiled is None:
            return self._twin().neighbours(self._prepared(queries), k)
        return self._kernel().decide(queries, k).neighbours()

    def _prepared(self, queries: Array) -> Array:
        return self.view.prepared(checked_vectors("queries", queries, len(self.view.mean)))

    def _kernel(self) -> Decider:
        if self._decider is None:
            recipe = self.recipe
            how = How(recipe.rule, by_row=recipe.prune == "instance", lazy=recipe.lazy, defer=recipe.defer)
            self._decider = Decider(self._compiled, how, self.view, self._store, self._edges, self.thresholds)
        return self._decider

    def _twin(self) -> Twin:
        recipe = self.recipe
        return Twin(
            self.view, self.rows, self._rule, self._edges, self.thresholds, narrowing=recipe.rule == "multi-level",
            by_row=recipe.prune == "instance", lazy=recipe.lazy,
        )  # fmt: skip

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
        return FittedThreeWay(self.recipe, self.view, self._store.shared(), thresholds, labelled=self.labelled)

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
            plain = FittedThreeWay(recipe, self.view, self._store.shared(), self.thresholds, labelled=self.labelled)
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
        Cost: N·D·K, amortised.
        """
        vectors = checked_vectors("vectors", vectors, len(self.view.mean))
        if not len(self.view.components):
            raise InvalidValueError("rows can be added where the first rows vary, and these are equal: fit all anew")
        if self.labelled != (labels is not None):
            raise InvalidValueError(f"labels must be given {'as' if self.labelled else 'only when they were'} in fit")
        own = None if labels is None else _checked_labels(labels, len(vectors))
        self._decider = None
        return self._store.add(_blocks(self.view, self._edges, vectors), own)

    def remove(self, ids: Array) -> None:
        """Forget rows: int [M].  Cost: O(M·(K + log N)), amortised."""
        self._decider = None
        self._store.remove(ids)

    def save(self, folder: Path) -> None:
        """Write view, coordinates, labels and thresholds into a folder; the vectors are not needed again."""
        blocks, ids, labels = self._store.present()
        arrays = {
            "mean": self.view.mean, "components": self.view.components, "variances": self.view.variances,
            "coordinates": np.concatenate(blocks, axis=1), "ids": ids, "labels": labels,
            "thresholds": np.array(self.thresholds),
        }  # fmt: skip
        about = {
            "spec": self.recipe.spec, "edges": self._edges, "unit": self.view.unit, "labelled": self.labelled,
            "next_id": self._store.next_id,
        }  # fmt: skip
        save_model(folder, arrays, about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for what the kernels could not read as what they take it for."""
        arrays, about = load_model(folder)
        recipe = build(str(about.get("spec")), "index")
        if not isinstance(recipe, ThreeWay):
            raise RejectedFileError("damaged", f"{folder} must hold a three-way index, got {recipe.spec}")
        components = expect(arrays, "components", "float32", None, None)
        count, dim = components.shape
        edges, unit, next_id = _edges(recipe, count), about.get("unit"), about.get("next_id")
        if (
            list(edges) != about.get("edges")
            or not isinstance(next_id, int)
            or not isinstance(unit, float)
            or unit <= 0
        ):
            raise RejectedFileError("damaged", "edges, next_id and unit must be as they were saved: save it again")
        thresholds = expect(arrays, "thresholds", "float64+inf", len(edges) - 1)
        mean, variances = expect(arrays, "mean", "float64", dim), expect(arrays, "variances", "float64", count)
        view = View(mean, components, variances, unit, recipe.normalise)
        coordinates = expect(arrays, "coordinates", "float32", None, count)
        ids = expect(arrays, "ids", "int64", len(coordinates))
        if (np.diff(ids, prepend=-1) < 1).any() or (len(ids) and ids[-1] >= next_id):
            raise RejectedFileError("damaged", "ids of a model must rise from 0 and stay below next_id: save it again")
        store = RowStore(
            np.split(coordinates, edges[1:-1], axis=1),
            ids,
            expect(arrays, "labels", "int64", len(ids)),
            next_id=next_id,
        )
        return cls(recipe, view, store, thresholds.tolist(), labelled=bool(about.get("labelled")))
