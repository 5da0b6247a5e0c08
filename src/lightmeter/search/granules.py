"""Granules: vectors as int8 codes in an orthonormal basis, with the lengths that bound what was left out.

A vector v, centred and scaled, is y = Bᵀz + ρ with B orthonormal and ρ ⊥ B. Of z we keep codes c (step t), cut into
granules; e = ‖z − tc‖ of each granule and r = ‖ρ‖ after each granule are kept beside them. For a query y, z, r:

    ‖y − y'‖² = ‖y‖² + ‖y'‖² − 2⟨z, z'⟩ − 2⟨ρ, ρ'⟩ ≥ ‖y‖² + ‖y'‖² − 2t⟨z, c'⟩ − 2‖z‖e' − 2rr'      (Cauchy–Schwarz)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lightmeter.search.pca import rough_basis
from lightmeter.types import Array

TOP = 127
LANES = 16
"""Widths and dimensions are padded to a multiple of this: the kernels read so many at once."""
UNBOUNDED = np.float32(-1e30)
"""Energy of a row so far away that float32 cannot bound it: it is always measured."""
_ROUNDING = 4e-6
"""Share of a row's energy that float32 coordinates may hide from what is left of it."""
_AT_ONCE = 4096
_BASIS_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """How vectors are seen: fitted once, the same for every row that is added later.

    mean: float32 [D] · basis: int8 [K, D'], D' = D padded to 16, zeros there · basis_step: float32 [K]
    mix: float32 [K, K] lower triangle; mix @ (basis · basis_step) has orthonormal rows
    widths: components of each granule, multiples of 16, their sum is K · steps: of the codes of each granule
    scale: bounds are in units of 1/scale · typical: a typical row's length in these units
    """

    mean: Array
    basis: Array
    basis_step: Array
    mix: Array
    widths: tuple[int, ...]
    steps: tuple[float, ...]
    scale: float
    typical: float

    def axes(self) -> Array:
        """The orthonormal basis, float32 [K, D].  Cost: K²·D/2."""
        return _axes(self.basis, self.basis_step, self.mix, len(self.mean))


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """Some rows as a lens sees them.

    codes: int8 [N, m] a granule · errors, residuals: float32 [N] a granule, rounded up · energies: float32 [N], down
    """

    codes: tuple[Array, ...]
    errors: tuple[Array, ...]
    residuals: tuple[Array, ...]
    energies: Array


def fit_lens(
    vectors: Array, inverse_norms: Array | None, widths: Sequence[int], *, seed: int
) -> tuple[Lens, Array]:  # fmt: skip
    """Principal components of the rows, rounded to int8 and made orthonormal again; and its axes.

    Rounding the basis changes the axes a little and the bounds not at all: the rows' coordinates are taken on the
    rounded axes. It makes projecting a query four times cheaper in bytes, and exact in integers.

    vectors: float32 [N, D] · inverse_norms: float64 [N] for cosine, None for L2
    Cost: `rough_basis` on at most 1,024 rows, and K²·D.
    """
    rows, dim = vectors.shape
    chosen = _spread(rows, _BASIS_ROWS, seed)
    sample = vectors[chosen]
    if inverse_norms is not None:
        sample = sample * inverse_norms[chosen, None].astype(np.float32)
    wanted = min(sum(widths), dim)
    fitted = rough_basis(sample, wanted, seed=seed)
    mean = fitted.mean.astype(np.float32)
    basis, basis_step, mix = _rounded(fitted.components, sum(widths), dim)
    centred = sample - mean
    lengths = np.sqrt(np.einsum("nd,nd->n", centred, centred, dtype=np.float64))
    scale = 1 / float(lengths.max()) if lengths.max() > 0 else 1.0
    axes = _axes(basis, basis_step, mix, dim)
    centred *= np.float32(scale)
    seen = centred @ axes.T
    edges = np.cumsum([0, *widths])
    most = [_nearly_largest(np.abs(seen[:, a:b])) for a, b in pairwise(edges)]
    steps = tuple(each / TOP if each > 0 else 1.0 for each in most)
    typical = float(np.median(lengths)) * scale
    lens = Lens(mean, basis, basis_step, mix, tuple(widths), steps, scale, typical if typical > 0 else 1.0)
    return lens, axes


