"""A study of classifiers of videos: every row learns and is asked on the same folds; differences are taken in pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError, LightmeterError
from lightmeter.heads.examples import Chosen, Examples
from lightmeter.meter.cost import Cost, measure
from lightmeter.metrics.bootstrap import Interval, bootstrap, paired_difference
from lightmeter.metrics.ranking import VideoQuality, VideoScores
from lightmeter.studies.declared import Asked, Role, Scale
from lightmeter.types import Array, Labels

ROUNDS: dict[Scale, int] = {"smoke": 50, "cpu": 500, "paper": 500}
"""Of every bootstrap."""


@dataclass(frozen=True, eq=False)
class Fold:
    """What a row may learn from and what it is asked.

    items: all of the set, with blocks of words learnt from `train` alone · train, dev, test: int64 row numbers;
    anything that is tuned is tuned on `dev` · texts: what the set keeps of titles and keywords · seed: to learn by
    answers: of the rows before this one, by label
    """

    number: int
    items: Examples
    train: Array
    dev: Array
    test: Array
    texts: Any = None
    seed: int = 0
    answers: Mapping[str, FoldAnswer] = field(default_factory=dict)

    def among(self, items: Examples, blocks: Sequence[str]) -> Callable[[Array], Chosen]:
        """Views of `items` (these, or these with more blocks): row numbers → some items with some blocks."""
        return lambda rows: Chosen.of(items, blocks=blocks, rows=rows)

    def labels(self, rows: Array) -> Labels:
        """Labels of some items; raises InvalidValueError where nobody knows them."""
        if self.items.labels is None:
            raise InvalidValueError("a study needs labels, the set has none")
        return self.items.labels.take(rows)


@dataclass(frozen=True, eq=False)
class FoldAnswer:
    """What a row answers on one fold.

    dev, test: float32 [D, K], [T, K] in 0..1 · fit, ask: what learning and answering for `test` cost
    spec: of what was fitted · size_bytes, macs: of the model, for one item · more: what later rows may ask it for
    """

    dev: Array
    test: Array
    fit: Cost
    ask: Cost
    spec: str
    size_bytes: int | None = None
    macs: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FoldRow:
    """A candidate.

    label: its name · answer: fold → FoldAnswer · published: (table, row) of every printed row that it stands for
    needs: labels of the rows whose answers it takes · skip: why it is not run, "" to run it
    """

    label: str
    answer: Callable[[Fold], FoldAnswer]
    role: Role
    published: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    skip: Callable[[Asked], str] = lambda _asked: ""


@dataclass(frozen=True, eq=False)
class FoldSet:
    """A set of labelled items, cut into folds.

    fold: number → the fold; an item is in `test` of one at most
    asked_groups: int64 [T], of the items that are in one, in their order: what the bootstrap draws together
    counts: what it holds, for the table of sizes · words: the commonest of each text, for pictures
    """

    name: str
    items: int
    classes: int
    folds: int
    fold: Callable[[int], Fold]
    asked_groups: Array
    source: str
    licence: str
    data_hash: str
    counts: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """One line about it."""
        return f"{self.name}: {self.items:,} items, {self.classes:,} classes, {self.folds} folds · {self.source}"


@dataclass(frozen=True)
class FoldStudy:
    """A declared comparison of classifiers.

    question: one sentence · rows: in the order in which they run · sets: how to make each, by title
    tables: published tables that are shown, with what to say of each · pairs: (row, row) whose difference is reported
    """

    name: str
    question: str
    rows: tuple[FoldRow, ...]
    sets: Callable[[Asked], Mapping[str, Callable[[], FoldSet]]]
    tables: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        before: set[str] = set()
        for row in self.rows:
            if row.label in before or not set(row.needs) <= before:
                raise InvalidValueError(f"row {row.label!r} must come once, after {', '.join(row.needs) or 'nothing'}")
            before.add(row.label)

    def run(self, asked: Asked) -> FoldStudyResult:
        """Run every row on every fold of every set by every seed; what cannot run says why and the rest goes on.

        A seed changes first weights, order and what is dropped while learning; sets, folds and codebooks are those of
        the first one.
        """
        asked.check_no_checkpoint(self.name)
        if asked.encoder is not None:
            raise InvalidValueError(f"{self.name} takes features as they are: leave --encoder out")
        with measure() as meter:
            sections = tuple(self._section(title, make, asked) for title, make in self.sets(asked).items())
        return FoldStudyResult(self, asked, sections, meter.cost)

    def _section(self, title: str, make: Callable[[], FoldSet], asked: Asked) -> FoldSection:
        try:
            whole = make()
        except LightmeterError as error:
            if asked.data is not None:
                raise
            return FoldSection(
                title, None, tuple(FoldOutcome(row, why=str(error)) for row in self.rows), why=str(error)
            )
        asked.tell(whole.said)
        outcomes = _run_rows(self.rows, whole, asked)
        scores = {each.row.label: each.scores for each in outcomes if each.scores}
        rounds = ROUNDS[asked.scale]
        differences = {
            (one, other): paired_difference(scores[one], scores[other], rounds=rounds, groups=whole.asked_groups)
            for one, other in self.pairs
            if one in scores and other in scores
        }
        return FoldSection(title, whole, outcomes, differences)


@dataclass(frozen=True, eq=False)
class FoldOutcome:
    """A row on all folds of a set: measured, or not run and why.

    scores: by seed, of all test items, pooled over folds, in the order of the set · quality: the mean over seeds
    intervals: by bootstrap over groups of items and over seeds · by_fold: quality of each fold, the mean over seeds
    by_seed: quality by each seed · fit, ask: sums over folds and seeds
    """

    row: FoldRow
    why: str = ""
    scores: tuple[VideoScores, ...] = ()
    quality: VideoQuality | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    by_fold: tuple[VideoQuality, ...] = ()
    by_seed: tuple[VideoQuality, ...] = ()
    fit: Cost | None = None
    ask: Cost | None = None
    spec: str = ""
    size_bytes: int | None = None
    macs: int | None = None


@dataclass(frozen=True, eq=False)
class FoldSection:
    """All rows on one set; `whole` is None and `why` says why where it could not be made."""

    title: str
    whole: FoldSet | None
    outcomes: tuple[FoldOutcome, ...]
    differences: Mapping[tuple[str, str], Mapping[str, Interval]] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, eq=False)
class FoldStudyResult:
    """A study as it came out; `fold_results` shows and writes it."""

    study: FoldStudy
    asked: Asked
    sections: tuple[FoldSection, ...]
    cost: Cost

    def text(self) -> str:
        """The tables."""
        from lightmeter.studies.fold_results import fold_text

        return fold_text(self)

    def json_rows(self) -> list[dict[str, Any]]:
        """One object a row."""
        from lightmeter.studies.fold_results import fold_json

        return fold_json(self)

    def write(self, out: Path) -> list[Path]:
        """Tables, record and pictures."""
        from lightmeter.studies.fold_results import write_folds

        return write_folds(self, out)


@dataclass(frozen=True, eq=False)
class _Answered:
    """What is kept of a row's answer on a fold, by one seed: of the answers the top ones, not all classes."""

    scores: VideoScores
    answer: FoldAnswer


