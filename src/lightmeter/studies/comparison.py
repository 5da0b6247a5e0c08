"""A study: a declared comparison of candidates on galleries, run in turns, with published cells beside our figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from lightmeter.errors import InvalidValueError, LightmeterError
from lightmeter.meter.cost import Cost, measure
from lightmeter.meter.trials import Spread, Trial, run_trials
from lightmeter.metrics.selective import CoverageRisk, coverage_risk
from lightmeter.metrics.shares import Share
from lightmeter.studies.declared import Asked, Role, Scale
from lightmeter.studies.galleries import Gallery
from lightmeter.studies.published import Cell, published
from lightmeter.types import Array

Made = TypeVar("Made")


# -- what is declared -----------------------------------------------------------------------------------------------


class Change(Protocol):
    """A fitted candidate that rows can be added to and removed from, as `search.FittedIndex`."""

    def add(self, vectors: Array) -> Array:
        """Rows [N, D] → their ids."""
        ...

    def remove(self, ids: Array) -> None:
        """Forget rows."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """What a fitted candidate tells of its answers, beside them; means over queries, None where it cannot tell.

    bytes_read: of the index and the vectors · survivors: rows still in the race after each level
    proven: share of queries whose answer is proven to be the true neighbour
    measured: rows whose dissimilarity to the query was worked out in full · frames: of a video that were looked at
    """

    bytes_read: float | None = None
    survivors: tuple[float, ...] = ()
    proven: float | None = None
    measured: float | None = None
    frames: float | None = None


@dataclass(frozen=True)
class Fitted:
    """A candidate that has seen the gallery.

    labels: some of `Gallery.asked` → classes int64, -1 for "unknown"; the only call that is timed
    confidence: the same → float, higher is surer · tell: the same → Told · change: what adds and removes
    size_bytes: held beside the vectors · spec, label: of what was fitted, where they are not those of its row
    build: what fitting cost, where rows share what was fitted
    """

    labels: Callable[[Any], Array]
    confidence: Callable[[Any], Array] | None = None
    tell: Callable[[Any], Told] | None = None
    change: Change | None = None
    size_bytes: int | None = None
    spec: str = ""
    label: str = ""
    build: Cost | None = None


def always(_gallery: Gallery, _scale: Scale) -> str:
    """No reason to leave a row out."""
    return ""


def everything(_gallery: Gallery, _scale: Scale) -> int | None:
    """Ask with all queries."""
    return None


@dataclass(frozen=True)
class Row:
    """A candidate.

    label: its name in the table · spec: of the part it is · fit: gallery → Fitted
    published: its row in the published table, "" where it has none · skip: why it is not run here, "" to run it
    at_most: how many queries it is asked with, the first ones, where one alone takes seconds; None for all
    """

    label: str
    spec: str
    fit: Callable[[Gallery], Fitted]
    role: Role
    published: str = ""
    skip: Callable[[Gallery, Scale], str] = always
    at_most: Callable[[Gallery, Scale], int | None] = everything


@dataclass(frozen=True, slots=True)
class Beside:
    """Which published columns stand beside a section. accuracy: the column holds accuracies, not errors."""

    table: str
    error: str
    time: str = ""
    accuracy: bool = False


def exact_labels(gallery: Gallery) -> Array:
    """The class of each query's true nearest row (in the gallery's metric, float64, ties to the lowest): int64 [Q]."""
    if gallery.metric == "l2":
        return gallery.y[exact_rows(gallery.x, gallery.queries)]
    from lightmeter.search.dissimilarity import Gallery as Measured
    from lightmeter.search.dissimilarity import dissimilarity

    held = Measured.of(dissimilarity(gallery.metric), gallery.x)
    every = np.arange(len(gallery.x))
    return gallery.y[[int(held.rerank(query, every, 1)[0][0]) for query in gallery.queries]]


def exact_rows(x: Array, queries: Array) -> Array:
    """The true nearest row of each query: float [N, D], [Q, D] → int64 [Q].  Cost: Q·N·D in float64, 256 at a time."""
    rows = x.astype(np.float64)
    lengths = np.einsum("nd,nd->n", rows, rows)
    found = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), 256):
        block = queries[start : start + 256].astype(np.float64)
        scores = lengths - 2 * (block @ rows.T)
        close = scores <= scores.min(axis=1, keepdims=True) + 1e-9 * lengths.max()
        found[start : start + 256] = [_nearest(rows, query, near) for query, near in zip(block, close, strict=True)]
    return found


def _nearest(rows: Array, query: Array, near: Array) -> int:
    """Among rows too close to be told apart by a product, which rounds twins differently, by the difference itself."""
    few = np.flatnonzero(near)
    return int(few[np.square(rows[few] - query).sum(axis=1).argmin()])


@dataclass(frozen=True)
class Section:
    """One gallery of a study.

    gallery: makes it, when its turn comes · beside: published columns, None where the seed has no such data
    exact: gallery → the classes that `agreement` compares with
    """

    title: str
    gallery: Callable[[], Gallery]
    beside: Beside | None = None
    exact: Callable[[Gallery], Array] = exact_labels


@dataclass(frozen=True)
class Study:
    """A declared comparison.

    question: one sentence with a question mark · rows: candidates, in the order of the table, each label once
    sections: galleries for a scale · notes: what differs from the seed
    gallery_notes: what is to be known of our galleries and the published cells; not shown for the user's own data
    """

    name: str
    question: str
    rows: tuple[Row, ...]
    sections: Callable[[Asked], Sequence[Section]]
    notes: tuple[str, ...] = ()
    gallery_notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labels = [row.label for row in self.rows]
        if len(set(labels)) < len(labels):
            raise InvalidValueError(f"rows of {self.name} must have different labels, got {', '.join(labels)}")
        if not self.question.endswith("?"):
            raise InvalidValueError(f"the question of {self.name} must end in '?', got {self.question!r}")

    def run(self, asked: Asked) -> StudyResult:
        """As `run_study`."""
        return run_study(self, asked)


# -- what comes out -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """One row on one gallery: measured, or `not run` and why.

    trial: accuracy over the price of one query, asked alone (median CPU of interleaved repeats, all threads counted)
    right: answers that are · agreement: answers equal to the exact neighbour's · build: of fitting, once
    batch_per_s: queries a CPU-second, asked all at once · add_ms, remove_ms: CPU for one row, median
    differs: queries of those timed whose answer alone is not the one in the batch · published_*: what the seed prints
    spec: of what was fitted
    """

    row: Row
    why: str = ""
    trial: Trial | None = None
    right: Share | None = None
    agreement: Share | None = None
    build: Cost | None = None
    batch_per_s: float | None = None
    add_ms: float | None = None
    remove_ms: float | None = None
    differs: int = 0
    size_bytes: int | None = None
    told: Told = field(default_factory=Told)
    curve: CoverageRisk | None = None
    published_error: Cell | None = None
    published_time: Cell | None = None
    spec: str = ""

    @property
    def ran(self) -> bool:
        """Whether it was measured."""
        return self.trial is not None


@dataclass(frozen=True)
class SectionResult:
    """All rows on one gallery; `gallery` is None and `why` says why where it could not be made."""

    section: Section
    outcomes: tuple[Outcome, ...]
    gallery: Gallery | None = None
    why: str = ""


@dataclass(frozen=True)
class StudyResult:
    """A study as it came out; `results` shows and writes it."""

    study: Study
    asked: Asked
    sections: tuple[SectionResult, ...]
    cost: Cost

    def text(self) -> str:
        """All sections as tables."""
        from lightmeter.studies.results import study_text

        return study_text(self)

    def json_rows(self) -> list[dict[str, Any]]:
        """One object a row of a section."""
        from lightmeter.studies.results import json_rows

        return json_rows(self)

    def write(self, out: Path) -> list[Path]:
        """Table, record and pictures."""
        from lightmeter.studies.results import write_study

        return write_study(self, out)


# -- running --------------------------------------------------------------------------------------------------------

BUDGET_S: dict[Scale, float] = {"smoke": 0.01, "cpu": 0.1, "paper": 0.2}
REPEATS: dict[Scale, int] = {"smoke": 3, "cpu": 5, "paper": 5}
CHANGES = 9
"""CPU-seconds that one repeat of a row's timing may take (one query at least), repeats, and rows added and removed."""


