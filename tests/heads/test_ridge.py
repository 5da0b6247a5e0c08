"""Ridge is scikit-learn's, whichever side is smaller, and stays so while it grows."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.heads import Ridge, RidgeModel
from lightmeter.heads.ridge import _solve_both
from lightmeter.parts import build


def mixture(seed, classes, rows, dim):
    """Gaussian classes, each with a row at least, off the origin."""
    drawn = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), drawn.integers(0, classes, rows - classes)])
    x = 3 + drawn.standard_normal((classes, dim))[y] + drawn.standard_normal((rows, dim))
    return x.astype(np.float32), y


def theirs(x, y, l2):
    from sklearn.linear_model import RidgeClassifier

    return RidgeClassifier(alpha=l2).fit(x.astype(np.float64), y)


@pytest.mark.parametrize(("rows", "dim"), [(60, 8), (20, 40), (30, 30), (300, 200)])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("l2", [0.01, 10.0])
def test_it_is_scikit_learns(rows, dim, classes, l2):
    x, y = mixture(0, classes, rows, dim)
    fresh, _ = mixture(1, classes, 50, dim)
    model, reference = Ridge(l2).fit(x, y), theirs(x, y, l2)
    expected = reference.decision_function(fresh)
    if classes == 2:
        expected = np.stack([-expected, expected], axis=1)
    np.testing.assert_allclose(model.scores(fresh), expected, atol=2e-4)
    assert (model.predict(fresh) == reference.predict(fresh)).all()


def test_by_hand():
    """Rows −1 and 1 of classes 0 and 1: w = Σxy / (Σx² + l2) = 2 / (2 + 2)."""
    model = Ridge(l2=2.0).fit(np.array([[-1.0], [1.0]]), np.array([0, 1]))
    np.testing.assert_allclose(model.scores(np.array([[3.0]])), [[-1.5, 1.5]])


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 10), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_growing_is_fitting_anew(seed, first, more, dim):
    drawn = np.random.default_rng(seed)
    x = drawn.standard_normal((first + more, dim))
    y = drawn.integers(0, 4, first + more)
    y[drawn.integers(0, first + more)] = 5
    grown, anew = Ridge(0.5).fit(x[:first], y[:first]), Ridge(0.5).fit(x, y)
    cut = int(drawn.integers(first, first + more)) if more > 1 else first
    for part in (slice(first, cut), slice(cut, None)):
        if len(x[part]):
            grown = grown.add(x[part], y[part])
    np.testing.assert_allclose(grown.weights, anew.weights, atol=1e-9)
    np.testing.assert_allclose(grown.scores(x), anew.scores(x), atol=1e-4)
    assert grown.seen == anew.seen


@pytest.mark.parametrize(("rows", "dim"), [(50, 12), (20, 400), (100, 120)], ids=["primal", "dual", "dual-to-primal"])
def test_many_rows_make_a_new_factor(rows, dim, monkeypatch):
    monkeypatch.setattr("lightmeter.heads.ridge._MOST_UPDATES", 25)
    x, y = mixture(2, 3, rows + 60, dim)
    grown = Ridge().fit(x[:rows], y[:rows]).add(x[rows:], y[rows:])
    assert len(grown.added) == 10
    assert (grown.base.rows is None) == (rows + 50 >= dim)
    np.testing.assert_allclose(grown.weights, Ridge().fit(x, y).weights, atol=1e-8)


def test_a_new_label_makes_a_class_and_the_old_model_stays():
    x, y = mixture(3, 3, 40, 6)
    model = Ridge().fit(x, y)
    before = model.scores(x)
    apart = np.full((1, 6), -9.0)
    grown = model.add(apart, np.array([4]))
    assert (model.classes, grown.classes) == (3, 5)
    np.testing.assert_array_equal(model.scores(x), before)
    assert grown.predict(apart).tolist() == [4]
    np.testing.assert_allclose(grown.scores(x)[:, 3], -1, atol=1e-6)


@pytest.mark.slow
def test_a_row_is_taken_in_within_milliseconds():
    x, y = mixture(4, 99, 3786, 1280)
    model = Ridge().fit(x, y)
    model.add(x[:1], y[:1])
    took = []
    for at in range(10):
        start = time.thread_time()
        model.add(x[at : at + 1], np.array([99]))
        took.append(time.thread_time() - start)
    assert min(took) < 0.02
    start = time.thread_time()
    Ridge().fit(x, y)
    assert min(took) < (time.thread_time() - start) / 10


@pytest.mark.parametrize(("rows", "grows"), [(40, True), (8, True), (40, False)])
def test_a_kept_model_scores_and_grows_alike_and_weighs_what_it_says(rows, grows, tmp_path):
    x, y = mixture(5, 3, rows, 10)
    model = Ridge(grows=grows).fit(x, y)
    if grows:
        model = model.add(x[:2], y[:2])
    model.save(tmp_path)
    again = RidgeModel.load(tmp_path)
    np.testing.assert_array_equal(again.scores(x), model.scores(x))
    file = (tmp_path / "model.safetensors").read_bytes()
    assert model.size_bytes == len(file) - 8 - int.from_bytes(file[:8], "little")
    if grows:
        np.testing.assert_array_equal(again.add(x, y).weights, model.add(x, y).weights)
    else:
        assert model.size_bytes == 8 * (3 * 10 + 10 + 3)
    assert model.macs == 30


def test_the_solver_is_numpys():
    drawn = np.random.default_rng(6)
    for size in (1, 127, 128, 129, 300):
        matrix = drawn.standard_normal((size, size))
        matrix = matrix @ matrix.T + np.eye(size)
        right = drawn.standard_normal((size, 3))
        made = _solve_both(np.linalg.cholesky(matrix), right)
        np.testing.assert_allclose(matrix @ made, right, atol=1e-8)


@pytest.mark.parametrize("ridge", [Ridge(), Ridge(0.1, False)])
def test_it_is_rebuilt_by_its_spec(ridge):
    assert build(ridge.spec, "head") == ridge


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Ridge(l2=0), "l2 must be above 0"),
        (
            lambda: Ridge(grows=False).fit(np.ones((2, 2)), np.arange(2)).add(np.ones((1, 2)), np.array([0])),
            "grows=true",
        ),
        (lambda: Ridge().fit(np.ones((2, 2)), np.arange(3)), r"y must be \[2\]"),
        (lambda: Ridge().fit(np.ones((2, 2)), np.arange(2)).add(np.ones((1, 3)), np.array([0])), r"\[N, 2\]"),
        (lambda: Ridge().fit(np.array([["a"]]), np.array([0])), "must be numbers"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InvalidValueError, match=words):
        call()
