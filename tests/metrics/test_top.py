"""The k highest scores: equal to a stable sort, whatever the scores are."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.top import top_scores


def by_sorting(scores, k):
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), order


def drawn(kind, shape, seed):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal(shape).astype(np.float32)
    if kind == "rounded":
        return np.round(scores, 1)
    if kind == "constant":
        return np.zeros(shape, np.float32)
    if kind == "saturated":
        return np.where(rng.random(shape) < 0.97, np.float32(-0.0), scores)
    if kind == "infinite":
        return np.where(
            rng.random(shape) < 0.02, np.float32(np.inf), np.where(scores < -1, np.float32(-np.inf), scores)
        )
    if kind == "rising":
        return np.sort(scores, axis=1)
    return scores


@pytest.mark.parametrize("kind", ["normal", "rounded", "constant", "saturated", "infinite", "rising"])
@pytest.mark.parametrize("classes", [1, 2, 19, 20, 21, 300, 361, 1000, 4716])
def test_it_is_a_stable_sort(kind, classes):
    for seed, k in enumerate((1, 5, 20, 64)):
        scores = drawn(kind, (7, classes), seed)
        values, found = top_scores(scores, k)
        expected, order = by_sorting(scores, k)
        assert found.dtype == np.int32
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(found, order)


def test_rows_are_blind_to_their_chunk():
    scores = drawn("rounded", (700, 1000), 3)
    values, found = top_scores(scores, 20)
    some = np.array([0, 523, 524, 525, 699])
    np.testing.assert_array_equal(values[some], top_scores(scores[some], 20)[0])
    np.testing.assert_array_equal(found[some], by_sorting(scores[some], 20)[1])
    np.testing.assert_array_equal(top_scores(np.asfortranarray(scores), 20)[1], found)


def test_nothing_asked_of_no_rows():
    values, found = top_scores(np.zeros((0, 5), np.float32), 3)
    assert (values.shape, found.shape) == ((0, 3), (0, 3))


@pytest.mark.parametrize("classes", [7, 1000])
def test_nan_is_refused(classes):
    scores = np.zeros((3, classes), np.float32)
    scores[1, classes - 1] = np.nan
    with pytest.raises(InvalidValueError, match=r"got NaN: check what was scored"):
        top_scores(scores, 2)


@pytest.mark.parametrize(
    ("scores", "k", "said"),
    [
        (np.zeros((2, 3)), 1, "scores must be float32, got float64"),
        (np.zeros(3, np.float32), 1, r"scores must be \[B, K\], got \[3\]"),
        (np.zeros((2, 3), np.float32), 0, "must be at least 1, got 0 and 3"),
        (np.zeros((2, 0), np.float32), 1, "must be at least 1, got 1 and 0"),
    ],
)
def test_what_it_refuses(scores, k, said):
    with pytest.raises(InvalidValueError, match=said):
        top_scores(scores, k)
