"""Trials: kept as they are, and compared in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.condense.attempts import Attempt, compared_hits
from lightmeter.condense.protocol import Condensed
from lightmeter.meter.cost import Cost


def attempt(hits, *, name="toy/a=1", makes=False, cpu_s=1.0):
    small = Condensed(
        np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1), np.array([0, 1]), np.array([3, 5]),
        (np.array([3, 4]), np.array([5])), soft=np.eye(2, dtype=np.float32), notes=("less",),
    )  # fmt: skip
    return Attempt(name, 1, makes, small, hits, hits.mean(axis=1), Cost(1.0, cpu_s, 5), Cost(2.0, 2.0, 6))


def test_it_is_read_as_it_was_kept(tmp_path):
    kept = attempt(np.array([[True, False, True]]))
    kept.save(tmp_path / "t")
    found = Attempt.load(tmp_path / "t")
    assert (found.method, found.per_class, found.makes, found.price) == ("toy/a=1", 1, False, kept.price)
    assert found.small.notes == ("less",)
    np.testing.assert_array_equal(found.small.rows, [3, 5])
    assert [each.tolist() for each in found.small.members] == [[3, 4], [5]]
    np.testing.assert_array_equal(found.small.images, kept.small.images)
    np.testing.assert_array_equal(found.small.soft, kept.small.soft)
    np.testing.assert_array_equal(found.hits, kept.hits)


def test_a_torn_one_is_none(tmp_path):
    assert Attempt.load(tmp_path / "t") is None
    attempt(np.ones((1, 3), bool)).save(tmp_path / "t")
    (tmp_path / "t" / "model.safetensors").write_bytes(b"half")
    assert Attempt.load(tmp_path / "t") is None


def test_accuracy_is_of_the_rows_that_are_asked():
    found = attempt(np.array([[True, False, True, True], [True, True, True, False]]))
    assert found.accuracy(np.array([0, 1])) == 0.75
    assert found.deviation(np.array([0, 1])) == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert found.name == "toy"


def test_pairs_see_a_difference_that_single_intervals_hide():
    chance = np.random.default_rng(0)
    hard = chance.random(400) < 0.5
    one = np.stack([hard] * 3)
    other = one.copy()
    other[:, np.flatnonzero(~hard)[:20]] = True
    (own, none), (theirs, less) = compared_hits([one, other])
    assert none is None
    assert own.high > theirs.low, "alone they overlap"
    assert less.value == pytest.approx(0.05)
    assert less.clear


def test_seeds_that_disagree_widen_the_interval():
    steady, shaky = np.zeros((2, 3, 300), bool)
    steady[:, :150] = True
    for seed, share in enumerate((50, 150, 250)):
        shaky[seed, :share] = True
    [(narrow, _)], [(wide, _)] = compared_hits([steady]), compared_hits([shaky])
    assert narrow.value == wide.value == 0.5
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
