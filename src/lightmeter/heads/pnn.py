"""The fast probabilistic network: each class's density of each feature as a short Fourier series, and their product."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from lightmeter.assets.saving import expect, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.heads.inputs import checked_features, checked_labels
from lightmeter.parts import Spelled
from lightmeter.types import Array

Weights = Literal["published", "fejer"]
_GROUP = 32
"""Features between two looks at the classes, and whose densities are multiplied before one logarithm is taken."""
_FLOOR = 1e-8
"""The least density: Fejér's kernel has zeros, and the logarithm of a group of 32 floors still fits float64."""
_MOST_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class FourierPnn(Spelled):
    """Naive Bayes over densities by orthogonal series: time and size depend on the classes, not on the rows.

    A feature z is z-scored over all rows, times `scale`, and clipped to −½ … ½. With the mean over a class's rows t,
    p(z) = ½ + Σ_{j=1..J} w_j·mean_t cos(πj(z − t)), J = max(3, ⌈(N/C)^⅓⌉), and a class scores Σ_d ln p_d(z_d).

    scale: of the z-scores; 0.33 clips at 1.5 standard deviations, 1 at half of one
    weights: fejer is w_j = (J − j + 1)/(J + 1), the density estimate itself; published divides by J once more as the
    author's code does: (1 − 1/J)·½ + (1/J)·estimate, never near 0, and what `ratio` was chosen for
    sequential: after every 32 features d, classes whose score is below the best + ln(ratio)·d are out; the last stays
    ratio: of the geometric mean densities, above 0 and below 1
    fit: x float [N, D], y int [N] in 0..K−1; a class without rows scores −inf.  Cost: 2·N·D·J sines, 8·K·D·J bytes.
    Source: Savchenko, arXiv:1708.02733; no class priors, as there.
    """

    scale: float = 0.33
    weights: Weights = "published"
    sequential: bool = False
    ratio: float = 0.9

    def __post_init__(self) -> None:
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise InvalidValueError(f"scale must be above 0, got {self.scale}: try 0.33")
        if not 0 < self.ratio < 1:
            raise InvalidValueError(f"ratio must be above 0 and below 1, got {self.ratio}: try 0.9")

    def fit(self, x: Array, y: Array) -> FourierPnnModel:
        """Learn the series of every class and feature."""
        x, y = checked_features(x), checked_labels(y, len(x))
        mean, spread = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        # a feature that never varies says nothing and is 0 for all; a float64 sum of equal float32 is exact: it shows
        per_spread = np.divide(self.scale, spread, out=np.zeros_like(spread), where=spread > 0)
        counts = np.bincount(y)
        terms = series_length(len(x), int(np.count_nonzero(counts)))
        z = _scaled(x, mean, per_spread)
        coefficients = np.zeros((x.shape[1], len(counts), 2 * terms))
        for name in np.flatnonzero(counts):
            mine = z[y == name]
            for at in range(0, x.shape[1], _GROUP):
                part = slice(at, at + _GROUP)
                coefficients[part, name] = _waves(mine[:, part], terms).mean(axis=0)
        coefficients *= _series_weights(terms, self.weights)
        kept = coefficients.astype(np.float32)
        return FourierPnnModel(self, mean.astype(np.float32), per_spread.astype(np.float32), kept, counts > 0)


def series_length(rows: int, classes: int) -> int:
    """J = max(3, ⌈(N/C)^⅓⌉): terms of the series.

    >>> [series_length(rows, 10) for rows in (10, 270, 280, 10_000)]
    [3, 3, 4, 10]
    """
    return max(3, math.ceil(math.pow(rows / classes, 1 / 3) - 1e-9))


def _series_weights(terms: int, weights: Weights) -> Array:
    """One a wave: float64 [2J], cosines then sines."""
    fejer = 1 - np.arange(1, terms + 1) / (terms + 1)
    weight: Array = np.tile(fejer if weights == "fejer" else fejer / terms, 2)
    return weight


def _scaled(x: Array, mean: Array, per_spread: Array) -> Array:
    z: Array = np.clip((x - mean) * per_spread, -0.5, 0.5)
    return z


def _waves(z: Array, terms: int) -> Array:
    """cos πjz and sin πjz for j = 1 … J: [N, D] → [N, D, 2J].  Each from the last, by the sum of angles."""
    out = np.empty((*z.shape, 2 * terms), z.dtype)
    turn = np.exp(np.pi * 1j * z)
    power = turn
    for j in range(terms):
        out[..., j], out[..., terms + j] = power.real, power.imag
        power = power * turn
    return out


