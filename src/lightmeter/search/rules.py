"""Three-way decisions as pure rules: from the distances to the classes, accept the nearest one or look closer.

ρ_c is the squared L2 distance to the nearest row of class c over the components read so far, ρ₁ the least of them and
ρ₂ the least of any *other* class. A rule has a score and a threshold in the paper's own units; every comparison is
strict, as published.

Source: Savchenko, "Fast multi-class recognition of piecewise regular objects based on sequential three-way decisions
and granular computing", Knowledge-Based Systems 91 (2016), 252-262; seed 004's slides, (4), (8), (15), (16), (22). The
authors' code forgets the runner-up when a new best displaces a best of the same class; ours is the true second class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

SCALE = 100.0
TOP = 5
"""`n` of exp(−n·ρ), and how many of the largest are summed, in the published posteriors."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When the nearest class is accepted.

    score: class distances float64 [..., C], C ≥ 1 → float64 [...] · threshold: as published
    higher: a score above the threshold is accepted; else one below it · looks_at: nearest classes that the score needs
    """

    score: Callable[[Array], Array]
    threshold: float
    higher: bool
    looks_at: int

    def sure(self, scores: Array | float, threshold: float) -> Array:
        """Whether each score is accepted: bool, in the scores' shape."""
        return np.asarray(scores > threshold if self.higher else scores < threshold)

    def confidence(self, scores: Array) -> Array:
        """The same order for people and `search.reject`: higher is surer; ratios become 1 − ratio."""
        return np.asarray(scores if self.higher else 1 - scores)

    def never(self) -> float:
        """A threshold that accepts nothing."""
        return np.inf if self.higher else -np.inf


def two_nearest(distances: Array) -> tuple[Array, Array]:
    """ρ₁ and ρ₂ of class distances float [..., C]: float64 [...] each; ρ₂ is inf where there is one class."""
    values = np.asarray(distances, np.float64)
    if not values.ndim or not values.shape[-1]:
        raise InvalidValueError(f"distances must be [..., C] with C of 1 or more, got {list(values.shape)}")
    if values.shape[-1] == 1:
        return values[..., 0], np.full(values.shape[:-1], np.inf)
    two = np.partition(values, 1, axis=-1)
    return two[..., 0], two[..., 1]


def ratio(least: Array, distances: Array) -> Array:
    """ρ₁/ρ_c, 0 to 1; 1 where both are 0 (duplicates in two classes cannot be told apart), 0 where ρ_c is inf."""
    return np.divide(least, distances, out=np.ones_like(distances, np.float64), where=distances > 0)


def distance_factor(distances: Array) -> Array:
    """ρ₁/ρ₂, (22): accept below 0.7.  Class distances float [..., C] → float64 [...], 0 to 1.

    >>> distance_factor(np.array([[2.0, 1.0, 4.0], [0.0, 0.0, 1.0], [0.0, 3.0, 1.0]])).tolist()
    [0.5, 1.0, 0.0]
    """
    return ratio(*two_nearest(distances))


def bayes_factor(distances: Array) -> Array:
    """ρ₂ − ρ₁, (8): accept above 0.003.  The ratio of Gibbs posteriors exp(−nρ) depends on the difference alone.

    >>> bayes_factor(np.array([[2.0, 1.5, 4.0], [3.0, 3.0, 3.0]])).tolist()
    [0.5, 0.0]
    """
    least, second = two_nearest(distances)
    return second - least


def top_posteriors(distances: Array, *, scale: float = SCALE, top: int = TOP) -> Array:
    """exp(−scale·ρ_c) over the sum of the `top` largest, (4): float [..., C] → float64 [..., C], 0 to 1.

    The `top` nearest classes sum to 1, all others have their share besides. ρ₁ is taken off before the exponential,
    which only spares underflow.  Cost: O(C) a query.

    >>> top_posteriors(np.array([0.0, np.log(3) / 100])).round(6).tolist()
    [0.75, 0.25]
    """
    least, _ = two_nearest(distances)
    weights = np.exp(-scale * (np.asarray(distances, np.float64) - least[..., None]))
    count = weights.shape[-1]
    largest = weights if count <= top else np.partition(weights, count - top, axis=-1)[..., -top:]
    shares: Array = weights / largest.sum(axis=-1, keepdims=True)
    return shares


def best_posterior(distances: Array) -> Array:
    """The largest of `top_posteriors`: accept above 0.24.  It is never below 1/5.

    Class distances float [..., C] → float64 [...].
    """
    best: Array = top_posteriors(distances).max(axis=-1)
    return best


def kept(distances: Array, factor: float) -> Array:
    """Who stays in the race, classes float64 [C] or rows [N] → bool: ρ_c/ρ₁ ≤ δ with δ = 1/factor.

    The nearest always stays. Written as ρ₁/ρ_c ≥ factor, the very `ratio` of the distance factor: a race in which one
    class is left is one whose distance factor is below `factor`.

    >>> kept(np.array([7.0, 10.0, 10.1, 7.0]), 0.7).tolist()
    [True, True, False, True]
    """
    least = distances.min()
    return np.asarray((ratio(least, distances) >= factor) | (distances == least))


RULES: dict[str, Rule] = {
    "posteriors": Rule(best_posterior, 0.24, higher=True, looks_at=TOP),
    "bayes-factor": Rule(bayes_factor, 0.003, higher=True, looks_at=2),
    "distance-factor": Rule(distance_factor, 0.7, higher=False, looks_at=2),
    "multi-level": Rule(distance_factor, 0.7, higher=False, looks_at=2),
}
"""By the name that specs use. The multi-level rule is the distance factor among the classes still in the race."""
