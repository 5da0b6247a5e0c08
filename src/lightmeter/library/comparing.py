"""Several models on the same data: quality, price, who beats whom how surely, the cheapest that is good enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.heads.answering import Answering
from lightmeter.heads.examples import Examples, is_rated
from lightmeter.library.evaluating import interval_json, rounds_for
from lightmeter.library.scoring import Scores, columns_of, evaluate, rows_at_once
from lightmeter.meter.trials import Frontier, Spread, Trial, choose, run_trials
from lightmeter.metrics.bootstrap import Interval, compared
from lightmeter.metrics.ranking import VideoQuality, VideoScores
from lightmeter.metrics.segments import SegmentQuality

Price = Literal["cpu_s", "wall_s", "macs", "size_bytes"]
_PATIENCE_S = 20.0
_ROUNDS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One model among others.

    trial: its GAP (MAP of rated segments) and what an item costs; `size_bytes` is the model's
    intervals: of its qualities · differences: of them to the first model's, on the same items; of the first one, and of
    rated segments, there are none
    """

    trial: Trial
    quality: VideoQuality | SegmentQuality
    intervals: Mapping[str, Interval]
    differences: Mapping[str, Interval]

    def as_json(self) -> dict[str, Any]:
        """All of it; NaN as None."""
        return {
            **self.quality.as_json(),
            "intervals": {name: interval_json(each) for name, each in self.intervals.items()},
            "less_the_first": {
                name: {**interval_json(each), "clear": each.clear} for name, each in self.differences.items()
            },
            "cost_an_item": self.trial.cost.as_json(),
            "rounds": self.trial.spreads["cpu_s"].n,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Models in the order in which they were given. price: the field of the cost by which they are compared"""

    rows: tuple[Row, ...]
    price: Price

    @property
    def trials(self) -> list[Trial]:
        """One a model."""
        return [row.trial for row in self.rows]

    @property
    def frontier(self) -> Frontier:
        """The models that nothing beats in both quality and price."""
        return Frontier(self.trials, self.price)

    def chosen(self, *, at_least: float | None = None, within: float | None = None) -> Trial:
        """The cheapest that is good enough, or the best that costs no more (`meter.choose`)."""
        return choose(self.trials, at_least=at_least, within=within, price=self.price)


def rounds_worth(models: Mapping[str, Answering], views: Sequence[Examples]) -> int:
    """Rounds in which to meter models: 3, or 1 where these would take more than some 20 s.

    Every model answers once for a batch: what it loads on the way is not part of its price later.
    """
    round_s = sum(_warmed(model, view) for model, view in zip(models.values(), views, strict=True))
    return _ROUNDS if round_s * _ROUNDS <= _PATIENCE_S else 1


def compare(
    models: Mapping[str, Answering], views: Sequence[Examples], *, top: int = 20, rounds: int = 1,
    certainty: float = 0.95, tell: Callable[[int], None] | None = None,
) -> tuple[Row, ...]:  # fmt: skip
    """Models of the same labels on the same labelled items, metered in turn; put them into a `Comparison`.

    models: by name, in order; the first is what the others are compared with · views: the data as each reads it
    rounds: see `rounds_worth` · tell: hears how many more items were scored, of all rounds
    The price of an item is the median of the rounds, in turn (A B C A B C …): reading, answering, scoring. Intervals
    are of a bootstrap over items (`metrics.bootstrap`), each by itself: of many models some look clear by chance.
    Raises InvalidValueError: models that know other labels, labels that they do not know, none at all.
    """
    names = list(models)
    if not names or len(views) != len(names):
        raise InvalidValueError(f"a comparison must have a model and its view each, got {len(names)} and {len(views)}")
    labels = models[names[0]].label_names
    for model in models.values():
        columns_of(model.label_names, labels)  # refuses before any work
    kept: dict[str, Scores] = {}

    def score(name: str, view: Examples) -> Scores:
        kept[name] = evaluate(models[name], view, top=top, tell=tell, names=labels)
        return kept[name]

    trials = run_trials(
        {name: partial(score, name, view) for name, view in zip(names, views, strict=True)},
        {"MAP" if is_rated(views[0]) else "GAP": _quality},
        repeats=rounds, warm_up=0,
    )  # fmt: skip
    videos = [each for name in names if isinstance(each := kept[name], VideoScores)]
    sure = [({}, {})] * len(names) if not videos else compared(
        videos, rounds=rounds_for(len(videos[0])), certainty=certainty
    )  # fmt: skip
    return tuple(
        Row(_of_an_item(trial, models[name], len(views[0])), kept[name].result(), *sure[at])
        for at, (name, trial) in enumerate(zip(names, trials, strict=True))
    )


def _warmed(model: Answering, view: Examples) -> float:
    """Let a model answer for a batch; seconds that all of them may take."""
    count = min(len(view), rows_at_once(view.blocks))
    rows = np.arange(count)
    model.scores(view.batch(rows))
    start_s = time.monotonic()
    model.scores(view.batch(rows))
    return (time.monotonic() - start_s) * len(view) / max(1, count)


def _quality(scores: Scores) -> float:
    return scores.gap()[0] if isinstance(scores, VideoScores) else scores.result().map


def _of_an_item(trial: Trial, model: Answering, count: int) -> Trial:
    """The same, its cost that of one item."""
    cost = replace(trial.cost.shared_by(count), macs=model.macs, size_bytes=model.size_bytes)
    spreads = {
        name: Spread(each.median / count, each.low / count, each.high / count, each.n)
        for name, each in trial.spreads.items()
    }
    return replace(trial, cost=cost, spreads=spreads)
