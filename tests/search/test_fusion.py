"""Fusion of frames: each equation worked by hand, and equal to the slow version on any track."""

from __future__ import annotations

import fusion_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.parts import build, table
from lightmeter.search.fusion import (
    FrameSum,
    LikelihoodMap,
    Map,
    NoisyOr,
    Pooling,
    SequentialMap,
    Track,
    between_classes,
    noisy_or,
    pooled,
    posteriors,
)

LOG2, LOG3 = np.log(2), np.log(3)


def random_track(seed, frames=None, classes=None):
    """A track with all that any rule asks for: a gallery of class rows and frames around one of them."""
    drawn = np.random.default_rng(seed)
    frames, classes = frames or int(drawn.integers(1, 7)), classes or int(drawn.integers(2, 7))
    labels = np.concatenate([np.arange(classes), drawn.integers(0, classes, 2 * classes)])
    rows = drawn.standard_normal((classes, 5))[labels] + 0.4 * drawn.standard_normal((len(labels), 5))
    features = rows[0] + 0.8 * drawn.standard_normal((frames, 5))

    def measure(queries):
        apart = ((np.asarray(queries, np.float64)[:, None] - rows) ** 2).sum(axis=2)
        return np.stack([apart[:, labels == c].min(axis=1) for c in range(classes)], axis=1)

    distances = measure(features)
    survivors = distances <= 1.5 * distances.min(axis=1, keepdims=True)
    return Track(
        distances, features, measure, between_classes(rows, labels), survivors, lambda left: distances[:, left]
    )


@pytest.mark.parametrize("spec", sorted(table("fusion")))
class TestEveryRule:
    def test_is_rebuilt_by_its_spec(self, spec):
        rule = build(spec)
        assert build(rule.spec, "fusion") == rule

    def test_scores_and_shares_every_class(self, spec):
        for seed in range(10):
            track = random_track(seed)
            fused = build(spec).fuse(track)
            classes = track.distances.shape[1]
            assert fused.scores.shape == fused.posterior.shape == (classes,)
            assert fused.posterior.sum() == pytest.approx(1)
            assert (fused.posterior >= 0).all()
            assert 1 <= fused.frames <= len(track.distances)
            assert fused.posterior[fused.answer] == fused.posterior.max()

    def test_of_one_class_answers_it(self, spec):
        assert build(spec).fuse(random_track(3, classes=1)).answer == 0

    def test_takes_the_lowest_of_equal_classes(self, spec):
        same = np.full((4, 3), 0.5)
        track = Track(same, np.ones((4, 2)), lambda rows: same[: len(rows)], np.ones((3, 3)), same > 0)
        assert build(spec).fuse(track).answer == 0

    def test_says_what_it_lacks(self, spec):
        with pytest.raises(InvalidValueError, match="needs"):
            build(spec).fuse(Track())

    def test_n_is_above_zero(self, spec):
        with pytest.raises(InvalidValueError, match="n must be above 0"):
            build(f"{spec}/n=0.0")


# -- by hand ---------------------------------------------------------------------------------------------------------


def test_posteriors_by_hand():
    """exp(−ρ) of log 2, log 3, log 6 are 1/2, 1/3, 1/6, whose sum is 1."""
    np.testing.assert_allclose(posteriors(np.array([[LOG2, LOG3, LOG2 + LOG3]]), 1.0), [[1 / 2, 1 / 3, 1 / 6]])
    np.testing.assert_allclose(posteriors(np.array([[LOG2, LOG3]]) / 100, 100.0), [[3 / 5, 2 / 5]])


def test_far_distances_do_not_underflow():
    np.testing.assert_allclose(posteriors(np.array([[1e6, 1e6 + LOG2]]), 1.0), [[2 / 3, 1 / 3]], rtol=1e-9)


def test_frame_sum_by_hand():
    fused = FrameSum(n=1.0).fuse(Track(np.array([[LOG2, 0.1], [LOG2, 3.0]])))
    assert fused.answer == 0
    np.testing.assert_allclose(fused.scores, [-2 * LOG2, -3.1])
    np.testing.assert_allclose(fused.posterior, [0.5 / (0.5 + np.exp(-1.55)), np.exp(-1.55) / (0.5 + np.exp(-1.55))])


