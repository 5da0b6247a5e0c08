"""Shares of right answers: scikit-learn's values, and laws of counting."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.metrics import Share, accuracy, agreement, balanced_accuracy, error, top_k


@pytest.fixture
def answers():
    drawn = np.random.default_rng(3)
    truth = drawn.choice(6, 200, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    scores = drawn.standard_normal((200, 6)) + 1.5 * np.eye(6)[truth]
    return scores, truth


def test_they_are_scikit_learns(answers):
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, top_k_accuracy_score

    scores, truth = answers
    predicted = scores.argmax(axis=1)
    assert accuracy(predicted, truth).value == accuracy_score(truth, predicted)
    assert balanced_accuracy(predicted, truth) == pytest.approx(balanced_accuracy_score(truth, predicted))
    for k in (1, 2, 5):
        assert top_k(scores, truth, k).value == top_k_accuracy_score(truth, scores, k=k)


def test_error_is_what_accuracy_leaves(answers):
    scores, truth = answers
    right, wrong = accuracy(scores.argmax(1), truth), error(scores.argmax(1), truth)
    assert right.hits + wrong.hits == right.n == wrong.n
    assert agreement(truth, truth) == Share(200, 200)


def test_shares_of_shards_are_the_share_of_the_whole(answers):
    scores, truth = answers
    whole = top_k(scores, truth, 2)
    assert top_k(scores[:70], truth[:70], 2) + top_k(scores[70:], truth[70:], 2) == whole


def test_equal_scores_count_for_the_lowest_class():
    tied = np.zeros((3, 3))
    assert top_k(tied, np.array([0, 1, 2]), 1).hits == 1
    assert top_k(tied, np.array([0, 1, 2]), 2).hits == 2


def test_a_class_that_is_not_there_is_a_miss():
    assert top_k(np.eye(2), np.array([0, 7]), 2) == Share(1, 2)
    assert top_k(np.eye(2), np.array([0, -1]), 2) == Share(1, 2)


def test_rare_classes_count_as_much():
    truth = np.array([0] * 98 + [1, 1])
    assert balanced_accuracy(np.zeros(100, int), truth) == 0.5
    assert np.isnan(balanced_accuracy(truth[:0], truth[:0]))
    assert np.isnan(Share(0, 0).value)


def test_intervals_and_words():
    share = Share(9, 10)
    assert share.interval() == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert share.rest.at_most(0.95) == pytest.approx(0.3942, abs=1e-4)
    assert share.text() == "90.0 % of 10 (59.6–98.2)"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: accuracy(np.zeros(3), np.zeros(2)), r"truth must be \[3\]"),
        (lambda: top_k(np.zeros((2, 2)), np.zeros(2, int), 0), "k must be at least 1"),
        (lambda: top_k(np.full((1, 2), np.nan), np.zeros(1, int), 1), "NaN"),
        (lambda: Share(2, 1), "hits must be"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InvalidValueError, match=words):
        call()
