"""What a score means: thresholds from a null of unrelated queries, with the errors that they make.

A search engine always has a nearest neighbour; whether it is near *enough* can only be said against what unrelated
queries reach on the same library. A null is a sample of such best scores; a threshold is its quantile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes

FEWEST_PAIRS = 28
_NORMAL = NormalDist()
_NEARLY = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class Null:
    """A threshold on a score and what it costs in both directions.

    threshold: lowest score that counts as near enough
    centre, spread: of the unrelated best scores, to compare sources with different scales
    false_alarm: share of unrelated queries that would still be answered, 0..1; None where nothing says
    miss: share of related queries that would go unanswered, 0..1; None where it could not be measured
    queries: how many unrelated queries it was measured on (0: a model of the library's own pairs)
    related: how many related queries `miss` was measured on
    """

    threshold: float
    centre: float
    spread: float
    false_alarm: float | None
    miss: float | None
    queries: int
    related: int

    def surprise(self, scores: Array) -> Array:
        """How far above unrelated queries a score lies, in spreads: comparable between sources."""
        return (scores - self.centre) / max(self.spread, 1e-6)

    def said(self) -> str:
        """Both errors, for people.

        >>> Null(0.5, 0.2, 0.1, 0.02, None, 150, 0).said()
        'false alarms 2.0%, misses not measured'
        """
        alarms = "not measured" if self.false_alarm is None else f"{self.false_alarm:.1%}"
        misses = "not measured" if self.miss is None else f"{self.miss:.0%} of {self.related} related queries"
        return f"false alarms {alarms}, misses {misses}"

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the library's table of calibrations."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `as_json` wrote."""
        return cls(**values)


def null_from_queries(unrelated: Array, related: Array, *, alpha: float) -> Null:
    """Threshold at the (1 − alpha) quantile of what unrelated queries reach at best.

    unrelated: float [Q] best score of each unrelated query · related: float [R] score of each query's own target.
    The false-alarm rate is the measured share at or above the threshold, never above alpha.
    Cost: O(Q log Q).
    """
    check_axes("unrelated", unrelated, "Q")
    check_axes("related", related, "R")
    _check_alpha(alpha)
    if len(unrelated) < 2:
        raise InvalidValueError(f"a null needs at least 2 unrelated queries, got {len(unrelated)}")
    ordered = np.sort(np.asarray(unrelated, np.float64))
    kept_out = int(np.floor(alpha * len(ordered)))
    highest_refused = ordered[len(ordered) - kept_out - 1]
    threshold = float(np.nextafter(highest_refused, np.inf))
    q25, q50, q75 = np.quantile(ordered, [0.25, 0.5, 0.75])
    miss = float(np.mean(related < threshold)) if len(related) else None
    return Null(
        threshold=threshold,
        centre=float(q50),
        spread=float((q75 - q25) / 1.349),
        false_alarm=float(np.mean(ordered >= threshold)),
        miss=miss,
        queries=len(ordered),
        related=len(related),
    )


def null_from_pairs(pairs: Array, related: Array, *, owners: int, alpha: float, floor: float) -> Null:
    """Threshold for queries of the library's own kind, from how alike its members are to each other.

    Most pairs of a library are unrelated, and the lower half of their scores surely is, so a normal law is fitted to
    that half of their arctanh (median, and the median distance below it); the best of `owners` unrelated scores exceeds
    its (1 − alpha)^(1/owners) quantile with probability alpha. `false_alarm` is what this law says, not a count.

    pairs: float [P] cosines of distinct members · related: float [R] cosine of a changed copy with its original ·
    floor: never answer below it; used alone under 28 pairs (8 members), where no law can be fitted.
    Source: Fisher 1915, "Frequency distribution of the correlation coefficient" (the arctanh of a correlation is nearly
    normal); the half-sample fit is ours.
    """
    check_axes("pairs", pairs, "P")
    _check_alpha(alpha)
    if len(pairs) < FEWEST_PAIRS:
        centre, spread, threshold, alarm = floor / 2, floor / 4, floor, None
    else:
        bent = np.arctanh(np.clip(np.asarray(pairs, np.float64), -_NEARLY, _NEARLY))
        middle = float(np.median(bent))
        width = float(np.median(middle - bent[bent <= middle]) / 0.6745)
        quantile = _NORMAL.inv_cdf(min((1 - alpha) ** (1 / max(owners, 1)), 1 - 1e-12))
        threshold = max(float(np.tanh(middle + width * quantile)), floor)
        alarm = 1 - _NORMAL.cdf((float(np.arctanh(threshold)) - middle) / max(width, 1e-9)) ** max(owners, 1)
        centre, spread = float(np.tanh(middle)), float(np.tanh(middle) - np.tanh(middle - width))
    miss = float(np.mean(related < threshold)) if len(related) else None
    return Null(threshold, centre, spread, alarm, miss, 0, len(related))


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InvalidValueError(f"alpha must be between 0 and 1, got {alpha}: 0.05 answers 1 unrelated query in 20")
