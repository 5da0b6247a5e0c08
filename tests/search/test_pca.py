"""Principal components: the textbook's, whichever path finds them."""

from __future__ import annotations

import numpy as np
import pytest
from galleries import KINDS, drawn, gaussian, mixture
from sklearn.decomposition import PCA

from lightmeter.errors import InvalidValueError
from lightmeter.search import pca
from lightmeter.search.pca import fit_basis, is_exact


def test_four_points_worked_by_hand():
    """(±3, 0) and (0, ±1) around (5, 5): mean squares are 2·9/4 = 4.5 along x and 2·1/4 = 0.5 along y."""
    basis = fit_basis(np.array([[8.0, 5.0], [2.0, 5.0], [5.0, 6.0], [5.0, 4.0]]), 2)
    assert basis.mean.tolist() == [5, 5]
    np.testing.assert_allclose(basis.components, [[1, 0], [0, 1]], atol=1e-15)
    np.testing.assert_allclose(basis.variances, [4.5, 0.5])
    np.testing.assert_allclose(basis.project(np.array([[6.0, 3.0]])), [[1, -2]], atol=1e-15)


def test_the_largest_number_of_a_direction_is_positive():
    rows = np.outer([-1.0, 0.0, 1.0], [0.6, -0.8])
    np.testing.assert_allclose(fit_basis(rows, 1).components, [[-0.6, 0.8]], atol=1e-15)


@pytest.mark.parametrize(("rows", "dim"), [(200, 30), (20, 60), (40, 40)])
def test_equals_scikit_learn(rows, dim):
    x = mixture(np.random.default_rng(3), rows, dim)
    ours, theirs = fit_basis(x, 12), PCA(12, svd_solver="full").fit(x)
    np.testing.assert_allclose(ours.variances, theirs.explained_variance_ * (rows - 1) / rows, rtol=1e-9)
    agree = np.abs((ours.components * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(agree, 1, rtol=1e-9)
    np.testing.assert_allclose(np.abs(ours.project(x)), np.abs(theirs.transform(x)), atol=1e-7)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_is_orthonormal_and_falls_on_every_kind_of_gallery(kind):
    for seed in range(4):
        x, _ = drawn(kind, seed)
        basis = fit_basis(x, 40)
        count = len(basis.components)
        assert count <= min(40, x.shape[1], len(x) - 1)
        np.testing.assert_allclose(basis.components @ basis.components.T, np.eye(count), atol=1e-9)
        assert (np.diff(basis.variances) <= 1e-9 * basis.variances.max(initial=0)).all()
        assert (basis.variances > 0).all()
        seen = basis.project(x)
        np.testing.assert_allclose((seen**2).mean(axis=0), basis.variances, rtol=1e-6)


def test_components_are_as_many_as_the_rows_vary_in():
    rng = np.random.default_rng(0)
    assert fit_basis(rng.standard_normal((1, 5)), 4).components.shape == (0, 5)
    assert fit_basis(np.full((9, 5), 0.1, np.float32), 4).components.shape == (0, 5)
    assert fit_basis(np.zeros((9, 5)), 4).components.shape == (0, 5)
    assert fit_basis(rng.standard_normal((3, 50)), 4).components.shape == (2, 50)
    assert fit_basis(rng.standard_normal((50, 3)), 4).components.shape == (3, 3)
    assert fit_basis(gaussian(rng, 50, 2) @ gaussian(rng, 2, 20), 9).components.shape == (2, 20)


def test_scale_does_not_matter():
    x = mixture(np.random.default_rng(1), 60, 90)
    for scale in (1e-18, 1e18):
        np.testing.assert_allclose(fit_basis(x * scale, 5).components, fit_basis(x, 5).components, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1e-15, 1e15])
def test_random_projections_hold_nearly_as_much_variance(monkeypatch, scale):
    x = mixture(np.random.default_rng(2), 600, 200) * scale + 7 * scale
    exact = fit_basis(x, 40)
    monkeypatch.setattr(pca, "is_exact", lambda *_: False)
    close = fit_basis(x, 40, seed=5)
    np.testing.assert_allclose(close.components @ close.components.T, np.eye(40), atol=1e-12)
    held = (close.project(x) ** 2).sum() / (exact.project(x) ** 2).sum()
    assert 0.999 < held <= 1 + 1e-9
    np.testing.assert_allclose(close.variances[:10], exact.variances[:10], rtol=1e-3)
    assert (fit_basis(x, 40, seed=5).components == close.components).all()
    assert (fit_basis(x, 40, seed=6).components != close.components).any()


def test_the_cheaper_path_is_taken():
    assert is_exact(4096, 1280, 256)
    assert is_exact(30_000, 1024, 256)
    assert not is_exact(3030, 4096, 256)
    assert is_exact(3030, 4096, 3000)


@pytest.mark.slow
def test_the_large_path_as_it_is_chosen():
    x = mixture(np.random.default_rng(2), 2600, 4096)
    basis = fit_basis(x, 64)
    centred = x - x.mean(axis=0)
    best = np.linalg.eigvalsh(centred @ centred.T)[-64:].sum() / len(x)
    assert not is_exact(2600, 4096, 64)
    assert basis.variances.sum() > 0.99 * best


def test_what_is_no_gallery_is_refused():
    with pytest.raises(InvalidValueError, match=r"rows must be \[N, D\] with N and D of 1 or more, got \[0, 3\]"):
        fit_basis(np.zeros((0, 3)), 2)
    with pytest.raises(InvalidValueError, match="components must be at least 1, got 0"):
        fit_basis(np.zeros((2, 3)), 0)
    with pytest.raises(InvalidValueError, match="must be finite"):
        fit_basis(np.array([[0.0, np.nan]]), 1)
    with pytest.raises(InvalidValueError, match=r"rows must be \[N, 2\]"):
        fit_basis(np.ones((2, 2)), 1).project(np.ones((2, 3)))
