"""Which index is cheapest here: measured once on this gallery and this machine, then remembered.

No rule of thumb knows your rows, their dimensions, your batches and your processor's caches. So candidates are built
and asked, as far as a budget of about a second goes; what it does not reach is named with the time it would take.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np

from lightmeter.errors import InvalidValueError, MissingExtraError
from lightmeter.meter.cost import Cost, measure
from lightmeter.meter.kernels import best_rate, reading
from lightmeter.meter.record import today
from lightmeter.meter.trials import Frontier, Spread, Trial, choose
from lightmeter.parts import build
from lightmeter.search.granular import Granular
from lightmeter.search.protocol import Metric, Neighbours, checked_vectors
from lightmeter.types import Array, check_axes

CANDIDATES: tuple[str, ...] = (
    "granular",
    "granular/granules=[64,128,192]",
    "granular/granules=[32,96],alpha=0.01",
    "brute",
    "faiss/kind=flat",
    "faiss/kind=pca-refine",
    "one-bit",
    "faiss/kind=ivf",
    "usearch",
    "faiss/kind=hnsw",
    "hnswlib",
)
"""In the order in which they are tried: quick to build first."""
HEADS: tuple[str, ...] = ("ridge",)
"""Tried where rows have labels: a linear head needs no gallery when it answers."""
PEERS = ("faiss", "hnswlib", "usearch", "sklearn", "cv2")
GROWN = 0.2
"""A choice is remembered until the gallery has so much more or fewer rows."""
_SAMPLE_ROWS = 400
_LEAST_S = 1e-9


@dataclass(frozen=True)
class Choice:
    """The index that was chosen, and what it was chosen among.

    spec: of the chosen one · trials: agreement with the true answers and CPU seconds a query, `build` spread over
    `queries` queries · roofline_s: an exact scan of the vectors reads them all, and that takes at least so long here
    skipped: spec → why it was not tried · agreement: what counts as agreeing
    peers: optional libraries that were there, None where none was asked · date: when it was measured
    """

    spec: str
    metric: Metric
    trials: tuple[Trial, ...]
    skipped: dict[str, str]
    roofline_s: float
    rows: int
    dim: int
    batch: int
    at_least: float
    queries: int
    agreement: str
    build_s: dict[str, float] = field(default_factory=dict)
    peers: tuple[str, ...] | None = None
    date: str = ""

    @property
    def frontier(self) -> Frontier:
        """Those that nothing beats on both agreement and price."""
        return Frontier(self.trials)

    def recipe(self) -> Any:
        """The chosen index or head, for the metric it was chosen by."""
        recipe = build(self.spec)
        return replace(recipe, metric=self.metric) if hasattr(recipe, "metric") else recipe

    def of_indexes(self) -> Choice:
        """The same, where only an index will do: a head knows labels, but no rows and no distances."""
        indexes = [trial for trial in self.trials if trial.candidate not in HEADS]
        best = choose(indexes, at_least=min(self.at_least, max(trial.quality for trial in indexes)))
        return replace(self, spec=best.candidate)

    def fits(self, rows: int, dim: int, *, batch: int, at_least: float) -> bool:
        """Whether it still holds: the gallery has not changed much, the same is asked, the same libraries are here."""
        near = abs(rows - self.rows) <= GROWN * self.rows
        same = (dim, batch, at_least) == (self.dim, self.batch, self.at_least)
        return near and same and self.peers in (None, peers_here())

    def rows_text(self) -> list[dict[str, Any]]:
        """One row a candidate, cheapest first, for tables."""
        best = self.frontier
        rows: list[dict[str, Any]] = [
            {
                "index": trial.candidate,
                self.agreement: round(trial.quality, 4),
                "µs a query": round(trial.others["query_s"] * 1e6, 1),
                "build s": round(self.build_s[trial.candidate], 2),
                "MB beside": round((trial.cost.size_bytes or 0) / 1e6, 1),
                "": ("chosen" if trial.candidate == self.spec else "frontier" if trial in best else ""),
            }
            for trial in sorted(self.trials, key=lambda each: each.cost.cpu_s)
        ]
        return rows

    def said(self) -> list[str]:
        """For people: the roofline, what was chosen and why, and what was left out, reason by reason."""
        by = {trial.candidate: trial for trial in self.trials}
        reached = by[self.spec].quality
        enough = reached >= self.at_least
        why = f"the cheapest with {self.agreement} of {self.at_least:.1%} or more"
        short = f"the best there is: {self.agreement} of {reached:.1%}, not the {self.at_least:.1%} asked for"
        lines = [
            f"an exact scan of {self.rows:,} × {self.dim} needs at least {self.roofline_s * 1e3:.3f} ms here",
            f"{self.spec} answers, {why if enough else short} (building shared by {self.queries:,} queries)",
        ]
        cheaper = [name for name in HEADS if name in by and by[name].quality >= self.at_least and name != self.spec]
        if cheaper and by[cheaper[0]].cost.cpu_s < by[self.spec].cost.cpu_s:
            lines.append(f"for labels alone {cheaper[0]} would be cheaper: it knows no rows and no distances")
        why_not: dict[str, list[str]] = {}
        for spec, reason in self.skipped.items():
            why_not.setdefault(reason, []).append(spec)
        return lines + [f"not tried: {', '.join(specs)}: {reason}" for reason, specs in why_not.items()]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "trials": [trial.as_json() for trial in self.trials]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """What `as_json` wrote."""
        trials = tuple(_trial_from(each, values["agreement"]) for each in values["trials"])
        kept: dict[str, Any] = {**values, "trials": trials, "peers": _tuple_or_none(values.get("peers"))}
        return cls(**kept)


def _tuple_or_none(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def peers_here() -> tuple[str, ...]:
    """Which of the optional libraries are installed, without importing them."""
    return tuple(name for name in PEERS if importlib.util.find_spec(name) is not None)


def _trial_from(values: dict[str, Any], agreement: str) -> Trial:
    quality = dict(values["quality"])
    main = quality.pop(agreement)
    return Trial(values["candidate"], main, Cost.from_json(values["cost"]), quality_name=agreement, others=quality)


def choose_index(
    vectors: Array, *, labels: Array | None = None, asked: Array | None = None, k: int = 1, metric: Metric = "l2",
    plan: Budget | None = None,
) -> Choice:  # fmt: skip
    """Build and ask candidates, and take the cheapest that agrees with the true answers often enough.

    vectors: float [N, D] · labels: int [N]; with them an answer agrees where its label does, and linear heads compete
    asked: float [Q, D] queries like those to come; without them up to 200 rows ask, and are left out of what is asked:
    a query that finds itself is answered too fast to say anything
    k: neighbours a query
    The true answers are those of exact granular search, which is a candidate itself.
    Cost: about `plan.budget_s` CPU seconds, and one exact search of at most 200 queries.
    """
    vectors = checked_vectors("vectors", vectors)
    plan = plan or Budget()
    if labels is not None:
        check_axes("labels", labels, str(len(vectors)))
    contest = _contest(vectors, labels, asked, k, metric, plan)
    trials: list[Trial] = []
    skipped: dict[str, str] = {}
    build_s: dict[str, float] = {}
    for spec, make in contest.candidates(plan.candidates):
        why = contest.too_dear(make, build_s) if trials else None
        if why is None:
            try:
                made = contest.tried(spec, make)
            except MissingExtraError as error:
                why = str(error)
            else:
                trials.append(made[0])
                build_s[spec] = made[1]
        if why is not None:
            skipped[spec] = why
    chosen = choose(trials, at_least=min(plan.at_least, max(trial.quality for trial in trials)))
    return Choice(
        chosen.candidate, metric, tuple(trials), skipped, roofline_s(vectors), len(vectors), vectors.shape[1],
        plan.batch, plan.at_least, plan.queries, contest.agreement, build_s, peers_here(), today(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """What to choose for, and how long to look.

    at_least: agreement with the true answers, 0..1 · batch: queries that come at once · queries: how many are to come,
    between which the cost of building is shared · budget_s: CPU seconds for building and asking
    """

    at_least: float = 0.99
    batch: int = 1
    queries: int = 1000
    budget_s: float = 1.0
    candidates: tuple[str, ...] = CANDIDATES
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.at_least <= 1:
            raise InvalidValueError(f"at_least must be above 0 and at most 1, got {self.at_least}: 0.99 is usual")
        if self.batch < 1 or self.queries < 1 or self.budget_s <= 0:
            raise InvalidValueError(
                f"batch and queries must be 1 or more and budget_s above 0, got {self.batch}, {self.queries} and "
                f"{self.budget_s}"
            )


def roofline_s(vectors: Array, *, budget_s: float = 0.05) -> float:
    """The least seconds that one pass over the vectors takes one thread here: their bytes at the best rate measured."""
    works, amount = reading(vectors.reshape(-1), 1)
    return vectors.nbytes / best_rate(works, amount, budget_s)


Make = Callable[[Array, Array | None], Any]
"""Vectors and their labels → something fitted with `search` or `predict`."""


@dataclass(slots=True, eq=False)
class _Contest:
    """The queries, their true answers and what is left of the budget."""

    vectors: Array
    labels: Array | None
    queries: Array
    k: int
    metric: Metric
    plan: Budget
    true: Neighbours
    left_s: float

    @property
    def agreement(self) -> str:
        return "agreement" if self.labels is None else "label agreement"

    def candidates(self, specs: Sequence[str]) -> list[tuple[str, Make]]:
        """Specs with what builds them; those that cannot take the metric do not run."""
        found: list[tuple[str, Make]] = []
        for spec in specs:
            recipe = build(spec, "index")
            if hasattr(recipe, "metric"):
                found.append((spec, _fitting(replace(recipe, metric=self.metric))))
        if self.labels is not None and len(np.unique(self.labels)) > 1:
            found += [(spec, build(spec, "head").fit) for spec in HEADS]
        return found

    def too_dear(self, make: Make, known: dict[str, float]) -> str | None:
        """Why a candidate is not built whole: a small one, scaled up, says that it would break the budget."""
        rows = len(self.vectors)
        if rows <= 2 * _SAMPLE_ROWS:
            return None if self.left_s > 0 else "the budget was spent"
        some = np.random.default_rng(self.plan.seed).choice(rows, _SAMPLE_ROWS, replace=False)
        start_s = time.thread_time()
        try:
            make(self.vectors[some], None if self.labels is None else self.labels[some])
        except (MissingExtraError, InvalidValueError) as error:
            return str(error)
        small_s = time.thread_time() - start_s
        whole_s = small_s * rows / _SAMPLE_ROWS
        self.left_s -= small_s
        if whole_s > max(self.left_s, 0.1 * self.plan.budget_s):
            return f"building it would take about {whole_s:.1f} CPU-s: raise the budget to try it"
        return None

    def tried(self, spec: str, make: Make) -> tuple[Trial, float]:
        """Build and ask one candidate."""
        with measure() as building:
            fitted = make(self.vectors, self.labels)
        built = building.cost
        self.left_s -= built.cpu_s
        head = hasattr(fitted, "predict")
        quality = self._label_agreement(fitted.predict(self.queries)) if head else self._agreement(fitted)
        asked = self._price(fitted.predict if head else lambda queries: fitted.search(queries, self.k))
        share = self.plan.queries
        cost = Cost(
            asked.median + built.wall_s / share, asked.median + built.cpu_s / share, built.peak_bytes,
            size_bytes=int(fitted.size_bytes),
        )  # fmt: skip
        others = {"query_s": asked.median}
        return Trial(spec, quality, cost, quality_name=self.agreement, others=others), built.cpu_s

    def _agreement(self, fitted: Any) -> float:
        found = fitted.search(self.queries, self.k)
        if self.labels is not None:
            return self._label_agreement(np.where(found.ids[:, 0] >= 0, self.labels[found.ids[:, 0]], -1))
        return float((found.distances <= self.true.distances * (1 + 1e-6) + 1e-12).mean())

    def _label_agreement(self, labels: Array) -> float:
        assert self.labels is not None
        true = self.true.ids[:, 0]
        return float(np.mean(labels == np.where(true >= 0, self.labels[true], -1)))

    def _price(self, ask: Callable[[Array], Any]) -> Spread:
        """CPU seconds a query over batches; asked until a thirtieth of the budget is spent."""
        batch = min(self.plan.batch, len(self.queries))
        took: list[float] = []
        start = end_s = time.thread_time()
        while len(took) < 3 or (end_s - start < self.plan.budget_s / 30 and len(took) < 1000):
            at = (len(took) * batch) % (len(self.queries) - batch + 1)
            begin_s = time.thread_time()
            ask(self.queries[at : at + batch])
            end_s = time.thread_time()
            took.append(max((end_s - begin_s) / batch, _LEAST_S))
        self.left_s -= end_s - start
        return Spread.of(took)


def _fitting(recipe: Any) -> Make:
    return lambda vectors, _: recipe.fit(vectors)


def _contest(
    vectors: Array, labels: Array | None, asked: Array | None, k: int, metric: Metric, plan: Budget
) -> _Contest:
    if asked is None:
        rows = np.random.default_rng(plan.seed).permutation(len(vectors))
        asking, rest = np.split(rows, [min(200, len(rows) // 5)])
        rest.sort()
        queries = vectors[asking] if len(asking) else vectors
        vectors = vectors[rest]
        labels = None if labels is None else labels[rest]
    else:
        queries = checked_vectors("asked", asked, vectors.shape[1])[:200]
    true = Granular(metric=metric).fit(vectors).search(queries, k)
    return _Contest(vectors, labels, queries, k, metric, plan, true, plan.budget_s)
