"""Nearest neighbours by brute force, over all features, the first few, or a PCA of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from lightmeter.assets.saving import expect, expect_count, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.heads.inputs import checked_features, checked_labels, loaded_classes, spread
from lightmeter.parts import Spelled
from lightmeter.types import Array

_CELLS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Knn(Spelled):
    """Remember every row; a class is as far as the mean of its k nearest rows. With k = 1, the seed's NN.

    This is not a vote among the k nearest of all: a class of fewer than k rows counts by those it has, and every class
    has a distance, which fusion, posteriors and rejection need.

    fit: x float [N, D], y int [N] in 0..K−1.  Cost: none, or with pca an eigen-decomposition of S = min(N, D): O(S³).

    first: use only the first features · pca: use only the first principal components of the gallery; not both
    unit: bring rows to length 1 before all else, as the seed does · n: of the posteriors exp(−n·distance)
    Source: Cover and Hart 1967; the seed's rows "NN all", "NN 256" and "NN 64, PCA".
    """

    k: int = 1
    first: int | None = None
    pca: int | None = None
    unit: bool = True
    n: float = 100.0

    def __post_init__(self) -> None:
        for name in ("k", "first", "pca"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidValueError(f"{name} must be at least 1, got {value}")
        if self.first is not None and self.pca is not None:
            raise InvalidValueError(f"first and pca cannot both be given, got {self.first} and {self.pca}: take one")
        if not 0 < self.n < np.inf:
            raise InvalidValueError(f"n must be above 0 and finite, got {self.n}")

    def fit(self, x: Array, y: Array) -> KnnModel:
        """Remember features x float [N, D] and labels y int [N] in 0..K−1."""
        rows = checked_features(x)
        labels = checked_labels(y, len(rows))
        dim = rows.shape[1]
        wanted = self.first or self.pca or dim
        most = dim if self.pca is None else min(dim, len(rows))
        if wanted > most:
            raise InvalidValueError(f"first and pca must be at most {most} for x {list(rows.shape)}, got {wanted}")
        mean, basis = np.zeros(0, np.float32), np.zeros((0, 0), np.float32)
        if self.pca is not None:
            mean, basis = _principal(_unit(rows) if self.unit else rows, self.pca)
        order = np.argsort(labels, kind="stable")
        seen, starts = np.unique(labels[order], return_index=True)
        kept = _view(self, rows[order], mean, basis)
        return KnnModel(self, kept, starts.astype(np.int64), seen, mean, basis, int(labels.max()) + 1, dim)


@dataclass(frozen=True, slots=True, eq=False)
class KnnModel:
    """The rows, class by class.

    rows: float32 [N, D'] as they are compared · starts: int64 [P], where each class begins · seen: int64 [P]
    mean: float32 [D], basis: float32 [D', D] of the PCA, empty without
    """

    recipe: Knn
    rows: Array
    starts: Array
    seen: Array
    mean: Array
    basis: Array
    classes: int
    dim: int

    @property
    def macs(self) -> int:
        """N·D' for the distances, D'·D for the projection."""
        return int(self.rows.size + self.basis.size)

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    def distances(self, x: Array) -> Array:
        """Squared distance to each class, features float [N, D] → float32 [N, K]; inf for a class never seen.

        By a matrix product in float32: right to about 1e-6 of the squared lengths.
        """
        queries = _view(self.recipe, checked_features(x, self.dim), self.mean, self.basis)
        norms = np.einsum("nd,nd->n", self.rows, self.rows)
        step = max(1, _CELLS_AT_ONCE // len(self.rows))
        made = [np.empty((0, len(self.seen)), np.float32)]
        for at in range(0, len(queries), step):
            some = queries[at : at + step]
            apart = some @ self.rows.T
            apart *= -2
            apart += norms
            apart += np.einsum("nd,nd->n", some, some)[:, None]
            made.append(self._of_classes(np.maximum(apart, 0, out=apart)))
        return spread(np.concatenate(made), self.seen, self.classes, np.inf)

    def _of_classes(self, apart: Array) -> Array:
        """Distances to rows float32 [Q, N] → to classes [Q, P]."""
        k = self.recipe.k
        if k == 1:
            least: Array = np.minimum.reduceat(apart, self.starts, axis=1)
            return least
        made = np.empty((len(apart), len(self.seen)), np.float32)
        for at, own in enumerate(np.split(apart, self.starts[1:], axis=1)):
            nearest = np.partition(own, k - 1, axis=1)[:, :k] if k < own.shape[1] else own
            made[:, at] = nearest.mean(axis=1)
        return made

    def scores(self, x: Array) -> Array:
        """Features float [N, D] → float32 [N, K], minus the class distance; −inf for a class never seen."""
        return -self.distances(x)

    def posteriors(self, x: Array) -> Array:
        """exp(−n·distance), normalised: features float [N, D] → float64 [N, K], rows sum to 1."""
        distances = self.distances(x).astype(np.float64)
        shares = np.exp(-self.recipe.n * (distances - distances.min(axis=1, keepdims=True)))
        normal: Array = shares / shares.sum(axis=1, keepdims=True)
        return normal

    def predict(self, x: Array) -> Array:
        """Features float [N, D] → int64 [N], the nearest class."""
        best: Array = self.scores(x).argmax(axis=1)
        return best

    def _arrays(self) -> dict[str, Array]:
        return {name: getattr(self, name) for name in ("rows", "starts", "seen", "mean", "basis")}

    def save(self, folder: Path) -> None:
        """Write it into a folder as safetensors and JSON."""
        about = {"spec": self.recipe.spec, "classes": self.classes, "dim": self.dim, "rows": len(self.rows)}
        save_model(folder, self._arrays(), about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        recipe, (seen, classes) = expect_recipe(about, "head", Knn), loaded_classes(arrays, about)
        dim = expect_count(about, "dim")
        wide = recipe.first or recipe.pca or dim
        insist(wide <= dim, f"first and pca of a model must be at most its dim {dim}, got {wide}")
        rows = expect(arrays, "rows", "float32", expect_count(about, "rows"), wide)
        starts = expect(arrays, "starts", "int64", len(seen))
        insist(
            starts[0] == 0 and (starts[1:] > starts[:-1]).all() and starts[-1] < len(rows),
            f"starts of a model must rise from 0 and stay below its {len(rows)} rows",
        )
        turned = (wide, dim) if recipe.pca is not None else (0, 0)
        mean, basis = expect(arrays, "mean", "float32", turned[1]), expect(arrays, "basis", "float32", *turned)
        return cls(recipe, rows, starts, seen, mean, basis, classes, dim)


def _view(recipe: Knn, x: Array, mean: Array, basis: Array) -> Array:
    """Rows as they are compared: unit, cut or projected; float32 [N, D']."""
    rows = _unit(x) if recipe.unit else x
    if recipe.first is not None:
        return np.ascontiguousarray(rows[:, : recipe.first])
    return (rows - mean) @ basis.T if recipe.pca is not None else rows


def _unit(rows: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit


def _principal(rows: Array, components: int) -> tuple[Array, Array]:
    """Mean float32 [D] and the components with most variance, float32 [components, D], by the smaller Gram matrix."""
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    if len(rows) < rows.shape[1]:
        values, left = np.linalg.eigh(centred @ centred.T)
        tall = centred.T @ left[:, ::-1][:, :components]
        lengths = np.sqrt(np.maximum(values[::-1][:components], 0))
        basis = np.divide(tall, lengths, out=np.zeros_like(tall), where=lengths > 1e-9 * lengths[0]).T
    else:
        basis = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :components].T
    return mean.astype(np.float32), np.ascontiguousarray(basis, np.float32)
