"""Average precision where equal scores stand in no order: its expected, best and worst value, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.types import Array

_SMALL = 256
_HARMONIC = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, _SMALL))])


@dataclass(frozen=True, slots=True, eq=False)
class Ties:
    """Groups of pairs of equal score, each with at least one hit, in rankings that are cut into parts (classes).

    ahead, hits_ahead: int64 [G]  pairs, hits of higher score in the same part
    size, hits:        int64 [G]  pairs, hits in the group
    part:              int64 [G]
    """

    ahead: Array
    hits_ahead: Array
    size: Array
    hits: Array
    part: Array

    def gains(self) -> tuple[Array, Array, Array]:
        """What each group adds to the sum of precisions at its hits: expected, best and worst, float64 [G] each.

        Expected is over all orders of the group, equally likely: with R pairs ahead, P hits among them, n in the group,
        p of them hits and h = H(R + n) − H(R) (harmonic numbers):
        (p / n) [(P + 1) h + (p − 1) / (n − 1) (n − (R + 1) h)].
        Best puts the hits first, worst last.  A group of one has one value: (P + 1) / (R + 1).
        Source: the mean of (P + 1 + hits before) / (R + place) over places 1..n, hits being hypergeometric.
        """
        single = (self.hits_ahead + 1) / (self.ahead + 1)
        expected, best, worst = single, single.copy(), single.copy()
        tied = np.flatnonzero(self.size > 1)
        if len(tied):
            ahead, hits_ahead, size, hits = (
                each[tied].astype(np.float64) for each in (self.ahead, self.hits_ahead, self.size, self.hits)
            )
            h = harmonic_difference(ahead, size)
            rest = (hits - 1) / (size - 1) * (size - (ahead + 1) * h)
            expected[tied] = hits / size * ((hits_ahead + 1) * h + rest)
            best[tied] = _run(ahead, hits_ahead, hits)
            worst[tied] = _run(ahead + size - hits, hits_ahead, hits)
        return expected, best, worst


def harmonic_difference(after: Array, n: Array) -> Array:
    """H(after + n) − H(after) = 1/(after + 1) + … + 1/(after + n), float64; to about 13 digits, without a long sum."""
    after, n = np.asarray(after, np.float64), np.asarray(n, np.float64)
    end = after + n
    near = after < _SMALL
    far = np.where(near, _SMALL, after)  # the series holds from here on
    b = far + n
    squares = n * (far + b) / (far * far * b * b)
    made: Array = np.log1p(n / far) - n / (2 * far * b) + squares / 12 - (far**-4.0 - b**-4.0) / 120
    made[near] = _harmonic(end[near]) - _HARMONIC[after[near].astype(np.int64)]
    return made


def _harmonic(x: Array) -> Array:
    far = np.maximum(x, _SMALL)
    series = np.log(far) + np.euler_gamma + 1 / (2 * far) - 1 / (12 * far * far) + 1 / (120 * far**4.0)
    made: Array = np.where(x < _SMALL, _HARMONIC[np.minimum(x, _SMALL - 1).astype(np.int64)], series)
    return made


def _run(ahead: Array, hits_ahead: Array, hits: Array) -> Array:
    """Sum of (P + i) / (R + i) for i = 1..p: hits in a row."""
    total: Array = hits + (hits_ahead - ahead) * harmonic_difference(ahead, hits)
    return total
