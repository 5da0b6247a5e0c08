"""Random forests: grown by scikit-learn, kept as flat arrays, walked by us, all rows and trees a step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from lightmeter.assets.saving import expect, expect_count, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.heads.inputs import checked_features, checked_labels, loaded_classes, spread
from lightmeter.parts import Spelled, need
from lightmeter.types import Array

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Forest(Spelled):
    """The mean over trees, each grown on rows drawn with replacement, each split the best of √D features.

    fit: x float [N, D], y int [N] in 0..K−1.  Cost: O(trees · √D · N · log² N).  Needs `lightmeter[heads]`.

    depth: most splits above a leaf, none for pure leaves · leaf: fewest rows in a leaf
    Source: Breiman 2001, Machine Learning 45.
    """

    trees: int = 100
    depth: int | None = None
    leaf: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trees < 1 or self.leaf < 1 or (self.depth is not None and self.depth < 1):
            raise InvalidValueError(
                f"trees, leaf and depth must be at least 1, got {self.trees}, {self.leaf} and {self.depth}"
            )

    def fit(self, x: Array, y: Array) -> ForestModel:
        """Learn from features x float [N, D] and labels y int [N] in 0..K−1."""
        rows = checked_features(x)
        labels = checked_labels(y, len(rows))
        grower = need("sklearn.ensemble", "heads").RandomForestClassifier(
            self.trees, max_depth=self.depth, min_samples_leaf=self.leaf, random_state=self.seed, n_jobs=1
        )
        grown = grower.fit(rows, labels)
        trees = [each.tree_ for each in grown.estimators_]
        return _flat(self, trees, grown.classes_.astype(np.int64), int(labels.max()) + 1, rows.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class ForestModel:
    """Nodes of all trees in one row; leaves hold the few classes that ended there.

    features: int32 [M], what a node looks at · thresholds: float64 [M], at most this goes left
    children: int32 [M, 2], left and right; a leaf's own two entries are itself · roots: int32 [trees]
    starts: int32 [M + 1], where a node's classes begin (none but leaves have some)
    labels: int32 [E], shares: float64 [E], the classes of leaves and their shares, sum 1 · seen: int64 [P]
    """

    recipe: Forest
    features: Array
    thresholds: Array
    children: Array
    roots: Array
    starts: Array
    labels: Array
    shares: Array
    seen: Array
    classes: int
    dim: int
    steps: int

    @property
    def macs(self) -> int:
        """Comparisons on the longest way through every tree, at most; a forest multiplies nothing."""
        return len(self.roots) * self.steps

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    def scores(self, x: Array) -> Array:
        """Features float [N, D] → float32 [N, K], the trees' mean shares, sum 1; 0 for a class never seen."""
        return spread(self.probabilities(x), self.seen, self.classes, 0.0)

    def probabilities(self, x: Array) -> Array:
        """The same in float64 for the classes seen, [N, P]: bit for bit what scikit-learn's `predict_proba` gives."""
        rows = checked_features(x, self.dim)
        made = [self._some(rows[at : at + _ROWS_AT_ONCE]) for at in range(0, len(rows), _ROWS_AT_ONCE)]
        return np.concatenate([np.empty((0, len(self.seen))), *made])

    def votes(self, x: Array) -> Array:
        """Share of the trees that decide for each class seen, float64 [N, P], sum 1; a tied leaf is the lowest's.

        This is the mode of decisions as Breiman has it; `probabilities` are finer and have fewer ties.
        """
        rows = checked_features(x, self.dim)
        shares = np.zeros((len(self.features), len(self.seen)))
        shares[np.repeat(np.arange(len(self.features)), np.diff(self.starts)), self.labels] = self.shares
        decisions = shares.argmax(axis=1)
        made = np.empty((len(rows), len(self.seen)))
        for at in range(0, len(rows), _ROWS_AT_ONCE):
            found = decisions[self._leaves(rows[at : at + _ROWS_AT_ONCE])]
            for place in range(len(self.seen)):
                made[at : at + _ROWS_AT_ONCE, place] = (found == place).mean(axis=1)
        return made

    def _some(self, rows: Array) -> Array:
        leaves = self._leaves(rows).ravel()
        begins, ends = self.starts[leaves], self.starts[leaves + 1]
        counts = ends - begins
        entries = np.repeat(begins - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
        owners = np.repeat(np.repeat(np.arange(len(rows)), len(self.roots)), counts)
        places = owners * len(self.seen) + self.labels[entries]
        summed = np.bincount(places, self.shares[entries], len(rows) * len(self.seen))
        mean: Array = summed.reshape(len(rows), -1) / len(self.roots)
        return mean

    def _leaves(self, rows: Array) -> Array:
        """The leaf of every row in every tree, int32 [N, trees]: leaves lead to themselves, so all may walk on."""
        at = np.tile(self.roots, (len(rows), 1))
        places = np.arange(len(rows))[:, None]
        for _ in range(self.steps):
            right = rows[places, self.features[at]] > self.thresholds[at]
            at = self.children[at, right.astype(np.intp)]
        return at

    def predict(self, x: Array) -> Array:
        """Features float [N, D] → int64 [N]."""
        best: Array = self.scores(x).argmax(axis=1)
        return best

    def _arrays(self) -> dict[str, Array]:
        names = ("features", "thresholds", "children", "roots", "starts", "labels", "shares", "seen")
        return {name: getattr(self, name) for name in names}

    def save(self, folder: Path) -> None:
        """Write it into a folder as safetensors and JSON."""
        about = {"spec": self.recipe.spec, "classes": self.classes, "dim": self.dim, "steps": self.steps}
        save_model(folder, self._arrays(), about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        recipe, (seen, classes) = expect_recipe(about, "head", Forest), loaded_classes(arrays, about)
        dim, steps = expect_count(about, "dim"), expect_count(about, "steps", 0)
        thresholds = expect(arrays, "thresholds", "float64", None)
        nodes = len(thresholds)
        insist(steps < nodes, f"steps of a model must be below its {nodes} nodes, got {steps}")
        starts = expect(arrays, "starts", "int32", nodes + 1)
        shares = expect(arrays, "shares", "float64", None)
        insist(
            starts[0] == 0 and (np.diff(starts) >= 0).all() and starts[-1] == len(shares),
            f"starts of a model must rise from 0 to its {len(shares)} shares",
        )
        return cls(
            recipe, _below(arrays, "features", dim, nodes), thresholds, _below(arrays, "children", nodes, nodes, 2),
            _below(arrays, "roots", nodes, recipe.trees), starts, _below(arrays, "labels", len(seen), len(shares)),
            shares, seen, classes, dim, steps,
        )  # fmt: skip


def _below(arrays: Mapping[str, Array], name: str, end: int, *shape: int) -> Array:
    """Places of a saved forest: int32 of this shape, 0 to end − 1."""
    places = expect(arrays, name, "int32", *shape)
    insist(not places.size or (places.min() >= 0 and places.max() < end), f"{name} of a model must be 0 to {end - 1}")
    return places


def _flat(recipe: Forest, trees: list[Any], seen: Array, classes: int, dim: int) -> ForestModel:
    """Nodes of scikit-learn's trees behind each other, numbered through."""
    sizes = [tree.node_count for tree in trees]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    own = np.arange(sum(sizes))[:, None]
    children = np.concatenate([
        np.stack([tree.children_left, tree.children_right], axis=1) + root * (tree.children_left >= 0)[:, None]
        for tree, root in zip(trees, roots, strict=True)
    ])  # fmt: skip
    leaf = children[:, :1] < 0
    values = np.concatenate([tree.value[:, 0] for tree in trees]) * leaf
    nodes, labels = np.nonzero(values)
    return ForestModel(
        recipe,
        np.maximum(np.concatenate([tree.feature for tree in trees]), 0).astype(np.int32),
        np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
        np.where(leaf, own, children).astype(np.int32),
        roots.astype(np.int32),
        np.searchsorted(nodes, np.arange(len(own) + 1)).astype(np.int32),
        labels.astype(np.int32),
        values[nodes, labels],
        seen,
        classes,
        dim,
        max(tree.max_depth for tree in trees),
    )
