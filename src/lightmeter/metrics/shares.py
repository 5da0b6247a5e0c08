"""How many answers are right: accuracy, error, top-k, balanced accuracy and agreement, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.binomial import upper_bound, wilson
from lightmeter.types import Array, check_axes


@dataclass(frozen=True, slots=True)
class Share:
    """A counted share, 0..1: some hits of n. Shares of disjoint parts add up to the share of the whole.

    >>> Share(3, 4) + Share(1, 4)
    Share(hits=4, n=8)
    """

    hits: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.n:
            raise InvalidValueError(f"hits must be 0 to n = {self.n}, got {self.hits}")

    def __add__(self, other: Share) -> Share:
        """Both parts as one."""
        return Share(self.hits + other.hits, self.n + other.n)

    @property
    def value(self) -> float:
        """hits / n; NaN of nothing."""
        return self.hits / self.n if self.n else float("nan")

    @property
    def rest(self) -> Share:
        """What was no hit: the error of an accuracy."""
        return Share(self.n - self.hits, self.n)

    def interval(self, certainty: float = 0.95) -> tuple[float, float]:
        """Wilson's two-sided interval, for tables and whiskers."""
        return wilson(self.hits, self.n, certainty)

    def at_most(self, certainty: float = 0.95) -> float:
        """Clopper and Pearson's one-sided upper bound, for promises."""
        return upper_bound(self.hits, self.n, certainty)

    def text(self) -> str:
        """For people.

        >>> Share(57, 60).text()
        '95.0 % of 60 (86.3–98.3)'
        """
        low, high = self.interval()
        return f"{100 * self.value:.1f} % of {self.n} ({100 * low:.1f}–{100 * high:.1f})"


def accuracy(predicted: Array, truth: Array) -> Share:
    """Share of right labels; higher is better.  predicted, truth: int [N], any ids; an id only one knows is an error.

    >>> accuracy(np.array([1, 2, 2]), np.array([1, 2, 0])).value
    0.6666666666666666
    """
    _check_pair(predicted, truth)
    return Share(int((predicted == truth).sum()), len(truth))


def error(predicted: Array, truth: Array) -> Share:
    """Share of wrong labels, as the tables of the seed print it; lower is better."""
    return accuracy(predicted, truth).rest


def agreement(one: Array, other: Array) -> Share:
    """Share of equal answers of two methods, such as a fast and an exact one; higher is nearer.  int [N] each."""
    return accuracy(one, other)


def top_k(scores: Array, truth: Array, k: int) -> Share:
    """Share of rows whose true class is among the k highest scores; higher is better.

    scores: float [N, K], higher is likelier · truth: int [N]; one outside 0..K−1 is a miss, as in an open set.
    Equal scores count for the lowest class first, as `predict` does.  Cost: O(N·K).
    """
    check_axes("scores", scores, "N K")
    check_axes("truth", truth, str(len(scores)))
    if k < 1:
        raise InvalidValueError(f"k must be at least 1, got {k}")
    if np.isnan(scores).any():
        raise InvalidValueError("scores must be numbers, got NaN: check what was scored")
    classes = scores.shape[1]
    known = np.flatnonzero((truth >= 0) & (truth < classes))
    own = scores[known, truth[known]][:, None]
    ahead = (scores[known] > own).sum(axis=1)
    ahead += ((scores[known] == own) & (np.arange(classes) < truth[known][:, None])).sum(axis=1)
    return Share(int((ahead < k).sum()), len(truth))


def balanced_accuracy(predicted: Array, truth: Array) -> float:
    """Mean over the true classes of the share found of each, 0..1: rare classes count as much as common ones.

    predicted, truth: int [N]; classes that truth lacks are left out.  NaN of nothing.
    """
    _check_pair(predicted, truth)
    if not len(truth):
        return float("nan")
    _, place, sizes = np.unique(truth, return_inverse=True, return_counts=True)
    return float(np.mean(np.bincount(place, predicted == truth) / sizes))


def _check_pair(one: Array, other: Array) -> None:
    check_axes("predicted", one, "N")
    check_axes("truth", other, str(len(one)))