def run_study(study: Study, asked: Asked) -> StudyResult:
    """Run every row on every gallery of a scale; what cannot run says why and the rest goes on.

    The user's data get the published columns at `paper`, which asks for them. `paper` and an encoder need `data`:
    raises InvalidValueError without it, and for several seeds. Data that are no gallery raise what `user_gallery` does.
    """
    asked.check_no_checkpoint(study.name)
    if len(asked.every_seed) > 1:
        raise InvalidValueError(f"{study.name} takes one seed, got {asked.seeds}: leave --seeds out, or run it again")
    if asked.encoder is not None and asked.data is None:
        raise InvalidValueError(f"--encoder needs --data FOLDER with pictures to encode, got {asked.encoder} alone")
    if asked.scale == "paper" and asked.data is None:
        raise InvalidValueError(
            "--scale paper needs --data FOLDER: a folder of pictures, or gallery.npz and queries.npz"
        )
    with measure() as meter:
        sections = [_shown(section, asked) for section in study.sections(asked)]
        done = tuple(_run_section(study, section, asked) for section in sections)
    return StudyResult(study, asked, done, meter.cost)


def _shown(section: Section, asked: Asked) -> Section:
    """The section without published columns where nobody asked for them."""
    return section if asked.data is None or asked.scale == "paper" else replace(section, beside=None)


