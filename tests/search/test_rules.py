"""The published rules, each worked by hand, and the laws between them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.search.rules import (
    RULES,
    bayes_factor,
    best_posterior,
    distance_factor,
    kept,
    ratio,
    top_posteriors,
    two_nearest,
)

DISTANCES = st.lists(
    st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0, 10 / 7, 1.5, 7.0, 10.0, 1e-300, 1e9]), min_size=1, max_size=9
)


def accepts(name, distances):
    rule = RULES[name]
    return bool(rule.sure(rule.score(np.array(distances)), rule.threshold))


def test_posteriors_by_hand():
    """Four classes 0.003 behind: 1 / (1 + 4·exp(−0.3)) = 1 / 3.96327 = 0.2523 > 0.24; 0.002 behind: 0.2340."""
    assert best_posterior(np.array([0.103, 0.103, 0.1, 0.103, 0.103])) == pytest.approx(0.252317, abs=1e-6)
    assert accepts("posteriors", [0.103, 0.103, 0.1, 0.103, 0.103])
    assert best_posterior(np.array([0.102, 0.102, 0.1, 0.102, 0.102])) == pytest.approx(0.233922, abs=1e-6)
    assert not accepts("posteriors", [0.102, 0.102, 0.1, 0.102, 0.102])


def test_posteriors_are_of_the_five_nearest_and_others_have_their_share_besides():
    """exp(−100·ρ) of six classes: 1, 1, 1, 1, 1, 1/2. The five largest sum to 5."""
    shares = top_posteriors(np.array([0.0, 0.0, 0.0, math.log(2) / 100, 0.0, 0.0]))
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.2, 0.1, 0.2, 0.2])
    assert not accepts("posteriors", [0.0] * 6)


def test_posteriors_do_not_underflow():
    np.testing.assert_allclose(top_posteriors(np.array([[900.0, 900.0 + math.log(3) / 100]])), [[0.75, 0.25]])


def test_bayes_factor_by_hand():
    """0.0049 − 0.0025 = 0.0024 is not above 0.003; 0.0064 − 0.0025 = 0.0039 is."""
    assert not accepts("bayes-factor", [0.0049, 0.0025, 3.0])
    assert accepts("bayes-factor", [0.0064, 0.0025, 3.0])
    assert not accepts("bayes-factor", [0.003, 0.0])  # strict


def test_distance_factor_by_hand():
    """2/3 < 0.7 and 7/10 is not."""
    assert accepts("distance-factor", [3.0, 2.0, 5.0])
    assert not accepts("distance-factor", [10.0, 7.0])


def test_multi_level_keeps_what_is_within_delta_by_hand():
    """δ = 1/0.7 = 1.43: with ρ₁ = 2, classes up to 2.857 stay."""
    assert kept(np.array([2.0, 2.8, 2.9, 50.0]), 0.7).tolist() == [True, True, False, False]
    assert kept(np.array([7.0, 10.0]), 0.7).tolist() == [True, True]  # ≤ δ


def test_the_runner_up_is_the_second_best_class_wherever_it_stands():
    """The authors' code would see no runner-up here: none was displaced from the first place."""
    assert [float(each) for each in two_nearest(np.array([1.0, 1.1, 9.0]))] == [1.0, 1.1]
    assert not accepts("distance-factor", [1.0, 1.1, 9.0])


def test_duplicates_in_two_classes_cannot_be_told_apart():
    assert not any(accepts(name, [0.0, 0.0]) for name in ("bayes-factor", "distance-factor", "multi-level"))
    assert kept(np.array([0.0, 0.0, 1e-300]), 0.7).tolist() == [True, True, False]
    assert accepts("distance-factor", [0.0, 1e-300])


def test_a_lone_class_is_sure():
    assert all(accepts(name, [3.0]) for name in RULES)
    assert [float(each) for each in two_nearest(np.array([3.0]))] == [3.0, math.inf]
    assert ratio(np.array(1.0), np.array(math.inf)) == 0


def test_no_class_is_refused():
    with pytest.raises(InvalidValueError, match=r"distances must be \[..., C\] with C of 1 or more"):
        two_nearest(np.empty((3, 0)))


def test_confidence_is_higher_where_surer():
    near, far = np.array([1.0, 1.1]), np.array([1.0, 9.0])
    for rule in RULES.values():
        assert rule.confidence(rule.score(far)) > rule.confidence(rule.score(near))
        assert not rule.sure(rule.score(far), rule.never())


@settings(max_examples=40, deadline=None)
@given(DISTANCES)
def test_one_class_is_kept_just_where_the_distance_factor_accepts(distances):
    values = np.array(distances)
    assert (kept(values, 0.7).sum() == 1) == accepts("distance-factor", distances)
    assert kept(values, 0.7)[values.argmin()]
    assert kept(values, -math.inf).all()


@settings(max_examples=40, deadline=None)
@given(DISTANCES, st.randoms())
def test_the_order_of_the_classes_does_not_matter(distances, random):
    shuffled = random.sample(distances, len(distances))
    for score in (bayes_factor, distance_factor):
        assert score(np.array(distances)) == score(np.array(shuffled))
    assert best_posterior(np.array(distances)) == pytest.approx(best_posterior(np.array(shuffled)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_many_queries_at_once(seed, classes):
    distances = np.random.default_rng(seed).random((5, classes))
    for rule in RULES.values():
        assert rule.score(distances).tolist() == [float(rule.score(row)) for row in distances]
