"""Principal components of a gallery, from its covariance or from random projections, whichever is cheaper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes

_OVERSAMPLED = 32
_POWERS = 2
_LEAST_SHARE = 1e-10
"""Components with less of the largest variance are rounding: neither path finds their direction."""
_LEAST_SHARE_FLOAT32 = 1e-6
"""The same for what is computed in float32."""
_LEAST_DEVIATION = 1e-12
"""As is a standard deviation of less than this times the largest number."""
_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Orthonormal directions in which rows vary, the most varied first.

    mean: float64 [D] · components: float64 [K, D], orthonormal; the largest number of each is positive
    variances: float64 [K], mean square of the rows' coordinates, falling, above 0
    """

    mean: Array
    components: Array
    variances: Array

    def project(self, rows: Array) -> Array:
        """Coordinates: float [N, D] → float64 [N, K].  Cost: N·D·K."""
        check_axes("rows", rows, f"N {len(self.mean)}")
        seen: Array = (np.asarray(rows, np.float64) - self.mean) @ self.components.T
        return seen


def fit_basis(rows: Array, components: int, *, seed: int = 0) -> Basis:
    """The first principal components of rows, mean-centred.

    rows: finite float [N, D], N and D of 1 or more.  There are fewer components than asked for where the rows vary in
    fewer directions: at most N − 1 and D, none where all rows are equal.
    Exact (the covariance's eigenvectors, float64) unless random projections cost less by the model in `is_exact`; these
    are drawn from `seed` and find subspaces that hold nearly as much variance.
    Cost: N·D·S/2 + 10·S³ with S = min(N, D), or 3·N·D·(K + 32).
    Source: Pearson 1901; Halko, Martinsson and Tropp 2011, SIAM Review 53, algorithms 4.4 and 5.1, with two powers.
    """
    check_axes("rows", rows, "N D")
    if not rows.size:
        raise InvalidValueError(f"rows must be [N, D] with N and D of 1 or more, got {list(rows.shape)}")
    if components < 1:
        raise InvalidValueError(f"components must be at least 1, got {components}")
    count, dim = rows.shape
    mean = rows.mean(axis=0, dtype=np.float64)
    wanted = min(components, count - 1, dim)
    peak = float(np.abs(rows).max())
    if not np.isfinite(peak):
        raise InvalidValueError("rows must be finite, got NaN or infinity: check what was encoded")
    if not wanted or not peak:
        return Basis(mean, np.zeros((0, dim)), np.zeros(0))
    if not is_exact(count, dim, wanted):
        axes, squares = _by_projections(rows, mean, wanted, seed)
    elif dim <= count:
        axes, squares = _by_covariance(rows, mean)
    else:
        axes, squares = _by_products(rows - mean)
    axes, squares = axes[:wanted], squares[:wanted]
    variances = squares / count
    floor = max(_LEAST_SHARE * float(variances[0]), (_LEAST_DEVIATION * peak) ** 2)
    kept = int((variances > floor).sum())
    return Basis(mean, _with_signs(axes[:kept]), np.ascontiguousarray(variances[:kept]))


def rough_basis(rows: Array, components: int, *, seed: int = 0) -> Basis:
    """As `fit_basis`, in float32 and with a single pass of the covariance over random directions: a few times faster.

    The first components hold what the exact ones hold (99.8 % of the variance of 64 of them on deep features of
    pictures), the last ones less. Small galleries get the exact ones.
    Cost: 3·N·D·S with S = K + 32, and 4·D·S².
    """
    count, dim = rows.shape
    width = components + _OVERSAMPLED
    if 2 * width >= min(count, dim):
        return fit_basis(rows, components, seed=seed)
    mean = rows.mean(axis=0, dtype=np.float64)
    centred, peak = _scaled(rows, mean)
    drawn = np.random.default_rng(seed).standard_normal((dim, width)).astype(np.float32)
    directions = np.linalg.qr(centred.T @ (centred @ drawn))[0]
    seen = centred @ directions
    squares, turn = np.linalg.eigh((seen.T @ seen).astype(np.float64))
    axes = (directions @ turn[:, ::-1][:, :components].astype(np.float32)).T
    variances = squares[::-1][:components] * peak**2 / count
    kept = int((variances > _LEAST_SHARE_FLOAT32 * max(float(variances[0]), np.finfo(np.float64).tiny)).sum())
    return Basis(mean, _with_signs(axes[:kept].astype(np.float64)), np.ascontiguousarray(variances[:kept]))