def test_map_by_hand():
    """Frame one says 2/3 against 1/3, frame two 1/5 against 4/5: 13/15 against 17/15."""
    fused = Map(n=1.0).fuse(Track(np.array([[0.0, LOG2], [2 * LOG2, 0.0]])))
    np.testing.assert_allclose(fused.scores, [13 / 15, 17 / 15])
    assert fused.answer == 1


def test_noisy_or_by_hand():
    """s: 2/3 then 2/3 + 1/5 · 1/3 = 11/15; 1/3 then 1/3 + 4/5 · 2/3 = 13/15."""
    track = Track(np.array([[0.0, LOG2], [2 * LOG2, 0.0]]))
    np.testing.assert_allclose(noisy_or(posteriors(track.distances, 1.0)), [11 / 15, 13 / 15])
    fused = NoisyOr(n=1.0).fuse(track)
    np.testing.assert_allclose(fused.scores, -np.log([4 / 15, 2 / 15]))
    np.testing.assert_allclose(fused.posterior, [11 / 24, 13 / 24])


def test_one_sharp_frame_wins_a_noisy_or_and_loses_a_map():
    blurred = np.tile([0.0, 0.2], (6, 1))
    track = Track(np.vstack([blurred, [[0.2, 0.0]] * 5, [[30.0, 0.0]]]))
    assert NoisyOr(n=1.0).fuse(track).answer == 1
    assert Map(n=1.0).fuse(Track(np.vstack([blurred, blurred, [[3.0, 0.0]]]))).answer == 0


def test_noisy_or_tells_sure_classes_apart():
    """Both s are 1 in floating point: 1 − 1e-40 against 1 − 1e-43."""
    sure, surer = [0.0, 40 * np.log(10)], [43 * np.log(10), 0.0]
    assert NoisyOr(n=1.0).fuse(Track(np.array([sure, surer]))).answer == 1


def test_pooling_by_hand():
    """Unit rows (1, 0) and (0, 1), whatever their lengths, pool to (1, 1)/√2."""
    np.testing.assert_allclose(pooled(np.array([[5.0, 0.0], [0.0, 0.1]])), np.sqrt([0.5, 0.5]), rtol=1e-6)
    gallery = np.array([[1.0, 0.0], [0.6, 0.8]])
    track = Track(
        features=np.array([[5.0, 0.0], [0.0, 0.1]]), measure=lambda q: ((q[:, None] - gallery) ** 2).sum(axis=2)
    )
    fused = Pooling().fuse(track)
    np.testing.assert_allclose(-fused.scores, [2 - 2 * np.sqrt(0.5), 2 - 2 * 1.4 * np.sqrt(0.5)], rtol=1e-5)
    assert fused.frames == 2


def test_likelihood_of_distances_by_hand():
    """One frame at (1, 1, 3) from three classes; class 0 is 1 from 1 and 3 from 2, class 1 is 1 from 0 and 4 from 2.

    Class 0: (1−1)²/4 + (3−3)²/12 = 0. Class 1: (1−1)²/4 + (3−4)²/16 = 1/16. λ = 3 of 3 classes: ρ = 1 and 1 + 1/16.
    """
    between = np.array([[9.0, 1.0, 3.0], [1.0, 9.0, 4.0], [3.0, 4.0, 9.0]])
    fused = LikelihoodMap(n=16 * LOG2, nearest=2, weight=3.0).fuse(Track(np.array([[1.0, 1.0, 3.0]]), between=between))
    np.testing.assert_allclose(fused.scores, [2 / 3, 1 / 3, -np.inf])
    np.testing.assert_allclose(fused.posterior, [2 / 3, 1 / 3, 0])


def test_without_weight_it_is_map_among_the_nearest():
    track = random_track(5, frames=4, classes=6)
    np.testing.assert_allclose(LikelihoodMap(nearest=6, weight=0.0).fuse(track).scores, Map().fuse(track).scores)


def test_classes_that_share_a_row_do_not_divide_by_nothing():
    between = np.array([[0.1, 0.0, 1.0], [0.0, 0.1, 1.0], [1.0, 1.0, 0.1]])
    fused = LikelihoodMap(n=1.0).fuse(Track(np.array([[0.2, 0.2, 1.0]]), between=between))
    assert np.isfinite(fused.scores).all()
    assert fused.scores[0] == fused.scores[1] > fused.scores[2]


