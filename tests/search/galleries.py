"""Galleries for the tests of indexes: easy, clustered, duplicated, degenerate and adversarial."""

from __future__ import annotations

import numpy as np


def gaussian(rng, rows, dim):
    return rng.standard_normal((rows, dim))


def mixture(rng, rows, dim):
    """Clusters with a falling spectrum."""
    spectrum = np.arange(1, dim + 1) ** -0.7
    centres = rng.standard_normal((max(rows // 8, 1), dim)) * spectrum
    return centres[rng.integers(len(centres), size=rows)] + 0.3 * rng.standard_normal((rows, dim)) * spectrum


def duplicated(rng, rows, dim):
    """Few different rows, many times."""
    return gaussian(rng, max(rows // 10, 1), dim)[rng.integers(max(rows // 10, 1), size=rows)]


def far_from_origin(rng, rows, dim):
    """Small differences on a large offset."""
    return 1000 + 0.01 * gaussian(rng, rows, dim)


def one_giant(rng, rows, dim):
    out = gaussian(rng, rows, dim)
    out[rng.integers(rows)] *= 1e4
    return out


def low_rank(rng, rows, dim):
    return gaussian(rng, rows, min(3, dim)) @ gaussian(rng, min(3, dim), dim)


def constant(rng, rows, dim):
    return np.full((rows, dim), rng.standard_normal())


def with_zeros(rng, rows, dim):
    out = gaussian(rng, rows, dim)
    out[rng.random(rows) < 0.3] = 0
    return out


def on_a_sphere(rng, rows, dim):
    """All as far from a query at the centre."""
    out = gaussian(rng, rows, dim)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def whole_numbers(rng, rows, dim):
    """Many exact ties."""
    return rng.integers(-1, 2, (rows, dim)).astype(float)


def tiny(rng, rows, dim):
    return gaussian(rng, rows, dim) * 1e-20


def huge(rng, rows, dim):
    return gaussian(rng, rows, dim) * 1e15


KINDS = [
    gaussian, mixture, duplicated, far_from_origin, one_giant, low_rank, constant, with_zeros, on_a_sphere,
    whole_numbers, tiny, huge,
]  # fmt: skip


def drawn(kind, seed, *, most_rows=300, most_dim=150):
    """A gallery float32 [N, D] and queries [Q, D]: of its kind, rows, its mean, one elsewhere, zero."""
    rng = np.random.default_rng(seed)
    rows, dim = int(rng.integers(1, most_rows)), int(rng.integers(1, most_dim))
    both = kind(rng, rows + 4, dim).astype(np.float32)
    x = both[:rows]
    strange = (x.mean(axis=0) + np.abs(x).max() * rng.standard_normal(dim)).astype(np.float32)
    return x, np.concatenate([both[rows:], x[: min(2, rows)], x.mean(axis=0)[None], strange[None], np.zeros((1, dim))])
