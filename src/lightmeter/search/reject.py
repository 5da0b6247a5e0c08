"""The third answer, "unknown": how sure an answer must be, so that those given are wrong at most as often as allowed.

The gallery of a person lacks most of the world, and the nearest neighbour of what it lacks is a wrong answer. From
validation queries with known outcomes a threshold on the confidence is chosen; the promise holds for any law of
confidence and error, any number of queries, and for ties.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.binomial import binomial_cdf, fewest_without_error, upper_bound
from lightmeter.types import Array, check_axes


@dataclass(frozen=True, slots=True)
class Rejection:
    """When to answer, and what is promised of the answers.

    threshold: answer where the confidence is *above* it; inf: answer nothing, no threshold kept the promise
    risk: asked for, the most that may be wrong among the answers · certainty: chance over validation sets that it holds
    bound: upper bound of that share at this threshold, with the same certainty; 1 where nothing is answered
    coverage: share of the validation queries that would be answered, 0..1 · answered, wrong: how many of how many
    queries: validation queries · outside: how many of them were of classes that the gallery lacks
    tried: thresholds that were tested, all chosen before an outcome was seen · reason: why nothing is answered, else ""
    """

    threshold: float
    risk: float
    certainty: float
    bound: float
    answered: int
    wrong: int
    queries: int
    outside: int
    tried: int
    reason: str = ""

    @property
    def coverage(self) -> float:
        """Share of the validation queries that would be answered."""
        return self.answered / self.queries

    def answers(self, confidence: Array) -> Array:
        """Which queries get an answer: confidence float [N] → bool [N]; NaN gets none."""
        sure: Array = np.asarray(confidence) > self.threshold
        return sure

    def decide(self, labels: Array, confidence: Array, *, unknown: int = -1) -> Array:
        """The labels int [N], `unknown` where the confidence float [N] is too low."""
        check_axes("confidence", confidence, str(len(labels)))
        return np.where(self.answers(confidence), labels, unknown)

    def said(self) -> str:
        """For people.

        >>> Rejection(0.3, 0.05, 0.95, 0.048, 800, 21, 1000, 100, 8).said()
        'answers 80.0% (21 of 800 wrong, at most 4.8% with 95% certainty; 100 of 1000 queries were of no known class)'
        """
        if self.reason:
            return f"answers nothing: {self.reason}"
        most = f"at most {self.bound:.1%} with {self.certainty:.0%} certainty"
        outside = f"{self.outside} of {self.queries} queries were of no known class"
        return f"answers {self.coverage:.1%} ({self.wrong} of {self.answered} wrong, {most}; {outside})"

    def as_json(self) -> dict[str, Any]:
        """Plain values; an infinite threshold is null."""
        return {**asdict(self), "threshold": None if math.isinf(self.threshold) else self.threshold}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `as_json` wrote."""
        found = values["threshold"]
        return cls(
            **{**values, "threshold": (-math.inf if not values["reason"] else math.inf) if found is None else found}
        )


