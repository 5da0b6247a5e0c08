"""Coverage and risk: hand-worked, equal to the definition, blind to the order of equals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.metrics import coverage_risk


def test_a_curve_by_hand():
    curve = coverage_risk(np.array([0.5, 0.9, 0.7, 0.7]), np.array([True, False, True, False]))
    assert curve.threshold.tolist() == [0.9, 0.7, 0.5]
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk.tolist() == [0.0, pytest.approx(1 / 3), 0.5]
    # The two at 0.7 share one error: half an error among two, one among three, two among four.
    assert curve.aurc() == pytest.approx((0 + 0.5 / 2 + 1 / 3 + 2 / 4) / 4)
    assert curve.at_risk(0.4) == (0.7, 0.75)
    assert curve.at_risk(0.5) == (0.5, 1.0)
    assert coverage_risk(np.ones(1), np.ones(1, bool)).at_risk(0.1) == (np.inf, 0.0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_each_point_is_a_count(seed, n, levels):
    drawn = np.random.default_rng(seed)
    confidence, wrong = drawn.integers(0, levels, n).astype(float), drawn.random(n) < 0.4
    curve = coverage_risk(confidence, wrong)
    assert curve.threshold.tolist() == sorted(set(confidence.tolist()), reverse=True)
    for at, threshold in enumerate(curve.threshold):
        given_ = confidence >= threshold
        assert curve.coverage[at] == given_.mean()
        assert curve.risk[at] == pytest.approx(wrong[given_].mean())
    mixed = drawn.permutation(n)
    assert coverage_risk(confidence[mixed], wrong[mixed]).aurc() == pytest.approx(curve.aurc())


def test_no_ranking_beats_the_one_that_puts_errors_last():
    drawn = np.random.default_rng(0)
    wrong = drawn.random(300) < 0.2
    perfect = coverage_risk(np.where(wrong, 0.0, 1.0) - np.arange(300) * 1e-6, wrong)
    assert perfect.excess_aurc() == pytest.approx(0, abs=1e-12)
    assert coverage_risk(drawn.random(300), wrong).excess_aurc() > 0.05
    assert coverage_risk(np.ones(300), wrong).aurc() == pytest.approx(wrong.mean())


def test_rows_hold_the_ends_and_their_intervals():
    drawn = np.random.default_rng(1)
    curve = coverage_risk(drawn.random(1000), drawn.random(1000) < 0.1)
    rows = curve.rows(points=20)
    assert len(rows) == 20
    assert (rows[0]["coverage"], rows[-1]["coverage"]) == (0.001, 1.0)
    assert all(row["low"] <= row["risk"] <= row["high"] for row in rows)
    assert len(coverage_risk(np.arange(3.0), np.zeros(3, bool)).rows()) == 3


@pytest.mark.parametrize(
    ("confidence", "wrong", "words"),
    [
        (np.zeros(0), np.zeros(0, bool), "at least one"),
        (np.zeros(2), np.zeros(2), "must be bool"),
        (np.array([np.nan]), np.zeros(1, bool), "NaN"),
    ],
)
def test_what_is_refused(confidence, wrong, words):
    with pytest.raises(InvalidValueError, match=words):
        coverage_risk(confidence, wrong)
