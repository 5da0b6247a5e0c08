"""Rows that lie on disk are read as they are, and let go."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.condense.rows import HELD_BYTES, RowsOf, blocks, expect_rows, held, mean_of, squares_from, taken, whole
from lightmeter.errors import InvalidValueError

ROWS = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float16)


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


def test_a_view_reads_what_it_names(mapped):
    at = np.array([4, 2, 49])
    some = RowsOf(mapped, at)
    assert some.shape == (3, 7)
    np.testing.assert_array_equal(some[np.array([2, 0])], ROWS[[49, 4]].astype(np.float32))
    np.testing.assert_array_equal(some[1:], ROWS[[2, 49]].astype(np.float32))
    np.testing.assert_array_equal(RowsOf(some, np.array([2]))[:], ROWS[[49]].astype(np.float32))
    np.testing.assert_array_equal(whole(some), ROWS[at].astype(np.float32))
    np.testing.assert_array_equal(taken(some, slice(0, 1)), ROWS[[4]].astype(np.float32))
    np.testing.assert_array_equal(mapped, ROWS)  # still there after its pages were let go


def test_rows_of_length_one():
    rows = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(RowsOf(rows, np.arange(2), unit=True)[:], [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_changes_of_a_private_map_are_kept(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    private = np.load(tmp_path / "rows.npy", mmap_mode="c")
    private[0] = 9
    whole(private)
    assert (private[0] == 9).all()


def test_blocks_are_the_rows(mapped):
    seen = list(blocks(mapped, width_bytes=4 * 7 * 20))
    assert [start for start, _ in seen] == [0, 20, 40]
    np.testing.assert_array_equal(np.concatenate([block for _, block in seen]), ROWS.astype(np.float32))
    np.testing.assert_allclose(mean_of(mapped), ROWS.astype(np.float64).mean(axis=0), rtol=1e-12)
    point = np.ones(7)
    np.testing.assert_allclose(squares_from(mapped, point), ((ROWS.astype(np.float64) - 1) ** 2).sum(1), rtol=1e-12)


def test_few_rows_are_held_and_many_are_not(mapped):
    assert type(held(mapped)) is np.ndarray
    large = RowsOf(mapped, np.zeros(HELD_BYTES // (4 * 7) + 1, np.int64))
    assert held(large) is large


def test_equal_rows_are_equally_far_wherever_they_stand():
    row = np.random.default_rng(1).normal(size=1001).astype(np.float32)
    apart = squares_from(np.tile(row, (700, 1)), np.random.default_rng(2).normal(size=1001))
    assert len(set(apart.tolist())) == 1


def test_wrong_rows_are_refused():
    with pytest.raises(InvalidValueError, match=r"must be \[N, D\]"):
        expect_rows(np.zeros(3), 1)
    with pytest.raises(InvalidValueError, match="4 or more, got 3"):
        expect_rows(np.zeros((3, 2)), 4)
    with pytest.raises(InvalidValueError, match="finite"):
        whole(np.array([[1.0, np.nan]]))
