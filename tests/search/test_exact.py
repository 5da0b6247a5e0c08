"""Exact search is what it says: equal to the obvious loop, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.encoders.protocol import unit_rows
from lightmeter.errors import InvalidValueError
from lightmeter.search.exact import Block, cosine, highest, scan, scan_mean, top


def obvious(vectors, owners, times_s, queries):
    """One dot product at a time."""
    found = {}
    for row, owner, time_s in zip(vectors.astype(np.float64), owners, times_s, strict=True):
        for at, query in enumerate(queries.astype(np.float64)):
            length = np.linalg.norm(row) * np.linalg.norm(query)
            score = float(row @ query / length) if length else 0.0
            best = found.get((at, owner))
            if best is None or score > best[0] + 1e-9:
                found[at, owner] = (score, time_s)
    return found


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 8), st.integers(1, 4), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_scan_is_the_obvious_loop(seed, rows, dim, asked, rows_at_once):
    drawn = np.random.default_rng(seed)
    vectors = drawn.standard_normal((rows, dim)).astype(np.float32)
    owners = drawn.integers(0, 6, rows)
    times_s = np.arange(rows, dtype=np.float64)
    queries = drawn.standard_normal((asked, dim)).astype(np.float32)
    cut = int(drawn.integers(0, rows + 1))
    blocks = [Block(vectors[:cut], owners[:cut], times_s[:cut]), Block(vectors[cut:], owners[cut:], times_s[cut:])]
    scores = scan(blocks, queries, rows_at_once=rows_at_once)
    expected = obvious(vectors, owners, times_s, queries)
    assert scores.owners.tolist() == sorted(set(owners.tolist()))
    for at in range(asked):
        for column, owner in enumerate(scores.owners.tolist()):
            score, time_s = expected[at, owner]
            assert scores.best[at, column] == pytest.approx(score, abs=1e-5)
            if dim > 1:
                assert scores.times_s[at, column] == time_s


def test_an_owner_answers_by_its_best_row_and_that_rows_moment():
    rows = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    scores = scan([Block(rows, np.array([7, 7, 9]), np.array([0.0, 1.0, 2.0]))], np.array([[0.0, 2.0]], np.float32))
    assert scores.owners.tolist() == [7, 9]
    np.testing.assert_allclose(scores.best, [[1.0, np.sqrt(0.5)]], rtol=1e-6)
    assert scores.times_s.tolist() == [[1.0, 2.0]]


def test_nothing_to_look_at_gives_no_owner():
    scores = scan([], np.ones((2, 3), np.float32))
    assert scores.best.shape == (2, 0)


def test_zero_rows_score_zero():
    assert cosine(np.zeros((2, 3), np.float32), unit_rows(np.ones((1, 3)))).tolist() == [[0.0], [0.0]]
    assert unit_rows(np.zeros((1, 3))).tolist() == [[0, 0, 0]]


def test_highest_is_the_best_of_a_scan():
    drawn = np.random.default_rng(5)
    block = Block(drawn.standard_normal((50, 4)).astype(np.float32), np.arange(50), np.zeros(50))
    queries = drawn.standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(
        highest([block], queries, rows_at_once=7), scan([block], queries).best.max(axis=1), rtol=1e-6
    )
    assert highest([], queries).tolist() == [-1, -1, -1]


def test_a_query_of_several_rows_is_the_mean_of_each_rows_best():
    rows = np.array([[1, 0], [0, 1]], np.float32)
    owners, scores, times_s = scan_mean([Block(rows, np.array([3, 3]), np.array([0.0, 1.0]))], rows[::-1])
    assert (owners.tolist(), scores.tolist(), times_s.tolist()) == ([3], [1.0], [1.0])


def test_bad_queries_are_refused():
    with pytest.raises(InvalidValueError, match="must be finite"):
        scan([], np.array([[np.nan]]))
    with pytest.raises(InvalidValueError, match=r"vectors must be \[N, 2\], got \[1, 3\]"):
        scan([Block(np.ones((1, 3), np.float32), np.zeros(1, int), np.zeros(1))], np.ones((1, 2)))


@given(st.lists(st.integers(-5, 5), max_size=40), st.integers(1, 50))
def test_top_is_a_stable_sort(values, k):
    scores = np.array(values, np.float32)
    assert top(scores, k).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()


def test_top_wants_something():
    with pytest.raises(InvalidValueError, match="k must be at least 1"):
        top(np.ones(3), 0)
