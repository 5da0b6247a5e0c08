"""Nearest neighbours: scikit-learn's, over all features, the first few and principal components."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.heads import Knn, KnnModel
from lightmeter.parts import build


def mixture(seed, classes, rows, dim=12):
    """Gaussian classes, each with a row at least."""
    drawn = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), drawn.integers(0, classes, rows - classes)])
    x = drawn.standard_normal((classes, dim))[y] + drawn.standard_normal((rows, dim))
    return x.astype(np.float32), y


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("recipe", "view"),
    [
        (Knn(), unit),
        (Knn(unit=False), lambda x: x),
        (Knn(first=5), lambda x: unit(x)[:, :5]),
    ],
    ids=["unit", "raw", "first"],
)
def test_the_nearest_is_scikit_learns(recipe, view):
    from sklearn.neighbors import KNeighborsClassifier

    x, y = mixture(0, 5, 150)
    fresh, _ = mixture(1, 5, 100)
    theirs = KNeighborsClassifier(1, algorithm="brute").fit(view(x), y)
    assert (recipe.fit(x, y).predict(fresh) == theirs.predict(view(fresh))).all()


@pytest.mark.parametrize(("rows", "dim"), [(80, 12), (10, 30)], ids=["tall", "wide"])
@pytest.mark.parametrize("components", [3, 8])
def test_the_components_are_scikit_learns(rows, dim, components):
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier

    x, y = mixture(2, 4, rows, dim)
    fresh, _ = mixture(3, 4, 60, dim)
    pca = PCA(components, svd_solver="full").fit(unit(x.astype(np.float64)))
    theirs = KNeighborsClassifier(1, algorithm="brute").fit(pca.transform(unit(x)), y)
    model = Knn(pca=components).fit(x, y)
    near, _ = theirs.kneighbors(pca.transform(unit(fresh)))
    np.testing.assert_allclose(model.distances(fresh).min(axis=1), near[:, 0] ** 2, atol=2e-5)
    assert (model.predict(fresh) == theirs.predict(pca.transform(unit(fresh)))).mean() > 0.98


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_a_class_is_as_far_as_the_mean_of_its_k_nearest(seed, k):
    x, y = mixture(seed, 4, 20, 3)
    fresh, _ = mixture(seed + 1, 4, 6, 3)
    found = Knn(k=k, unit=False).fit(x, y).distances(fresh)
    for at, query in enumerate(fresh.astype(np.float64)):
        for c in range(4):
            apart = sorted(((x[y == c] - query) ** 2).sum(axis=1))
            assert found[at, c] == pytest.approx(np.mean(apart[:k]), rel=1e-4, abs=1e-4)


def test_by_hand():
    """On a line: class 0 at 0 and 4, class 1 at 3; the query at 1 is 1 and 9, and 4, away."""
    x, y = np.array([[0.0], [3.0], [4.0]]), np.array([0, 1, 0])
    query = np.array([[1.0]])
    np.testing.assert_allclose(Knn(unit=False).fit(x, y).scores(query), [[-1, -4]], atol=1e-6)
    np.testing.assert_allclose(Knn(k=2, unit=False).fit(x, y).scores(query), [[-5, -4]], atol=1e-6)
    shares = Knn(unit=False, n=np.log(2)).fit(x, y).posteriors(query)
    np.testing.assert_allclose(shares, [[8 / 9, 1 / 9]], rtol=1e-5)  # 1/2 against 1/16


def test_posteriors_are_shares_however_far():
    x, y = mixture(4, 3, 30)
    shares = Knn(n=1e6).fit(x, y).posteriors(x + 50)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_zero_rows_and_equal_rows():
    model = Knn().fit(np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]), np.array([2, 1, 0]))
    assert model.predict(np.array([[0.0, 0.0], [5.0, 0.0]])).tolist() == [2, 0]


def test_components_of_equal_rows_are_nothing():
    model = Knn(pca=2).fit(np.ones((3, 5)), np.array([0, 1, 1]))
    np.testing.assert_allclose(model.distances(np.ones((1, 5))), 0, atol=1e-12)


def test_a_class_never_seen_is_never_answered():
    x, y = mixture(5, 2, 20)
    model = Knn().fit(x, y * 3)
    assert np.isneginf(model.scores(x)[:, [1, 2]]).all()
    assert (model.posteriors(x)[:, [1, 2]] == 0).all()
    assert (model.predict(x) == y * 3).all()
    assert model.scores(x[:0]).shape == (0, 4)


@pytest.mark.parametrize("recipe", [Knn(), Knn(k=3, first=4), Knn(pca=5)], ids=lambda r: r.spec)
def test_a_kept_model_scores_alike_and_weighs_what_it_says(recipe, tmp_path):
    x, y = mixture(6, 3, 40)
    model = recipe.fit(x, y)
    model.save(tmp_path)
    again = KnnModel.load(tmp_path)
    np.testing.assert_array_equal(again.scores(x), model.scores(x))
    assert again.recipe == recipe
    file = (tmp_path / "model.safetensors").read_bytes()
    assert model.size_bytes == len(file) - 8 - int.from_bytes(file[:8], "little")


def test_macs_are_counted():
    x, y = mixture(7, 3, 40)
    assert Knn().fit(x, y).macs == 40 * 12
    assert Knn(first=4).fit(x, y).macs == 40 * 4
    assert Knn(pca=5).fit(x, y).macs == 40 * 5 + 5 * 12


def test_queries_in_blocks_score_alike(monkeypatch):
    x, y = mixture(8, 3, 40)
    model = Knn(k=2).fit(x, y)
    whole = model.scores(x)
    monkeypatch.setattr("lightmeter.heads.knn._CELLS_AT_ONCE", 100)
    np.testing.assert_allclose(model.scores(x), whole, atol=1e-6)


@pytest.mark.parametrize("knn", [Knn(), Knn(3, None, 64, False, 5.0), Knn(first=256)])
def test_it_is_rebuilt_by_its_spec(knn):
    assert build(knn.spec, "head") == knn


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Knn(k=0), "k must be at least 1"),
        (lambda: Knn(first=3, pca=3), "cannot both"),
        (lambda: Knn(n=0), "n must be above 0"),
        (lambda: Knn(first=9).fit(np.ones((2, 3)), np.arange(2)), "at most 3"),
        (lambda: Knn(pca=3).fit(np.ones((2, 9)), np.arange(2)), "at most 2"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InvalidValueError, match=words):
        call()
