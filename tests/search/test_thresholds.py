"""Thresholds from validation queries: each way worked by hand, and what it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.search.thresholds import (
    GRIDS,
    by_false_positives,
    by_step_up,
    conformal_p_values,
    held_out,
    on_grid,
    step_up,
)


def test_grid_by_hand():
    """The least error is 10 %; with 5 % of slack the candidate of 15 % is as good, and cheapest."""
    errors, costs = np.array([0.3, 0.1, 0.1, 0.15]), np.array([1.0, 5.0, 4.0, 2.0])
    assert on_grid(errors, costs) == 2
    assert on_grid(errors, costs, slack=0.05) == 3
    assert on_grid(errors, np.ones(4)) == 1
    with pytest.raises(InvalidValueError, match="at least one candidate"):
        on_grid(np.empty(0), np.empty(0))


def test_the_published_thresholds_lie_on_their_grids():
    assert 0.24 in GRIDS["posteriors"]
    assert 0.7 in GRIDS["multi-level"]
    assert GRIDS["distance-factor"][0] == 0.1
    assert GRIDS["distance-factor"][-1] == 0.95
    assert min(abs(each - 0.003) for each in GRIDS["bayes-factor"]) < 0.001


def test_false_positives_by_hand():
    """Ten queries, one mistake allowed above the threshold (10 % of 10).

    confidence 9 8 7 6 5 4 3 2 1 0, mistakes at 7, 4 and 1. Above 5 lies one mistake, above 3 lie two: the last correct
    answer with at most one above it is at 5, and not at 4, which is a mistake.
    """
    confidences = np.arange(10.0)
    correct = ~np.isin(confidences, [7, 4, 1])
    assert by_false_positives(confidences, correct, rate=0.1) == 5
    assert by_false_positives(confidences, correct, rate=0.2) == 2
    assert by_false_positives(confidences, correct, rate=0.3) == 0
    assert by_false_positives(confidences, correct, rate=0.01) == 8


def test_false_positives_without_hope_or_without_mistakes():
    assert by_false_positives(np.array([2.0, 1.0]), np.array([False, True])) == math.inf
    assert by_false_positives(np.array([2.0, 1.0]), np.array([False, False])) == math.inf
    assert by_false_positives(np.array([2.0, 1.0]), np.array([True, True])) == 1
    assert by_false_positives(np.array([1.0, 1.0]), np.array([True, False])) == 1  # a mistake as sure is not above


def test_false_positives_stay_at_the_rate():
    rng = np.random.default_rng(0)
    for _ in range(50):
        correct = rng.random(400) < 0.8
        confidences = rng.random(400) + correct * rng.random(400)
        threshold = by_false_positives(confidences, correct, rate=0.02)
        assert np.sum(~correct & (confidences > threshold)) <= 8


def test_conformal_p_values_by_hand():
    """Mistakes at 1, 2, 3. A confidence of 2.5 has one as sure: (1 + 1) / 4; of 2 has two; of 4 none."""
    p = conformal_p_values(np.array([2.5, 2.0, 4.0, 0.0]), np.array([3.0, 1.0, 2.0]))
    assert p.tolist() == [0.5, 0.75, 0.25, 1.0]
    assert conformal_p_values(np.array([5.0]), np.empty(0)).tolist() == [1.0]


def test_step_up_by_hand():
    """rate·i/N = 0.02, 0.04, 0.06, 0.08, 0.1. The fourth p is under its bar though the second and third are not."""
    assert step_up(np.array([0.07, 0.01, 0.5, 0.065, 0.05]), rate=0.1).tolist() == [True, True, False, True, True]
    assert not step_up(np.array([0.03, 0.9]), rate=0.05).any()
    assert step_up(np.empty(0), rate=0.05).tolist() == []


def test_step_up_equals_scipy():
    from scipy.stats import false_discovery_control

    rng = np.random.default_rng(1)
    for _ in range(40):
        p = rng.random(30) ** rng.integers(1, 8)
        assert (step_up(p, rate=0.1) == (false_discovery_control(p) <= 0.1)).all()


def test_false_acceptances_by_step_up_are_rare_on_average():
    """True rate of false acceptances over many validation sets: at most 10 %, within the noise of 300 of them."""
    rng = np.random.default_rng(2)
    shares, accepted = [], 0
    for seed in range(300):
        correct = rng.random(600) < 0.6
        confidences = rng.standard_normal(600) + 2.5 * correct
        threshold = by_step_up(confidences[:400], correct[:400], rate=0.1, seed=seed)
        sure = confidences[400:] > threshold
        accepted += sure.sum()
        shares.append(np.mean(~correct[400:][sure]) if sure.any() else 0.0)
    assert accepted > 10_000
    assert np.mean(shares) < 0.1


def test_step_up_needs_mistakes():
    right = np.ones(100, bool)
    assert by_step_up(np.arange(100.0), right, rate=0.1) == math.inf
    few = right.copy()
    few[:10] = False
    assert by_step_up(np.arange(100.0), few, rate=0.01) == math.inf


def test_step_up_accepts_just_what_it_tested():
    """With mistakes below all correct answers the threshold lies between them, wherever the halves fall."""
    correct = np.arange(400) >= 200
    for seed in range(5):
        threshold = by_step_up(np.arange(400.0), correct, rate=0.05, seed=seed)
        assert 180 < threshold < 210


def test_half_of_each_class_is_held_out():
    labels = np.array([0, 1, 0, 1, 1, 0, 0, 2, 1, 1])
    held = held_out(labels, seed=3)
    assert np.bincount(labels[held], minlength=3).tolist() == [2, 2, 0]
    assert (held == held_out(labels, seed=3)).all()
    assert any((held != held_out(labels, seed=seed)).any() for seed in range(4, 9))
    with pytest.raises(InvalidValueError, match="every class has one row"):
        held_out(np.arange(5), seed=0)


def test_nonsense_is_refused():
    with pytest.raises(InvalidValueError, match="rate must be between 0 and 1, got 1"):
        by_false_positives(np.ones(2), np.ones(2, bool), rate=1)
    with pytest.raises(InvalidValueError, match="must be numbers, got NaN"):
        by_step_up(np.array([np.nan]), np.ones(1, bool))
    with pytest.raises(InvalidValueError, match="correct must be bool"):
        by_false_positives(np.ones(2), np.ones(2))
