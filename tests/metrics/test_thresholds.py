"""Thresholds for a precision and F1 at thresholds: by hand, against every possible threshold, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.ranking import VideoScores
from lightmeter.metrics.thresholds import f1_at, thresholds_for
from lightmeter.types import Labels


def drawn(seed, videos=80, classes=8, top=5, levels=20):
    rng = np.random.default_rng(seed)
    truth = rng.random((videos, classes)) < 0.2
    truth[:, 6] = False
    scores = 1 / (1 + np.exp(-(rng.normal(-2, 1.5, truth.shape) + 2.5 * truth)))
    scores[:, 7] = 0.0001
    labels = Labels.of([np.flatnonzero(row).tolist() for row in truth], classes)
    return VideoScores(classes, top).update((np.round(scores * levels) / levels).astype(np.float32), labels), truth


def test_by_hand():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.9], [0.7, 0.3]], np.float32)
    made = VideoScores(2).update(scores, Labels.of([[0], [], [0], [0]], 2))
    got = thresholds_for(made, 0.7)  # class 0: 1/1, 1/2, then both of 0.7 at once: 3/4; class 1 is never right
    assert got.threshold.tolist() == [np.float32(0.7), np.inf]
    assert (got.answered.tolist(), got.right.tolist(), got.labels.tolist()) == ([4, 0], [3, 0], [3, 0])
    assert got.precision[0] == 0.75
    assert got.unreachable.tolist() == [1]
    assert got.text(0.7) == (
        "precision 0.7: 3 of 3 labels found by 4 answers; 1 of 2 cannot reach it and answer nothing"
    )
    strict = thresholds_for(made, 0.9)
    assert (strict.threshold[0], strict.answered[0], strict.recall[0]) == (np.float32(0.9), 1, pytest.approx(1 / 3))
    assert thresholds_for(made, 0.9, fewest=2).unreachable.tolist() == [0, 1]
    one = thresholds_for(made, 0.5, per_class=False)  # .9 hit and .9 miss, .8 miss, .7 both: 3/5, then .3 3/6
    assert (one.threshold.tolist(), one.answered.tolist(), one.right.tolist()) == ([np.float32(0.3)], [6], [3])


@pytest.mark.parametrize("precision", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_no_lower_threshold_is_precise_enough(precision):
    scores, _ = drawn(0)
    kept, got = scores.kept(), thresholds_for(scores, precision)
    for each in range(8):
        own = kept.classes == each
        good = [
            level for level in np.unique(kept.values[own])
            if kept.hits[own & (kept.values >= level)].mean() >= precision
        ]  # fmt: skip
        assert got.threshold[each] == (min(good) if good else np.inf)
        given = own & (kept.values >= got.threshold[each])
        assert (got.answered[each], got.right[each]) == (given.sum(), kept.hits[given].sum())


def test_f1_is_scikit_learns_of_the_kept_answers():
    from sklearn.metrics import f1_score

    scores, truth = drawn(1)
    kept = scores.kept()
    levels = np.linspace(0.2, 0.6, 8).astype(np.float32)
    given = np.zeros(truth.shape, bool)
    np.put_along_axis(given, kept.classes.astype(np.int64), kept.values >= levels[kept.classes], axis=1)
    got, labelled = f1_at(scores, levels), truth.any(axis=0)
    assert got.micro == pytest.approx(f1_score(truth, given, average="micro", zero_division=0))
    assert got.macro == pytest.approx(
        f1_score(truth[:, labelled], given[:, labelled], average="macro", zero_division=0)
    )
    assert np.isnan(got.per_class[6])
    assert got.precision == pytest.approx(truth[given].mean())
    assert got.recall == pytest.approx(given[truth].mean())
    np.testing.assert_equal(f1_at(scores, 0.3).per_class, f1_at(scores, np.full(8, 0.3)).per_class)
    nothing = f1_at(scores, np.inf)
    assert (nothing.micro, nothing.recall) == (0, 0)
    assert np.isnan(nothing.precision)


def test_of_nothing_and_what_it_refuses():
    assert thresholds_for(VideoScores(3), 0.5).unreachable.tolist() == [0, 1, 2]
    assert np.isnan(f1_at(VideoScores(3), 0.5).micro)
    with pytest.raises(InvalidValueError, match="precision must be 0 to 1"):
        thresholds_for(VideoScores(3), 80)
    with pytest.raises(InvalidValueError, match=r"thresholds must be \[3\]"):
        f1_at(VideoScores(3), np.zeros(4))
    with pytest.raises(InvalidValueError, match="got NaN"):
        f1_at(VideoScores(3), np.nan)
