"""Average precision under ties: the closed form is the mean over all orders."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from video_metrics_reference import average_precision, lucky, shuffled, unlucky

from lightmeter.metrics.pooled import class_precisions, pooled_precisions
from lightmeter.metrics.ties import Ties, harmonic_difference


def group(ahead, hits_ahead, size, hits):
    return Ties(*(np.array([each]) for each in (ahead, hits_ahead, size, hits, 0)))


@pytest.mark.parametrize(
    ("ahead", "hits_ahead", "size", "hits"), [(0, 0, 1, 1), (3, 1, 4, 2), (0, 0, 5, 5), (7, 0, 6, 1)]
)
def test_a_group_is_the_mean_of_all_its_orders(ahead, hits_ahead, size, hits):
    sums = []
    for order in permutations([True] * hits + [False] * (size - hits)):
        places = np.flatnonzero(order) + 1
        sums.append(sum((hits_ahead + at) / (ahead + place) for at, place in enumerate(places, 1)))
    expected, best, worst = group(ahead, hits_ahead, size, hits).gains()
    assert expected[0] == pytest.approx(np.mean(sums), rel=1e-13)
    assert best[0] == pytest.approx(max(sums), rel=1e-13)
    assert worst[0] == pytest.approx(min(sums), rel=1e-13)


def test_two_equal_pairs_by_hand():
    # One hit of two at rank 1 or 2: precision 1 or 1/2.
    expected, best, worst = group(0, 0, 2, 1).gains()
    assert (expected[0], best[0], worst[0]) == (pytest.approx(0.75), pytest.approx(1), pytest.approx(0.5))


def test_harmonic_differences_are_sums():
    for after in (0, 1, 5, 200, 255, 256, 257, 1000, 10**6):
        for n in (1, 2, 60, 300, 5000):
            total = float(np.sum(1 / np.arange(after + n, after, -1)))
            assert harmonic_difference(np.array([after]), np.array([n]))[0] == pytest.approx(total, rel=2e-13)


def test_the_mean_of_many_shuffles():
    rng = np.random.default_rng(0)
    values = np.round(rng.random(300) ** 3, 1).astype(np.float32)
    hits = rng.random(300) < values * 0.8
    pairs, positives = list(zip(values.tolist(), hits.tolist(), strict=True)), int(hits.sum())
    seen = [average_precision(shuffled(pairs, seed), positives) for seed in range(400)]
    sums = pooled_precisions([(values, hits)])
    error = np.std(seen) / np.sqrt(len(seen))
    assert abs(float(sums.expected[0]) / positives - np.mean(seen)) < 4 * error
    assert float(sums.best[0]) / positives == pytest.approx(average_precision(lucky(pairs), positives), rel=1e-12)
    assert float(sums.worst[0]) / positives == pytest.approx(average_precision(unlucky(pairs), positives), rel=1e-12)
    assert min(seen) >= float(sums.worst[0]) / positives
    assert max(seen) <= float(sums.best[0]) / positives


@pytest.mark.parametrize("levels", [1, 2, 7, 10**6])
def test_pools_and_classes_are_the_definition(levels):
    rng = np.random.default_rng(levels)
    values = (np.floor(rng.random(500) * levels) / levels).astype(np.float32)
    hits, classes = rng.random(500) < 0.3, rng.choice([0, 1, 3, 6], 500).astype(np.int16)
    halves = [slice(0, 123), slice(123, 500)]
    sums = class_precisions([(values[half], hits[half], classes[half]) for half in halves], 8)
    for each in range(8):
        pairs = list(zip(values[classes == each].tolist(), hits[classes == each].tolist(), strict=True))
        assert sums.best[each] == pytest.approx(average_precision(lucky(pairs), 1), rel=1e-12)
        assert sums.worst[each] == pytest.approx(average_precision(unlucky(pairs), 1), rel=1e-12)
        own = pooled_precisions([(values[classes == each], hits[classes == each])])
        assert sums.expected[each] == pytest.approx(own.expected[0], rel=1e-12)


def test_nothing_is_zero():
    none = np.zeros(0, np.float32), np.zeros(0, bool)
    assert pooled_precisions([none]).expected.tolist() == [0.0]
    assert class_precisions([(*none, np.zeros(0, np.int32))], 3).worst.tolist() == [0.0, 0.0, 0.0]