_Kept = dict[str, list[list[_Answered]]]
"""Row → by seed → by fold."""


def _run_rows(rows: Sequence[FoldRow], whole: FoldSet, asked: Asked) -> tuple[FoldOutcome, ...]:
    """Fold by fold, so that the blocks of one fold are made once and let go; on each the seeds, one after the other."""
    why = {row.label: said for row in rows if (said := row.skip(asked))}
    kept: _Kept = {row.label: [[] for _ in asked.every_seed] for row in rows}
    tests = []
    for number in range(whole.folds):
        fold = whole.fold(number)
        tests.append(fold.test)
        for at, seed in enumerate(asked.every_seed):
            which = f", seed {seed}" if len(asked.every_seed) > 1 else ""
            where = f"{whole.name}, fold {number + 1} of {whole.folds}{which}"
            tell = partial(_told, asked.tell, where)
            given = _run_fold(rows, replace(fold, seed=seed), why, tell)
            for label, answer in given.items():
                scores = VideoScores(whole.classes).update(answer.test, fold.labels(fold.test))
                kept[label][at].append(_Answered(scores, replace(answer, dev=_NONE, test=_NONE, more={})))
    order = np.argsort(np.concatenate(tests), kind="stable")
    made = [
        FoldOutcome(row, why=why[row.label])
        if row.label in why
        else _pooled(row, kept[row.label], order, (whole, ROUNDS[asked.scale]))
        for row in rows
    ]
    return tuple(made)


