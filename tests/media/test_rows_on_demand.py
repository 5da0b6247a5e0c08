"""Rows on demand read as the array would that holds them all, and fetch what is asked for only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.media.clip_set import ClipSet, clip_hashes
from lightmeter.media.rows_on_demand import fingerprint_of, rows_on_demand

WHOLE = np.random.default_rng(0).integers(0, 256, (7, 4, 3, 2), np.uint8)


def lazy(asked=None):
    def read(rows):
        for row in rows.tolist():
            if asked is not None:
                asked.append(row)
            yield WHOLE[row]

    return rows_on_demand(WHOLE.shape, "uint8", read)


ROWS = st.lists(st.integers(-7, 6), max_size=5)


@settings(max_examples=60)
@given(ROWS, st.integers(-4, 3))
def test_reads_as_numpy_does(rows, at):
    rows = np.array(rows, np.int64)
    ats = np.full(len(rows), at)
    for key in (rows, (rows, ats), (rows, at), (rows, slice(1, 3)), (rows, ats, 1), (rows, ats, slice(None), 0)):
        np.testing.assert_array_equal(lazy()[key], WHOLE[key])


@pytest.mark.parametrize("key", [3, -1, slice(2, 5), slice(None), (2, 1), (2, slice(1, 3), 0), (slice(0, 4), 2)])
def test_single_rows_and_slices(key):
    np.testing.assert_array_equal(lazy()[key], WHOLE[key])


def test_masks_and_the_whole():
    mask = WHOLE[:, 0, 0, 0] > 100
    np.testing.assert_array_equal(lazy()[mask], WHOLE[mask])
    np.testing.assert_array_equal(np.asarray(lazy()), WHOLE)
    assert np.asarray(lazy(), np.float32).dtype == np.float32
    assert (lazy().shape, lazy().dtype, lazy().ndim, len(lazy())) == (WHOLE.shape, np.uint8, 4, 7)


def test_only_what_is_asked_for_is_read():
    asked = []
    rows = lazy(asked)
    assert rows[[5, 2, 5]].shape == (3, 4, 3, 2)
    assert asked == [5, 2, 5]
    with pytest.raises(IndexError):
        rows[7]
    assert asked == [5, 2, 5]


def test_fingerprints_are_those_of_clip_sets():
    clips = ClipSet.of(np.zeros((2, 1, 4, 4, 3), np.uint8), np.array([0, 1]))
    assert fingerprint_of(clip_hashes(clips)) == clips.fingerprint
