"""Whether a score of 0.8 is right in 8 of 10 cases: reliability, expected calibration error, Brier score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.binomial import wilson
from lightmeter.metrics.ranking import check_probabilities, ratio
from lightmeter.types import Array, Labels, check_axes


class Calibration:
    """How scores of (video, class) pairs agree with how often they are right; streamed, merged, in constant memory.

    classes: K · bins: of equal width over 0..1; a score of 1 is in the last one
    least: only pairs with at least this score count.  Of thousands of classes nearly all pairs score about 0 and are
    right to: with 0 these make every error small; 0.01 looks at what a user sees.
    Counts merge exactly, sums to the last digits of a float64.  Cost: O(N·K).
    """

    def __init__(self, classes: int, bins: int = 15, least: float = 0.0) -> None:
        if classes < 1 or bins < 1 or not 0 <= least <= 1:
            raise InvalidValueError(
                f"classes and bins must be at least 1, least 0 to 1, got {classes}, {bins} and {least}"
            )
        self.classes, self.bins, self.least = classes, bins, least
        self._counts, self._hits = np.zeros(bins, np.int64), np.zeros(bins, np.int64)
        self._sums, self._squares = np.zeros(bins), 0.0

    def update(self, scores: Array, labels: Labels) -> Calibration:
        """Add videos; returns itself.  scores: float32 [B, K], 0..1.  Raises InvalidValueError as `VideoScores`."""
        check_probabilities(scores, labels, self.classes)
        rows = np.repeat(np.arange(len(labels)), np.diff(labels.offsets))
        own = scores[rows, labels.classes]  # the few that are labels; all others are right to be 0
        given = scores[scores >= self.least] if self.least else scores.reshape(-1)
        own = own[own >= self.least].astype(np.float64)
        places = self._places(given)
        given = given.astype(np.float64)
        self._counts += np.bincount(places, minlength=self.bins)
        self._sums += np.bincount(places, given, self.bins)
        self._hits += np.bincount(self._places(own), minlength=self.bins)
        self._squares += float(given @ given) + float(np.sum(1 - 2 * own))
        return self

    def merge(self, other: Calibration) -> Calibration:
        """The pairs of both."""
        if (self.classes, self.bins, self.least) != (other.classes, other.bins, other.least):
            raise InvalidValueError(
                f"calibrations to merge must be of {self.classes} classes, {self.bins} bins and least {self.least:g}, "
                f"got {other.classes}, {other.bins} and {other.least:g}"
            )
        made = Calibration(self.classes, self.bins, self.least)
        made._counts, made._hits = self._counts + other._counts, self._hits + other._hits
        made._sums, made._squares = self._sums + other._sums, self._squares + other._squares
        return made

    @property
    def pairs(self) -> int:
        """How many counted."""
        return int(self._counts.sum())

    def brier(self) -> float:
        """Mean squared difference of score and truth (0 or 1) of the pairs; lower is better, NaN of nothing.

        Source: Brier 1950, "Verification of forecasts expressed in terms of probability".
        """
        return self._squares / self.pairs if self.pairs else float("nan")

    def ece(self) -> float:
        """Expected calibration error: mean over the pairs of |share right − mean score| of their bin; lower is better.

        Source: Guo et al. 2017, arXiv:1706.04599, eq. 3, over pairs in place of answers.
        """
        return float(np.abs(self._hits - self._sums).sum() / self.pairs) if self.pairs else float("nan")

    def mce(self) -> float:
        """Largest calibration error of a bin (the same paper, eq. 5); few pairs in a bin make it large by chance."""
        gaps = np.abs(ratio(self._hits - self._sums, self._counts))
        return float(np.nanmax(gaps)) if self.pairs else float("nan")

    def rows(self, certainty: float = 0.95) -> list[dict[str, float]]:
        """The reliability diagram, one row a bin that holds pairs: edges, mean score, share right with its interval."""
        made = []
        for at in np.flatnonzero(self._counts).tolist():
            count, hits = int(self._counts[at]), int(self._hits[at])
            low, high = wilson(hits, count, certainty)
            made.append({
                "from": at / self.bins, "to": (at + 1) / self.bins, "pairs": count,
                "score": float(self._sums[at]) / count, "right": hits / count, "low": low, "high": high,
            })  # fmt: skip
        return made

    def state(self) -> dict[str, Array]:
        """Arrays that `from_state` makes the same of."""
        return {
            "shape": np.array([self.classes, self.bins], np.int64), "sums": self._sums,
            "least_squares": np.array([self.least, self._squares]), "counts": self._counts, "hits": self._hits,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> Calibration:
        """Raises InvalidValueError for what `state` did not make."""
        if missing := {"shape", "sums", "least_squares", "counts", "hits"} - set(state):
            raise InvalidValueError(f"a state of a calibration lacks {', '.join(sorted(missing))}: save it again")
        check_axes("shape", state["shape"], "2", "int64")
        check_axes("least_squares", state["least_squares"], "2", "float64")
        classes, bins = map(int, state["shape"])
        least, squares = map(float, state["least_squares"])
        made = cls(classes, bins, least)
        for name, dtype in (("sums", "float64"), ("counts", "int64"), ("hits", "int64")):
            check_axes(name, state[name], str(bins), dtype)
        if not ((state["hits"] >= 0) & (state["hits"] <= state["counts"])).all():
            raise InvalidValueError("hits of a calibration must be 0 to its counts, got others: save it again")
        made._counts, made._hits = state["counts"].copy(), state["hits"].copy()
        made._sums, made._squares = state["sums"].copy(), squares
        return made

    def _places(self, scores: Array) -> Array:
        return np.minimum((scores * self.bins).astype(np.int64), self.bins - 1)