def _log_density(waves: Array, series: Array) -> Array:
    """Σ ln p over a group of features: [D, N, 2J] and [D, K, 2J] → float64 [N, K]."""
    density = waves @ series.transpose(0, 2, 1)
    density += 0.5
    np.maximum(density, _FLOOR, out=density)
    total: Array = np.log(np.multiply.reduce(density, axis=0, dtype=np.float64))
    return total


class FourierPnnModel:
    """The series of K classes and D features."""

    def __init__(self, recipe: FourierPnn, mean: Array, per_spread: Array, coefficients: Array, there: Array) -> None:
        self.recipe, self.mean, self.per_spread = recipe, mean, per_spread
        self.coefficients = coefficients  # [D, K, 2J]
        self.there = there

    @property
    def macs(self) -> int:
        """Multiply–adds to score one row, without what the sequential variant saves: 2·J·D·K."""
        return int(self.coefficients.size)

    @property
    def size_bytes(self) -> int:
        """Bytes of what was learnt."""
        return int(self.coefficients.nbytes + self.mean.nbytes + self.per_spread.nbytes + self.there.nbytes)

    def scores(self, x: Array) -> Array:
        """Features float [N, D] → float32 [N, K], log-densities in nats; −inf for a class that is out.

        Cost: `macs` a row and a logarithm for 32 features of a class; `scores_and_macs` tells what was spent.
        """
        return self.scores_and_macs(x)[0]

    def predict(self, x: Array) -> Array:
        """Features float [N, D] → int64 [N], the class with the highest score, the lowest among equals."""
        best: Array = self.scores(x).argmax(axis=1)
        return best

    def scores_and_macs(self, x: Array) -> tuple[Array, Array]:
        """The scores, and the multiply–adds that each row took: int64 [N]; fewer where classes fell out early."""
        x = checked_features(x, len(self.mean))
        scores = np.empty((len(x), len(self.there)), np.float32)
        spent = np.empty(len(x), np.int64)
        dim, classes, waves = self.coefficients.shape
        step = max(1, _MOST_AT_ONCE // max(_GROUP * classes, dim * waves))
        for at in range(0, len(x), step):
            part = slice(at, at + step)
            seen = _waves(_scaled(x[part], self.mean, self.per_spread), waves // 2).transpose(1, 0, 2)
            scores[part], spent[part] = self._sequential(seen) if self.recipe.sequential else self._plain(seen)
        return scores, spent

    def _plain(self, seen: Array) -> tuple[Array, int]:
        """Waves [D, N, 2J] → scores [N, K]."""
        total = np.zeros((seen.shape[1], len(self.there)))
        for at in range(0, len(seen), _GROUP):
            total += _log_density(seen[at : at + _GROUP], self.coefficients[at : at + _GROUP])
        total[:, ~self.there] = -np.inf
        return total, self.macs

    def _sequential(self, seen: Array) -> tuple[Array, Array]:
        """Rows that are decided leave; a class is computed while any row of the batch still has it."""
        dim, count, waves = seen.shape
        total = np.where(self.there, np.zeros((count, 1)), -np.inf)
        spent = np.zeros(count, np.int64)
        for at in range(0, dim, _GROUP):
            stop = min(at + _GROUP, dim)
            here = np.isfinite(total)
            rows = np.flatnonzero(np.count_nonzero(here, axis=1) > 1)
            if not len(rows):
                break
            classes = np.flatnonzero(here[rows].any(axis=0))
            spent[rows] += waves * (stop - at) * np.count_nonzero(here[rows], axis=1)
            # whole where nothing is left out: choosing copies
            mine = seen[at:stop] if len(rows) == count else seen[at:stop].take(rows, axis=1)
            series = self.coefficients[at:stop]
            series = series if len(classes) == len(self.there) else series.take(classes, axis=1)
            some = total[np.ix_(rows, classes)] + _log_density(mine, series)
            some[some < some.max(axis=1, keepdims=True) + math.log(self.recipe.ratio) * stop] = -np.inf
            total[np.ix_(rows, classes)] = some
        return total, spent

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        names = ("mean", "per_spread", "coefficients", "there")
        save_model(folder, {name: getattr(self, name) for name in names}, {"spec": self.recipe.spec})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        recipe = expect_recipe(about, "head", FourierPnn)
        coefficients = expect(arrays, "coefficients", "float32", None, None, None)
        dim, classes, waves = coefficients.shape
        insist(
            coefficients.size and waves % 2 == 0,
            f"coefficients of a model must be [D, K, 2J], all 1 or more, got {[dim, classes, waves]}",
        )
        mean, per_spread = expect(arrays, "mean", "float32", dim), expect(arrays, "per_spread", "float32", dim)
        there = expect(arrays, "there", "bool", classes)
        insist(there.any(), "there of a model must hold a class, got none")
        return cls(recipe, mean, per_spread, coefficients, there)
