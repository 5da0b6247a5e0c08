"""What saying "unknown" buys: the risk among the answers that are given, over how many are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.binomial import wilson
from lightmeter.types import Array, check_axes


@dataclass(frozen=True, slots=True, eq=False)
class CoverageRisk:
    """The curve of an answerer that may decline: one point a distinct confidence, from strict to lenient.

    threshold: float64 [P]  falls; a query is answered when its confidence is at least this
    answered:  int64 [P]    how many are · wrong: int64 [P] how many of these are wrong
    n: queries in all
    """

    threshold: Array
    answered: Array
    wrong: Array
    n: int

    @property
    def coverage(self) -> Array:
        """Share answered at each point, float64 [P], rises to 1."""
        share: Array = self.answered / self.n
        return share

    @property
    def risk(self) -> Array:
        """Share of wrong answers among those given at each point, float64 [P]."""
        share: Array = self.wrong / self.answered
        return share

    def aurc(self) -> float:
        """Area under the curve: the mean risk of answering the most confident 1, 2, … n; lower is better.

        Queries of equal confidence share their errors evenly, so that their order says nothing.
        Source: Geifman, Uziel and El-Yaniv 2019, arXiv:1805.08206, eq. 3.
        """
        answered = np.concatenate([[0], self.answered])
        wrong = np.interp(np.arange(1, self.n + 1), answered, np.concatenate([[0], self.wrong]))
        return float(np.mean(wrong / np.arange(1, self.n + 1)))

    def excess_aurc(self) -> float:
        """AURC less that of a confidence which puts every error last: 0 is perfect ranking (the same paper, eq. 5)."""
        errors = int(self.wrong[-1])
        ranks = np.arange(self.n - errors + 1, self.n + 1)
        best = float(np.sum((ranks - (self.n - errors)) / ranks)) / self.n
        return self.aurc() - best

    def at_risk(self, risk: float) -> tuple[float, float]:
        """Threshold and coverage of the most lenient point with at most this *observed* risk; (inf, 0) when none.

        An observed risk is no promise: `search.reject` gives one.
        """
        good = np.flatnonzero(self.risk <= risk)
        return (float(self.threshold[good[-1]]), float(self.coverage[good[-1]])) if len(good) else (float("inf"), 0.0)

    def rows(self, points: int = 200, certainty: float = 0.95) -> list[dict[str, float]]:
        """At most `points` rows for a table or a plot: threshold, coverage, risk, and Wilson's interval of the risk."""
        if points < 2:
            raise InvalidValueError(f"points must be at least 2, got {points}")
        last = len(self.answered) - 1
        at = np.unique(np.linspace(0, last, min(points, last + 1)).round().astype(int))
        made = []
        for place in at.tolist():
            answered, wrong = int(self.answered[place]), int(self.wrong[place])
            low, high = wilson(wrong, answered, certainty)
            made.append({
                "threshold": float(self.threshold[place]), "coverage": answered / self.n, "risk": wrong / answered,
                "low": low, "high": high,
            })  # fmt: skip
        return made


def coverage_risk(confidence: Array, wrong: Array) -> CoverageRisk:
    """The coverage–risk curve of answers with a confidence.

    confidence: float [N], higher is surer, −inf allowed · wrong: bool [N]; a query of a class that the gallery lacks is
    wrong whatever is answered.  Cost: O(N log N).
    Source: El-Yaniv and Wiener 2010, JMLR 11 (selective classification).

    >>> curve = coverage_risk(np.array([0.9, 0.8, 0.7, 0.6]), np.array([False, False, True, False]))
    >>> curve.coverage.tolist(), curve.risk.round(2).tolist()
    ([0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.33, 0.25])
    """
    check_axes("confidence", confidence, "N")
    check_axes("wrong", wrong, str(len(confidence)), "bool")
    if not len(confidence):
        raise InvalidValueError("confidence must hold at least one query, got none")
    values = np.asarray(confidence, np.float64)
    if np.isnan(values).any():
        raise InvalidValueError("confidence must be numbers, got NaN: check what was scored")
    order = np.argsort(-values, kind="stable")
    values = values[order]
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    return CoverageRisk(values[ends], ends + 1, np.cumsum(wrong[order])[ends], len(values))
