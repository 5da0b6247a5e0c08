"""Rows that come and go: what is there, what it costs, and who shares it."""

from __future__ import annotations

import numpy as np
import pytest
from galleries import KINDS, drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.search.growing import grown
from lightmeter.search.row_store import RowStore

WIDTHS = (5, 3)


def made(rng, rows, classes=7):
    blocks = tuple(rng.standard_normal((rows, width)).astype(np.float32) for width in WIDTHS)
    return blocks, rng.integers(classes, size=rows)


def store_of(rng, rows):
    blocks, labels = made(rng, rows)
    return RowStore(blocks, np.arange(rows), labels), blocks, labels


def assert_holds(store, blocks, ids, labels):
    """The store tells the same as one that was filled at once."""
    there, kept, known = store.present()
    assert kept.tolist() == list(ids)
    assert known.tolist() == list(labels)
    for mine, wanted in zip(there, blocks, strict=True):
        np.testing.assert_array_equal(mine, wanted)
    assert len(store) == len(ids)
    alive = store.codes >= 0
    assert store.names[store.codes[alive]].tolist() == list(labels)
    assert (np.bincount(store.codes[alive], minlength=len(store.names)) == store.counts).all()
    assert store.rows.classes.tolist() == sorted(set(labels))


@given(st.integers(0, 2**31), st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_whatever_comes_and_goes(seed, steps):
    rng = np.random.default_rng(seed)
    store, blocks, labels = store_of(rng, 20)
    ids = np.arange(20)
    for number, (adds, count) in enumerate(steps):
        if adds:
            more, own = made(rng, count, 7 + number)
            ids = np.append(ids, store.add(more, own))
            blocks = tuple(np.concatenate(pair) for pair in zip(blocks, more, strict=True))
            labels = np.append(labels, own)
        else:
            stay = np.ones(len(ids), bool)
            stay[rng.permutation(len(ids))[:count]] = False
            store.remove(rng.permutation(ids[~stay]))
            ids, labels, blocks = ids[stay], labels[stay], tuple(each[stay] for each in blocks)
        assert_holds(store, blocks, ids, labels)
    assert len(set(ids.tolist())) == len(ids), "an id is never given twice"


def test_adding_copies_the_rest_only_now_and_then():
    rng = np.random.default_rng(0)
    store, _, _ = store_of(rng, 1000)
    copies = 0
    for _ in range(900):
        before = store.blocks[0]
        store.add(*made(rng, 1))
        copies += not np.shares_memory(before, store.blocks[0])
    assert copies <= 3
    assert len(store) == 1900


def test_removing_marks_and_moves_together_when_half_are_gone():
    store, blocks, labels = store_of(np.random.default_rng(0), 100)
    first = store.blocks[0]
    store.remove(np.arange(50))
    assert store.blocks[0] is first
    store.remove(np.array([99, 99]))
    assert len(store.blocks[0]) == len(store) == 49
    assert_holds(store, [each[50:99] for each in blocks], range(50, 99), labels[50:99])
    assert store.add(*made(np.random.default_rng(1), 1)).tolist() == [100]


def test_who_shares_rows_changes_them_alone():
    rng = np.random.default_rng(0)
    store, blocks, labels = store_of(rng, 40)
    store.add(*made(rng, 2))
    store.remove(np.array([40, 41]))
    other = store.shared()
    assert np.shares_memory(store.blocks[0], other.blocks[0])
    more, own = made(rng, 3)
    store.add(more, own)
    other.remove(np.arange(5))
    other.add(more, own + 100)
    assert_holds(store, [np.concatenate(pair) for pair in zip(blocks, more, strict=True)],
                 [*range(40), 42, 43, 44], [*labels, *own])  # fmt: skip
    assert_holds(other, [np.concatenate([a[5:], b]) for a, b in zip(blocks, more, strict=True)],
                 [*range(5, 40), 42, 43, 44], [*labels[5:], *own + 100])  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_the_codes_lose_is_bounded(kind):
    for seed in range(4):
        block = drawn(kind, seed, most_rows=60, most_dim=70)[0]
        store = RowStore((block[:20],), np.arange(len(block[:20])), np.zeros(len(block[:20]), np.int64))
        store.add((block * np.float32(3),), np.zeros(len(block), np.int64))
        width = block.shape[1]
        assert store.coarse.shape[1] % 16 == 0
        assert not store.coarse[:, width:].any()
        codes = store.coarse.astype(np.float64)
        apart = store.blocks[0] - store.coarse_step * codes[:, :width]
        assert (np.sqrt((apart**2).sum(axis=1)) <= store.lost).all()
        assert (store.lost <= store.longest[0] * (1 + 1e-5)).all()
        assert store.coarse_squares.tolist() == (codes**2).sum(axis=1).tolist()


def test_ids_that_are_not_there_are_refused():
    store, _, _ = store_of(np.random.default_rng(0), 9)
    store.remove(np.array([3]))
    for wrong in (3, 9, -1):
        with pytest.raises(InvalidValueError, match=f"got {wrong}: it was never given or removed"):
            store.remove(np.array([1, wrong]))
    with pytest.raises(InvalidValueError, match=r"ids must be int \[M\], got float64"):
        store.remove(np.array([0.5]))
    assert len(store) == 8, "a refusal changes nothing"


def test_growing_leaves_the_callers_array_alone():
    mine = np.arange(3)
    first = grown(mine, np.array([7]), own=False)
    second = grown(first, np.arange(0), own=True)
    assert first.tolist() == second.tolist() == [0, 1, 2, 7]
    assert not np.shares_memory(first, mine)
    assert np.shares_memory(first, second)