def _run_section(study: Study, section: Section, asked: Asked) -> SectionResult:
    try:
        gallery = section.gallery()
    except LightmeterError as error:
        if asked.data is not None:  # all that was asked about
            raise
        asked.tell(f"{section.title}: not run: {error}")
        rows = tuple(_beside(Outcome(row, why=str(error)), section.beside) for row in study.rows)
        return SectionResult(section, rows, why=str(error))
    asked.tell(gallery.said)
    exact = section.exact(gallery)
    outcomes, fitted = {}, {}
    for row in study.rows:
        outcomes[row.label], made = _answer(row, gallery, exact, asked)
        if made is not None:
            fitted[row.label] = made
    timed = _time(fitted, outcomes, gallery, asked.scale)
    rows = tuple(_beside(timed.get(row.label, outcomes[row.label]), section.beside) for row in study.rows)
    return SectionResult(section, (*rows, *_unmatched(study, section.beside)), gallery)


def _answer(row: Row, gallery: Gallery, exact: Array, asked: Asked) -> tuple[Outcome, Fitted | None]:
    """Fit a row and score its answers to all queries at once."""
    why = row.skip(gallery, asked.scale)
    if why:
        return Outcome(row, why=why), None
    asked.tell(f"{gallery.name}: {row.label}")
    some = slice(row.at_most(gallery, asked.scale))
    queries = gallery.asked[some]
    try:
        fitted, build = built(lambda: row.fit(gallery))
        labels, batch_s = _batch(fitted, queries)
        told = fitted.tell(queries) if fitted.tell else Told()
        confidence = fitted.confidence(queries) if fitted.confidence else None
    except LightmeterError as error:
        return Outcome(row, why=str(error)), None
    right = labels == gallery.answers[some]
    return Outcome(
        replace(row, label=fitted.label or row.label),
        right=Share(int(right.sum()), len(right)),
        agreement=Share(int((labels == exact[some]).sum()), len(right)),
        build=fitted.build or build,
        batch_per_s=len(right) / max(batch_s, 1e-9),
        size_bytes=fitted.size_bytes,
        told=told,
        curve=None if confidence is None else coverage_risk(confidence, ~right),
        spec=fitted.spec or row.spec,
    ), fitted


def built(fit: Callable[[], Made], *, patience_s: float = 2.0) -> tuple[Made, Cost]:
    """Fit, and what it cost: the second time where the first did not take long, as that may have imported a library."""
    for _ in range(2):
        with measure(tree=False) as meter:
            fitted = fit()
        if meter.cost.cpu_s > patience_s:
            break
    return fitted, meter.cost


def _batch(fitted: Fitted, asked: Any, *, least_s: float = 0.01, patience_s: float = 2.0) -> tuple[Array, float]:
    """Answers to all queries at once and their CPU-seconds; a first time that did not take long does not count."""
    start_s = time.process_time()
    labels = fitted.labels(asked)
    taken_s = time.process_time() - start_s
    if taken_s > patience_s:
        return labels, taken_s
    times = max(1, int(least_s / max(taken_s, 1e-6)))
    start_s = time.process_time()
    for _ in range(times):
        labels = fitted.labels(asked)
    return labels, (time.process_time() - start_s) / times


