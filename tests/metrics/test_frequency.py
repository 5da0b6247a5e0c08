"""Quality over how common classes are: bands and moving averages by hand and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.frequency import by_frequency, moving_average


def test_bands_by_hand():
    precisions = np.array([0.5, np.nan, 0.9, 0.1, 0.7])
    counts = np.array([10, 99, 30, 5, 30])
    common, rare = by_frequency(precisions, counts, bands=2)  # class 1 has no label: left out
    assert (common.first, common.last, common.most, common.least) == (1, 2, 30, 30)
    assert (common.classes, common.count, common.map) == (2, 60, pytest.approx(0.8))
    assert (rare.first, rare.last, rare.most, rare.least) == (3, 4, 10, 5)
    assert rare.map == pytest.approx(0.3)
    half = 1.959964 * np.std([0.5, 0.1], ddof=1) / np.sqrt(2)
    assert (rare.low, rare.high) == (pytest.approx(0.3 - half), pytest.approx(0.3 + half))


def test_bands_share_the_classes_out():
    rng = np.random.default_rng(0)
    precisions, counts = rng.random(47), rng.integers(1, 1000, 47)
    bands = by_frequency(precisions, counts)
    assert [band.classes for band in bands] == [5] * 7 + [4] * 3
    assert sum(band.map * band.classes for band in bands) / 47 == pytest.approx(precisions.mean())
    assert [band.first for band in bands[1:]] == [band.last + 1 for band in bands[:-1]]
    few = by_frequency(precisions[:3], counts[:3])
    assert [band.classes for band in few] == [1, 1, 1]
    assert few[0].as_json()["low"] is None
    assert by_frequency(np.full(4, np.nan), np.ones(4, int)) == []


def test_a_moving_average_is_a_mean_of_neighbours():
    rng = np.random.default_rng(1)
    precisions, counts = rng.random(30), rng.permutation(30) + 1
    precisions[7] = np.nan
    curve = moving_average(precisions, counts, window=7)
    ranked = precisions[np.argsort(-counts)]
    ranked = ranked[~np.isnan(ranked)]
    assert curve.classes.tolist() == [1, 3, 5, *[7] * 23, 5, 3, 1]
    assert curve.rank.tolist() == list(range(1, 30))
    for at, size in enumerate(curve.classes):
        some = ranked[at - size // 2 : at + size // 2 + 1]
        assert curve.mean[at] == pytest.approx(some.mean())
        if size > 1:
            half = 1.959964 * some.std(ddof=1) / np.sqrt(size)
            assert curve.high[at] - curve.mean[at] == pytest.approx(half, rel=1e-6)
    assert np.isnan(curve.low[[0, -1]]).all()
    assert (np.diff(curve.count) < 0).all()
    np.testing.assert_allclose(moving_average(precisions, counts, window=1).mean, ranked)
    assert len(moving_average(np.full(4, np.nan), np.ones(4, int)).rank) == 0


def test_what_it_refuses():
    with pytest.raises(InvalidValueError, match=r"counts must be \[3\]"):
        by_frequency(np.ones(3), np.ones(4, int))
    with pytest.raises(InvalidValueError, match="bands must be at least 1"):
        by_frequency(np.ones(3), np.ones(3, int), bands=0)
    with pytest.raises(InvalidValueError, match="window must be odd"):
        moving_average(np.ones(3), np.ones(3, int), window=4)
    with pytest.raises(InvalidValueError, match="certainty"):
        moving_average(np.ones(3), np.ones(3, int), certainty=95)
