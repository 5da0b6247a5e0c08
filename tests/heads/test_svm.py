"""Support vector machines decide as scikit-learn's, from arrays alone."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.heads import KernelSvm, LinearSvm, Svm
from lightmeter.parts import build


def mixture(seed, classes, rows, dim=8, spread=0.7):
    """Gaussian classes, each with a row at least."""
    drawn = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), drawn.integers(0, classes, rows - classes)])
    x = drawn.standard_normal((classes, dim))[y] + spread * drawn.standard_normal((rows, dim))
    return x.astype(np.float32), y


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_it_is_scikit_learns(kernel, classes):
    from sklearn.svm import SVC, LinearSVC

    x, y = mixture(classes, classes, 150)
    fresh, _ = mixture(99, classes, 200)
    theirs = (
        LinearSVC(dual="auto", max_iter=10_000, random_state=0) if kernel == "linear" else SVC(break_ties=classes > 2)
    )
    theirs.fit(x, y)
    model = Svm(kernel=kernel).fit(x, y)
    expected = theirs.decision_function(fresh)
    if classes == 2:
        expected = np.stack([-expected, expected], axis=1)
    np.testing.assert_allclose(model.scores(fresh), expected, atol=2e-5)
    assert (model.predict(fresh) == theirs.predict(fresh)).mean() > 0.99


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_more_penalty_and_a_narrower_kernel_reach_the_solver(kernel):
    x, y = mixture(0, 3, 90, spread=1.5)
    gentle, strict = Svm(kernel=kernel, c=0.01).fit(x, y), Svm(kernel=kernel, c=10.0).fit(x, y)
    assert (strict.predict(x) == y).mean() > (gentle.predict(x) == y).mean()
    if kernel == "rbf":
        assert (Svm(kernel="rbf", gamma=50.0).fit(x, y).predict(x) == y).all()


@pytest.mark.parametrize(("kernel", "cls"), [("linear", LinearSvm), ("rbf", KernelSvm)])
def test_a_kept_model_scores_alike_and_weighs_what_it_says(kernel, cls, tmp_path):
    x, y = mixture(1, 4, 80)
    model = Svm(kernel=kernel).fit(x, y)
    model.save(tmp_path)
    again = cls.load(tmp_path)
    np.testing.assert_array_equal(again.scores(x), model.scores(x))
    assert again.recipe == model.recipe
    file = (tmp_path / "model.safetensors").read_bytes()
    assert model.size_bytes == len(file) - 8 - int.from_bytes(file[:8], "little")


def test_macs_are_counted():
    x, y = mixture(2, 5, 60)
    assert Svm().fit(x, y).macs == 5 * 8
    kernel = Svm(kernel="rbf").fit(x, y)
    assert kernel.macs == len(kernel.vectors) * (8 + 4)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_a_class_never_seen_is_never_answered(kernel):
    x, y = mixture(3, 3, 60)
    y = np.array([0, 2, 5])[y]
    model = Svm(kernel=kernel).fit(x, y)
    scores = model.scores(x)
    assert scores.shape == (60, 6)
    assert np.isneginf(scores[:, [1, 3, 4]]).all()
    assert set(model.predict(x)) <= {0, 2, 5}
    assert model.scores(x[:0]).shape == (0, 6)


def test_rows_in_blocks_score_alike(monkeypatch):
    x, y = mixture(4, 4, 100)
    model = Svm(kernel="rbf").fit(x, y)
    whole = model.scores(x)
    monkeypatch.setattr("lightmeter.heads.svm._CELLS_AT_ONCE", 1)
    np.testing.assert_allclose(model.scores(x), whole, atol=1e-6)


def test_too_few_steps_are_said():
    x, y = mixture(5, 3, 200, spread=2.0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        Svm(steps=1).fit(x, y)
    assert any("converge" in str(each.message) for each in said)


def test_nothing_kept_is_a_pickle(tmp_path):
    Svm().fit(*mixture(6, 2, 20)).save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    assert json.loads((tmp_path / "model.json").read_text())["spec"] == Svm().spec


@pytest.mark.parametrize("svm", [Svm(), Svm("rbf", 2.0, 0.5, 100, 3)])
def test_it_is_rebuilt_by_its_spec(svm):
    assert build(svm.spec, "head") == svm


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Svm(c=0), "c must be above 0"),
        (lambda: Svm(gamma=1.0), "gamma belongs to kernel=rbf"),
        (lambda: Svm(kernel="rbf", gamma=-1.0), "gamma must be above 0"),
        (lambda: Svm(steps=0), "steps must be above 0"),
        (lambda: Svm().fit(np.zeros((3, 2)), np.zeros(3, int)), "at least two classes"),
        (lambda: Svm().fit(np.zeros((3, 2)), np.zeros(3)), "whole numbers"),
        (lambda: Svm().fit(np.full((2, 2), np.nan), np.arange(2)), "finite"),
        (lambda: Svm().fit(*mixture(0, 2, 9)).scores(np.zeros((1, 3))), r"x must be \[N, 8\]"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InvalidValueError, match=words):
        call()