def _time(
    fitted: Mapping[str, Fitted], outcomes: Mapping[str, Outcome], gallery: Gallery, scale: Scale
) -> dict[str, Outcome]:
    """The same outcomes with the price of one query; rows take turns, so that a slow minute hits all alike."""
    if not fitted:
        return {}
    asked = gallery.asked
    some = {label: _affordable(each, asked, BUDGET_S[scale]) for label, each in fitted.items()}
    calls = {label: partial(_one_by_one, label, fitted[label], asked, some[label]) for label in fitted}
    accuracy = {label: each.right.value for label, each in outcomes.items() if each.right is not None}
    trials = run_trials(calls, {"accuracy": accuracy.__getitem__}, repeats=REPEATS[scale], least_s=BUDGET_S[scale])
    done = {}
    for trial in trials:
        label = trial.candidate
        alone = np.concatenate([fitted[label].labels(asked[at : at + 1]) for at in some[label]])
        batch = fitted[label].labels(_chosen(asked, some[label]))
        add_ms, remove_ms = _changing(fitted[label], gallery)
        done[label] = replace(
            outcomes[label], trial=_shared(trial, len(some[label])), differs=int((alone != batch).sum()),
            add_ms=add_ms, remove_ms=remove_ms,
        )  # fmt: skip
    return done


def _affordable(fitted: Fitted, asked: Any, budget_s: float) -> list[int]:
    """Queries, evenly spread, that one repeat has time for: at least one, at most 200."""
    fitted.labels(asked[:1])
    start_s = time.process_time()
    fitted.labels(asked[:1])
    taken_s = max(time.process_time() - start_s, 1e-6)
    count = min(len(asked), 200, max(1, int(budget_s / taken_s)))
    return np.linspace(0, len(asked) - 1, count).astype(int).tolist()  # type: ignore[no-any-return]


def _one_by_one(label: str, fitted: Fitted, asked: Any, some: Sequence[int]) -> str:
    for at in some:
        fitted.labels(asked[at : at + 1])
    return label


def _chosen(asked: Any, some: Sequence[int]) -> Any:
    return asked[some] if isinstance(asked, np.ndarray) else [asked[at] for at in some]


def _shared(trial: Trial, count: int) -> Trial:
    """A trial of `count` queries as that of one."""
    spreads = {
        name: Spread(each.median / count, each.low / count, each.high / count, each.n)
        for name, each in trial.spreads.items()
    }
    return replace(trial, cost=trial.cost.shared_by(count), spreads=spreads)


def _changing(fitted: Fitted, gallery: Gallery) -> tuple[float | None, float | None]:
    """Median CPU milliseconds to add one row and to remove it again; queries are what is added."""
    if fitted.change is None:
        return None, None
    adding, removing = [], []
    for at in range(CHANGES):
        row = gallery.queries[at % len(gallery.queries)][None]
        start_s = time.process_time()
        ids = fitted.change.add(row)
        added_s = time.process_time()
        fitted.change.remove(ids)
        adding.append(added_s - start_s)
        removing.append(time.process_time() - added_s)
    return 1000 * float(np.median(adding)), 1000 * float(np.median(removing))


# -- published ------------------------------------------------------------------------------------------------------


def _beside(outcome: Outcome, beside: Beside | None) -> Outcome:
    if beside is None or not outcome.row.published:
        return outcome
    printed = published(beside.table)
    return replace(
        outcome,
        published_error=printed.cell(outcome.row.published, beside.error),
        published_time=printed.cell(outcome.row.published, beside.time) if beside.time else None,
    )


def _unmatched(study: Study, beside: Beside | None) -> list[Outcome]:
    """Published rows that no row of ours stands for: shown, and not run."""
    if beside is None:
        return []
    ours = {row.published for row in study.rows}
    missing = [label for label in published(beside.table).rows if label not in ours]
    return [_beside(Outcome(_published_only(label), why="no part of ours is this"), beside) for label in missing]


def _published_only(label: str) -> Row:
    def fit(_gallery: Gallery) -> Fitted:
        raise InvalidValueError(f"{label} is published only: it cannot be fitted")

    return Row(label, "", fit, "seed", published=label)
