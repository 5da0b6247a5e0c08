"""Unigram Bayes: the printed equation to the letter, the corrected one, and which of them is a distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.assets.saving import load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.examples import ArrayExamples, Block
from lightmeter.heads.unigram import Unigram, UnigramModel
from lightmeter.parts import build
from lightmeter.types import Labels

TOKENS = np.array([[1, 2, 0], [1, 1, 3], [2, 0, 0], [0, 0, 0]], np.int32)
LABELS = Labels.of([[0], [0, 1], [1], [2]], 3)


def slow(form, alpha, tokens, lists, classes, words, query):
    """The equations, one number at a time, as probabilities."""
    scores = []
    for label in range(classes):
        videos = [row for row, own in zip(tokens, lists, strict=True) if label in own]
        if form == "paper":
            prior, below = len(videos) / len(tokens), len(videos) + alpha * classes
        else:
            prior = len(videos) / sum(map(len, lists))
            below = sum(int((row > 0).sum()) for row in videos) + alpha * words
        score = prior
        for word in query:
            if word > 0:
                score *= (sum(int((row == word).sum()) for row in videos) + alpha) / below
        scores.append(score)
    return scores


def test_the_printed_equation_by_hand():
    model = Unigram(alpha=0.5).fit(TOKENS, LABELS)
    joint = np.exp(model.log_joint(np.array([[1, 3, 0]])))[0]
    # label 0: 2 of 4 videos; word 1 stands 3 times in them, word 3 once; below is 2 + 0.5 * 3 labels
    assert joint[0] == pytest.approx(2 / 4 * (3 + 0.5) / 3.5 * (1 + 0.5) / 3.5)
    assert joint[1] == pytest.approx(2 / 4 * (2 + 0.5) / 3.5 * (1 + 0.5) / 3.5)
    assert joint[2] == pytest.approx(1 / 4 * 0.5 / 2.5 * 0.5 / 2.5)


def test_the_corrected_one_by_hand():
    model = Unigram(alpha=0.5, form="corrected").fit(TOKENS, LABELS)
    joint = np.exp(model.log_joint(np.array([[1, 3, 0]])))[0]
    # 5 labels in all; label 0 has 5 words, label 1 has 4, label 2 none; 3 different words
    assert joint[0] == pytest.approx(2 / 5 * 3.5 / 6.5 * 1.5 / 6.5)
    assert joint[1] == pytest.approx(2 / 5 * 2.5 / 5.5 * 1.5 / 5.5)
    assert joint[2] == pytest.approx(1 / 5 * 0.5 / 1.5 * 0.5 / 1.5)
    assert model.scores(np.array([[1, 3, 0]]))[0] == pytest.approx(joint / joint.sum())


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(["paper", "corrected"]), st.sampled_from([0.001, 0.1, 2.0]))
def test_it_is_the_slow_one(seed, form, alpha):
    chance = np.random.default_rng(seed)
    videos, classes, words = (int(chance.integers(1, high)) for high in (9, 5, 7))
    tokens = chance.integers(0, words + 1, (videos, 4)).astype(np.int32)
    lists = [list(np.flatnonzero(chance.random(classes) < 0.5)) for _ in range(videos)]
    lists[0] = [0]
    model = Unigram(alpha, form).fit(tokens, Labels.of(lists, classes), vocabulary=words)
    queries = chance.integers(0, words + 1, (3, 5))
    wanted = [slow(form, alpha, tokens, lists, classes, words, query) for query in queries]
    np.testing.assert_allclose(np.exp(model.log_joint(queries)), wanted, rtol=1e-9)


def mass(model):
    """The sum of P(w|l) over all words, by scoring each alone: float [K]."""
    alone = np.arange(1, model.vocabulary + 1)[:, None]
    with np.errstate(invalid="ignore"):
        return np.exp(model.log_joint(alone) - model.log_prior()).sum(axis=0)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(1e-4, 10))
def test_corrected_words_of_a_label_sum_to_one(seed, alpha):
    chance = np.random.default_rng(seed)
    tokens = chance.integers(0, 9, (12, 6)).astype(np.int32)
    labels = Labels.of([[int(each)] for each in chance.integers(0, 3, 12)], 3)
    model = Unigram(alpha, "corrected").fit(tokens, labels, vocabulary=11)
    held = model.videos > 0
    np.testing.assert_allclose(mass(model)[held], 1)
    assert np.exp(model.log_prior()).sum() == pytest.approx(1)


@pytest.mark.parametrize(("videos", "wanted"), [(1000, 8.24), (5, 9.2)])
def test_printed_ones_sum_to_eight_or_nine_on_data_of_the_seeds_shape(videos, wanted):
    """8.23 words a video, 48,000 words, 4,716 labels: the P(w|l) of a label, words that were never seen included."""
    lengths = 8 + (np.arange(videos) < round(0.23 * videos))
    tokens = np.random.default_rng(0).integers(1, 48_001, (videos, 9)).astype(np.int32)
    tokens[np.arange(9) >= lengths[:, None]] = 0
    for form, total in (("paper", wanted), ("corrected", 1.0)):
        model = Unigram(form=form).fit(tokens, Labels.of([[0]] * videos, 4716), vocabulary=48_000)
        seen = np.unique(tokens[tokens > 0])
        unseen = np.setdiff1d(np.arange(1, 48_001), seen)[0]
        alone = np.append(seen, unseen)[:, None]
        chances = [
            np.exp(model.log_joint(alone[at : at + 500])[:, 0] - model.log_prior()[0])
            for at in range(0, len(alone), 500)
        ]
        every = np.concatenate(chances)
        assert every[:-1].sum() + (48_000 - len(seen)) * every[-1] == pytest.approx(total, abs=0.05)


def test_printed_priors_sum_to_the_labels_a_video():
    labels = Labels.of([[0, 1, 2]] * 4, 3)
    assert np.exp(Unigram().fit(TOKENS, labels).log_prior()).sum() == pytest.approx(3)
    assert np.exp(Unigram(form="corrected").fit(TOKENS, labels).log_prior()).sum() == pytest.approx(1)


@pytest.mark.parametrize("form", ["paper", "corrected"])
class TestEitherForm:
    def test_scores_are_shares(self, form):
        model = Unigram(form=form).fit(TOKENS, LABELS)
        scores = model.scores(np.array([[1, 2, 3], [0, 0, 0], [99, 0, 0]], np.int32))
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_array_equal(scores[1], scores[2])  # a number that was never seen is no word
        assert model.predict(np.array([[3, 3, 0]])).tolist() == [1 if form == "corrected" else 0]

    def test_a_label_that_nobody_has_is_never_answered(self, form):
        model = Unigram(form=form).fit(TOKENS, Labels.of([[0], [0], [1], [1]], 5))
        assert (model.scores(TOKENS)[:, 2:] == 0).all()

    def test_words_come_in_any_order_and_place(self, form):
        model = Unigram(form=form).fit(TOKENS, LABELS)
        same = np.array([[1, 2, 0, 0], [0, 2, 0, 1]], np.int32)
        np.testing.assert_allclose(*model.log_joint(same))

    def test_saved_and_loaded(self, form, tmp_path):
        model = Unigram(0.01, form).fit(TOKENS, LABELS, vocabulary=5)
        model.save(tmp_path)
        loaded = UnigramModel.load(tmp_path)
        assert loaded.recipe == model.recipe
        assert loaded.vocabulary == 5
        assert loaded.size_bytes == model.size_bytes
        np.testing.assert_array_equal(loaded.scores(TOKENS), model.scores(TOKENS))


def test_rows_in_parts_count_alike(monkeypatch):
    chance = np.random.default_rng(1)
    tokens = chance.integers(0, 30, (50, 6)).astype(np.int32)
    labels = Labels.of([np.flatnonzero(chance.random(7) < 0.3) for _ in range(50)], 7)
    whole = Unigram().fit(tokens, labels)
    monkeypatch.setattr("lightmeter.heads.unigram._ROWS_AT_ONCE", 7)
    parts = Unigram().fit(tokens, labels)
    for name in ("starts", "classes", "counts", "videos"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_it_learns_what_scikit_learn_learns():
    from sklearn.naive_bayes import MultinomialNB

    chance = np.random.default_rng(2)
    y = chance.integers(0, 4, 80)
    tokens = (chance.integers(1, 20, (80, 7)) + 3 * y[:, None]).astype(np.int32)
    bags = np.zeros((80, 31), int)
    for row, text in zip(bags, tokens, strict=True):
        np.add.at(row, text - 1, 1)
    theirs = MultinomialNB(alpha=0.3).fit(bags, y).predict_proba(bags)
    ours = Unigram(0.3, "corrected").fit(tokens, Labels.of([[each] for each in y], 4), vocabulary=31).scores(tokens)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


FORGED = {
    "falling starts": lambda arrays, about: arrays["starts"].__setitem__(2, 99),
    "class beyond": lambda arrays, about: arrays["classes"].__setitem__(0, 3),
    "class below": lambda arrays, about: arrays["classes"].__setitem__(0, -1),
    "count of 0": lambda arrays, about: arrays["counts"].__setitem__(0, 0),
    "fewer counts": lambda arrays, about: arrays.update(counts=arrays["counts"][:-1]),
    "more videos": lambda arrays, about: arrays["videos"].__setitem__(0, 99),
    "no videos": lambda arrays, about: arrays["videos"].fill(0),
    "fewer labels": lambda arrays, about: about.update(classes=2),
    "no total": lambda arrays, about: about.pop("total"),
    "another spec": lambda arrays, about: about.update(spec="knn"),
    "another type": lambda arrays, about: arrays.update(classes=arrays["classes"].astype(np.int64)),
    "no starts": lambda arrays, about: arrays.update(starts=np.zeros(0, np.int64)),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_forged_models_are_refused(forge, tmp_path):
    Unigram().fit(TOKENS, LABELS).save(tmp_path)
    arrays, about = load_model(tmp_path)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    forge(arrays, about)
    save_model(tmp_path, arrays, about)
    with pytest.raises(RejectedFileError):
        UnigramModel.load(tmp_path)


def test_its_spec_builds_it():
    for spec in ("unigram", "unigram/alpha=0.5,form=corrected"):
        recipe = build(spec, "head")
        assert build(recipe.spec, "head") == recipe
    assert Unigram().spec == "unigram/alpha=0.001,form=paper"


@pytest.mark.parametrize(
    ("tokens", "labels", "match"),
    [
        (TOKENS[:2], LABELS, "same items"),
        (TOKENS - 1, LABELS, "whole numbers"),
        (TOKENS * 1.5, LABELS, "whole numbers"),
        (TOKENS[0], LABELS, r"tokens must be \[N, L\]"),
        (TOKENS, Labels.of([[]] * 4, 3), "at least one label"),
    ],
)
def test_bad_rows_are_refused(tokens, labels, match):
    with pytest.raises(InvalidValueError, match=match):
        Unigram().fit(tokens, labels)


def test_bad_options_are_refused():
    with pytest.raises(InvalidValueError, match="alpha must be above 0"):
        Unigram(0)
    with pytest.raises(InvalidValueError, match="form must be paper or corrected"):
        Unigram(form="printed")
    with pytest.raises(InvalidValueError, match="at most the vocabulary 2, got 3"):
        Unigram().fit(TOKENS, LABELS, vocabulary=2)


def test_examples_without_words_are_not_counted_and_get_the_prior():
    def of(rows):
        labels = LABELS.take(np.array(rows))
        return ArrayExamples(
            (Block("t", "tokens", 3),), {"t": TOKENS[rows]}, list("abcd")[: len(rows)], ("x", "y", "z"), labels
        )

    every, worded = Unigram().fit(of([0, 1, 2, 3])), Unigram().fit(of([0, 1, 2]))
    assert every.model.total == worded.model.total == 3
    np.testing.assert_array_equal(every.model.videos, [2, 2, 0])
    scores = every.scores(every.view(of([0, 1, 2, 3])).batch(np.arange(4)))
    np.testing.assert_allclose(scores[3], [0.5, 0.5, 0])