def _nearly_largest(sizes: Array) -> float:
    """What all but a few numbers stay below: larger ones are clipped, which their rows' errors pay for."""
    if not sizes.size:
        return 0.0
    at = max(sizes.size - 1 - sizes.size // 10_000, 0)
    return float(np.partition(sizes, at, axis=None)[at]) or float(sizes.max())


def _spread(rows: int, most: int, seed: int) -> Array:
    return np.arange(rows) if rows <= most else np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _rounded(components: Array, width: int, dim: int) -> tuple[Array, Array, Array]:
    """int8 rows with a step each, and the triangle that makes them orthonormal; rows that are missing are zero."""
    padded = -(-dim // LANES) * LANES
    basis = np.zeros((width, padded), np.int8)
    step = np.ones(width, np.float32)
    mix = np.zeros((width, width), np.float32)
    step[: len(components)] = np.abs(components).max(axis=1, initial=1e-30) / TOP  # unit rows: never 0
    basis[: len(components), :dim] = np.rint(components / step[: len(components), None].astype(np.float64))
    full = basis[:, :dim] * step[:, None].astype(np.float64)
    count, lower = _independent(full[: len(components)])
    mix[:count, :count] = np.linalg.inv(lower)
    return basis, step, np.tril(mix)


def _independent(rows: Array) -> tuple[int, Array]:
    """How many leading rows, of length 1, are surely independent after rounding; and the Cholesky factor of these."""
    gram = rows @ rows.T
    for count in range(len(rows), 0, -1):
        with suppress(np.linalg.LinAlgError):
            lower = np.linalg.cholesky(gram[:count, :count])
            if lower.diagonal().min() > 0.1:
                return count, lower
    return 0, np.empty((0, 0))


def _axes(basis: Array, basis_step: Array, mix: Array, dim: int) -> Array:
    axes: Array = mix @ (basis[:, :dim] * basis_step[:, None])
    return axes


def encode(lens: Lens, axes: Array, vectors: Array, inverse_norms: Array | None) -> Coded:
    """Rows as the lens sees them; coordinates are float32, and what that may hide is added to what is left of a row.

    axes: those of the lens · vectors: float32 [N, D] · inverse_norms: float64 [N] for cosine.  Cost: N·D·K.
    """
    parts = [
        _encode_some(lens, axes, vectors[at : at + _AT_ONCE], _part(inverse_norms, at))
        for at in range(0, max(len(vectors), 1), _AT_ONCE)
    ]
    levels = range(len(lens.widths))
    return Coded(
        codes=tuple(np.concatenate([part.codes[level] for part in parts]) for level in levels),
        errors=tuple(np.concatenate([part.errors[level] for part in parts]) for level in levels),
        residuals=tuple(np.concatenate([part.residuals[level] for part in parts]) for level in levels),
        energies=np.concatenate([part.energies for part in parts]),
    )


def _part(values: Array | None, at: int) -> Array | None:
    return None if values is None else values[at : at + _AT_ONCE]


def _encode_some(lens: Lens, axes: Array, vectors: Array, inverse_norms: Array | None) -> Coded:
    centred = _centred(lens, vectors, inverse_norms)
    energies = np.einsum("nd,nd->n", centred, centred, dtype=np.float64)
    bounded = energies < -np.float64(UNBOUNDED)
    centred[~bounded] = 0
    seen = centred @ axes.T
    left = np.where(bounded, energies, 0)
    hidden = _ROUNDING * left
    codes, errors, residuals = [], [], []
    for step, (a, b) in zip(lens.steps, pairwise(np.cumsum([0, *lens.widths])), strict=True):
        granule = seen[:, a:b]
        code = np.clip(np.rint(granule / np.float32(step)), -TOP, TOP)
        codes.append(code.astype(np.int8))
        lost = granule - code * np.float32(step)
        errors.append(_up(np.sqrt(np.einsum("nd,nd->n", lost, lost, dtype=np.float64))))
        left = np.maximum(left - np.einsum("nd,nd->n", granule, granule, dtype=np.float64), 0)
        residuals.append(_up(np.sqrt(left + hidden)))
    if inverse_norms is not None:
        energies = energies + (inverse_norms == 0) * lens.scale**2  # 2 − 2cos = ‖u − v‖² + (1 − ‖u‖²) + (1 − ‖v‖²)
    kept = np.where(bounded, energies, UNBOUNDED).astype(np.float32)
    return Coded(tuple(codes), tuple(errors), tuple(residuals), np.nextafter(kept, np.float32(-np.inf)))


def _centred(lens: Lens, vectors: Array, inverse_norms: Array | None) -> Array:
    """Rows less the mean, in the lens' units: float32 [N, D], each number right to its own float32 precision."""
    with np.errstate(over="ignore"):  # beyond float32: the energy says so
        if inverse_norms is None:
            return (vectors - lens.mean) * np.float32(lens.scale)
        unit = vectors * (inverse_norms * lens.scale)[:, None]
        unit -= lens.mean * np.float64(lens.scale)
        return unit.astype(np.float32)


def _up(values: Array) -> Array:
    with np.errstate(over="ignore"):
        up: Array = np.nextafter(values.astype(np.float32), np.float32(np.inf))
    return np.minimum(up, np.float32(1e15))
