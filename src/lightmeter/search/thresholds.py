"""How sure is sure enough: thresholds from validation queries, by a grid, by false positives, by step-up testing.

Confidences are higher where surer, and an answer is accepted where its confidence is *above* the threshold. For what a
threshold promises of answers to come, see `search.reject`: these are the seed's ways, which promise nothing or less.
"""

from __future__ import annotations

import math

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes

GRIDS: dict[str, tuple[float, ...]] = {
    "posteriors": tuple(round(0.2 + 0.02 * step, 2) for step in range(40)),
    "bayes-factor": tuple(float(f"{10 ** (-4 + step / 5):.3g}") for step in range(21)),
    "distance-factor": tuple(round(0.1 + 0.05 * step, 2) for step in range(18)),
    "multi-level": tuple(round(0.1 + 0.05 * step, 2) for step in range(18)),
}
"""What `on_grid` is given for each rule; 0.1 to 0.95 for the ratios, as in the author's code."""


def on_grid(errors: Array, costs: Array, *, slack: float = 0.0) -> int:
    """Which candidate to take: the cheapest whose validation error is at most the least error + slack.

    errors: float [G], share of wrong answers · costs: float [G] in any one unit → its index, the first among equals.

    >>> on_grid(np.array([0.3, 0.1, 0.1, 0.2]), np.array([1.0, 5.0, 4.0, 2.0]))
    2
    """
    check_axes("errors", errors, "G")
    check_axes("costs", costs, str(len(errors)))
    if not len(errors):
        raise InvalidValueError("errors must hold at least one candidate, got none")
    good = errors <= errors.min() + slack
    return int(np.argmin(np.where(good, costs, np.inf)))


def by_false_positives(confidences: Array, correct: Array, *, rate: float = 0.01) -> float:
    """The lowest confidence of a *correct* answer with at most rate·N mistakes above it.

    confidences: float [N] of one level's answers on held-out queries · correct: bool [N] → threshold; inf where even
    the surest correct answer has more mistakes above it. N counts all held-out queries, not the accepted ones, and each
    level is judged on all of them: with L levels up to L·rate of all queries may be wrong before the last one.
    Cost: O(N log N).
    Source: the author's `sequential_inference.py`, 2021: "the last threshold with FPR ≤ 0.01".
    """
    values, right = _checked(confidences, correct, rate)
    mistakes, candidates = np.sort(values[~right]), np.unique(values[right])
    above = len(mistakes) - np.searchsorted(mistakes, candidates, side="right")
    good = candidates[above <= rate * len(values)]
    return float(good[0]) if len(good) else math.inf


def conformal_p_values(confidences: Array, mistakes: Array) -> Array:
    """How rarely a mistake is so sure: p = (1 + #{mistakes at least as sure}) / (1 + #mistakes), float64 [N].

    Of the hypothesis "this answer is a mistake like those", uniform or larger under exchangeability.

    confidences: float [N] · mistakes: float [M] confidences of known mistakes, independent of the first.
    Source: Vovk, Gammerman and Shafer 2005; one-sided, Bates et al. 2023, arXiv:2104.08279.

    >>> conformal_p_values(np.array([0.95, 0.5, 0.0]), np.array([0.2, 0.5, 0.9])).tolist()
    [0.25, 0.75, 1.0]
    """
    check_axes("confidences", confidences, "N")
    check_axes("mistakes", mistakes, "M")
    ordered = np.sort(mistakes)
    as_sure = len(ordered) - np.searchsorted(ordered, confidences, side="left")
    return np.asarray((1 + as_sure) / (1 + len(ordered)))


def step_up(p_values: Array, *, rate: float) -> Array:
    """Which hypotheses to reject so that at most `rate` of the rejections is false, on average: bool [N].

    The largest i with p₍ᵢ₎ ≤ rate·i/N; all p-values up to p₍ᵢ₎ are rejected.  Cost: O(N log N).
    Source: Benjamini and Hochberg 1995, J. Roy. Stat. Soc. B 57; holds for conformal p-values (Bates et al. 2023).

    >>> step_up(np.array([0.01, 0.9, 0.03, 0.035]), rate=0.05).tolist()
    [True, False, True, True]
    """
    check_axes("p_values", p_values, "N")
    _check_rate(rate)
    ordered = np.sort(p_values)
    low = np.flatnonzero(ordered <= rate * np.arange(1, len(ordered) + 1) / max(len(ordered), 1))
    if not len(low):
        return np.zeros(len(p_values), bool)
    return np.asarray(p_values <= ordered[low[-1]])


def by_step_up(confidences: Array, correct: Array, *, rate: float = 0.01, seed: int = 0) -> float:
    """The threshold that step-up testing draws: at most `rate` of what is accepted is wrong, on average.

    The mistakes of one random half of the queries give the conformal p-values of the other half; what the step-up
    procedure accepts there has its lowest confidence just above the threshold. No p-value is below 1/(mistakes + 1), so
    it takes more than 1/rate mistakes to accept anything; with fewer, or none, the threshold is inf.

    confidences: float [N] of one level's answers on held-out queries · correct: bool [N].  Cost: O(N log N).
    Source: Savchenko 2021, Inf. Sci. 560, 370-385 (thresholds by the step-up procedure); p-values as above.
    """
    values, right = _checked(confidences, correct, rate)
    order = np.random.default_rng(seed).permutation(len(values))
    known, asked = order[: len(order) // 2], order[len(order) // 2 :]
    accepted = values[asked][step_up(conformal_p_values(values[asked], values[known][~right[known]]), rate=rate)]
    return float(np.nextafter(accepted.min(), -np.inf)) if len(accepted) else math.inf


def held_out(labels: Array, *, seed: int) -> Array:
    """Half of each class, rounded down, at random: bool [N].  Raises InvalidValueError where no class has two rows."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    place = np.arange(len(labels)) - np.repeat(starts, counts)
    held = np.zeros(len(labels), bool)
    held[order] = place < np.repeat(counts // 2, counts)
    if not held.any():
        raise InvalidValueError("thresholds are chosen on half of each class, and every class has one row: take fixed")
    return held


def _checked(confidences: Array, correct: Array, rate: float) -> tuple[Array, Array]:
    check_axes("confidences", confidences, "N")
    check_axes("correct", correct, str(len(confidences)), "bool")
    _check_rate(rate)
    values = np.asarray(confidences, np.float64)
    if np.isnan(values).any():
        raise InvalidValueError("confidences must be numbers, got NaN")
    return values, correct


def _check_rate(rate: float) -> None:
    if not 0 < rate < 1:
        raise InvalidValueError(f"rate must be between 0 and 1, got {rate}: 0.01 allows one in a hundred")