def _scaled(rows: Array, mean: Array) -> tuple[Array, float]:
    """Rows less their mean, over a bound of what is there: float32 [N, D], that bound (1 where all are equal)."""
    bound = np.maximum(rows.max(axis=0) - mean, mean - rows.min(axis=0))
    peak = float(bound.max()) or 1.0
    centred = np.empty(rows.shape, np.float32)
    for at in range(0, len(rows), _AT_ONCE):
        np.subtract(rows[at : at + _AT_ONCE], mean, out=centred[at : at + _AT_ONCE], casting="same_kind")
    centred /= np.float32(peak)
    return centred, peak


def is_exact(count: int, dim: int, components: int) -> bool:
    """Whether `fit_basis` decomposes the covariance: random projections must save at least half of the work.

    >>> is_exact(5000, 512, 256), is_exact(3000, 4096, 256)
    (True, False)
    """
    side, width = min(count, dim), components + _OVERSAMPLED
    if width >= side:
        return True
    exact = count * dim * side / 2 + 10 * side**3
    passes = 2 * (_POWERS + 1)
    random = (
        passes * count * dim * width / 2 + 8 * (_POWERS + 1) * (count + dim) * width**2
    )  # in float32; QR in float64
    return exact <= 2 * random


def _by_covariance(rows: Array, mean: Array) -> tuple[Array, Array]:
    """Directions [D, D] and summed squares [D] along them, falling."""
    scatter = np.zeros((len(mean), len(mean)))
    for at in range(0, len(rows), _AT_ONCE):
        centred = rows[at : at + _AT_ONCE] - mean
        scatter += centred.T @ centred
    squares, vectors = np.linalg.eigh(scatter)
    return np.ascontiguousarray(vectors.T[::-1]), np.maximum(squares[::-1], 0)


def _by_products(centred: Array) -> tuple[Array, Array]:
    """The same from the products of N centred rows, N ≤ D: directions [≤ N, D]."""
    squares, vectors = np.linalg.eigh(centred @ centred.T)
    squares, vectors = np.maximum(squares[::-1], 0), vectors[:, ::-1]
    kept = squares > _LEAST_SHARE * max(float(squares[0]), np.finfo(np.float64).tiny)
    axes = (centred.T @ vectors[:, kept]) / np.sqrt(squares[kept])
    orthonormal, _ = np.linalg.qr(axes)  # division by small roots left them a little oblique
    return np.ascontiguousarray(orthonormal.T), squares[kept] if kept.any() else np.zeros(1)


def _by_projections(rows: Array, mean: Array, wanted: int, seed: int) -> tuple[Array, Array]:
    """Nearly the same, from a few passes over the rows in float32."""
    centred, peak = _scaled(rows, mean)
    drawn = np.random.default_rng(seed).standard_normal((rows.shape[1], wanted + _OVERSAMPLED))
    range_of = _orthonormal(centred @ drawn.astype(np.float32))
    for _ in range(_POWERS):
        range_of = _orthonormal(centred @ _orthonormal(centred.T @ range_of))
    axes, squares = _by_products((range_of.T @ centred).astype(np.float64))
    return axes, squares * peak**2


def _orthonormal(columns: Array) -> Array:
    """Float32, orthonormal to float32's precision."""
    made: Array = np.linalg.qr(columns.astype(np.float64))[0].astype(np.float32)
    return made


def _with_signs(axes: Array) -> Array:
    """Turn each direction so that its largest number, the first among equals, is positive."""
    if not len(axes):
        return np.ascontiguousarray(axes)
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.ascontiguousarray(axes * np.where(largest < 0, -1.0, 1.0))
