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
FEWEST_RELATED = 10
"""Below so many related queries a share of misses says nothing, and none is shown."""
_NORMAL = NormalDist()
_NEARLY = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class Null:
    """A threshold on a score and what it costs in both directions.

    threshold: lowest score that counts as near enough
    centre, spread: of the unrelated best scores, to compare sources with different scales
    false_alarm: chance that a new unrelated query is answered, 0..1; None where nothing says
    modelled: whether `false_alarm` rests on a fitted law; else on exchangeability with the unrelated queries alone
    miss: share of related queries that would go unanswered, 0..1; None where it could not be measured
    queries: how many unrelated queries it was measured on · related: how many related ones
    asked: what the related queries were, for people
    neighbours: share of members that have another one this near: no error, but what a query of their kind will meet
    """

    threshold: float
    centre: float
    spread: float
    false_alarm: float | None
    modelled: bool
    miss: float | None
    queries: int
    related: int
    asked: str
    neighbours: float | None = None

    def surprise(self, scores: Array) -> Array:
        """How far above unrelated queries a score lies, in spreads: comparable between sources."""
        return (scores - self.centre) / max(self.spread, 1e-6)

    def said(self) -> str:
        """Both errors, for people.

        >>> Null(0.5, 0.2, 0.1, 0.02, False, None, 150, 0, "captions").said()
        'false alarms 2.0%, misses not measured'
        """
        alarms = (
            "not measured" if self.false_alarm is None else f"{self.false_alarm:.1%}{' by a model' * self.modelled}"
        )
        few = self.miss is None or self.related < FEWEST_RELATED
        misses = "not measured" if few else f"{self.miss:.0%} of {self.related} {self.asked}"
        near = "" if self.neighbours is None else f", {self.neighbours:.0%} of its members have another this near"
        return f"false alarms {alarms}, misses {misses}{near}"

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the library's table of calibrations."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `as_json` wrote."""
        return cls(**values)


def null_from_queries(
    unrelated: Array, related: Array, *, alpha: float, asked: str, floor: float = -1.0
) -> Null:  # fmt: skip
    """The lowest threshold at which a new unrelated query is answered with a chance of at most alpha.

    With Q unrelated queries of which k pass, a new one drawn alike passes with a chance of (k + 1) / (Q + 1): its rank
    among them is uniform. No law is assumed; too few queries for alpha give the threshold above them all.

    unrelated: float [Q] best score of each unrelated query · related: float [R] score of each query's own target
    asked: what the related queries were · floor: never answer below it, however little a small library reaches
    Cost: O(Q log Q).
    Source: Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World" (conformal prediction).
    """
    check_axes("unrelated", unrelated, "Q")
    check_axes("related", related, "R")
    _check_alpha(alpha)
    if len(unrelated) < 2:
        raise InvalidValueError(f"a null needs at least 2 unrelated queries, got {len(unrelated)}")
    ordered = np.sort(np.asarray(unrelated, np.float64))
    let_through = max(int(np.floor(alpha * (len(ordered) + 1))) - 1, 0)
    threshold = max(float(np.nextafter(ordered[len(ordered) - let_through - 1], np.inf)), floor)
    passing = int(np.sum(ordered >= threshold))
    q25, q50, q75 = np.quantile(ordered, [0.25, 0.5, 0.75])
    return Null(
        threshold=threshold,
        centre=float(q50),
        spread=float((q75 - q25) / 1.349),
        false_alarm=(passing + 1) / (len(ordered) + 1),
        modelled=False,
        miss=float(np.mean(related < threshold)) if len(related) else None,
        queries=len(ordered),
        related=len(related),
        asked=asked,
    )


def null_from_members(
    scores: Array, related: Array, *, rows: int, alpha: float, floor: float, asked: str
) -> Null:  # fmt: skip
    """Threshold for queries of the library's own kind, from what its members reach on each other.

    Most pairs of rows are unrelated, and the lower half of their scores surely is, so a normal law is fitted to that
    half of their arctanh (median, and the median distance below it); the best of `rows` unrelated scores exceeds its
    (1 − alpha)^(1/rows) quantile with probability alpha. Rows of one video are alike, and a video asks with the mean of
    several rows: both make fewer false alarms than this says.

    scores: float [Q, R] cosine of members that ask with rows that answer, NaN for rows of the member itself
    related: float [R] cosine of a changed copy with its original · rows: in the whole library
    floor: never answer below it; used alone under 28 pairs, where no law can be fitted · asked: what the copies were
    Source: Fisher 1915, "Frequency distribution of the correlation coefficient" (the arctanh of a correlation is nearly
    normal); the half-sample fit is ours.
    """
    check_axes("scores", scores, "Q R")
    _check_alpha(alpha)
    pairs = np.asarray(scores, np.float64)[~np.isnan(scores)]
    if len(pairs) < FEWEST_PAIRS:
        centre, spread, threshold, alarm = floor / 2, floor / 4, floor, None
    else:
        bent = np.arctanh(np.clip(pairs, -_NEARLY, _NEARLY))
        middle = float(np.median(bent))
        width = float(np.median(middle - bent[bent <= middle]) / 0.6745)
        quantile = _NORMAL.inv_cdf(min((1 - alpha) ** (1 / max(rows, 1)), 1 - 1e-12))
        threshold = max(float(np.tanh(middle + width * quantile)), floor)
        alarm = 1 - _NORMAL.cdf((float(np.arctanh(threshold)) - middle) / max(width, 1e-9)) ** max(rows, 1)
        centre, spread = float(np.tanh(middle)), float(np.tanh(middle) - np.tanh(middle - width))
    asking = np.isfinite(scores).any(axis=1)
    near = np.nanmax(scores[asking], axis=1) >= threshold if asking.any() else np.empty(0)
    return Null(
        threshold=threshold,
        centre=centre,
        spread=spread,
        false_alarm=alarm,
        modelled=True,
        miss=float(np.mean(related < threshold)) if len(related) else None,
        queries=int(asking.sum()),
        related=len(related),
        asked=asked,
        neighbours=float(near.mean()) if len(near) else None,
    )


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InvalidValueError(f"alpha must be between 0 and 1, got {alpha}: 0.05 answers 1 unrelated query in 20")
