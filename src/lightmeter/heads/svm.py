"""Support vector machines, linear and with Gaussian kernel: learnt by scikit-learn, kept as arrays, scored by us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from lightmeter.assets.saving import expect, expect_number, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.heads.inputs import checked_features, checked_labels, loaded_classes, spread
from lightmeter.parts import Spelled, need
from lightmeter.types import Array

_CELLS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Svm(Spelled):
    """Largest margin: one class against the rest (linear, LIBLINEAR) or each pair of classes (rbf, LIBSVM).

    fit: x float [N, D], y int [N] in 0..K−1, two classes at least.  Cost: linear some passes over N·D·K; rbf O(N²·D)
    and more.  Needs `lightmeter[heads]`.

    c: penalty of errors · gamma: of exp(−gamma·|x − x'|²); none is 1 / (D · variance of x), scikit-learn's `scale`
    steps: most that the solver makes (passes over the data for linear, pairs of rows for rbf), none is 10,000 and no
        end; scikit-learn warns where they were too few · seed: of LIBLINEAR's order; LIBSVM draws nothing
    Source: Cortes and Vapnik 1995; Fan et al. 2008 (LIBLINEAR, squared hinge); Chang and Lin 2011 (LIBSVM).
    """

    kernel: Literal["linear", "rbf"] = "linear"
    c: float = 1.0
    gamma: float | None = None
    steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("c", "gamma", "steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InvalidValueError(f"{name} must be above 0 and finite, got {value}")
        if self.kernel == "linear" and self.gamma is not None:
            raise InvalidValueError(f"gamma belongs to kernel=rbf, got {self.gamma} with linear: leave it out")

    def fit(self, x: Array, y: Array) -> LinearSvm | KernelSvm:
        """Learn from features x float [N, D] and labels y int [N] in 0..K−1."""
        rows = checked_features(x)
        labels = checked_labels(y, len(rows))
        classes = np.unique(labels)
        if len(classes) < 2:
            raise InvalidValueError("y must hold at least two classes for an svm, got one: take knn")
        svm = need("sklearn.svm", "heads")
        count = int(labels.max()) + 1
        if self.kernel == "linear":
            solver = svm.LinearSVC(C=self.c, dual="auto", max_iter=self.steps or 10_000, random_state=self.seed)
            learnt = solver.fit(rows, labels)
            weights, offsets = learnt.coef_, learnt.intercept_
            if len(classes) == 2:
                weights, offsets = np.concatenate([-weights, weights]), np.concatenate([-offsets, offsets])
            return LinearSvm(self, weights.astype(np.float32), offsets.astype(np.float32), classes, count)
        gamma = self.gamma or _scaled_gamma(rows)
        return _kept(self, svm.SVC(C=self.c, gamma=gamma, max_iter=self.steps or -1).fit(rows, labels), gamma, count)


@dataclass(frozen=True, slots=True, eq=False)
class LinearSvm:
    """A hyperplane a class.

    weights: float32 [P, D] · offsets: float32 [P] · seen: int64 [P], the classes that were learnt, of `classes`
    """

    recipe: Svm
    weights: Array
    offsets: Array
    seen: Array
    classes: int

    @property
    def macs(self) -> int:
        """P·D."""
        return int(self.weights.size)

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    def scores(self, x: Array) -> Array:
        """Features float [N, D] → float32 [N, K], above 0 for the class, 1 at its margin; −inf if never seen."""
        rows = checked_features(x, self.weights.shape[1])
        return spread(rows @ self.weights.T + self.offsets, self.seen, self.classes, -np.inf)

    def predict(self, x: Array) -> Array:
        """Features float [N, D] → int64 [N]."""
        best: Array = self.scores(x).argmax(axis=1)
        return best

    def _arrays(self) -> dict[str, Array]:
        return {"weights": self.weights, "offsets": self.offsets, "seen": self.seen}

    def save(self, folder: Path) -> None:
        """Write it into a folder as safetensors and JSON."""
        save_model(folder, self._arrays(), {"spec": self.recipe.spec, "classes": self.classes})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        recipe, seen, classes = _loaded_recipe(arrays, about, "linear")
        weights = expect(arrays, "weights", "float32", len(seen), None)
        insist(weights.size, "weights of a model must have a dimension or more, got none")
        return cls(recipe, weights, expect(arrays, "offsets", "float32", len(seen)), seen, classes)


@dataclass(frozen=True, slots=True, eq=False)
class KernelSvm:
    """Support vectors and, for each pair of classes, what each of them adds.

    vectors: float32 [V, D], class by class · ends: int64 [P], where each class's vectors end
    weights: float64 [P − 1, V], of a vector of class i against each other class in order (LIBSVM's dual coefficients)
    offsets: float64 [P·(P − 1)/2], of the pairs (0, 1), (0, 2) … · seen: int64 [P], the classes that were learnt
    """

    recipe: Svm
    vectors: Array
    ends: Array
    weights: Array
    offsets: Array
    seen: Array
    gamma: float
    classes: int

    @property
    def macs(self) -> int:
        """V·D for the distances, V·(P − 1) for the pairs."""
        return int(self.vectors.size + self.weights.size)

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    def scores(self, x: Array) -> Array:
        """Features float [N, D] → float32 [N, K]: pairs won, and a third at most by how clearly; −inf if never seen.

        As scikit-learn's `decision_function` of shape `ovr`; two classes get the margin and its negative.
        """
        rows = checked_features(x, self.vectors.shape[1])
        step = max(1, _CELLS_AT_ONCE // max(len(self.vectors), len(self.seen) ** 2))
        made = [self._some(rows[at : at + step]) for at in range(0, len(rows), step)]
        return spread(np.concatenate([np.empty((0, len(self.seen))), *made]), self.seen, self.classes, -np.inf)

    def _some(self, rows: Array) -> Array:
        near = np.exp(-self.gamma * _squared(rows, self.vectors))
        pairs = np.zeros((len(rows), len(self.seen), len(self.seen)))  # what the vectors of one add against another
        for own, (start, end) in enumerate(zip([0, *self.ends[:-1]], self.ends, strict=True)):
            others = np.arange(len(self.seen)) != own
            pairs[:, own, others] = near[:, start:end] @ self.weights[:, start:end].T
        one, other = np.triu_indices(len(self.seen), 1)
        margins = pairs[:, one, other] + pairs[:, other, one] + self.offsets
        if len(self.seen) == 2:
            return np.concatenate([margins, -margins], axis=1)
        pairs[:, one, other], pairs[:, other, one] = margins, -margins
        sums = pairs.sum(axis=2)
        pairs[:, one, other] = np.where(margins < 0, -1.0, 1.0)  # a margin of 0 is a vote for the lower class
        pairs[:, other, one] = -pairs[:, one, other]
        votes = (pairs > 0).sum(axis=2)
        scores: Array = votes + sums / (3 * (np.abs(sums) + 1))
        return scores

    def predict(self, x: Array) -> Array:
        """Features float [N, D] → int64 [N]; ties of votes by the margins, as scikit-learn's `break_ties`."""
        best: Array = self.scores(x).argmax(axis=1)
        return best

    def _arrays(self) -> dict[str, Array]:
        names = ("vectors", "ends", "weights", "offsets", "seen")
        return {name: getattr(self, name) for name in names}

    def save(self, folder: Path) -> None:
        """Write it into a folder as safetensors and JSON."""
        about = {"spec": self.recipe.spec, "classes": self.classes, "gamma": self.gamma}
        save_model(folder, self._arrays(), about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        recipe, seen, classes = _loaded_recipe(arrays, about, "rbf")
        learnt = len(seen)
        vectors, ends = expect(arrays, "vectors", "float32", None, None), expect(arrays, "ends", "int64", learnt)
        insist(
            vectors.size and (np.diff(ends, prepend=0) >= 0).all() and ends[-1] == len(vectors),
            f"ends of a model must rise to its {len(vectors)} vectors",
        )
        weights = expect(arrays, "weights", "float64", learnt - 1, len(vectors))
        offsets = expect(arrays, "offsets", "float64", learnt * (learnt - 1) // 2)
        return cls(recipe, vectors, ends, weights, offsets, seen, expect_number(about, "gamma"), classes)


def _loaded_recipe(arrays: Mapping[str, Array], about: Mapping[str, Any], kernel: str) -> tuple[Svm, Array, int]:
    """Recipe, seen and classes of a saved machine with that kernel."""
    recipe, (seen, classes) = expect_recipe(about, "head", Svm), loaded_classes(arrays, about)
    insist(recipe.kernel == kernel, f"kernel of a model must be {kernel} here, got {recipe.kernel}")
    insist(len(seen) >= 2, f"seen of a model must be two classes or more, got {len(seen)}")
    return recipe, seen, classes


def _scaled_gamma(rows: Array) -> float:
    variance = float(rows.astype(np.float64).var())
    return 1 / (rows.shape[1] * variance) if variance > 0 else 1.0


def _kept(recipe: Svm, learnt: Any, gamma: float, count: int) -> KernelSvm:
    """The arrays of a fitted SVC. Of two classes scikit-learn turns the sign round; here 0 is the positive one."""
    sign = -1.0 if len(learnt.classes_) == 2 else 1.0
    return KernelSvm(
        recipe,
        np.ascontiguousarray(learnt.support_vectors_, np.float32),
        np.cumsum(learnt.n_support_).astype(np.int64),
        np.asarray(sign * learnt.dual_coef_, np.float64),
        np.asarray(sign * learnt.intercept_, np.float64),
        learnt.classes_.astype(np.int64),
        gamma,
        count,
    )


def _squared(one: Array, other: Array) -> Array:
    """Squared distances float64 [N, M]; in float64, since the kernel turns what cancels into relative error."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    apart = np.einsum("nd,nd->n", a, a)[:, None] + np.einsum("md,md->m", b, b) - 2 * (a @ b.T)
    squared: Array = np.maximum(apart, 0)
    return squared
