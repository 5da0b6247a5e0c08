"""Dissimilarities equal SciPy's and the obvious loops; what they cannot compare is refused; rows come and go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pivots_reference import OBVIOUS, as_lists, brute

from lightmeter.errors import InvalidValueError, UnknownNameError
from lightmeter.search.dissimilarity import DISSIMILARITIES, Dissimilarity, Gallery, Stack, dissimilarity
from lightmeter.search.pivots import Pivots

NAMES = sorted(DISSIMILARITIES)


def positive(seed, rows, dim, dtype=np.float64):
    return np.random.default_rng(seed).gamma(0.7, size=(rows, dim)).astype(dtype) + dtype(1e-3)


@pytest.mark.parametrize("name", NAMES)
class TestEvery:
    @given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6), st.integers(1, 9))
    @settings(max_examples=15, deadline=None)
    def test_is_the_obvious_loop(self, name, seed, asked, rows, dim):
        queries, there = positive(seed, asked, dim), positive(seed + 1, rows, dim)
        expected = [[OBVIOUS[name](q, r) for r in as_lists(there)] for q in as_lists(queries)]
        measure = dissimilarity(name)
        np.testing.assert_allclose(measure.matrix(queries, there), expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(measure.to_rows(queries[0], there), expected[0], rtol=1e-9, atol=1e-12)

    def test_is_0_from_itself_and_more_from_others(self, name):
        rows = positive(0, 20, 33)
        found = dissimilarity(name).matrix(rows, rows)
        np.testing.assert_allclose(np.diag(found), 0, atol=1e-12)
        assert (found[~np.eye(20, dtype=bool)] > 1e-3).all()
        assert np.allclose(found, found.T) == dissimilarity(name).symmetric

    def test_float32_errs_by_no_more_than_it_says(self, name):
        measure, rows = dissimilarity(name), positive(1, 200, 700, np.float32)
        rows[1] = rows[0] * np.float32(1.0001)
        got, exactly = measure.to_rows(rows[0], rows), measure.to_rows(*(a.astype(np.float64) for a in (rows[0], rows)))
        room = 2.0**-24 * (700 + 64) * np.maximum(exactly, measure.at_least)
        assert (np.abs(got - exactly) <= room).all()

    def test_some_rows_are_some_of_all_whatever_the_blocks(self, name, monkeypatch):
        measure, rows, ids = dissimilarity(name), positive(2, 90, 11, np.float32), np.array([80, 3, 3, 41])
        whole = measure.to_rows(rows[7], rows)
        monkeypatch.setattr("lightmeter.search.dissimilarity._BLOCK", 64)
        np.testing.assert_allclose(measure.to_rows(rows[7], rows), whole, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(measure.to_rows(rows[7], rows, ids), whole[ids], rtol=1e-4, atol=1e-5)

    def test_no_rows_give_no_distances(self, name):
        measure, rows = dissimilarity(name), positive(0, 3, 4)
        assert measure.matrix(rows, rows[:0]).shape == (3, 0)
        assert measure.matrix(rows[:0], rows).shape == (0, 3)
        assert measure.to_rows(rows[0], rows[:0]).shape == (0,)


def test_they_equal_scipy_and_scikit_learn():
    from scipy.spatial.distance import cdist
    from scipy.stats import entropy
    from sklearn.metrics.pairwise import additive_chi2_kernel

    queries, rows = positive(3, 5, 40), positive(4, 7, 40)
    rows[0, :20] = 0
    found = {name: dissimilarity(name).matrix(queries, rows) for name in NAMES if name != "kl"}
    np.testing.assert_allclose(found["l2"], cdist(queries, rows, "sqeuclidean"), rtol=1e-10)
    np.testing.assert_allclose(found["cosine"], 2 * cdist(queries, rows, "cosine"), rtol=1e-9)
    np.testing.assert_allclose(found["jensen-shannon"], cdist(queries, rows, "jensenshannon") ** 2, rtol=1e-9)
    np.testing.assert_allclose(found["chi2"], -additive_chi2_kernel(queries, rows), rtol=1e-10)
    kl = dissimilarity("kl").matrix(queries, rows[1:])
    np.testing.assert_allclose(kl, [[entropy(q, r) for r in rows[1:]] for q in queries], rtol=1e-9)


def test_worked_by_hand():
    query, rows = np.array([1.0, 3.0]), np.array([[1.0, 1.0], [0.0, 2.0], [2.0, 6.0]])
    assert dissimilarity("l2").to_rows(query, rows).tolist() == [4, 2, 10]
    assert dissimilarity("chi2").to_rows(query, rows).tolist() == [1, 1.2, 1 / 3 + 1]
    # (¼, ¾) from (½, ½): ¼·ln ½ + ¾·ln 3/2; rows are scaled to sum 1, so (2, 6) is (1, 3)
    found = dissimilarity("kl").to_rows(query, rows[[0, 2]])
    np.testing.assert_allclose(found, [0.25 * np.log(0.5) + 0.75 * np.log(1.5), 0], atol=1e-12)
    # (1, 0) and (0, 1) share nothing: ln 2; zeros meet zeros without a warning
    apart = dissimilarity("jensen-shannon").to_rows(np.array([1.0, 0.0, 0.0]), np.array([[0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(apart, [np.log(2)])
    assert dissimilarity("cosine").to_rows(np.zeros(2), rows).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("name", "row", "text"),
    [
        ("chi2", [1, -1], "must be 0 or more for chi2, got -1: take l2"),
        ("jensen-shannon", [0, 0], "must each hold something above 0 for jensen-shannon: leave zero rows out"),
        ("jensen-shannon", [2, -0.5], "must be 0 or more for jensen-shannon"),
        ("kl", [1, 0], "must be above 0 for kl, got 0: add a small constant, or take jensen-shannon"),
        ("l2", [1, np.nan], "must be finite"),
    ],
)
def test_what_cannot_be_compared_is_refused_wherever_it_comes_in(name, row, text):
    index = Pivots(metric=name).fit(positive(0, 9, 2))
    wrong = np.array([row], np.float32)
    for call in (Pivots(metric=name).fit, index.search, index.add):
        with pytest.raises(InvalidValueError, match=text):
            call(wrong)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownNameError, match="no dissimilarity called 'ch2': did you mean 'chi2'"):
        Pivots(metric="ch2")


def test_your_own_joins_by_the_table(monkeypatch):
    manhattan = Dissimilarity("manhattan", lambda query, rows: np.abs(rows - query).sum(axis=1))
    monkeypatch.setitem(DISSIMILARITIES, "manhattan", manhattan)
    rows = np.random.default_rng(0).standard_normal((60, 5))
    found = Pivots(metric="manhattan", check=1.0, false_accept=None).fit(rows).search(rows[:4] + 0.1, 3)
    rows = rows.astype(np.float32)
    for at in range(4):
        query = (rows[at].astype(np.float64) + 0.1).astype(np.float32)
        expected = np.argsort(np.abs(rows - query).sum(axis=1), kind="stable")[:3]
        assert found.ids[at].tolist() == expected.tolist()


@given(st.lists(st.integers(0, 9), max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_stack_holds_what_was_put_in_and_leaves_the_first_array_alone(sizes):
    first = np.zeros((3, 2))
    stack, expected = Stack(first), [first]
    for at, size in enumerate(sizes, 1):
        more = np.full((size, 2), float(at))
        stack.add(more)
        expected.append(more)
    assert np.array_equal(stack.rows, np.concatenate(expected))
    assert not first.any()


def test_adding_one_by_one_copies_rarely():
    stack, rooms = Stack(np.zeros((4, 8))), set()
    for _ in range(1000):
        stack.add(np.ones((1, 8)))
        rooms.add(stack.rows.ctypes.data)
    assert len(rooms) < 25


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from(NAMES))
@settings(max_examples=40, deadline=None)
def test_the_last_step_is_a_float64_scan_with_ties_to_the_lowest_id(seed, k, name):
    drawn, measure = np.random.default_rng(seed), dissimilarity(name)
    # twins, and rows so alike that rounding puts them in any order
    rows = np.repeat(positive(seed, 1, 300, np.float32), 12, axis=0)
    rows[drawn.permutation(12)[:6], drawn.integers(0, 300, 6)] *= np.float32(1.000001)
    query = positive(seed + 1, 1, 300, np.float32)[0]
    exactly = measure.to_rows(query.astype(np.float64), rows.astype(np.float64))
    room = 2.0**-24 * (300 + 64) * np.maximum(exactly, measure.at_least)
    measured = drawn.permutation(12)
    ids, distances = Gallery.of(measure, rows).best(
        query, measured, (exactly + room * drawn.uniform(-0.9, 0.9, 12))[measured], k
    )  # fmt: skip
    order = np.lexsort((np.arange(12), exactly))[:k]
    assert ids.tolist() == order.tolist()
    assert distances.tolist() == exactly[order].tolist()


def test_brute_reference_agrees_on_a_case_by_hand():
    assert brute([[0.0], [2.0], [2.0]], [1.5], OBVIOUS["l2"], 2) == [(0.25, 1), (0.25, 2)]
