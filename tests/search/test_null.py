"""Thresholds keep their promises: false alarms never above alpha, misses counted as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.search.null import Null, null_from_pairs, null_from_queries

scores = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=60)


@given(scores, scores, st.sampled_from([0.01, 0.025, 0.05, 0.2, 0.5]))
def test_false_alarms_never_pass_alpha_and_misses_are_counted(unrelated, related, alpha):
    unrelated, related = np.array(unrelated), np.array(related)
    null = null_from_queries(unrelated, related, alpha=alpha)
    assert np.mean(unrelated >= null.threshold) == null.false_alarm <= alpha
    assert null.miss == np.mean(related < null.threshold)
    assert (null.queries, null.related) == (len(unrelated), len(related))


def test_a_null_by_hand():
    null = null_from_queries(np.linspace(0.0, 0.99, 100), np.array([0.9, 0.97, 0.99]), alpha=0.05)
    assert null.threshold == pytest.approx(0.94, abs=1e-9)
    assert null.threshold > 0.94
    assert null.false_alarm == 0.05
    assert null.miss == pytest.approx(1 / 3)
    assert null.centre == pytest.approx(0.495)


def test_without_related_queries_misses_are_unknown():
    assert null_from_queries(np.array([0.1, 0.2]), np.empty(0), alpha=0.05).miss is None


def test_pairs_of_a_normal_law_answer_one_unrelated_query_in_twenty():
    drawn = np.random.default_rng(0)
    pairs = np.tanh(drawn.normal(0.3, 0.2, 50_000))
    null = null_from_pairs(pairs, np.array([0.9]), owners=100, alpha=0.05, floor=0.0)
    fresh = np.tanh(drawn.normal(0.3, 0.2, (20_000, 100))).max(axis=1)
    assert np.mean(fresh >= null.threshold) == pytest.approx(0.05, abs=0.01)
    assert null.false_alarm == pytest.approx(0.05, abs=1e-6)


def test_related_pairs_do_not_move_the_threshold_much():
    drawn = np.random.default_rng(1)
    clean = drawn.normal(0.3, 0.05, 10_000)
    mixed = np.concatenate([clean, np.full(1000, 0.95)])
    apart = [null_from_pairs(p, np.empty(0), owners=100, alpha=0.05, floor=0.0).threshold for p in (clean, mixed)]
    assert abs(apart[0] - apart[1]) < 0.03


def test_few_members_fall_back_on_the_floor():
    null = null_from_pairs(np.array([0.1, 0.2]), np.empty(0), owners=3, alpha=0.05, floor=0.6)
    assert (null.threshold, null.false_alarm) == (0.6, None)


def test_even_a_wide_law_leaves_room_below_one():
    pairs = np.tanh(np.random.default_rng(2).normal(0.7, 1.0, 1000))
    assert 0.9 < null_from_pairs(pairs, np.empty(0), owners=1000, alpha=0.05, floor=0.0).threshold < 1


def test_a_null_survives_json():
    import json

    null = null_from_queries(np.array([0.1, 0.2, 0.3]), np.empty(0), alpha=0.05)
    assert Null.from_json(json.loads(json.dumps(null.as_json()))) == null


def test_surprise_puts_sources_on_one_scale():
    null = Null(threshold=0.5, centre=0.2, spread=0.1, false_alarm=0.05, miss=None, queries=10, related=0)
    np.testing.assert_allclose(null.surprise(np.array([0.2, 0.5])), [0, 3])


@pytest.mark.parametrize("alpha", [0, 1, -1])
def test_alpha_must_be_a_share(alpha):
    with pytest.raises(InvalidValueError, match="alpha must be between 0 and 1"):
        null_from_queries(np.array([0.1, 0.2]), np.empty(0), alpha=alpha)
