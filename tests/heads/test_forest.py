"""A forest answers bit for bit as scikit-learn's, from arrays alone."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.heads import Forest, ForestModel
from lightmeter.parts import build


def mixture(seed, classes, rows, dim=6):
    """Overlapping Gaussian classes, each with a row at least."""
    drawn = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), drawn.integers(0, classes, rows - classes)])
    x = 0.7 * drawn.standard_normal((classes, dim))[y] + drawn.standard_normal((rows, dim))
    return x.astype(np.float32), y


@pytest.mark.parametrize(
    ("recipe", "classes"),
    [(Forest(trees=7), 2), (Forest(trees=5, seed=4), 5), (Forest(trees=6, depth=3), 4), (Forest(trees=4, leaf=9), 3)],
    ids=lambda each: each.spec if isinstance(each, Forest) else str(each),
)
def test_it_is_scikit_learns(recipe, classes):
    from sklearn.ensemble import RandomForestClassifier

    x, y = mixture(classes, classes, 120)
    fresh, _ = mixture(77, classes, 150)
    theirs = RandomForestClassifier(
        recipe.trees, max_depth=recipe.depth, min_samples_leaf=recipe.leaf, random_state=recipe.seed
    ).fit(x, y)
    model = recipe.fit(x, y)
    np.testing.assert_array_equal(model.probabilities(fresh), theirs.predict_proba(fresh))
    np.testing.assert_allclose(model.scores(fresh).sum(axis=1), 1, rtol=1e-6)
    two = np.sort(model.scores(fresh), axis=1)
    clear = two[:, -1] - two[:, -2] > 1e-6
    assert (model.predict(fresh) == theirs.predict(fresh))[clear].all()


def test_rows_on_a_threshold_go_left():
    """One split of 0 and 1: at 0.5, which is no more than the threshold, the row is a 0."""
    model = Forest(trees=1, seed=1).fit(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([0, 0, 1, 1]))
    assert model.thresholds[model.roots[0]] == 0.5
    assert model.predict(np.array([[0.5], [np.nextafter(np.float32(0.5), 1)]])).tolist() == [0, 1]


def test_a_kept_model_scores_alike_and_weighs_what_it_says(tmp_path):
    x, y = mixture(1, 4, 80)
    model = Forest(trees=5).fit(x, y)
    model.save(tmp_path)
    again = ForestModel.load(tmp_path)
    np.testing.assert_array_equal(again.probabilities(x), model.probabilities(x))
    assert again.recipe == model.recipe
    file = (tmp_path / "model.safetensors").read_bytes()
    assert model.size_bytes == len(file) - 8 - int.from_bytes(file[:8], "little")


def test_macs_count_the_longest_way():
    x, y = mixture(2, 3, 60)
    model = Forest(trees=4, depth=3).fit(x, y)
    longest = 0
    for root in model.roots:
        level, depth = {int(root)}, 0
        while inner := {int(c) for node in level for c in model.children[node] if c != node}:
            level, depth = inner, depth + 1
        longest = max(longest, depth)
    assert model.macs == 4 * longest == 12


def test_pure_leaves_hold_one_class():
    x, y = mixture(3, 5, 90)
    model = Forest(trees=3).fit(x, y)
    leaves = model.children[:, 0] == np.arange(len(model.children))
    assert (np.diff(model.starts) == leaves).all()
    assert model.size_bytes < 100 * len(model.features)


def test_one_class_and_absent_classes():
    x, y = mixture(4, 3, 60)
    model = Forest(trees=3).fit(x, np.array([1, 4, 4])[y])
    assert model.scores(x).shape == (60, 5)
    assert (model.scores(x)[:, [0, 2, 3]] == 0).all()
    alone = Forest(trees=2).fit(x, np.full(60, 2))
    assert (alone.predict(x) == 2).all()
    assert alone.macs == 0
    assert model.scores(x[:0]).shape == (0, 5)


def test_rows_in_blocks_score_alike(monkeypatch):
    x, y = mixture(5, 3, 50)
    model = Forest(trees=3).fit(x, y)
    whole = model.probabilities(x)
    monkeypatch.setattr("lightmeter.heads.forest._ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(model.probabilities(x), whole)


@pytest.mark.parametrize("forest", [Forest(), Forest(3, 2, 5, 1)])
def test_it_is_rebuilt_by_its_spec(forest):
    assert build(forest.spec, "head") == forest


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Forest(trees=0), "must be at least 1"),
        (lambda: Forest(depth=0), "must be at least 1"),
        (lambda: Forest().fit(np.zeros((0, 2)), np.zeros(0, int)), "at least one row"),
        (lambda: Forest().fit(np.zeros((1, 2)), np.array([-1])), "number the classes from 0"),
        (lambda: Forest(trees=1).fit(*mixture(0, 2, 9)).scores(np.full((1, 6), np.inf)), "finite"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InvalidValueError, match=words):
        call()
