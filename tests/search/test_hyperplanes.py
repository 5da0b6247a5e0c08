"""Bits are signs, their differences angles; every row measured is exact; what changes is found, what is kept too."""

from __future__ import annotations

import numpy as np
import pytest
from pivots_reference import OBVIOUS, as_lists, brute, by_codes

from lightmeter.errors import InvalidValueError
from lightmeter.parts import build
from lightmeter.search.hyperplanes import FittedHyperplanes, Hyperplanes, hamming, sign_bits


def mixture(seed, rows, dim, classes=20):
    drawn = np.random.default_rng(seed)
    centres = drawn.standard_normal((classes, dim)) + 3
    return (centres[drawn.integers(0, classes, rows)] + 0.5 * drawn.standard_normal((rows, dim))).astype(np.float32)


def test_is_rebuilt_by_its_spec():
    for recipe in (Hyperplanes(), Hyperplanes("cosine", bits=128, check=0.2, centre=False, seed=4)):
        assert build(recipe.spec) == recipe


def test_bits_worked_by_hand():
    # one plane a quadrant's side, the other 62 have no normal: nothing lies above them
    planes, offsets = np.zeros((64, 2), np.float32), np.zeros(64, np.float32)
    planes[0], planes[1], offsets[1] = [1, 0], [0, 1], 2
    rows = np.array([[1, 1], [1, 3], [-1, 3], [-1, 1], [0, 2]], np.float32)
    codes = sign_bits(rows, planes, offsets)
    assert codes.shape == (5, 1)
    assert [format(int(row[0]) & 255, "08b")[:2] for row in codes.view(np.uint8)] == ["10", "11", "01", "00", "00"]
    assert hamming(codes, codes[1]).tolist() == [1, 0, 1, 2, 2]


def test_bits_differ_as_often_as_the_angle_says():
    # Charikar 2002: P(bit differs) = angle/π; 8,192 bits put four standard errors at 0.02
    for angle in (0.3, 1.0, 2.0, 3.0):
        rows = np.array([[1.0, 0.0, 0.0], [np.cos(angle), np.sin(angle), 0.0]])
        index = Hyperplanes("cosine", bits=8192, centre=False).fit(rows)
        share = hamming(index.codes, index.codes[0])[1] / 8192
        assert share == pytest.approx(angle / np.pi, abs=4 * np.sqrt(0.25 / 8192))


def test_centring_tells_apart_what_lies_on_one_side():
    vectors = mixture(0, 300, 40) + 10
    gaps = [
        np.mean([hamming(index.codes, code).mean() for code in index.codes[:20]]) / 256
        for index in (Hyperplanes(centre=each).fit(vectors) for each in (False, True))
    ]
    assert gaps[0] < 0.1
    assert gaps[1] > 0.4


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_it_is_the_obvious_version(metric):
    vectors = mixture(1, 50, 9)
    index = Hyperplanes(metric, bits=64, check=0.2).fit(vectors)
    listed = as_lists(vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if metric == "cosine" else vectors
    centre = unit.mean(axis=0, dtype=np.float64)

    def bits(row):
        return [float(plane @ (row.astype(np.float64) - centre)) > 0 for plane in index.planes.astype(np.float64)]

    codes = [bits(row) for row in unit]
    assert np.unpackbits(index.codes.view(np.uint8), axis=1).astype(bool).tolist() == codes
    for query in mixture(2, 6, 9):
        own = bits(query / np.linalg.norm(query) if metric == "cosine" else query)
        expected = by_codes(
            listed, as_lists(query), OBVIOUS[metric],
            lambda r, own=own: sum(a != b for a, b in zip(codes[r], own, strict=True)), 10, 3,
        )  # fmt: skip
        found = index.search(query[None], 3)
        assert found.ids[0].tolist() == [r for _, r in expected]
        np.testing.assert_allclose(found.distances[0], [d for d, _ in expected], rtol=1e-9, atol=1e-12)
        (told,) = found.certificates
        assert (told.refined, told.exact) == (10, False)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_every_row_measured_is_exact(metric):
    vectors = mixture(3, 40, 6)
    vectors[0] = 0
    index = Hyperplanes(metric, check=1.0).fit(vectors)
    assert index.abilities.exact
    for query in (*vectors[:3], np.zeros(6, np.float32)):
        found = index.search(query[None], 5)
        expected = brute(as_lists(vectors), as_lists(query), OBVIOUS[metric], 5)
        np.testing.assert_allclose(found.distances[0], [d for d, _ in expected], rtol=1e-7, atol=1e-9)
    zero = index.search(np.zeros((1, 6)), 3)
    assert (zero.distances == 2).all() == (metric == "cosine"), "a zero vector is 2 from everything"
    assert zero.certificates[0].exact


def test_fewer_rows_are_measured_and_most_answers_stay():
    vectors = mixture(4, 900, 64)
    queries = vectors[:60] + np.random.default_rng(5).standard_normal((60, 64)) * 0.05
    exact = Hyperplanes(check=1.0).fit(vectors).search(queries)
    index = Hyperplanes(check=0.05).fit(vectors)
    found = index.search(queries)
    assert (found.ids == exact.ids).mean() > 0.9
    assert all(told.refined == 45 for told in found.certificates)
    assert index.size_bytes == 900 * 32 + 256 * 64 * 4 + 256 * 4 + 900


def test_rows_come_and_go(tmp_path):
    vectors = mixture(6, 80, 7)
    index = Hyperplanes("cosine", check=0.3).fit(vectors[:60])
    assert index.add(vectors[60:]).tolist() == list(range(60, 80))
    index.remove(np.array([3, 70]))
    assert len(index) == 78
    index.save(tmp_path / "kept")
    again = FittedHyperplanes.load(tmp_path / "kept")
    assert (again.recipe, len(again), again.codes.dtype) == (index.recipe, 78, np.uint64)
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


def test_an_answer_does_not_depend_on_its_batch():
    vectors = mixture(7, 200, 30)
    index = Hyperplanes().fit(vectors)
    whole = index.search(vectors[:9] + 0.1, 5)
    for at in range(9):
        assert np.array_equal(index.search(vectors[at : at + 1] + 0.1, 5).ids[0], whole.ids[at])


def test_what_is_wrong_is_said():
    for options, text in [
        ({"bits": 100}, "bits must be a multiple of 64, up to 8192, got 100"),
        ({"check": 0}, "check must be above 0 and at most 1, got 0"),
    ]:
        with pytest.raises(InvalidValueError, match=text):
            Hyperplanes(**options)
    with pytest.raises(InvalidValueError, match="vectors must be finite"):
        Hyperplanes().fit(np.full((2, 2), np.inf))
