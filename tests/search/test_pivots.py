"""Directed enumeration is the obvious version's; every row measured is exact; what changes is found, kept too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pivots_reference import OBVIOUS, as_lists, brute, directed, farthest_sum, threshold

from lightmeter.errors import InvalidValueError
from lightmeter.parts import build
from lightmeter.search.pivots import FittedPivots, Pivots

EVERYTHING = {"check": 1.0, "false_accept": None}


def mixture(seed, rows, dim, classes=8):
    drawn = np.random.default_rng(seed)
    centres = drawn.standard_normal((classes, dim)) * 2
    labels = drawn.integers(0, classes, rows)
    return np.abs(centres[labels] + drawn.standard_normal((rows, dim))).astype(np.float32) + 0.01, labels


@pytest.mark.parametrize(
    "recipe",
    [
        Pivots(),
        Pivots(metric="jensen-shannon", pivots=7, choice="drawn", check=0.3, false_accept=None, variance="distance"),
        Pivots(matrix="full", at_once=4, seed=3),
    ],
    ids=["usual", "options", "full"],
)
def test_is_rebuilt_by_its_spec(recipe):
    assert build(recipe.spec) == recipe


LINE = np.array([[0.0], [10.0], [4.0], [5.0], [1.0]])


def test_worked_by_hand():
    # seed 0 draws row 4 (at 1) of five; the farthest from it is row 1 (at 10)
    index = Pivots(pivots=2, check=0.6, false_accept=None).fit(LINE)
    assert index.pivots.tolist() == [4, 1]
    assert index.seen.tolist() == [[1, 100], [81, 0], [9, 36], [16, 25], [0, 81]]
    # from 4.2 the pivots are at 10.24 and 33.64. Row 2: 1.24² + 2.36² = 7.1, row 3: 5.76² + 8.64² = 107.8, row 0: 4489
    found = index.search(np.array([[4.2]]))
    assert found.ids.tolist() == [[2]]
    np.testing.assert_allclose(found.distances, [[0.04]], rtol=1e-5)
    (told,) = found.certificates
    assert (told.refined, told.survivors, told.exact) == (3, (2, 3), False)
    # from 4.8 they are at 14.44 and 27.04. Row 2: 5.44² + 8.96² = 109.9, row 3: 1.56² + 2.04² = 6.6
    assert index.search(np.array([[4.8]])).ids.tolist() == [[3]]


def test_the_variance_term_by_hand():
    # rows at 1 and 25 from the pivot, the query at 9: 64/1 against 256/25; without the term 64 against 256
    rows = np.array([[0.0], [1.0], [5.0]])
    first = int(np.random.default_rng(1).integers(3))
    assert first == 1
    rows = rows[[1, 0, 2]]  # the pivot stands at 0
    plain = Pivots(pivots=1, check=0.6, false_accept=None, seed=1).fit(rows)
    scaled = Pivots(pivots=1, check=0.6, false_accept=None, seed=1, variance="distance").fit(rows)
    assert plain.pivots.tolist() == [1]
    query = np.array([[-3.0]])
    assert plain.search(query, 2).ids.tolist() == [[1, 0]]
    assert scaled.search(query, 2).ids.tolist() == [[1, 2]]


def test_the_early_stop_by_hand():
    labels = np.array([0, 1, 2, 2, 0])
    # the nearest of another class is 9 from pivot 4 (row 2) and 25 from pivot 1 (row 3): the first of two
    index = Pivots(pivots=2, at_once=1).fit(LINE, labels)
    assert index.stop_below == 9
    told = index.search(np.array([[1.5]])).certificates[0]
    assert (told.refined, told.exact) == (1, False)
    assert Pivots(pivots=2, false_accept=0.5).fit(LINE, labels).stop_below == 25
    assert Pivots(pivots=2).fit(LINE).stop_below == 1, "without labels every row is a class: 0 is 1 from 1"
    assert Pivots(pivots=2).fit(LINE, np.zeros(5, int)).stop_below == 0, "one class: nothing to stop at"


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5), st.sampled_from(["pivots", "full"]),
    st.integers(1, 4), st.sampled_from([0.2, 0.5, 1.0]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_it_is_the_obvious_enumeration(seed, rows, k, matrix, at_once, check):
    drawn = np.random.default_rng(seed)
    # small whole numbers: distances and likelihoods are exact in float32, and ties are many
    vectors, labels = drawn.integers(0, 4, (rows, 5)).astype(float), drawn.integers(0, 3, rows)
    recipe = Pivots(check=check, matrix=matrix, at_once=at_once, false_accept=0.05, seed=seed % 1000)
    index = recipe.fit(vectors, labels)
    rho, listed = OBVIOUS["l2"], as_lists(vectors)
    first = int(np.random.default_rng(recipe.seed).integers(rows))
    pivots = farthest_sum(listed, rho, recipe.pivots_of(rows), first)
    assert index.pivots.tolist() == pivots
    stop_below = threshold(listed, rho, labels, range(rows) if matrix == "full" else pivots, 0.05)
    assert index.stop_below == stop_below
    allowed = np.flatnonzero(drawn.random(rows) < 0.7)
    query = drawn.integers(0, 4, 5).astype(float)
    for among in (None, allowed):
        may = range(rows) if among is None else among.tolist()
        most = max(k, int(np.ceil(check * len(may) - 1e-9)))
        expected, measured = directed(
            listed, query, rho, pivots, stop_below=stop_below, most=most, k=k, at_once=at_once, full=matrix == "full",
            allowed=may,
        )  # fmt: skip
        found = index.search(query[None], k, among=among)
        size = len(expected)
        assert list(zip(found.distances[0][:size], found.ids[0][:size], strict=True)) == expected
        assert (found.ids[0][size:] == -1).all()
        assert np.isinf(found.distances[0][size:]).all()
        assert found.certificates[0].refined == len(measured)
        assert found.certificates[0].exact == (set(may) <= set(measured))


@pytest.mark.parametrize("metric", sorted(OBVIOUS))
@pytest.mark.parametrize("matrix", ["pivots", "full"])
def test_with_variance_and_any_dissimilarity_too(metric, matrix):
    vectors, _ = mixture(5, 30, 9)
    index = Pivots(metric=metric, variance="distance", false_accept=None, check=0.3, matrix=matrix, at_once=2).fit(
        vectors
    )
    listed, rho = as_lists(vectors), OBVIOUS[metric]
    pivots = index.pivots.tolist()
    for query in mixture(6, 8, 9)[0][:4]:
        expected, measured = directed(
            listed, query.tolist(), rho, pivots, stop_below=0, most=9, k=3, at_once=2, full=matrix == "full",
            variance=True,
        )  # fmt: skip
        found = index.search(query[None], 3)
        assert found.ids[0].tolist() == [r for _, r in expected]
        np.testing.assert_allclose(found.distances[0], [d for d, _ in expected], rtol=1e-9, atol=1e-12)
        assert found.certificates[0].refined == len(measured)


@pytest.mark.parametrize("metric", sorted(OBVIOUS))
@pytest.mark.parametrize("matrix", ["pivots", "full"])
def test_every_row_measured_is_exact(metric, matrix):
    vectors, labels = mixture(1, 50, 6)
    vectors[30:35] = vectors[3]
    index = Pivots(metric=metric, matrix=matrix, **EVERYTHING).fit(vectors, labels)
    assert index.abilities.exact
    found = index.search(vectors[:5], 7)
    for at in range(5):
        expected = brute(as_lists(vectors), as_lists(vectors[at]), OBVIOUS[metric], 7)
        np.testing.assert_allclose(found.distances[at], [d for d, _ in expected], rtol=1e-7, atol=1e-9)
    assert found.ids[3].tolist()[:6] == [3, 30, 31, 32, 33, 34]
    assert all(told.exact and told.gap == np.inf for told in found.certificates)
    assert not Pivots().fit(vectors).abilities.exact


def test_fewer_rows_are_measured_and_most_answers_stay():
    vectors, labels = mixture(2, 900, 24, classes=30)
    queries, _ = mixture(3, 60, 24)
    queries = (vectors[:60] + queries * 0.05).astype(np.float32)
    exact = Pivots(**EVERYTHING).fit(vectors).search(queries)
    found = Pivots(check=0.1, false_accept=None).fit(vectors, labels).search(queries)
    assert all(told.refined == 90 for told in found.certificates)
    assert (found.ids == exact.ids).mean() > 0.9
    drawn = np.random.default_rng(0).choice(900, (60, 90))
    assert (drawn == exact.ids).any(axis=1).mean() < 0.3, "as many rows drawn at random would find few"


def test_drawn_pivots_are_different_rows_and_guide_as_well():
    vectors, _ = mixture(2, 900, 24, classes=30)
    index = Pivots(choice="drawn", pivots=20, check=0.1, false_accept=None, seed=1).fit(vectors)
    assert len(set(index.pivots.tolist())) == 20
    assert index.pivots.tolist() != Pivots(choice="drawn", pivots=20, seed=2).fit(vectors).pivots.tolist()
    np.testing.assert_allclose(index.seen, index.measure.matrix(vectors, vectors[index.pivots]), rtol=1e-6)
    queries = vectors[:60] + np.float32(0.02)
    assert (index.search(queries).ids[:, 0] == np.arange(60)).mean() > 0.9


@pytest.mark.parametrize("matrix", ["pivots", "full"])
def test_rows_come_and_go(matrix):
    vectors, _ = mixture(4, 80, 7)
    recipe = Pivots(matrix=matrix, at_once=32, **EVERYTHING)
    index = recipe.fit(vectors[:50])
    assert index.add(vectors[50:70]).tolist() == list(range(50, 70))
    assert index.add(vectors[70:]).tolist() == list(range(70, 80))
    whole = recipe.fit(vectors).search(vectors, 3)
    assert np.array_equal(index.search(vectors, 3).ids, whole.ids)
    np.testing.assert_allclose(
        index.seen, index.measure.matrix(vectors, vectors[index.pivots] if matrix == "pivots" else vectors), rtol=1e-5
    )
    gone = np.unique([*index.pivots.tolist(), 7, 60])
    index.remove(gone)
    assert len(index) == 80 - len(gone)
    left = np.setdiff1d(np.arange(80), gone)
    found = index.search(vectors, 2)
    assert np.isin(found.ids, left).all()
    assert np.array_equal(found.ids[left, 0], left)
    only = index.search(vectors[:4], 3, among=left[:2])
    assert sorted(only.ids[0, :2].tolist()) == left[:2].tolist()
    assert (only.ids[:, 2] == -1).all()
    with pytest.raises(InvalidValueError, match="got 7: never given or removed"):
        index.remove(np.array([7]))
    with pytest.raises(InvalidValueError, match="got 99"):
        index.search(vectors[:1], among=np.array([99]))
    index.remove(left)
    assert len(index) == 0
    assert index.search(vectors[:1]).ids.tolist() == [[-1]]


@pytest.mark.parametrize("matrix", ["pivots", "full"])
def test_what_is_kept_answers_alike_and_still_changes(matrix, tmp_path):
    vectors, labels = mixture(8, 70, 7)
    index = Pivots(metric="chi2", matrix=matrix, pivots=6).fit(vectors[:60], labels[:60])
    index.remove(np.array([5]))
    index.save(tmp_path / "kept")
    again = FittedPivots.load(tmp_path / "kept")
    assert (again.recipe, again.stop_below, len(again)) == (index.recipe, index.stop_below, 59)
    for each in (index, again):
        each.add(vectors[60:])
        each.remove(np.array([61]))
    mine, theirs = (each.search(vectors, 4) for each in (index, again))
    assert np.array_equal(mine.ids, theirs.ids)
    assert np.array_equal(mine.distances, theirs.distances)
    assert mine.certificates == theirs.certificates


def test_an_answer_does_not_depend_on_its_batch():
    vectors, labels = mixture(9, 200, 30)
    index = Pivots().fit(vectors, labels)
    whole = index.search(vectors[:9] * 1.01, 5)
    for at in range(9):
        assert np.array_equal(index.search(vectors[at : at + 1] * 1.01, 5).ids[0], whole.ids[at])


def test_one_row_twins_and_other_types():
    one = Pivots().fit(np.ones((1, 3), np.int64)).search(np.zeros((1, 3), np.float16), 2)
    assert (one.ids.tolist(), one.distances.tolist()) == ([[0, -1]], [[3.0, np.inf]])
    twins = Pivots(variance="distance", check=1.0).fit(np.ones((9, 3))).search(np.ones((1, 3)), 9)
    assert twins.ids.tolist() == [list(range(9))]
    assert Pivots().fit(np.ones((4, 2))).search(np.empty((0, 2))).ids.shape == (0, 1)


def test_what_is_wrong_is_said():
    for options, text in [
        ({"pivots": 0}, "pivots must be at least 1, got 0"),
        ({"at_once": -1}, "at_once must be at least 1, got -1"),
        ({"check": 0.0}, "check must be above 0 and at most 1, got 0.0"),
        ({"false_accept": 1.0}, "false_accept must be 0 or more and below 1, got 1.0"),
    ]:
        with pytest.raises(InvalidValueError, match=text):
            Pivots(**options)
    with pytest.raises(InvalidValueError, match=r"vectors must be \[N, D\] with N and D of 1 or more"):
        Pivots().fit(np.empty((0, 3)))
    with pytest.raises(InvalidValueError, match=r"labels must be \[4\], got \[3\]"):
        Pivots().fit(np.ones((4, 2)), np.zeros(3, int))
    index = Pivots().fit(np.ones((4, 2)))
    with pytest.raises(InvalidValueError, match="k must be at least 1, got 0"):
        index.search(np.ones((1, 2)), 0)
    with pytest.raises(InvalidValueError, match=r"queries must be \[N, 2\], got \[1, 3\]"):
        index.search(np.ones((1, 3)))
    with pytest.raises(InvalidValueError, match="matrix=full takes at most 20000 rows, got 20001: take matrix=pivots"):
        Pivots(matrix="full").fit(np.ones((20_001, 1), np.float32))
