"""Permutation sort is the obvious version's; every row measured is exact; what changes is found, what is kept too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pivots_reference import OBVIOUS, as_lists, brute, by_codes, permutation

from lightmeter.errors import InvalidValueError
from lightmeter.parts import build
from lightmeter.search.dissimilarity import dissimilarity
from lightmeter.search.permutation import FittedPermutation, Permutation, rank_gap, ranks


def positive(seed, rows, dim):
    return np.random.default_rng(seed).gamma(0.7, size=(rows, dim)).astype(np.float32) + np.float32(0.01)


def test_is_rebuilt_by_its_spec():
    for recipe in (Permutation(), Permutation("chi2", pivots=9, rank="footrule", check=0.2, seed=4)):
        assert build(recipe.spec) == recipe


def test_worked_by_hand():
    # pivots at 0, 4, 10; a row at 1 sees them as 0, 1, 2, one at 6 as 2, 0, 1 (6, 2, 4 away), one at 9 as 2, 1, 0
    pivots = np.array([[0.0], [4.0], [10.0]])
    codes = ranks(dissimilarity("l2").matrix(np.array([[1.0], [6.0], [9.0]]), pivots))
    assert codes.tolist() == [[0, 1, 2], [2, 0, 1], [2, 1, 0]]
    # from 6: rho 2² + 1² + 1² and 0 and 0² + 1² + 1²; the footrule 4, 0, 2
    assert rank_gap(codes, codes[1], "rho").tolist() == [6, 0, 2]
    assert rank_gap(codes, codes[1], "footrule").tolist() == [4, 0, 2]
    assert ranks(np.array([[1.0, 0.0, 1.0, 0.0]])).tolist() == [[2, 0, 3, 1]], "equal distances: the first pivot first"
    many = np.random.default_rng(0).integers(0, 3, 250).astype(float)
    order = sorted(range(250), key=lambda i: (many[i], i))
    assert ranks(many[None])[0][order].tolist() == list(range(250))


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_rho_of_many_pivots_equals_whole_numbers(seed, count):
    drawn = np.random.default_rng(seed)
    codes = np.array([drawn.permutation(count) for _ in range(5)])
    off = codes - codes[0]
    assert rank_gap(codes.astype(np.uint8), codes[0].astype(np.uint8), "rho").tolist() == (off**2).sum(axis=1).tolist()
    assert (
        rank_gap(codes.astype(np.uint8), codes[0].astype(np.uint8), "footrule").tolist()
        == abs(off).sum(axis=1).tolist()
    )


def test_the_largest_gap_of_255_pivots_fits():
    up = np.arange(255, dtype=np.uint8)
    assert rank_gap(up[None], up[::-1], "rho").tolist() == [sum((2 * i - 254) ** 2 for i in range(255))]
    assert rank_gap(up[None], up[::-1], "footrule").tolist() == [sum(abs(2 * i - 254) for i in range(255))]


@pytest.mark.parametrize("metric", sorted(OBVIOUS))
@pytest.mark.parametrize("rank", ["rho", "footrule"])
def test_it_is_the_obvious_version(metric, rank):
    vectors = positive(0, 40, 6)
    vectors[7] = vectors[21]
    index = Permutation(metric, pivots=6, rank=rank, check=0.2).fit(vectors)
    listed, pivots, rho = as_lists(vectors), as_lists(index.pivots), OBVIOUS[metric]
    codes = [permutation(row, pivots, rho) for row in listed]
    assert index.codes.tolist() == codes
    power = 2 if rank == "rho" else 1
    for query in (vectors[21], *positive(1, 5, 6)):
        code = permutation(query.tolist(), pivots, rho)
        expected = by_codes(
            listed, query.tolist(), rho,
            lambda r, code=code: sum(abs(a - b) ** power for a, b in zip(codes[r], code, strict=True)), 8, 3,
        )  # fmt: skip
        found = index.search(query[None], 3)
        assert found.ids[0].tolist() == [r for _, r in expected]
        np.testing.assert_allclose(found.distances[0], [d for d, _ in expected], rtol=1e-9, atol=1e-9)
        (told,) = found.certificates
        assert (told.refined, told.survivors, told.exact) == (8 + 6, (8,), False)


@pytest.mark.parametrize("metric", sorted(OBVIOUS))
def test_every_row_measured_is_exact(metric):
    vectors = positive(2, 30, 5)
    index = Permutation(metric, check=1.0).fit(vectors)
    assert index.abilities.exact
    assert len(index.pivots) == 30, "no more pivots than rows"
    found = index.search(vectors[:4], 5)
    for at in range(4):
        expected = brute(as_lists(vectors), as_lists(vectors[at]), OBVIOUS[metric], 5)
        np.testing.assert_allclose(found.distances[at], [d for d, _ in expected], rtol=1e-7, atol=1e-9)
        assert found.ids[at, 0] == at
    assert all(told.exact for told in found.certificates)


def test_fewer_rows_are_measured_and_most_answers_stay():
    drawn = np.random.default_rng(3)
    vectors = (drawn.standard_normal((30, 24)) * 2)[drawn.integers(0, 30, 900)] + drawn.standard_normal((900, 24))
    queries = vectors[:60] + drawn.standard_normal((60, 24)) * 0.05
    exact = Permutation(check=1.0).fit(vectors).search(queries)
    found = Permutation(check=0.1).fit(vectors).search(queries)
    assert (found.ids == exact.ids).mean() > 0.9
    assert all(told.refined == 90 + 32 for told in found.certificates)


def test_rows_come_and_go(tmp_path):
    vectors = positive(4, 80, 7)
    index = Permutation("chi2", check=0.3).fit(vectors[:60])
    assert index.add(vectors[60:]).tolist() == list(range(60, 80))
    assert np.array_equal(index.codes, ranks(index.gallery.measure.matrix(vectors, index.pivots)))
    index.remove(np.array([3, 70]))
    assert len(index) == 78
    index.save(tmp_path / "kept")
    again = FittedPermutation.load(tmp_path / "kept")
    assert (again.recipe, len(again), again.size_bytes) == (index.recipe, 78, index.size_bytes)
    for each in (index, again):
        each.add(vectors[:2])
        each.remove(np.array([4]))
    mine, theirs = (each.search(vectors, 4) for each in (index, again))
    assert np.array_equal(mine.ids, theirs.ids)
    assert mine.certificates == theirs.certificates
    assert not np.isin(mine.ids, [3, 4, 70]).any()
    assert mine.ids[:2, :2].tolist() == [[0, 80], [1, 81]], "twins: the lower id first"
    only = index.search(vectors[:1], 3, among=np.array([9, 8]))
    assert sorted(only.ids[0, :2].tolist()) == [8, 9]
    assert only.ids[0, 2] == -1
    with pytest.raises(InvalidValueError, match="got 3: never given or removed"):
        index.search(vectors[:1], among=np.array([3]))


def test_an_answer_does_not_depend_on_its_batch():
    vectors = positive(5, 200, 30)
    index = Permutation("cosine").fit(vectors)
    whole = index.search(vectors[:9] + 0.01, 5)
    for at in range(9):
        assert np.array_equal(index.search(vectors[at : at + 1] + 0.01, 5).ids[0], whole.ids[at])


def test_what_is_wrong_is_said():
    for options, text in [
        ({"pivots": 256}, "pivots must be 1 to 255, got 256"),
        ({"check": 1.5}, "check must be above 0 and at most 1, got 1.5"),
    ]:
        with pytest.raises(InvalidValueError, match=text):
            Permutation(**options)
    with pytest.raises(InvalidValueError, match="vectors must be 0 or more for chi2"):
        Permutation("chi2").fit(-np.ones((2, 2)))