def test_a_class_is_dropped_only_when_every_frame_dropped_it():
    """Frame one keeps 0 and 1, frame two 1 and 3; 2 is dropped in both and never finished.

    Shares: 1, 1/2, 1/2 over their sum of 2, then 1/3, 1, 1 over 7/3.
    """
    asked = []
    final = np.array([[0.0, LOG2, 0.0, LOG2], [LOG3, 0.0, 0.0, 0.0]])

    def finish(left):
        asked.append(left.tolist())
        return final[:, left]

    survivors = np.array([[True, True, False, False], [False, True, False, True]])
    fused = SequentialMap(n=1.0).fuse(Track(survivors=survivors, finish=finish))
    assert asked == [[0, 1, 3]]
    np.testing.assert_allclose(fused.scores, [1 / 2 + 1 / 7, 1 / 4 + 3 / 7, -np.inf, 1 / 4 + 3 / 7])
    assert (fused.answer, fused.posterior[2]) == (1, 0)
    np.testing.assert_allclose(SequentialMap(n=1.0).fuse(Track(final, survivors=survivors)).scores, fused.scores)


def test_when_all_survive_sequential_is_map():
    track = random_track(8, frames=5, classes=5)
    everyone = Track(track.distances, survivors=np.ones((5, 5), bool), finish=track.finish)
    np.testing.assert_allclose(SequentialMap().fuse(everyone).scores, Map().fuse(track).scores)


def test_distances_between_classes_by_hand():
    """Class 0 at 0 and 2, class 1 at 5, class 2 at 6 and 9 on a line."""
    made = between_classes(np.array([[0.0], [5.0], [9.0], [2.0], [6.0]]), np.array([0, 1, 2, 0, 2]))
    np.testing.assert_allclose(made, [[4, 9, 16], [9, 6.5, 1], [16, 1, 9]])


# -- against the slow version ----------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_rules_are_their_equations(seed):
    track = random_track(seed)
    rows = track.distances.tolist()
    np.testing.assert_allclose(FrameSum().fuse(track).scores, -np.array(reference.frame_sum(rows)))
    np.testing.assert_allclose(Map(n=2.0).fuse(track).scores, reference.map_sums(rows, 2.0))
    np.testing.assert_allclose(noisy_or(posteriors(track.distances, 2.0)), reference.noisy_or(rows, 2.0))
    nearest = 1 + seed % len(rows[0])
    fused = LikelihoodMap(n=2.0, nearest=nearest, weight=4.0).fuse(track)
    sums = reference.likelihood_map(rows, track.between.tolist(), 2.0, nearest, 4.0)
    assert np.flatnonzero(np.isfinite(fused.scores)).tolist() == list(sums)
    np.testing.assert_allclose(fused.scores[list(sums)], list(sums.values()), rtol=1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_distances_between_classes_are_their_definition(seed):
    drawn = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(4), drawn.integers(0, 4, int(drawn.integers(0, 9)))])
    rows = drawn.standard_normal((len(labels), 3))
    made = between_classes(rows, labels)
    np.testing.assert_allclose(made, reference.class_distances_between(rows.tolist(), labels.tolist()), atol=1e-12)
    assert (made == made.T).all()


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Map().fuse(Track(np.zeros((0, 3)))), "at least one frame"),
        (lambda: Map().fuse(Track(np.array([[np.nan]]))), "finite and 0 or more"),
        (lambda: Map().fuse(Track(np.array([[-1.0]]))), "finite and 0 or more"),
        (lambda: Map().fuse(Track(np.zeros(3))), r"\[T, C\]"),
        (lambda: LikelihoodMap(nearest=0), "nearest must be at least 1"),
        (lambda: LikelihoodMap().fuse(Track(np.ones((2, 3)))), "between=between_classes"),
        (lambda: LikelihoodMap().fuse(Track(np.ones((2, 3)), between=np.ones((2, 2)))), r"\[3, 3\]"),
        (lambda: SequentialMap().fuse(Track(np.ones((1, 2)), survivors=np.zeros((1, 2), bool))), "at least one class"),
        (lambda: pooled(np.zeros((0, 3))), "at least one frame"),
        (lambda: between_classes(np.zeros((2, 2)), np.array([0, 2])), "each at least once"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InvalidValueError, match=words):
        call()
