"""Bootstrap over videos: a round is the metric of its draw, intervals hold what they promise, pairs see more."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.bootstrap import (
    MEASURES,
    SHARE,
    _Weighted,
    bootstrap,
    difference_range,
    interval_of,
    paired_difference,
)
from lightmeter.metrics.ranking import VideoScores
from lightmeter.metrics.resampling import compared_rows
from lightmeter.types import Labels


def drawn(seed, videos=60, classes=12, noise=1.5, levels=10**6):
    """Labels from one seed, scores from another: systems of the same videos."""
    truth = np.random.default_rng(seed).random((videos, classes)) < 0.15
    rng = np.random.default_rng([seed, int(noise * 100)])
    scores = 1 / (1 + np.exp(-(rng.normal(-2, noise, truth.shape) + 3 * truth)))
    labels = Labels.of([np.flatnonzero(row).tolist() for row in truth], classes)
    return VideoScores(classes, top=5).update((np.round(scores * levels) / levels).astype(np.float32), labels)


@pytest.mark.parametrize("levels", [4, 10**6])
def test_weights_are_videos_taken_so_often(levels):
    scores = drawn(0, levels=levels)
    weighted = _Weighted(scores.kept())
    for seed in range(5):
        rows = np.random.default_rng(seed).integers(0, 60, 60)
        got = weighted.quality(np.bincount(rows, minlength=60))
        direct = scores.take(rows).result()
        np.testing.assert_allclose(got, [getattr(direct, name) for name in MEASURES], rtol=1e-12)


def test_values_are_the_result_and_intervals_hold_them():
    scores = drawn(1)
    result, made = scores.result(), bootstrap(scores, rounds=100)
    assert set(made) == set(MEASURES)
    for name, interval in made.items():
        assert interval.value == pytest.approx(getattr(result, name), rel=1e-12)
        assert interval.low < interval.value < interval.high
        assert interval.rounds == 100
    assert made == bootstrap(scores, rounds=100)
    assert made != bootstrap(scores, rounds=100, seed=1)
    narrow = bootstrap(scores, rounds=100, certainty=0.5)
    assert narrow["gap"].high - narrow["gap"].low < made["gap"].high - made["gap"].low


def test_a_mean_has_the_interval_of_a_mean():
    scores = drawn(2, videos=400)
    share = scores.result().hit_at_1
    made = bootstrap(scores, rounds=400)["hit_at_1"]
    half = 1.96 * np.sqrt(share * (1 - share) / 400)
    assert made.high - made.low == pytest.approx(2 * half, rel=0.15)


def test_pairs_see_what_intervals_of_each_cannot():
    good, bad = drawn(3, videos=150, noise=1.5), drawn(3, videos=150, noise=1.8)
    difference = paired_difference(good, bad, rounds=150)
    assert difference["gap"].value == pytest.approx(good.result().gap - bad.result().gap, rel=1e-9)
    alone = bootstrap(good, rounds=150)["gap"]
    same = paired_difference(good, good, rounds=20)
    assert all((each.value, each.low, each.high, each.clear) == (0, 0, 0, False) for each in same.values())
    back = paired_difference(bad, good, rounds=150)
    assert back["map"].low == pytest.approx(-difference["map"].high)
    slight = VideoScores(12, top=5).update(
        np.clip(_spread(good) * np.float32(0.999) + np.float32(0.0005), 0, 1), good.kept().labels
    )
    near = paired_difference(good, slight, rounds=150)["gap"]
    assert near.high - near.low < (alone.high - alone.low) / 5


def test_of_several_seeds_it_is_the_mean_with_both_kinds_of_chance():
    by_seed = [drawn(3, noise=noise) for noise in (1.5, 1.8, 2.1)]
    gaps = [each.result().gap for each in by_seed]
    made = bootstrap(by_seed, rounds=300)["gap"]
    assert made.value == pytest.approx(np.mean(gaps), rel=1e-12)
    assert bootstrap([by_seed[0]], rounds=50) == bootstrap(by_seed[0], rounds=50)
    same = bootstrap([by_seed[0]] * 3, rounds=50)["gap"], bootstrap(by_seed[0], rounds=50)["gap"]
    assert (same[0].low, same[0].high) == pytest.approx((same[1].low, same[1].high)), "no chance in learning"
    zero = paired_difference(by_seed, by_seed, rounds=20)["gap"]
    assert (zero.value, zero.low, zero.high) == (0, 0, 0), "both draw the same seeds"


def test_bounds_stay_within_what_a_measure_can_be():
    """Eight videos, all right but one: rounds give less than the value, so that less their bias they pass 1."""
    labels = Labels.of([[at % 4] for at in range(8)], 4)
    scores = np.full((8, 4), 0.1, np.float32)
    scores[np.arange(8), np.arange(8) % 4] = 0.9
    wrong, good = scores.copy(), VideoScores(4).update(scores, labels)
    wrong[0] = wrong[0, ::-1]
    near, none = VideoScores(4).update(wrong, labels), VideoScores(4).update(1 - scores, labels)
    passed = 0
    for system in (near, none, good):
        for seed in range(6):
            own, less = bootstrap(system, rounds=40, seed=seed), paired_difference(system, none, rounds=40, seed=seed)
            assert all(0 <= each.low <= each.high <= 1 for each in own.values())
            assert all(-1 <= each.low <= each.high <= 1 for each in less.values())
            passed += sum(each.high == 1 > each.value for each in own.values())
    assert passed, "some were cut"


def test_a_bound_is_cut_where_the_measure_ends_and_nowhere_else():
    drawn_ = np.array([0.6, 0.7, 0.8, 0.9])  # mean 0.75: a bias of −0.2 lifts all by it
    free = interval_of(0.95, drawn_, 0.9, (-np.inf, np.inf))
    cut = interval_of(0.95, drawn_, 0.9, SHARE)
    assert free.high == pytest.approx(1.085)
    assert (cut.low, cut.high, cut.bias) == (free.low, 1.0, free.bias)
    assert interval_of(-0.95, -drawn_, 0.9, difference_range(SHARE)).low == -1
    assert difference_range((0.0, np.inf)) == (-np.inf, np.inf)


def test_measures_of_pictures_are_cut_to_their_own_ranges():
    """1 − |2m − 1| of the mean m is 1 at a half and less in every round: less its bias the interval passes 1."""
    rows = np.array([[0.0, 1.0], [1.0, 1.0]] * 10)

    def peak(sums):
        made = 1 - np.abs(2 * sums[..., 0] / sums[..., 1] - 1)
        return np.stack([made, made], axis=-1)

    free = (-np.inf, np.inf)
    (own, _), (_, less) = compared_rows([rows, rows * [0, 1]], peak, {"share": SHARE, "free": free}, rounds=60)
    assert own["free"].high > 1 == own["share"].high
    assert own["free"].low == own["share"].low
    assert less["free"].low < -1 == less["share"].low


def test_where_only_seeds_differ_the_rounds_are_means_of_drawn_seeds():
    """One group of all videos: two seeds give one mean twice as often as either alone, so 95 % are all three."""
    two = [drawn(3, noise=noise) for noise in (1.5, 2.1)]
    gaps = sorted(each.result().gap for each in two)
    made = bootstrap(two, rounds=400, groups=np.zeros(60, int))["gap"]
    assert (made.low + made.bias, made.high + made.bias) == pytest.approx(tuple(gaps), rel=1e-12)
    half = bootstrap(two, rounds=400, groups=np.zeros(60, int), certainty=0.4)["gap"]
    assert (half.low + half.bias, half.high + half.bias) == pytest.approx([np.mean(gaps)] * 2, rel=1e-12)


def test_systems_have_as_many_seeds():
    one, other = drawn(0), drawn(0, noise=2)
    with pytest.raises(InvalidValueError, match=r"as many seeds each, one at least, got \[1, 2\]"):
        paired_difference([one, other], one)
    with pytest.raises(InvalidValueError, match="as many seeds each"):
        bootstrap([])
    with pytest.raises(InvalidValueError, match="same videos in the same order"):
        bootstrap([one, drawn(5)])


def _spread(scores):
    """The kept scores as a matrix, 0 elsewhere."""
    kept = scores.kept()
    made = np.zeros((len(kept), scores.classes), np.float32)
    np.put_along_axis(made, kept.classes.astype(np.int64), kept.values, axis=1)
    return made


def test_videos_that_hang_together_are_drawn_together():
    scores = drawn(4, videos=100)
    copies = scores.take(np.repeat(np.arange(100), 4))
    alone = bootstrap(scores, rounds=200)["hit_at_1"]
    blind = bootstrap(copies, rounds=200)["hit_at_1"]
    grouped = bootstrap(copies, rounds=200, groups=np.repeat(np.arange(100), 4))["hit_at_1"]
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=1e-9)
    assert blind.high - blind.low < 0.7 * (grouped.high - grouped.low)


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    """GAP of a whole of 6,000 videos, seen by 150 samples of 150 of them: 95 % intervals hold it in about 95 %."""
    whole = drawn(5, videos=6000)
    truth = whole.result()
    held = dict.fromkeys(MEASURES, 0)
    for seed in range(150):
        rows = np.random.default_rng(seed).choice(6000, 150, replace=False)
        for name, interval in bootstrap(whole.take(rows), rounds=150, seed=seed).items():
            held[name] += interval.low <= getattr(truth, name) <= interval.high
    assert min(held.values()) >= 0.89 * 150, held


def test_what_it_refuses():
    with pytest.raises(InvalidValueError, match="at least one video"):
        bootstrap(VideoScores(3))
    with pytest.raises(InvalidValueError, match="certainty must be between 0 and 1"):
        bootstrap(drawn(0), certainty=1.0)
    with pytest.raises(InvalidValueError, match=r"groups must be \[60\]"):
        bootstrap(drawn(0), groups=np.zeros(3, int))
    with pytest.raises(InvalidValueError, match="the same videos in the same order"):
        paired_difference(drawn(0), drawn(1))
    with pytest.raises(InvalidValueError, match="the same videos"):
        paired_difference(drawn(0), drawn(0).take(np.arange(59)))


def test_without_labels_there_is_no_gap_to_bound():
    made = bootstrap(VideoScores(3).update(np.full((4, 3), 0.5, np.float32), Labels.of([[]] * 4, 3)), rounds=5)
    assert np.isnan(made["gap"].low)
    assert made["gap"].rounds == 0
    assert (made["perr"].low, made["perr"].high) == (0, 0)
