"""Calibration: by hand, against scikit-learn, over shards, and what a low bound leaves out."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.calibration import Calibration
from lightmeter.types import Labels


def drawn(seed, videos=200, classes=10):
    rng = np.random.default_rng(seed)
    scores = rng.random((videos, classes)).astype(np.float32)
    truth = rng.random(scores.shape) < scores
    return scores, truth, Labels.of([np.flatnonzero(row).tolist() for row in truth], classes)


def test_by_hand():
    scores = np.array([[0.1, 0.3, 0.8, 1.0]], np.float32)
    made = Calibration(4, bins=2).update(scores, Labels.of([[1, 2]], 4))
    # low bin: mean .2, right 1/2; high bin: mean .9, right 1/2
    assert made.ece() == pytest.approx((0.3 * 2 + 0.4 * 2) / 4, rel=1e-6)
    assert made.mce() == pytest.approx(0.4, rel=1e-6)
    assert made.brier() == pytest.approx((0.01 + 0.49 + 0.04 + 1) / 4, rel=1e-6)
    low, high = made.rows()
    assert (low["from"], low["to"], low["pairs"], low["right"]) == (0, 0.5, 2, 0.5)
    assert high["score"] == pytest.approx(0.9)
    assert high["low"] < 0.5 < high["high"]


def test_it_agrees_with_scikit_learn():
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss

    scores, truth, labels = drawn(0)
    made = Calibration(10).update(scores, labels)
    assert made.brier() == pytest.approx(brier_score_loss(truth.ravel(), scores.ravel()), rel=1e-6)
    right, mean = calibration_curve(truth.ravel(), scores.ravel(), n_bins=15)
    np.testing.assert_allclose([row["right"] for row in made.rows()], right)
    np.testing.assert_allclose([row["score"] for row in made.rows()], mean, rtol=1e-6)
    assert made.ece() < 0.04  # scores were drawn to be true
    wrong = Calibration(10).update(1 - scores, labels)
    assert wrong.ece() > 0.4
    assert wrong.brier() > made.brier()


def test_shards_and_states():
    scores, _, labels = drawn(1)
    whole = Calibration(10).update(scores, labels)
    parts = [Calibration(10).update(scores[some], labels.take(some)) for some in np.array_split(np.arange(200), 3)]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert merged.pairs == whole.pairs == 2000
    assert [row["right"] for row in merged.rows()] == [row["right"] for row in whole.rows()]
    assert merged.ece() == pytest.approx(whole.ece(), rel=1e-12)
    assert merged.brier() == pytest.approx(whole.brier(), rel=1e-12)
    back = Calibration.from_state(whole.state())
    assert (back.ece(), back.brier(), back.rows()) == (whole.ece(), whole.brier(), whole.rows())
    back.update(scores, labels)
    assert whole.pairs == 2000  # a state shares nothing


def test_a_low_bound_leaves_out_what_nobody_sees():
    scores, truth, labels = drawn(2)
    made = Calibration(10, least=0.5).update(scores, labels)
    seen = scores >= 0.5
    assert made.pairs == seen.sum()
    assert made.brier() == pytest.approx(float(np.mean((scores[seen].astype(float) - truth[seen]) ** 2)), rel=1e-9)
    assert all(row["to"] > 0.5 for row in made.rows())


def test_of_nothing_and_what_it_refuses():
    assert np.isnan(Calibration(3).ece())
    assert np.isnan(Calibration(3).brier())
    assert np.isnan(Calibration(3).mce())
    assert Calibration(3).rows() == []
    with pytest.raises(InvalidValueError, match="logits"):
        Calibration(1).update(np.array([[2.0]], np.float32), Labels.of([[]], 1))
    with pytest.raises(InvalidValueError, match="at least 1"):
        Calibration(3, bins=0)
    with pytest.raises(InvalidValueError, match="calibrations to merge must be of 3 classes, 15 bins"):
        Calibration(3).merge(Calibration(3, bins=4))
    state = Calibration(3, bins=2).state()
    with pytest.raises(InvalidValueError, match="lacks counts"):
        Calibration.from_state({name: each for name, each in state.items() if name != "counts"})
    with pytest.raises(InvalidValueError, match="hits of a calibration"):
        Calibration.from_state(state | {"hits": np.array([1, 0])})
