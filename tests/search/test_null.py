"""Thresholds keep their promises: a fresh unrelated query passes as rarely as said, misses are counted as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.search.null import Null, null_from_members, null_from_queries

scores = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=60)


@given(scores, scores, st.sampled_from([0.01, 0.025, 0.05, 0.2, 0.5]))
def test_the_share_let_through_and_the_misses_are_counted(unrelated, related, alpha):
    unrelated, related = np.array(unrelated), np.array(related)
    null = null_from_queries(unrelated, related, alpha=alpha, asked="twins")
    passing = int(np.sum(unrelated >= null.threshold))
    assert null.false_alarm == (passing + 1) / (len(unrelated) + 1)
    assert null.false_alarm <= alpha or passing == 0
    assert null.miss == np.mean(related < null.threshold)
    assert (null.queries, null.related) == (len(unrelated), len(related))


@pytest.mark.parametrize("alpha", [0.02, 0.1])
def test_a_fresh_unrelated_query_is_answered_as_rarely_as_said(alpha):
    """The promise is on average over nulls and queries, for any law: here a skewed one."""
    drawn = np.random.default_rng(0)
    answered, said = [], set()
    for _ in range(2000):
        null = null_from_queries(drawn.gamma(2.0, size=150), np.empty(0), alpha=alpha, asked="")
        said.add(null.false_alarm)
        answered.append(np.mean(drawn.gamma(2.0, size=50) >= null.threshold))
    [said] = said
    assert said <= alpha
    assert np.mean(answered) == pytest.approx(said, abs=0.003)


def test_a_null_by_hand():
    null = null_from_queries(np.linspace(0.0, 0.99, 100), np.array([0.9, 0.97, 0.99]), alpha=0.05, asked="twins")
    assert null.threshold == pytest.approx(0.95, abs=1e-9)
    assert null.threshold > 0.95
    assert null.false_alarm == 5 / 101
    assert null.miss == pytest.approx(1 / 3)
    assert null.centre == pytest.approx(0.495)
    assert null.said() == "false alarms 5.0%, misses not measured"
    many = null_from_queries(np.linspace(0.0, 0.99, 100), np.linspace(0.9, 1.0, 20), alpha=0.05, asked="twins")
    assert many.said() == "false alarms 5.0%, misses 50% of 20 twins"


def test_a_floor_holds_where_a_small_library_reaches_little():
    null = null_from_queries(np.linspace(0.0, 0.1, 100), np.empty(0), alpha=0.05, asked="", floor=0.3)
    assert (null.threshold, null.false_alarm) == (0.3, 1 / 101)


def test_without_related_queries_misses_are_unknown():
    assert null_from_queries(np.array([0.1, 0.2]), np.empty(0), alpha=0.05, asked="").miss is None


def members(pairs):
    """Members that ask, members that answer."""
    return np.asarray(pairs).reshape(-1, 50)


def test_members_of_a_normal_law_answer_one_unrelated_query_in_twenty():
    drawn = np.random.default_rng(0)
    scores = members(np.tanh(drawn.normal(0.3, 0.2, 50_000)))
    null = null_from_members(scores, np.array([0.9]), rows=100, alpha=0.05, floor=0.0, asked="twins")
    fresh = np.tanh(drawn.normal(0.3, 0.2, (20_000, 100))).max(axis=1)
    assert np.mean(fresh >= null.threshold) == pytest.approx(0.05, abs=0.01)
    assert null.false_alarm == pytest.approx(0.05, abs=1e-6)
    assert null.modelled
    assert "by a model" in null.said()


def test_related_pairs_do_not_move_the_threshold_much():
    drawn = np.random.default_rng(1)
    clean = drawn.normal(0.3, 0.05, 10_000)
    mixed = np.concatenate([clean, np.full(1000, 0.95)])
    apart = [
        null_from_members(members(p), np.empty(0), rows=100, alpha=0.05, floor=0.0, asked="").threshold
        for p in (clean, mixed)
    ]
    assert abs(apart[0] - apart[1]) < 0.03


def test_few_members_fall_back_on_the_floor():
    scores = np.array([[np.nan, 0.2], [0.2, np.nan]])
    null = null_from_members(scores, np.empty(0), rows=2, alpha=0.05, floor=0.6, asked="")
    assert (null.threshold, null.false_alarm, null.neighbours) == (0.6, None, 0.0)


def test_neighbours_are_members_with_another_this_near():
    scores = np.full((8, 8), 0.1)
    scores[0, 1] = scores[1, 0] = 0.95
    np.fill_diagonal(scores, np.nan)
    null = null_from_members(scores, np.empty(0), rows=8, alpha=0.05, floor=0.5, asked="")
    assert null.neighbours == 0.25


def test_even_a_wide_law_leaves_room_below_one():
    scores = members(np.tanh(np.random.default_rng(2).normal(0.7, 1.0, 1000)))
    assert 0.9 < null_from_members(scores, np.empty(0), rows=1000, alpha=0.05, floor=0.0, asked="").threshold < 1


def test_a_null_survives_json():
    import json

    null = null_from_queries(np.array([0.1, 0.2, 0.3]), np.empty(0), alpha=0.05, asked="twins")
    assert Null.from_json(json.loads(json.dumps(null.as_json()))) == null


def test_surprise_puts_sources_on_one_scale():
    null = Null(0.5, 0.2, 0.1, 0.05, False, None, 10, 0, "")
    np.testing.assert_allclose(null.surprise(np.array([0.2, 0.5])), [0, 3])


@pytest.mark.parametrize("alpha", [0, 1, -1])
def test_alpha_must_be_a_share(alpha):
    with pytest.raises(InvalidValueError, match="alpha must be between 0 and 1"):
        null_from_queries(np.array([0.1, 0.2]), np.empty(0), alpha=alpha, asked="")
