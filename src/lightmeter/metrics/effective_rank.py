"""How many directions features really use: the effective rank, streamed."""

from __future__ import annotations

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array


class EffectiveRank:
    """Effective rank of rows that come batch by batch: exp of the entropy of their singular values as shares.

    erank = exp(−Σ pᵢ·log pᵢ), pᵢ = σᵢ / Σσ; 1: one direction only, D: all equally.  0 for rows without any spread.
    centred: of rows less their mean (the default: a constant says nothing); False is the paper's, of rows as they are
    Features that have collapsed show here at once, before any head is trained.
    Singular values are roots of the eigenvalues of the scatter, so those below 1e-7 of the largest count as 0.
    Cost: D² multiply–adds a row.  Memory: 8·D² bytes.  Shards merged give the whole, up to rounding.
    Source: Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007, definition 1.
    (Not Shannon's rank of eigenvalues, which takes σ², nor the stable rank, ‖A‖²_F / ‖A‖².)

    >>> round(EffectiveRank(2, centred=False).update(np.eye(2)).result(), 6)
    2.0
    """

    def __init__(self, dim: int, *, centred: bool = True) -> None:
        if dim < 1:
            raise InvalidValueError(f"dim must be 1 or more, got {dim}")
        self.dim, self.centred = dim, centred
        self.rows = 0
        self._mean = np.zeros(dim)
        self._scatter = np.zeros((dim, dim))

    def update(self, features: Array) -> EffectiveRank:
        """Add rows float [N, D], or maps [N, D, H, W] of which each place is a row; returns itself."""
        found = np.asarray(features, np.float64)
        if found.ndim == 4:
            found = np.moveaxis(found, 1, -1).reshape(-1, found.shape[1])
        if found.ndim != 2 or found.shape[1] != self.dim or not np.isfinite(found).all():
            raise InvalidValueError(
                f"features must be finite, [N, {self.dim}] or [N, {self.dim}, H, W], got {list(np.shape(features))}"
            )
        if len(found):
            mean = found.mean(axis=0)
            away = found - mean
            self._join(len(found), mean, away.T @ away)
        return self

    def merge(self, other: EffectiveRank) -> EffectiveRank:
        """The rows of both."""
        if (self.dim, self.centred) != (other.dim, other.centred):
            raise InvalidValueError("ranks to merge must be of one dim and both centred or neither: measure both alike")
        made = EffectiveRank(self.dim, centred=self.centred)
        for each in (self, other):
            made._join(each.rows, each._mean, each._scatter)
        return made

    def _join(self, rows: int, mean: Array, scatter: Array) -> None:
        """Means and scatters of two sets (Chan, Golub and LeVeque 1979)."""
        total = self.rows + rows
        if not rows:
            return
        apart = mean - self._mean
        self._scatter = self._scatter + scatter + np.outer(apart, apart) * (self.rows * rows / total)
        self._mean = self._mean + apart * (rows / total)
        self.rows = total

    def result(self) -> float:
        """The effective rank; NaN without rows."""
        if not self.rows:
            return float("nan")
        scatter = self._scatter if self.centred else self._scatter + self.rows * np.outer(self._mean, self._mean)
        squares = np.linalg.eigvalsh(scatter)
        largest = squares[-1]
        if largest <= 0:
            return 0.0
        singular = np.sqrt(np.where(squares > 1e-14 * largest, squares, 0))
        p = singular[singular > 0] / singular.sum()
        return float(np.exp(-(p * np.log(p)).sum()))


def effective_rank(features: Array, *, centred: bool = True) -> float:
    """Effective rank of rows float [N, D] or maps [N, D, H, W]; see `EffectiveRank`.

    >>> round(effective_rank(np.outer([1.0, 2.0, 5.0], [3.0, 1.0])), 4)
    1.0
    """
    if np.ndim(features) not in (2, 4):
        raise InvalidValueError(f"features must be [N, D] or [N, D, H, W], got {list(np.shape(features))}")
    return EffectiveRank(np.shape(features)[1], centred=centred).update(features).result()