_NONE = np.empty((0, 0), np.float32)


def _told(tell: Callable[[str], None], where: str, label: str) -> None:
    tell(f"{where}: {label}")


def _run_fold(
    rows: Sequence[FoldRow], fold: Fold, why: dict[str, str], tell: Callable[[str], None]
) -> dict[str, FoldAnswer]:
    """The answers of the rows on one fold, by one seed; why one cannot run is put down, and it is not tried again."""
    given: dict[str, FoldAnswer] = {}
    for row in rows:
        if row.label in why:
            continue
        tell(row.label)
        lacking = [each for each in row.needs if each not in given]
        try:
            if lacking:
                raise InvalidValueError(f"needs {lacking[0]}, which was not run: {why.get(lacking[0], 'it failed')}")
            given[row.label] = row.answer(replace(fold, answers=given))
        except LightmeterError as error:
            why[row.label] = str(error)
    return given


def _pooled(row: FoldRow, kept: Sequence[Sequence[_Answered]], order: Array, drawn: tuple[FoldSet, int]) -> FoldOutcome:
    """The quality of all test items together, as each was answered by the model that had not seen it.

    kept: by seed, by fold · drawn: the set and how often the bootstrap draws from it
    """
    whole, rounds = drawn
    scores = tuple(_merged([each.scores for each in folds]).take(order) for folds in kept)
    by_seed = tuple(each.result() for each in scores)
    answers = [each.answer for folds in kept for each in folds]
    last = answers[-1]
    return FoldOutcome(
        row,
        scores=scores,
        quality=mean_of(by_seed),
        intervals=bootstrap(scores, rounds=rounds, groups=whole.asked_groups),
        by_fold=tuple(mean_of([each.scores.result() for each in fold]) for fold in zip(*kept, strict=True)),
        by_seed=by_seed,
        fit=summed([got.fit for got in answers]),
        ask=summed([got.ask for got in answers]),
        spec=last.spec,
        size_bytes=last.size_bytes,
        macs=last.macs,
    )


def _merged(parts: Sequence[VideoScores]) -> VideoScores:
    whole = parts[0]
    for more in parts[1:]:
        whole = whole.merge(more)
    return whole


def mean_of(qualities: Sequence[VideoQuality]) -> VideoQuality:
    """The mean of qualities on the same videos; `tied_cuts` is that of all of them."""
    if len(qualities) == 1:
        return qualities[0]
    first = qualities[0]
    same = {"videos": first.videos, "labels": first.labels, "tied_cuts": sum(each.tied_cuts for each in qualities)}
    names = [each.name for each in fields(first) if each.name not in same]
    means = {name: float(np.mean([getattr(each, name) for each in qualities])) for name in names}
    return VideoQuality(**means, **same)  # type: ignore[arg-type]


def summed(costs: Sequence[Cost]) -> Cost:
    """What all of them cost."""
    total = costs[0]
    for cost in costs[1:]:
        total = total.plus(cost)
    return total
