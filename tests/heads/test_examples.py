"""Labels and examples: what goes in comes out, in any order, and nothing crooked goes in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError, UnknownNameError
from lightmeter.heads.examples import ArrayExamples, Block, Chosen, Rebatched, is_rated, narrowed, padded
from lightmeter.types import Labels

LISTS = st.lists(st.lists(st.integers(0, 6), max_size=5), max_size=6)


@given(LISTS)
def test_labels_keep_what_they_are_given(lists):
    labels = Labels.of(lists, 7)
    assert [np.flatnonzero(row).tolist() for row in labels.dense()] == [sorted(set(each)) for each in lists]


@given(LISTS.filter(bool), st.data())
def test_taken_labels_are_those_rows(lists, data):
    labels = Labels.of(lists, 7)
    rows = np.array(data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8)), np.int64)
    assert np.array_equal(labels.take(rows).dense(), labels.dense()[rows])


@pytest.mark.parametrize(
    ("offsets", "classes", "says"),
    [
        ([0, 2], [1], "offsets must rise from 0 to 1"),
        ([0, 2, 1], [1], "offsets must rise from 0 to 1"),
        ([1, 1], [0], "offsets must rise from 0 to 1"),
        ([], [], "offsets must rise"),
        ([0, 1], [3], "classes must be 0 to 2"),
        ([0, 1], [-1], "classes must be 0 to 2"),
        ([0, 2], [1, 1], "must rise, each once"),
        ([0, 2], [2, 1], "must rise, each once"),
    ],
)
def test_crooked_labels_are_refused(offsets, classes, says):
    with pytest.raises(InvalidValueError, match=says):
        Labels(np.array(offsets, np.int64), np.array(classes, np.int32), 3)


def test_classes_may_fall_from_one_item_to_the_next():
    assert len(Labels(np.array([0, 1, 1, 2], np.int64), np.array([2, 0], np.int32), 3)) == 3


def examples() -> ArrayExamples:
    rng = np.random.default_rng(0)
    blocks = (Block("visual", "features", 3), Block("audio", "frames", 2), Block("title", "tokens", 4))
    values = {
        "visual": rng.random((4, 3), np.float32),
        "audio": [rng.random((each, 2)).astype(np.float32) for each in (2, 1, 3, 2)],
        "title": np.arange(16, dtype=np.int32).reshape(4, 4),
    }
    present = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]], bool)
    return ArrayExamples(blocks, values, list("abcd"), ("x", "y"), Labels.of([[0], [1], [], [0, 1]], 2), present)


def test_a_batch_is_its_rows_whatever_stands_beside_them():
    whole = examples()
    one, many = whole.batch(np.array([2])), whole.batch(np.array([0, 2]))
    assert many.lengths.tolist() == [2, 3]
    for name in ("visual", "title"):
        assert np.array_equal(one.values[name][0], many.values[name][1])
    assert np.array_equal(one.values["audio"][0], many.values["audio"][1])
    assert not many.values["audio"][0, 2].any()
    assert many.labels.dense().tolist() == [[True, False], [False, False]]


def test_what_is_absent_is_zeros():
    batch = examples().batch(np.arange(4))
    assert not batch.values["visual"][2].any()
    assert not batch.values["audio"][1].any()
    assert not batch.values["title"][3].any()
    assert batch.values["visual"][0].all()


def test_a_batch_changes_nothing():
    whole = examples()
    whole.batch(np.arange(4)).values["visual"][:] = 7
    assert np.array_equal(whole.batch(np.arange(4)).values["visual"], examples().batch(np.arange(4)).values["visual"])


def test_chosen_blocks_and_rows():
    some = Chosen.of(examples(), blocks=["title", "visual"], rows=np.array([3, 0]))
    batch = some.batch(np.array([1, 0]))
    assert [each.name for each in some.blocks] == ["title", "visual"]
    assert batch.present.tolist() == [[True, True], [False, True]]
    assert batch.lengths is None
    assert list(some.ids) == ["d", "a"]
    assert some.labels.dense().tolist() == [[True, True], [True, False]]


class Counting(list):
    """Rows of a block that know which of them were read."""

    def __init__(self, rows):
        super().__init__(rows)
        self.read = []

    def __getitem__(self, at):
        self.read.append(at)
        return super().__getitem__(at)


def test_blocks_that_were_not_chosen_are_not_read():
    from dataclasses import replace

    whole = examples()
    rows = Counting(whole.values["audio"])
    whole = replace(whole, values={**whole.values, "audio": rows})
    rows.read.clear()
    batch = Chosen.of(whole, blocks=["visual"], rows=np.array([0, 2, 3])).batch(np.arange(3))
    assert (rows.read, list(batch.values), batch.lengths) == ([], ["visual"], None)
    assert not is_rated(whole)
    assert rows.read == []
    assert Chosen.of(whole).batch(np.arange(2), ["audio"]).lengths.tolist() == [2, 1]
    assert rows.read == [0, 1]


@pytest.mark.parametrize("names", [["title", "audio"], ["visual"], []])
def test_some_blocks_of_a_batch_are_those_of_the_whole(names):
    whole = examples()
    own = [block for name in names for block in whole.blocks if block.name == name]
    rows = np.array([3, 1])
    want = narrowed(whole.batch(rows), whole.blocks, own)
    for each in (whole, Chosen.of(whole), Rebatched(whole, whole.batch)):
        got = each.batch(rows, names)
        assert list(got.values) == names
        assert all(np.array_equal(got.values[name], want.values[name]) for name in names)
        assert np.array_equal(got.present, want.present)
        assert (got.lengths is None) == ("audio" not in names)
        assert np.array_equal(got.labels.dense(), whole.labels.dense()[rows])
    with pytest.raises(UnknownNameError, match="no block called 'titel'"):
        whole.batch(rows, ["titel"])


def test_fingerprints_tell_content_apart():
    prints = {
        examples().fingerprint,
        Chosen.of(examples(), blocks=["title"]).fingerprint,
        Chosen.of(examples(), rows=np.array([0, 1])).fingerprint,
        Chosen.of(examples(), rows=np.array([1, 0])).fingerprint,
    }
    assert len(prints) == 4
    assert examples().fingerprint == examples().fingerprint


def test_an_unknown_block_is_named():
    with pytest.raises(UnknownNameError, match="no block called 'titel' in this set: did you mean 'title'"):
        Chosen.of(examples(), blocks=["titel"])


def test_values_must_fit_their_blocks():
    with pytest.raises(InvalidValueError, match="visual must be 2 rows of 3, got 2 of 4"):
        ArrayExamples((Block("visual", "features", 3),), {"visual": np.zeros((2, 4), np.float32)}, ["a", "b"], ("x",))
    with pytest.raises(InvalidValueError, match="labels must be of 1 items and 2 classes"):
        ArrayExamples(
            (Block("v", "features", 1),), {"v": np.zeros((1, 1), np.float32)}, ["a"], ("x", "y"), Labels.of([[0]], 1)
        )


def test_padding_is_zeros_at_the_ends():
    made = padded([np.ones((1, 2), np.float32), np.ones((3, 2), np.float32)], 2)
    assert made.sum(axis=2).tolist() == [[2, 0, 0], [2, 2, 2]]
    assert padded([], 2).shape == (0, 0, 2)
