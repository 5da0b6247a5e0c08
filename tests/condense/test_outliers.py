"""The local outlier factor: by hand, scikit-learn's, and what stays where too few would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import LocalOutlierFactor

from lightmeter.condense import outliers as module
from lightmeter.condense.outliers import inliers, outlier_factors
from lightmeter.condense.rows import RowsOf
from lightmeter.errors import InvalidValueError


def test_by_hand():
    """Points 0, 1, 2 and 5 on a line, two neighbours each.

    last neighbours at 2, 1, 2, 4; reaches 0: max(1, 1), max(2, 2); 1: 2, 2; 2: 1, 2; 5: max(3, 2), max(4, 1)
    mean reaches 1.5, 2, 1.5, 3.5; a factor is the mean of (own reach / a neighbour's)
    """
    rows = np.array([[0.0], [1.0], [2.0], [5.0]])
    expected = [(0.75 + 1) / 2, (4 / 3 + 4 / 3) / 2, (0.75 + 1) / 2, (7 / 3 + 7 / 4) / 2]
    np.testing.assert_allclose(outlier_factors(rows, 2), expected, rtol=1e-9)
    stays, note = inliers(rows, 0.25, at_least=1, neighbours=2)
    assert stays.tolist() == [True, True, True, False]
    assert note == ""


@settings(max_examples=30)
@given(
    st.integers(0, 999), st.integers(12, 60), st.sampled_from([2, 20]), st.sampled_from([0.01, 0.1, 0.3, 0.5]),
)  # fmt: skip
def test_scikit_learn_says_the_same(seed, count, dim, contamination):
    rows = np.random.default_rng(seed).standard_t(2, size=(count, dim))
    rows = rows.astype(np.float32)
    theirs = LocalOutlierFactor(n_neighbors=10, contamination=contamination)
    expected = theirs.fit_predict(rows) == 1
    np.testing.assert_allclose(outlier_factors(rows), -theirs.negative_outlier_factor_, rtol=2e-5)
    stays, note = inliers(rows, contamination, at_least=1)
    np.testing.assert_array_equal(stays, expected)
    assert note == ""


def test_equal_rows_as_scikit_learn_has_them():
    chance = np.random.default_rng(0)
    rows = np.concatenate([np.zeros((4, 3)), chance.normal(size=(20, 3))]).astype(np.float32).astype(float)
    theirs = LocalOutlierFactor(n_neighbors=5).fit(rows)
    np.testing.assert_allclose(outlier_factors(rows, 5), -theirs.negative_outlier_factor_, rtol=1e-9)
    np.testing.assert_allclose(outlier_factors(np.ones((9, 3)), 4), 1.0)


def test_blocks_change_nothing(monkeypatch):
    rows = np.random.default_rng(3).normal(size=(90, 12)).astype(np.float16)
    at_once = outlier_factors(rows)
    monkeypatch.setattr(module, "_MOST_A_BLOCK", 7)
    monkeypatch.setattr(module, "_EXACT_BYTES", 8 * 10 * 12 * 3)
    np.testing.assert_allclose(outlier_factors(RowsOf(rows, np.arange(90))), at_once, rtol=1e-12)


def test_what_stays_where_too_few_would():
    rows = np.concatenate([np.random.default_rng(1).normal(size=(9, 4)), np.full((1, 4), 30.0)]).astype(np.float32)
    stays, note = inliers(rows, 0.5, at_least=8, neighbours=3)
    assert stays.sum() == 8
    assert not stays[9]
    assert note == "2 outliers were taken out and not 5, so that 8 pictures stay"
    best = np.argsort(outlier_factors(rows, 3))[:8]
    assert set(np.flatnonzero(stays)) == set(best)
    everyone, note = inliers(rows, 0.5, at_least=10)
    assert everyone.all()
    assert "no outliers" in note


def test_nothing_asked_nothing_done():
    assert inliers(np.zeros((3, 2)), 0.0, at_least=9) == (pytest.approx(np.ones(3)), "")
    for count in (0, 1, 2):
        assert inliers(np.zeros((count, 2)), 0.1, at_least=0)[0].tolist() == [True] * count


@pytest.mark.parametrize("contamination", [-0.1, 0.6])
def test_wrong_shares_are_refused(contamination):
    with pytest.raises(InvalidValueError, match="0 to 0.5"):
        inliers(np.zeros((30, 2)), contamination, at_least=1)
    with pytest.raises(InvalidValueError, match="neighbours"):
        outlier_factors(np.zeros((30, 2)), 0)
