"""Stopping early: never too early, never wrongly certain, and changing no more answers than promised."""

from __future__ import annotations

import json
import math

import fusion_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.metrics import lower_bound
from lightmeter.search.fusion import Map, Track
from lightmeter.search.stopping import CalibratedOdds, EarlyMap, calibrate_odds

LOG9 = np.log(9)


def noisy_track(drawn, frames=20, classes=6, spread=0.02):
    """Class distances around one truth; some tracks are hard."""
    base = np.where(np.arange(classes) == 0, 0.03 * drawn.random(), 0.03) + 0.02
    return np.abs(base + spread * drawn.standard_normal((frames, classes)))


def test_by_hand():
    """Each frame says 9/10 against 1/10: odds of 9 from the first on."""
    frames = np.tile([0.0, LOG9], (10, 1))
    assert EarlyMap(n=1.0, odds=8.9, least_frames=1).watch(frames).frames == 1
    assert EarlyMap(n=1.0, odds=8.9, least_frames=4).watch(frames).frames == 4
    fused = EarlyMap(n=1.0, odds=9.1, least_frames=1).watch(frames)
    assert fused.frames == 10
    np.testing.assert_allclose(fused.scores, [9, 1])


def test_a_known_length_ends_when_the_lead_cannot_be_caught_up():
    """The lead grows by 8/10 a frame: after 6 of 10 it is 4.8 with 4 left, after 5 it is 4 with 5 left."""
    frames = np.tile([0.0, LOG9], (10, 1))
    assert EarlyMap(n=1.0, odds=math.inf, least_frames=1).fuse(Track(frames)).frames == 6


def test_frames_that_are_not_needed_are_not_asked_for():
    asked = []

    def frames():
        for at in range(100):
            asked.append(at)
            yield np.array([0.0, 1.0])

    assert EarlyMap(least_frames=3).watch(frames()).frames == 3
    assert asked == [0, 1, 2]
    asked.clear()
    assert EarlyMap(least_frames=3, odds=math.inf).watch(frames(), length=5).frames == 3
    assert EarlyMap(least_frames=9, odds=math.inf).watch(frames(), length=5).frames == 5


def test_a_posterior_of_one_by_underflow_is_not_certain():
    frames = np.tile([0.0, 1.0], (6, 1))
    frames[2:] = [1.0, 0.0]
    assert EarlyMap(n=1e5, odds=math.inf, least_frames=1).fuse(Track(frames)).answer == 1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_it_is_the_slow_version(seed):
    drawn = np.random.default_rng(seed)
    frames = noisy_track(drawn, int(drawn.integers(1, 15)), int(drawn.integers(2, 6)))
    odds, least = float(drawn.choice([1.5, 4.0, 50.0])), int(drawn.integers(1, 5))
    fused = EarlyMap(n=60.0, odds=odds, least_frames=least).fuse(Track(frames))
    assert (fused.answer, fused.frames) == reference.early_map(frames.tolist(), 60.0, odds, least)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_certainty_never_changes_an_answer(seed):
    frames = noisy_track(np.random.default_rng(seed))
    early = EarlyMap(odds=math.inf, least_frames=1).fuse(Track(frames))
    assert early.answer == Map().fuse(Track(frames)).answer


def kept_promises(sets, tracks, fresh):
    """Over many calibrations: how many broke their promise on fresh tracks, what was looked at, rates of change."""
    drawn = np.random.default_rng(0)
    fresh_tracks = [noisy_track(drawn, frames=12) for _ in range(fresh)]
    truth = [Map().fuse(Track(each)).answer for each in fresh_tracks]
    broken, looked, rates = 0, [], {}
    for seed in range(sets):
        drawn = np.random.default_rng(seed + 1)
        validation = [noisy_track(drawn, frames=12) for _ in range(tracks)]
        made = calibrate_odds(validation, changed=0.08, certainty=0.9, least_frames=1)
        if made.odds not in rates:
            rule = EarlyMap(odds=made.odds, least_frames=1)
            answers = [rule.fuse(Track(each)).answer for each in fresh_tracks]
            rates[made.odds] = np.mean(np.array(answers) != truth)
        broken += rates[made.odds] > 0.08
        looked.append(made.frames)
    return broken, np.mean(looked), rates


def test_no_more_answers_change_than_promised():
    """Certainty 0.9: one calibration in ten may break its promise; a bound at 1 in 1,000 says when too many do."""
    broken, looked, rates = kept_promises(sets=16, tracks=60, fresh=200)
    assert lower_bound(broken, 16, 0.999) <= 0.1
    assert max(rates.values()) > 0, "the rule does change answers"
    assert looked < 0.9


@pytest.mark.slow
def test_no_more_answers_change_than_promised_over_hundreds_of_calibrations():
    broken, looked, rates = kept_promises(sets=300, tracks=120, fresh=3000)
    assert lower_bound(broken, 300, 0.999) <= 0.1
    assert max(rates.values()) > 0
    assert looked < 0.9


def test_what_calibration_counts_is_what_the_rule_does():
    drawn = np.random.default_rng(4)
    tracks = [noisy_track(drawn) for _ in range(120)]
    made = calibrate_odds(tracks, changed=0.1)
    fused = [EarlyMap(odds=made.odds).fuse(Track(each)) for each in tracks]
    differed = sum(f.answer != Map().fuse(Track(t)).answer for f, t in zip(fused, tracks, strict=True))
    assert (made.differed, made.tracks) == (differed, 120)
    assert made.frames == pytest.approx(np.mean([each.frames / 20 for each in fused]))
    assert made.bound <= 0.1


def test_too_few_tracks_promise_nothing_and_say_how_many_would():
    made = calibrate_odds([np.array([[0.0, 1.0]] * 4)] * 5, changed=0.01)
    assert made.odds == math.inf
    assert made.reason.endswith("bring 299")
    assert CalibratedOdds.from_json(json.loads(json.dumps(made.as_json(), allow_nan=False))) == made


def test_tracks_that_turn_promise_nothing():
    """Sure at first, then surely another: no odds help."""
    track = np.array([[0.0, 1.0]] * 4 + [[1.0, 0.0]] * 6)
    made = calibrate_odds([track] * 100, changed=0.05)
    assert made.odds == math.inf
    assert "too many answers change" in made.reason


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: EarlyMap(odds=0.5), "odds must be at least 1"),
        (lambda: EarlyMap(least_frames=0), "least_frames must be at least 1"),
        (lambda: EarlyMap().watch([]), "at least one frame"),
        (lambda: EarlyMap().watch([np.zeros(2), np.zeros(3)]), r"must be \[2\]"),
        (lambda: calibrate_odds([]), "at least one validation track"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InvalidValueError, match=words):
        call()
