"""How far two sets of features lie apart when each is taken for a Gaussian: the distance behind FID and FVD."""

from __future__ import annotations

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array


def frechet_distance(one: Array, other: Array, *, shrinkage: float | None = None) -> float:
    """Squared Fréchet distance of two sets of rows float [N, D] and [M, D], as Gaussians; 0 and more, lower is better.

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2·(Σ₁·Σ₂)^½), in squared units of the features: it says nothing without their name.
    shrinkage: share of each covariance that is replaced by its mean variance in all directions, which few rows need;
    None: Ledoit and Wolf's, of each set for itself; 0: none, the published FID
    Sets of unlike sizes are shrunk unlike: compare distances of equal counts. With few rows it is biased upwards.
    Raises InvalidValueError for fewer than 2 rows.  Cost: O((N + M)·D² + D³).
    Source: Dowson and Landau 1982, "The Fréchet distance between multivariate normal distributions", eq. 4; as FID:
    Heusel et al. 2017, arXiv:1706.08500; as FVD: Unterthiner et al. 2018, arXiv:1812.01717.

    >>> round(frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [7.0]]), shrinkage=0), 6)
    18.0
    """
    found = [np.asarray(each, np.float64) for each in (one, other)]
    for rows in found:
        if rows.ndim != 2 or len(rows) < 2 or not rows.shape[1] or rows.shape[1] != found[0].shape[1]:
            shapes = " and ".join(str(list(each.shape)) for each in found)
            raise InvalidValueError(f"features must be [N, D] and [M, D] of 2 rows or more, got {shapes}")
        if not np.isfinite(rows).all():
            raise InvalidValueError("features must be finite, got NaN or infinity")
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise InvalidValueError(f"shrinkage must be 0 to 1, or None for Ledoit and Wolf's, got {shrinkage}")
    (mean, spread), (far, wide) = (_moments(rows, shrinkage) for rows in found)
    both = float(np.square(mean - far).sum() + np.trace(spread) + np.trace(wide))
    return max(both - 2 * _root_trace(spread, wide), 0.0)


def ledoit_wolf_shrinkage(rows: Array) -> float:
    """The share of a multiple of the identity that brings a covariance of rows float [N, D] nearest to the true one.

    Source: Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", §3.2.
    """
    count, dim = rows.shape
    away = rows - rows.mean(axis=0)
    covariance = away.T @ away / count
    mean = np.trace(covariance) / dim
    apart = float(np.square(covariance).sum() - dim * mean**2)
    if apart <= 0:
        return 0.0
    noise = float((np.square(away).sum(axis=1) ** 2).sum() / count - np.square(covariance).sum()) / count
    return float(min(max(noise / apart, 0.0), 1.0))


def _moments(rows: Array, shrinkage: float | None) -> tuple[Array, Array]:
    """Mean [D] and covariance [D, D], of N − 1 as FID has it."""
    share = ledoit_wolf_shrinkage(rows) if shrinkage is None else shrinkage
    away = rows - rows.mean(axis=0)
    spread = away.T @ away / (len(rows) - 1)
    dim = rows.shape[1]
    return rows.mean(axis=0), (1 - share) * spread + share * np.trace(spread) / dim * np.eye(dim)


def _root_trace(one: Array, other: Array) -> float:
    """tr((Σ₁·Σ₂)^½) through Σ₁^½·Σ₂·Σ₁^½, which has the same eigenvalues and is symmetric."""
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return float(np.sqrt(np.clip(np.linalg.eigvalsh(root @ other @ root), 0, None)).sum())
