"""MAP of rated segments: by hand, equal to plain loops, unrated pairs do not count."""

from __future__ import annotations

import numpy as np
import pytest
from video_metrics_reference import average_precision, lucky

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.full import FullScores
from lightmeter.metrics.segments import SegmentScores
from lightmeter.types import Labels


def drawn(seed, segments=90, classes=6):
    rng = np.random.default_rng(seed)
    rated = rng.random((segments, classes)) < 0.4
    truth = rated & (rng.random(rated.shape) < 0.4)
    truth[:, 5] = False
    scores = rng.permutation(rated.size).reshape(rated.shape).astype(np.float32) / rated.size
    return scores, truth, rated


def lists(mask):
    return Labels.of([np.flatnonzero(row).tolist() for row in mask], mask.shape[1])


def test_by_hand():
    scores = np.array([[0.9, 0.1], [0.8, 0.9], [0.7, 0.8], [0.6, 0.2]], np.float32)
    labels = Labels.of([[], [0], [1], [0]], 2)
    rated = Labels.of([[], [0, 1], [1], [0]], 2)
    got = SegmentScores(2).update(scores, labels, rated).result()
    # class 0: .9 and .7 are not rated; .8 right, .6 right -> 1; class 1: .9 wrong, .8 right -> 1/2
    assert got.per_class.tolist() == [1.0, 0.5]
    assert (got.map, got.segments, got.rated, got.labels) == (0.75, 4, 4, 3)
    cut = SegmentScores(2).update(scores, labels, rated).result(k=1)
    assert cut.per_class.tolist() == [0.5, 0.0]  # one of two labels listed; the first is wrong
    floor = SegmentScores(2).update(scores, labels, rated).result(floor=np.array([0.7, 0.0], np.float32))
    assert floor.per_class.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("k", [1, 5, 100_000])
def test_it_is_the_definition(k):
    scores, truth, rated = drawn(0)
    made = SegmentScores(6)
    for some in np.array_split(np.arange(90), 4):
        made.update(scores[some], lists(truth[some]), lists(rated[some]))
    got = made.result(k=k)
    for each in range(5):
        pairs = list(zip(scores[rated[:, each], each].tolist(), truth[rated[:, each], each].tolist(), strict=True))
        expected = average_precision(lucky(pairs)[:k], truth[:, each].sum())
        assert got.per_class[each] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(got.per_class[5])
    assert got.map == pytest.approx(np.mean(got.per_class[:5]))


def test_all_rated_is_average_precision_without_a_cut():
    scores, truth, _ = drawn(1)
    scores = np.round(scores, 1)
    got = SegmentScores(6).update(scores, lists(truth)).result()
    full = FullScores(6).update(scores, lists(truth)).result()
    np.testing.assert_allclose(got.per_class, full.per_class, rtol=1e-12)
    assert got.rated == scores.size


def test_shards_and_states():
    scores, truth, rated = drawn(2)
    whole = SegmentScores(6).update(scores, lists(truth), lists(rated))
    halves = [
        SegmentScores(6).update(scores[some], lists(truth[some]), lists(rated[some]))
        for some in (slice(40, 90), slice(0, 40))
    ]
    for other in (halves[0].merge(halves[1]), SegmentScores.from_state(whole.state())):
        got = other.result()
        np.testing.assert_array_equal(got.per_class, whole.result().per_class)
        assert (got.segments, got.rated, got.labels) == (90, rated.sum(), truth.sum())


def test_of_nothing_and_what_it_refuses():
    assert np.isnan(SegmentScores(3).result().map)
    scores = np.zeros((1, 3), np.float32)
    with pytest.raises(InvalidValueError, match="labels must be among the rated classes"):
        SegmentScores(3).update(scores, Labels.of([[1]], 3), Labels.of([[0, 2]], 3))
    with pytest.raises(InvalidValueError, match="labels must be among the rated"):
        SegmentScores(3).update(scores, Labels.of([[]], 3), Labels.of([[0], [1]], 3))
    with pytest.raises(InvalidValueError, match="k must be at least 1"):
        SegmentScores(3).result(k=0)
    with pytest.raises(InvalidValueError, match=r"floor must be \[3\]"):
        SegmentScores(3).result(floor=np.zeros(2))
    with pytest.raises(InvalidValueError, match="scores to merge"):
        SegmentScores(3).merge(SegmentScores(2))
    state = SegmentScores(3).update(scores, Labels.of([[1]], 3)).state()
    with pytest.raises(InvalidValueError, match="in range"):
        SegmentScores.from_state(state | {"classes": state["classes"] + 1})
    with pytest.raises(InvalidValueError, match="lacks hits"):
        SegmentScores.from_state({name: each for name, each in state.items() if name != "hits"})