def reject_at_risk(
    confidence: Array,
    wrong: Array,
    *,
    risk: float = 0.01,
    certainty: float = 0.95,
    outside: Array | None = None,
    tries: int = 20,
) -> Rejection:
    """The lowest threshold, of a few, whose answers are wrong in at most `risk` of all cases, with certainty.

    For some numbers n, fixed before any outcome is seen, the threshold is the (n + 1)-th highest confidence. Given that
    value, the queries above it are independent draws of what would be answered, and their errors binomial; so Clopper
    and Pearson's bound at (1 − certainty) / thresholds holds for each, and for all at once. The numbers rise by
    N/tries; those too few to prove anything are left out, since each threshold has its price.

    The promise: with a chance ≥ certainty over validation sets, a fresh query that is answered, drawn alike, is wrong
    with a chance ≤ risk.

    confidence: float [N], higher is surer · wrong: bool [N] · outside: bool [N], queries whose class the gallery lacks;
    they count as wrong whatever was answered · Cost: O(N log N).
    Raises InvalidValueError for NaN and shares outside 0..1. Where nothing can be promised, the answer says so and why.
    Source: Geifman and El-Yaniv 2017, arXiv:1705.08500 (SGR), with fixed ranks in place of its binary search, whose
    path depends on the outcomes; Bonferroni over thresholds as in Angelopoulos et al. 2021, arXiv:2110.01052, 3.1.
    """
    values, errors, beyond = _checked(confidence, wrong, outside)
    if not 0 < risk < 1:
        raise InvalidValueError(f"risk must be between 0 and 1, got {risk}")
    ranks = _ranks(len(values), risk, certainty, tries)
    made = Rejection(math.inf, risk, certainty, 1.0, 0, 0, len(values), beyond, len(ranks))
    if not ranks:
        needed = fewest_without_error(risk, certainty)
        reason = f"{len(values)} validation queries prove no risk of {risk:g}, not even without an error: ask {needed}"
        return replace(made, reason=reason)
    each = 1 - (1 - certainty) / len(ranks)
    order = np.argsort(-values, kind="stable")
    falling, summed = values[order], np.concatenate([[0], np.cumsum(errors[order])])
    for rank in reversed(ranks):
        threshold = float(falling[rank]) if rank < len(falling) else -math.inf
        answered = int(np.searchsorted(-falling, -threshold))  # those above it: ties are left out
        wrongs = int(summed[answered])
        if answered and binomial_cdf(wrongs, answered, risk) <= 1 - each:
            bound = upper_bound(wrongs, answered, each)
            return replace(made, threshold=threshold, bound=bound, answered=answered, wrong=wrongs)
    bounds = [(upper_bound(int(summed[rank]), rank, each), rank) for rank in ranks]
    least, answered = min(bounds)
    reason = (
        f"none of {len(ranks)} thresholds keeps the errors under {risk:g} with {certainty:g} certainty; the least that "
        f"these {len(values)} queries could show is {least:.2g}, answering {answered / len(values):.0%}"
    )
    return replace(made, reason=reason)


def nearness(distances: Array) -> Array:
    """Confidence by distance alone, for open sets: minus the best class distance.  float [N, C] → float64 [N]."""
    return -_two_best(distances)[0]


def distance_ratio(distances: Array) -> Array:
    """Confidence 0..1 by the best over the second-best class distance, 1 − ρ₁/ρ₂; 0 where both are 0, 1 for one class.

    distances: float [N, C] ≥ 0 → float64 [N].
    Source: Lowe 2004, IJCV 60 (the ratio test); the distance factor of the seed's three-way decisions, (22).
    """
    best, second = _two_best(distances)
    if np.isnan(best).any() or (best < 0).any():
        raise InvalidValueError("distances must be 0 or more for a ratio, got less: take `nearness`")
    ratio = np.ones(len(best))
    np.divide(best, second, out=ratio, where=second > 0)
    return 1 - ratio


def posterior_margin(posteriors: Array) -> Array:
    """Confidence 0..1 by the highest less the second-highest posterior; the highest where there is one class.

    posteriors: float [N, C] → float64 [N].
    """
    best, second = _two_best(-np.asarray(posteriors, np.float64))
    return np.where(np.isinf(second), -best, second - best)


def _two_best(distances: Array) -> tuple[Array, Array]:
    """The lowest and second-lowest of each row, float64 [N] each; inf where a row has only one."""
    check_axes("distances", distances, "N C")
    values = np.asarray(distances, np.float64)
    if values.shape[1] < 2:
        values = np.column_stack([values, np.full((len(values), 2 - values.shape[1]), np.inf)])
    two = np.partition(values, 1, axis=1)
    return two[:, 0], two[:, 1]


def _checked(confidence: Array, wrong: Array, outside: Array | None) -> tuple[Array, Array, int]:
    check_axes("confidence", confidence, "N")
    check_axes("wrong", wrong, str(len(confidence)), "bool")
    values = np.asarray(confidence, np.float64)
    if not len(values):
        raise InvalidValueError("confidence must hold at least one validation query, got none")
    if np.isnan(values).any():
        raise InvalidValueError("confidence must be numbers, got NaN: check what was scored")
    if outside is None:
        return values, wrong, 0
    check_axes("outside", outside, str(len(values)), "bool")
    return values, wrong | outside, int(outside.sum())


def _ranks(n: int, risk: float, certainty: float, tries: int) -> list[int]:
    """How many to answer at each threshold that is tested; known from n alone."""
    if tries < 1:
        raise InvalidValueError(f"tries must be at least 1, got {tries}")
    falling = sorted({math.ceil(n * step / tries) for step in range(1, tries + 1)}, reverse=True)
    for count in range(len(falling), 0, -1):
        if falling[count - 1] >= fewest_without_error(risk, 1 - (1 - certainty) / count):
            return falling[:count][::-1]
    return []
