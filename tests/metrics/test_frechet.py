"""The Fréchet distance: closed forms, a matrix root by SciPy, Ledoit and Wolf's share by scikit-learn."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.frechet import frechet_distance, ledoit_wolf_shrinkage


def with_moments(mean, spread, count=40, seed=0):
    """Rows whose mean and covariance (of N − 1) are exactly these."""
    rows = np.random.default_rng(seed).normal(size=(count, len(mean)))
    rows -= rows.mean(0)
    white = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T).reshape(len(mean), -1))).T
    return white @ np.linalg.cholesky(np.asarray(spread, float)).T + mean


def test_in_one_direction_it_is_the_difference_of_means_and_deviations():
    one, other = with_moments([1.0], [[4.0]]), with_moments([-2.0], [[0.25]], count=25, seed=1)
    assert frechet_distance(one, other, shrinkage=0) == pytest.approx(9 + (2 - 0.5) ** 2)


def test_where_covariances_commute_it_is_the_sum_over_directions():
    one, other = with_moments([0, 0, 0], np.diag([1, 4, 9])), with_moments([1, 0, 2], np.diag([4, 4, 1]), seed=2)
    assert frechet_distance(one, other, shrinkage=0) == pytest.approx(5 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turned = frechet_distance(one @ turn, other @ turn, shrinkage=0)
    assert turned == pytest.approx(frechet_distance(one, other, shrinkage=0)), "whatever the axes are"


def test_where_they_do_not_commute_it_is_the_formula():
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)), 1 + rng.normal(size=(70, 5))
    spread, wide = np.cov(one.T), np.cov(other.T)
    plain = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(spread + wide - 2 * sqrtm(spread @ wide).real)
    assert frechet_distance(one, other, shrinkage=0) == pytest.approx(plain, rel=1e-6)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-9)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def test_the_share_is_ledoit_and_wolfs():
    reference = pytest.importorskip("sklearn.covariance").ledoit_wolf_shrinkage
    rng = np.random.default_rng(5)
    for count, dim in ((200, 3), (12, 8), (6, 30)):
        rows = rng.normal(size=(count, dim)) * np.linspace(0.2, 3, dim)
        assert ledoit_wolf_shrinkage(rows) == pytest.approx(reference(rows), rel=1e-9)
    assert ledoit_wolf_shrinkage(np.ones((5, 3))) == 0


def test_few_rows_of_one_distribution_are_nearer_with_shrinkage():
    rng = np.random.default_rng(6)
    one, other = rng.normal(size=(2, 20, 40))
    assert frechet_distance(one, other) < 0.5 * frechet_distance(one, other, shrinkage=0)
    all_of_it = frechet_distance(one, other, shrinkage=1)
    squares = [each.var(0, ddof=1).mean() for each in (one, other)]
    roots = np.sqrt(squares[0]) - np.sqrt(squares[1])
    assert all_of_it == pytest.approx(np.square(one.mean(0) - other.mean(0)).sum() + 40 * roots**2)


@pytest.mark.parametrize(("one", "other", "options"), [
    (np.zeros((1, 2)), np.zeros((3, 2)), {}), (np.zeros((3, 2)), np.zeros((3, 3)), {}),
    (np.zeros((3, 0)), np.zeros((3, 0)), {}), (np.full((3, 2), np.nan), np.zeros((3, 2)), {}),
    (np.zeros((3, 2)), np.zeros((3, 2)), {"shrinkage": 1.5}),
])  # fmt: skip
def test_what_has_no_distance(one, other, options):
    with pytest.raises(InvalidValueError):
        frechet_distance(one, other, **options)
