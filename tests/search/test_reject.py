"""The third answer keeps its promise on fresh queries, whatever the law; where it cannot promise, it says so."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.metrics import coverage_risk, upper_bound
from lightmeter.search.reject import Rejection, distance_ratio, nearness, posterior_margin, reject_at_risk


def smooth(u):
    """Risk of an error at a confidence 0..1: falls from 0.4 to 0."""
    return 0.4 * (1 - u) ** 2


def bumpy(u):
    """No order at all: the surest are often wrong, as with outsiders that lie near."""
    return np.where(u > 0.97, 0.3, np.where(u > 0.4, 0.01, 0.2))


def stepped(u):
    """Eleven confidences only, so that most queries are tied."""
    return 0.3 * (1 - np.round(u, 1)) ** 2


def true_risk(law, threshold, ties):
    """Risk among answers above a threshold, by a fine grid."""
    u = (np.arange(20_000) + 0.5) / 20_000
    seen = np.round(u, 1) if ties else u
    return law(u)[seen > threshold].mean() if (seen > threshold).any() else 0.0


@pytest.mark.parametrize(
    ("law", "ties"), [(smooth, False), (bumpy, False), (stepped, True)], ids=["smooth", "bumpy", "ties"]
)
def test_the_promise_holds_over_many_validation_sets(law, ties):
    """With certainty 0.8 a fifth of the sets may break it; a binomial test at 1 in 1,000 says when too many do."""
    broken, answered, sets, known = 0, 0, 150, {}
    for seed in range(sets):
        drawn = np.random.default_rng(seed)
        u = drawn.random(600)
        confidence = np.round(u, 1) if ties else u
        made = reject_at_risk(confidence, drawn.random(600) < law(u), risk=0.05, certainty=0.8)
        if made.answered:
            answered += 1
            if made.threshold not in known:
                known[made.threshold] = true_risk(law, made.threshold, ties)
            broken += known[made.threshold] > 0.05
    assert broken <= _most(sets, 0.2)
    assert answered > sets / 4, "the law leaves something to answer"


def test_the_observed_risk_would_break_the_promise():
    """What the test above is for: thresholds chosen by the errors that were seen fail half of the time."""
    broken = 0
    for seed in range(40):
        drawn = np.random.default_rng(seed)
        u = drawn.random(600)
        threshold, _ = coverage_risk(u, drawn.random(600) < smooth(u)).at_risk(0.05)
        broken += true_risk(smooth, threshold, False) > 0.05
    assert broken > _most(40, 0.2)


def _most(n, rate):
    """The most of n that a rate explains, at 1 in 1,000."""
    return next(k for k in range(n) if upper_bound(n - k - 1, n, 0.999) < 1 - rate)


@pytest.mark.slow
@pytest.mark.parametrize("law", [smooth, bumpy], ids=["smooth", "bumpy"])
@pytest.mark.parametrize("risk", [0.02, 0.05, 0.1])
def test_the_promise_holds_over_thousands_of_validation_sets(law, risk):
    broken, sets = 0, 2000
    for seed in range(sets):
        drawn = np.random.default_rng(seed)
        u = drawn.random(800)
        made = reject_at_risk(u, drawn.random(800) < law(u), risk=risk, certainty=0.9)
        broken += made.answered > 0 and true_risk(law, made.threshold, False) > risk
    assert broken <= _most(sets, 0.1)


def test_most_is_a_binomial_quantile():
    from scipy.stats import binom

    assert abs(_most(150, 0.2) - binom.ppf(0.999, 150, 0.2)) <= 1


def test_by_hand():
    """One threshold: all of 100 queries, 1 wrong; (0.05-tail) Clopper–Pearson says 4.66 %."""
    wrong = np.zeros(100, bool)
    wrong[3] = True
    made = reject_at_risk(np.linspace(0, 1, 100), wrong, risk=0.05, tries=1)
    assert made.threshold == -math.inf
    assert (made.answered, made.wrong, made.coverage, made.tried) == (100, 1, 1.0, 1)
    assert made.bound == pytest.approx(0.0466, abs=1e-4)
    assert made.bound == upper_bound(1, 100, 0.95)


def test_a_higher_risk_answers_no_less():
    drawn = np.random.default_rng(0)
    u = drawn.random(900)
    wrong = drawn.random(900) < smooth(u)
    coverages = [reject_at_risk(u, wrong, risk=risk).coverage for risk in (0.02, 0.05, 0.1, 0.2)]
    assert coverages == sorted(coverages)
    assert coverages[0] < coverages[-1] == 1


def test_errors_of_low_confidence_are_declined():
    confidence = np.linspace(0, 1, 2000)
    made = reject_at_risk(confidence, confidence < 0.3, risk=0.02)
    assert 0.5 < made.coverage < 0.75
    assert made.bound <= 0.02
    assert made.answers(confidence).sum() == made.answered
    assert made.decide(np.arange(2000), confidence)[[0, 1999]].tolist() == [-1, 1999]
    assert not made.answers(np.array([np.nan, made.threshold])).any()


def test_tied_queries_are_answered_together_or_not_at_all():
    confidence = np.repeat([0.2, 0.8], [500, 700])
    made = reject_at_risk(confidence, confidence < 0.5, risk=0.05)
    assert (made.threshold, made.answered, made.wrong) == (0.2, 700, 0)


def test_no_confidence_at_all_is_never_answered_nor_counted():
    confidence = np.concatenate([np.full(300, -np.inf), np.linspace(0, 1, 300)])
    made = reject_at_risk(confidence, confidence < 0, risk=0.05)
    assert (made.answered, made.wrong, made.coverage) == (300, 0, 0.5)
    assert made.answers(confidence).sum() == 300


def test_an_open_set_counts_every_answer_to_an_outsider_as_wrong():
    confidence, none = np.linspace(0, 1, 1000), np.zeros(1000, bool)
    outside = confidence < 0.25
    closed = reject_at_risk(confidence, none, risk=0.05)
    opened = reject_at_risk(confidence, none, risk=0.05, outside=outside)
    assert (closed.coverage, closed.outside) == (1.0, 0)
    assert opened.coverage < 0.85
    assert opened.outside == 250
    assert opened == reject_at_risk(confidence, outside, risk=0.05, outside=outside)
    assert "250 of 1000 queries were of no known class" in opened.said()


def test_too_few_queries_promise_nothing_and_say_how_many_would():
    made = reject_at_risk(np.linspace(0, 1, 100), np.zeros(100, bool), risk=0.01)
    assert (made.threshold, made.answered, made.bound) == (math.inf, 0, 1.0)
    assert made.reason.endswith("ask 299")
    assert not made.answers(np.array([1e9, math.inf])).any()
    assert reject_at_risk(np.linspace(0, 1, 299), np.zeros(299, bool), risk=0.01).coverage == 1


def test_hopeless_answers_are_all_declined():
    made = reject_at_risk(np.linspace(0, 1, 1000), np.ones(1000, bool), risk=0.05)
    assert made.coverage == 0
    assert made.said().startswith("answers nothing: none of 18 thresholds keeps")


@pytest.mark.parametrize("wrong", [np.zeros(500, bool), np.ones(500, bool), np.arange(500) < 50])
def test_it_survives_json(wrong):
    made = reject_at_risk(np.linspace(0, 1, 500), wrong, risk=0.05)
    assert Rejection.from_json(json.loads(json.dumps(made.as_json(), allow_nan=False))) == made


def test_confidences_by_hand():
    distances = np.array([[0.2, 0.8, 0.4], [0.0, 0.0, 1.0], [0.0, 0.5, 0.5]])
    np.testing.assert_allclose(nearness(distances), [-0.2, 0, 0])
    np.testing.assert_allclose(distance_ratio(distances), [0.5, 0, 1])
    np.testing.assert_allclose(posterior_margin(np.array([[0.2, 0.7, 0.1], [0.5, 0.5, 0.0]])), [0.5, 0])
    np.testing.assert_allclose(distance_ratio(np.array([[0.3]])), [1])
    np.testing.assert_allclose(posterior_margin(np.array([[0.9]])), [0.9])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: reject_at_risk(np.zeros(3), np.zeros(3, bool), risk=0), "risk must be between"),
        (lambda: reject_at_risk(np.zeros(3), np.zeros(3, bool), certainty=1), "certainty must be between"),
        (lambda: reject_at_risk(np.zeros(3), np.zeros(3, bool), tries=0), "tries must be at least 1"),
        (lambda: reject_at_risk(np.zeros(0), np.zeros(0, bool)), "at least one"),
        (lambda: reject_at_risk(np.array([np.nan]), np.zeros(1, bool)), "NaN"),
        (lambda: distance_ratio(np.array([[-1.0, 2.0]])), "0 or more"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InvalidValueError, match=words):
        call()
