"""Trials: candidates with measured quality and cost; the frontier that nothing beats; the cheapest good one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError, UnknownNameError, nearest
from lightmeter.meter.cost import COST_FIELDS, Cost, measure

_TIMES = ("wall_s", "cpu_s", "gpu_s")


@dataclass(frozen=True, slots=True)
class Spread:
    """What repeats gave: the median, the quartiles around it (`low`, `high`; high - low is the IQR) and how many."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of some numbers; quartiles by linear interpolation.

        >>> Spread.of([4.0, 1.0, 2.0, 3.0])
        Spread(median=2.5, low=1.75, high=3.25, n=4)
        """
        if not values:
            raise InvalidValueError("a spread must have at least one value, got none: repeat at least once")
        low, median, high = (float(each) for each in np.percentile(values, [25, 50, 75]))
        return cls(median, low, high, len(values))

    @property
    def iqr(self) -> float:
        """The distance between the quartiles."""
        return self.high - self.low


@dataclass(frozen=True)
class Trial:
    """A candidate with its measured quality and cost.

    quality: higher is better (negate what is not) · cost: field by field the median over repeats, peaks the largest
    spreads: of `wall_s`, `cpu_s` (and `gpu_s`) over the repeats · others: further qualities by name
    """

    candidate: str
    quality: float
    cost: Cost
    quality_name: str = "quality"
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.quality):
            raise InvalidValueError(
                f"{self.quality_name} of {self.candidate} must be a finite number, got {self.quality}"
            )

    def price(self, name: str = "cpu_s") -> float:
        """One field of the cost; raises InvalidValueError where it is not known."""
        if name not in COST_FIELDS:
            raise UnknownNameError(f"no cost called {name!r}{nearest(name, COST_FIELDS)}")
        value = getattr(self.cost, name)
        if value is None:
            known = ", ".join(self.cost.as_json())
            raise InvalidValueError(f"{name} of {self.candidate} must be known to compare by it, got none: use {known}")
        return float(value)

    def text(self) -> str:
        """One line: quality never without its cost."""
        return f"{self.candidate}: {self.quality_name} {self.quality:.4g} at {self.cost.text()}"

    def as_json(self) -> dict[str, Any]:
        """All of it, for records and rows."""
        return {
            "candidate": self.candidate,
            "quality": {self.quality_name: self.quality, **self.others},
            "cost": self.cost.as_json(),
            "spreads": {name: {**dataclasses.asdict(each), "iqr": each.iqr} for name, each in self.spreads.items()},
        }


def beats(a: Trial, b: Trial, price: str = "cpu_s") -> bool:
    """Whether `a` is at least as good and as cheap as `b`, and better in one of the two. Equals beat nobody."""
    no_worse = a.quality >= b.quality and a.price(price) <= b.price(price)
    return no_worse and (a.quality > b.quality or a.price(price) < b.price(price))


@dataclass(frozen=True, init=False)
class Frontier:
    """The trials that nothing beats on both quality and price, cheapest first; equals stay together.

    `Frontier(a + b) == Frontier(a).merge(Frontier(b))`: frontiers of shards make the frontier of the whole.
    Cost: O(N log N).
    """

    points: tuple[Trial, ...]
    price: str

    def __init__(self, trials: Sequence[Trial], price: str = "cpu_s") -> None:
        _check_one_quality(trials)
        ordered = sorted(trials, key=lambda trial: (trial.price(price), -trial.quality, trial.candidate))
        points: list[Trial] = []
        for trial in ordered:
            last = points[-1] if points else None
            ties = last and (trial.price(price), trial.quality) == (last.price(price), last.quality)
            if last is None or trial.quality > last.quality or ties:
                points.append(trial)
        object.__setattr__(self, "points", tuple(points))
        object.__setattr__(self, "price", price)

    def merge(self, other: Frontier) -> Frontier:
        """The frontier of both."""
        if self.price != other.price:
            raise InvalidValueError(f"frontiers must have one price to merge, got {self.price} and {other.price}")
        return Frontier([*self.points, *other.points], self.price)

    def __contains__(self, trial: object) -> bool:
        return trial in self.points


def choose(
    trials: Sequence[Trial], *, at_least: float | None = None, within: float | None = None, price: str = "cpu_s"
) -> Trial:
    """The cheapest trial with quality `at_least`, or without it the best one, that costs no more than `within`.

    within: in the unit of `price`. Ties go to the better, then cheaper, then first by name; the answer is always on the
    frontier. Raises InvalidValueError naming the best there is when no trial qualifies.
    """
    if not trials:
        raise InvalidValueError("trials must hold at least one candidate, got none")
    if at_least is None and within is None:
        raise InvalidValueError("choose needs a bar: give at_least=QUALITY, within=COST or both")
    _check_one_quality(trials)
    affordable = [trial for trial in trials if within is None or trial.price(price) <= within]
    good = [trial for trial in affordable if at_least is None or trial.quality >= at_least]
    if not good:
        raise InvalidValueError(_none_good(trials, affordable, at_least=at_least, within=within, price=price))
    if at_least is None:
        return min(good, key=lambda trial: (-trial.quality, trial.price(price), trial.candidate))
    return min(good, key=lambda trial: (trial.price(price), -trial.quality, trial.candidate))


def _check_one_quality(trials: Sequence[Trial]) -> None:
    names = sorted({trial.quality_name for trial in trials})
    if len(names) > 1:
        raise InvalidValueError(
            f"trials must share one quality to be compared, got {', '.join(names)}: compare them apart"
        )


def _none_good(
    trials: Sequence[Trial], affordable: Sequence[Trial], *, at_least: float | None, within: float | None, price: str
) -> str:
    if not affordable:
        cheapest = min(trials, key=lambda trial: (trial.price(price), -trial.quality))
        least = f"{price} {cheapest.price(price):.4g}"
        return f"within must be {least} or more, got {within}: the cheapest is {cheapest.text()}"
    best = min(affordable, key=lambda trial: (-trial.quality, trial.price(price)))
    limit = f" within {price} {within}" if within is not None else ""
    return f"at_least must be {best.quality:.4g} or less{limit}, got {at_least}: the best there is is {best.text()}"


# -- running --------------------------------------------------------------------------------------------------------


def run_trials(
    candidates: Mapping[str, Callable[[], Any]],
    quality: Mapping[str, Callable[[Any], float]],
    *,
    repeats: int = 5,
    warm_up: int = 1,
    least_s: float = 0.0,
) -> list[Trial]:
    """Run candidates in turn (A B A B …) and take medians, so that a slow minute of the machine hits all alike.

    candidates: name → a call without arguments, always with the same answer · quality: name → score of that answer; the
    first is the trial's quality, the rest its `others`. It is scored once, on the last answer, and not metered.
    warm_up: unmetered rounds before · least_s: a repeat calls a candidate again until this much time has passed (its
    count is fixed in the warm-up) and divides, for candidates too quick to be timed alone.
    """
    if repeats < 1 or warm_up < 0 or not candidates or not quality:
        raise InvalidValueError(
            "run_trials needs a candidate, a quality, repeats of 1 or more and warm_up of 0 or more"
        )
    calls = {name: _calls_needed(call, least_s, warm_up) for name, call in candidates.items()}
    answers: dict[str, Any] = {}
    costs: dict[str, list[Cost]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, call in candidates.items():
            with measure() as meter:
                for _ in range(calls[name]):
                    answers[name] = call()
            costs[name].append(meter.cost.shared_by(calls[name]))
    return [_trial(name, answers[name], quality, costs[name]) for name in candidates]


def _calls_needed(call: Callable[[], Any], least_s: float, warm_up: int) -> int:
    """Warm up, and find how many calls fill `least_s`."""
    for _ in range(warm_up):
        call()
    if least_s <= 0:
        return 1
    count = 1
    while True:
        with measure() as meter:
            for _ in range(count):
                call()
        if meter.cost.wall_s >= least_s or count >= 1 << 20:
            return count
        count = min(1 << 20, max(count + 1, round(count * 1.2 * least_s / max(meter.cost.wall_s, 1e-7))))


def _trial(name: str, answer: Any, quality: Mapping[str, Callable[[Any], float]], costs: Sequence[Cost]) -> Trial:
    (first, score), *rest = ((title, float(scorer(answer))) for title, scorer in quality.items())
    spreads = {each: _spread(costs, each) for each in _TIMES}
    known = {title: spread for title, spread in spreads.items() if spread is not None}
    return Trial(name, score, median_cost(costs), quality_name=first, spreads=known, others=dict(rest))


def _spread(costs: Sequence[Cost], name: str) -> Spread | None:
    values = [getattr(cost, name) for cost in costs]
    return None if None in values else Spread.of(values)


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Field by field the median of repeats; peaks are the largest; a field that one repeat lacks is unknown."""
    values: dict[str, Any] = {}
    for name in COST_FIELDS:
        column = [getattr(cost, name) for cost in costs]
        if None in column:
            values[name] = None
        elif name in ("peak_bytes", "gpu_peak_bytes"):
            values[name] = max(column)
        else:
            median = float(np.median(column))
            values[name] = round(median) if name in ("read_bytes", "macs", "size_bytes") else median
    return Cost(**values)
