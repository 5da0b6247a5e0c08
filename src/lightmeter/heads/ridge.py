"""Ridge regression on one-hot labels, in closed form: the cheapest head, and one that grows in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from lightmeter.assets.saving import expect, expect_count, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.heads.inputs import checked_features, checked_labels
from lightmeter.parts import Spelled
from lightmeter.types import Array, Labels

_BLOCK = 128
_MOST_UPDATES = 256


@dataclass(frozen=True)
class Ridge(Spelled):
    """Least squares on ±1 labels, one class against the rest, weights held small.

    fit: x float [N, D], y int [N] in 0..K−1.  Cost: with S = min(N, D): N·D·S multiply–adds and a Cholesky of S [S, S].
    Decides as scikit-learn's RidgeClassifier; two classes get two scores here, one the other's negative.

    l2: weight of |w|², above 0; suits unit features
    grows: keep the factor of the scatter (S·S and, where N < D, N·D float64), so that `add` takes milliseconds; without
        it the model is K·D numbers
    Source: Hoerl and Kennard 1970; dual form by Woodbury's identity.
    """

    l2: float = 1.0
    grows: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.l2 < np.inf:
            raise InvalidValueError(f"l2 must be above 0 and finite, got {self.l2}")

    def fit(self, x: Array, y: Array) -> RidgeModel:
        """Learn from features x float [N, D] and labels y int [N] in 0..K−1."""
        rows = checked_features(x, dtype="float64")
        labels = checked_labels(y, len(rows))
        targets = np.where(labels[:, None] == np.arange(labels.max() + 1), 1.0, -1.0)
        target_mean = targets.mean(axis=0)
        mean = rows.mean(axis=0)
        rows = rows - mean
        return self._solved(rows, mean, rows.T @ (targets - target_mean), target_mean)

    def fit_labels(self, x: Array, labels: Labels) -> RidgeModel:
        """Learn any number of labels a row, or none: features x float [N, D] and labels of N rows; every class counts.

        Memory: 16 bytes a feature; never N·K numbers.  Cost: as `fit`, with L·D in place of N·D·K, L labels in all.
        """
        rows = checked_features(x, dtype="float64")
        if len(rows) != len(labels) or not len(rows):
            raise InvalidValueError(f"x and labels must be of the same rows, got {len(rows)} and {len(labels)}")
        mean = rows.mean(axis=0)
        rows = rows - mean
        toward = np.zeros((labels.count, rows.shape[1]))
        order = np.argsort(labels.classes, kind="stable")
        owners = np.repeat(np.arange(len(labels)), np.diff(labels.offsets))[order]
        counts = np.bincount(labels.classes, minlength=labels.count)
        ends = np.cumsum(counts)
        for label in np.flatnonzero(counts).tolist():
            # targets are −1 and 2 more where the label is; what all rows have in common is 0, they are centred
            toward[label] = 2 * rows[owners[ends[label] - counts[label] : ends[label]]].sum(axis=0)
        return self._solved(rows, mean, toward.T, 2 * counts / len(rows) - 1)

    def _solved(self, rows: Array, mean: Array, toward: Array, target_mean: Array) -> RidgeModel:
        base = _Base.of(rows, self.l2)
        none = np.empty((0, rows.shape[1]))
        return RidgeModel(
            self, base.solve(toward).T, mean, target_mean, len(rows), base if self.grows else None, none, none
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Base:
    """The inverse of l2·I + Σ z zᵀ, by the smaller of two Cholesky factors.

    lower: float64 [D, D] of the sum itself, or [N, N] of l2·I + Z Zᵀ · rows: Z float64 [N, D] then, None before
    """

    lower: Array
    rows: Array | None
    l2: float

    @classmethod
    def of(cls, rows: Array, l2: float) -> Self:
        """From rows z float64 [N, D]."""
        dual = len(rows) < rows.shape[1]
        scatter = rows @ rows.T if dual else rows.T @ rows
        np.einsum("ii->i", scatter)[:] += l2
        return cls(np.linalg.cholesky(scatter), rows if dual else None, l2)

    def solve(self, right: Array) -> Array:
        """Inverse times float64 [D, M]."""
        if self.rows is None:
            return _solve_both(self.lower, right)
        inner = _solve_both(self.lower, self.rows @ right)
        made: Array = (right - self.rows.T @ inner) / self.l2
        return made

    def with_rows(self, more: Array) -> _Base:
        """The base of all rows: those it was made of and more float64 [R, D].  Cost: as `of`, once in 256 rows."""
        if self.rows is not None:
            return _Base.of(np.concatenate([self.rows, more]), self.l2)
        return _Base(np.linalg.cholesky(self.lower @ self.lower.T + more.T @ more), None, self.l2)


@dataclass(frozen=True, slots=True, eq=False)
class RidgeModel:
    """A hyperplane a class. `add` gives a new model that has seen more; this one stays as it is.

    weights: float64 [K, D] of x − mean · mean: float64 [D] · target_mean: float64 [K] · seen: rows learnt from
    base, added, turned: what `add` needs; none without `grows`. added: float64 [R, D], the rows added since the base,
    centred and scaled so that the scatter grows by their squares; turned: the same through the inverse
    """

    recipe: Ridge
    weights: Array
    mean: Array
    target_mean: Array
    seen: int
    base: _Base | None
    added: Array
    turned: Array

    @property
    def classes(self) -> int:
        """K."""
        return len(self.weights)

    @property
    def macs(self) -> int:
        """K·D."""
        return int(self.weights.size)

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights, and of what `add` needs where it is kept."""
        return sum(array.nbytes for array in self._arrays().values())

    def scores(self, x: Array) -> Array:
        """Features float [N, D] → float32 [N, K], near 1 for the class and −1 for the rest."""
        rows = checked_features(x, self.weights.shape[1])
        made: Array = rows @ self.weights.T.astype(np.float32)
        made += (self.target_mean - self.weights @ self.mean).astype(np.float32)
        return made

    def predict(self, x: Array) -> Array:
        """Features float [N, D] → int64 [N]."""
        best: Array = self.scores(x).argmax(axis=1)
        return best

    def add(self, x: Array, y: Array) -> RidgeModel:
        """The model of all rows so far and these: x float [N, D], y int [N], new labels among them welcome.

        Equal to a fit of everything, up to rounding. A label beyond K − 1 makes a class; until then every row was
        against it.  Cost: a row a solve with the factor (S² and, where N < D, 2·N·D) and D·(2·K + 4·R) multiply–adds, R
        rows added since the last factor; a new factor after every 256.
        Source: Welford's update of mean and scatter; recursive least squares by Sherman and Morrison.
        """
        if self.base is None:
            raise InvalidValueError("this ridge cannot add: fit it with grows=true")
        rows = checked_features(x, self.weights.shape[1], "float64")
        model = self._widened(int(checked_labels(y, len(rows)).max()) + 1)
        for row, label in zip(rows, y.tolist(), strict=True):
            model = model._with_row(row, np.where(np.arange(model.classes) == label, 1.0, -1.0))
        return model

    def add_targets(self, x: Array, targets: Array) -> RidgeModel:
        """The same for any targets float64 [N, K], 1 or −1; K stays."""
        if self.base is None:
            raise InvalidValueError("this ridge cannot add: fit it with grows=true")
        model = self
        for row, wanted in zip(checked_features(x, self.weights.shape[1], "float64"), targets, strict=True):
            model = model._with_row(row, wanted)
        return model

    def with_target(self, toward: Array, target_mean: float) -> RidgeModel:
        """One more class. toward: float64 [D], Σ (x − mean)·target over all rows so far · target_mean: of its targets.

        Cost: one solve with the factor that is there (S², and 2·N·D where N < D): milliseconds.
        """
        weights = np.concatenate([self.weights, self.solved(toward[:, None]).T])
        return replace(self, weights=weights, target_mean=np.append(self.target_mean, target_mean))

    def solved(self, right: Array) -> Array:
        """The inverse of l2·I + scatter of all rows so far, times float64 [D, M]."""
        if self.base is None:
            raise InvalidValueError("this ridge kept no factor: fit it with grows=true")
        made: Array = self.base.solve(right) - self.turned.T @ (self.turned @ right)
        return made

    def _widened(self, classes: int) -> RidgeModel:
        """Room for classes that every row so far was against: a target of −1 throughout, nothing to explain."""
        more = max(classes - self.classes, 0)
        weights = np.concatenate([self.weights, np.zeros((more, self.weights.shape[1]))])
        return replace(self, weights=weights, target_mean=np.concatenate([self.target_mean, np.full(more, -1.0)]))

    def _with_row(self, row: Array, wanted: Array) -> RidgeModel:
        assert self.base is not None
        seen = self.seen + 1
        apart = row - self.mean
        share = self.seen / seen  # of the scatter that a row at this distance from the old mean adds
        turned = self.solved(apart[:, None])[:, 0]
        scale = 1 + share * float(apart @ turned)
        target = wanted - self.target_mean
        surprise = target - self.weights @ apart
        model = replace(
            self,
            weights=self.weights + np.outer(surprise, turned * (share / scale)),
            mean=self.mean + apart / seen,
            target_mean=self.target_mean + target / seen,
            seen=seen,
            added=np.concatenate([self.added, [apart * np.sqrt(share)]]),
            turned=np.concatenate([self.turned, [turned * np.sqrt(share / scale)]]),
        )
        return model if len(model.added) < _MOST_UPDATES else model._refactored()

    def _refactored(self) -> RidgeModel:
        assert self.base is not None
        none = self.added[:0]
        return replace(self, base=self.base.with_rows(self.added), added=none, turned=none)

    def _arrays(self) -> dict[str, Array]:
        arrays = {"weights": self.weights, "mean": self.mean, "target_mean": self.target_mean}
        if self.base is not None:
            arrays |= {"lower": self.base.lower, "added": self.added, "turned": self.turned}
            if self.base.rows is not None:
                arrays["rows"] = self.base.rows
        return arrays

    def save(self, folder: Path) -> None:
        """Write it into a folder as safetensors and JSON."""
        save_model(folder, self._arrays(), {"spec": self.recipe.spec, "seen": self.seen})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; it can add as before.  Raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        recipe = expect_recipe(about, "head", Ridge)
        weights = expect(arrays, "weights", "float64", None, None)
        insist(weights.size, f"weights of a model must be [K, D] of 1 or more, got {list(weights.shape)}")
        classes, dim = weights.shape
        mean, target_mean = expect(arrays, "mean", "float64", dim), expect(arrays, "target_mean", "float64", classes)
        base, added, turned = None, np.empty((0, dim)), np.empty((0, dim))
        if recipe.grows:
            base = _loaded_base(arrays, dim, recipe.l2)
            added = expect(arrays, "added", "float64", None, dim)
            turned = expect(arrays, "turned", "float64", len(added), dim)
            insist(len(added) < _MOST_UPDATES, f"added of a model must be below {_MOST_UPDATES} rows, got {len(added)}")
        return cls(recipe, weights, mean, target_mean, expect_count(about, "seen"), base, added, turned)


def _loaded_base(arrays: Mapping[str, Array], dim: int, l2: float) -> _Base:
    rows = expect(arrays, "rows", "float64", None, dim) if "rows" in arrays else None
    size = dim if rows is None else len(rows)
    lower = expect(arrays, "lower", "float64", size, size)
    insist(size and (np.diagonal(lower) > 0).all(), "the diagonal of lower of a model must be above 0")
    return _Base(lower, rows, l2)


def _solve_both(lower: Array, right: Array) -> Array:
    """(L Lᵀ)⁻¹ times float64 [S, M], block by block: NumPy has no triangular solve, SciPy is no part of the core."""
    made = np.array(right)
    starts = range(0, len(lower), _BLOCK)
    for at in starts:
        block = slice(at, at + _BLOCK)
        made[block] = np.linalg.solve(lower[block, block], made[block] - lower[block, :at] @ made[:at])
    for at in reversed(starts):
        block, after = slice(at, at + _BLOCK), slice(at + _BLOCK, None)
        rest = made[block] - lower[after, block].T @ made[after]
        made[block] = np.linalg.solve(lower[block, block].T, rest)
    return made
