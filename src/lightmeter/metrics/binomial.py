"""What a count of errors says about their rate: binomial tails and the bounds that follow from them, without SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from lightmeter.errors import InvalidValueError

_HALVINGS = 100
"""Enough to reach the last bit of a float between 0 and 1."""


def binomial_cdf(most: int, n: int, rate: float) -> float:
    """Chance of at most `most` errors among n independent ones that each happen at `rate`: 0..1.

    Summed term by term from the largest, so that tiny tails keep their digits.  Cost: O(most).

    >>> round(binomial_cdf(0, 299, 0.01), 4)
    0.0495
    """
    _check_counts(most, n)
    if not 0 <= rate <= 1:
        raise InvalidValueError(f"rate must be 0 to 1, got {rate}")
    if most == n or rate == 0:
        return 1.0
    if rate == 1:
        return 0.0
    errors = np.arange(1, most + 1, dtype=np.float64)
    steps = np.log((n - errors + 1) / errors) + math.log(rate) - math.log1p(-rate)
    terms = n * math.log1p(-rate) + np.concatenate([[0.0], np.cumsum(steps)])
    largest = float(terms.max())
    return min(1.0, math.exp(largest) * float(np.exp(terms - largest).sum()))


def upper_bound(errors: int, n: int, certainty: float = 0.95) -> float:
    """The highest rate that `errors` among n leave possible: 0..1; above it with a chance ≤ 1 − certainty.

    One-sided and exact for any n: the rate at which so few errors happen with a chance of 1 − certainty.
    No trials say nothing: 1.  Cost: 100 tails.
    Source: Clopper and Pearson 1934, "The use of confidence or fiducial limits", Biometrika 26.

    >>> round(upper_bound(0, 299), 4)  # the rule of three: about 3 / n
    0.01
    """
    _check_counts(errors, n)
    _check_certainty(certainty)
    if errors == n:
        return 1.0
    return _crossing(lambda rate: binomial_cdf(errors, n, rate) > 1 - certainty)


def lower_bound(errors: int, n: int, certainty: float = 0.95) -> float:
    """The lowest rate that `errors` among n leave possible, as `upper_bound`; 0 when there were none."""
    _check_counts(errors, n)
    return 1 - upper_bound(n - errors, n, certainty)


def wilson(hits: int, n: int, certainty: float = 0.95) -> tuple[float, float]:
    """Low and high end of a two-sided interval for a rate: short, near its level on average, for tables and whiskers.

    Not a guarantee (its coverage swings around `certainty`): take `upper_bound` where one is promised.
    No trials say nothing: (0, 1).
    Source: Wilson 1927, JASA 22; recommended by Brown, Cai and DasGupta 2001.

    >>> [round(end, 3) for end in wilson(9, 10)]
    [0.596, 0.982]
    """
    _check_counts(hits, n)
    _check_certainty(certainty)
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + certainty) / 2)
    rate = hits / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == n else centre + half)


def fewest_without_error(rate: float, certainty: float = 0.95) -> int:
    """How many trials without one error prove that errors are rarer than `rate`: the least that any proof needs.

    >>> fewest_without_error(0.01)
    299
    """
    _check_certainty(certainty)
    if not 0 < rate < 1:
        raise InvalidValueError(f"rate must be between 0 and 1, got {rate}")
    needed = math.ceil(math.log(1 - certainty) / math.log1p(-rate))
    while binomial_cdf(0, needed, rate) > 1 - certainty:  # the last bit of the logarithms
        needed += 1
    return needed


def _crossing(below: Callable[[float], bool]) -> float:
    """Where a rate stops being below, from above: halving keeps the promise to the last bit."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if below(middle):
            low = middle
        else:
            high = middle
    return high


def _check_counts(some: int, n: int) -> None:
    if not 0 <= some <= n:
        raise InvalidValueError(f"a count must be 0 to n = {n}, got {some}")


def _check_certainty(certainty: float) -> None:
    if not 0 < certainty < 1:
        raise InvalidValueError(f"certainty must be between 0 and 1, got {certainty}: 0.95 is usual")
