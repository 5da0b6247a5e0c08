"""Labels in titles and keywords: both modes by hand, the overlap, and texts without them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.encoders.text_words import TextOptions
from lightmeter.errors import InvalidValueError
from lightmeter.library.label_words import matched, overlap, without_label_words, without_labels
from lightmeter.library.text_set import LABELS_ONLY, TextSet
from lightmeter.types import Labels

CASES = [
    # text, labels, left by phrase, left by all-words
    ("my game video", ["Game"], "my video", "my video"),
    ("Games", ["Game"], "Games", "Games"),
    ("game", ["Games"], "game", "game"),
    ("GAME game Game", ["game"], "", ""),
    ("gameplay", ["Game"], "gameplay", "gameplay"),
    ("new york new jersey", ["New York"], "new jersey", "jersey"),
    ("york is new", ["New York"], "york is new", "is"),
    ("new", ["New York"], "new", "new"),
    ("grand theft auto v", ["Grand Theft Auto V"], "", ""),
    ("theft auto", ["Grand Theft Auto V"], "theft auto", "theft auto"),
    ("call of duty black ops", ["Call of Duty: Black Ops", "Call of Duty"], "", ""),
    ("call of duty black ops", ["Call of Duty", "Call of Duty: Black Ops"], "black ops", ""),
    ("a b c a b", ["a b"], "c", "c"),
    ("a b b c", ["a b", "b c"], "", ""),
    ("a b c", ["a b", "b c"], "c", ""),
    ("dance dance revolution", ["Dance"], "revolution", "revolution"),
    ("c sharp", ["C++"], "sharp", "sharp"),
    ("dot net", [".", "d.t"], "dot net", "dot net"),
    ("x y", [], "x y", "x y"),
    ("", ["Game"], "", ""),
    ("Straße", ["STRASSE"], "", ""),
    ("new_york city", ["New York"], "city", "city"),
    ("new_york city", ["York"], "new city", "new city"),
]


@pytest.mark.parametrize(("text", "labels", "phrase", "all_words"), CASES)
def test_by_hand(text, labels, phrase, all_words):
    assert without_labels(text.split(), labels) == tuple(phrase.split())
    assert without_labels(text.split(), labels, "all-words") == tuple(all_words.split())


_LETTERS = st.lists(st.sampled_from("a b c A".split()), max_size=7)


@given(_LETTERS, st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=2), max_size=3))
def test_phrases_go_as_by_an_escaped_pattern(words, labels):
    """The published way with its pattern escaped and what is gone marked, so that no new neighbours match."""
    names, text = [" ".join(each) for each in labels], " ".join(words)
    for name in names:
        text = re.sub(rf"\b{re.escape(name)}\b", "#", text, flags=re.IGNORECASE)
    assert without_labels(words, names) == tuple(text.replace("#", " ").split())


@given(_LETTERS, st.lists(st.sampled_from(["a", "a b", "c b", "d"]), max_size=3))
def test_laws(words, labels):
    phrase, every = (matched(words, labels, mode) for mode in ("phrase", "all-words"))
    assert all(a <= b for a, b in zip(phrase, every, strict=True)), "a phrase that stands has all its words"
    left = without_labels(words, labels, "all-words")
    assert not any(flag for each in matched(left, labels, "all-words") for flag in each)


def test_overlap_by_hand():
    labels = Labels.of([[0], [1], [0, 1], []], 2)
    texts = [("game", "of", "the", "year"), ("york", "is", "new", "york"), (), ("game",)]
    found = overlap(texts, labels, ["Game", "New York"])
    assert found.texts == 3
    assert found.words == pytest.approx((1 / 4 + 3 / 4 + 0) / 3)
    assert found.labels == pytest.approx((1 + 1 + 0) / 3)
    assert found.any == pytest.approx(2 / 3)
    assert overlap(texts, labels, ["Game", "New York"], "phrase").words == pytest.approx((1 / 4 + 2 / 4 + 0) / 3)
    assert overlap([()] * 4, labels, ["Game", "New York"]).texts == 0


def test_a_text_set_without_them_says_what_it_lost():
    titles, keywords = (("game", "on"), ("game",), ()), (("fun",), ("game", "game"), ("cat",))
    lost = np.array([[0, 0], [0, 0], [3, 0]], np.uint8)
    texts = TextSet(("a", "b", "c"), titles, keywords, lost, TextOptions())
    left = without_label_words(texts, Labels.of([[0], [0], []], 1), ["Game"])
    assert left.titles == (("on",), (), ())
    assert left.keywords == (("fun",), (), ("cat",))
    assert left.lost.tolist() == [[0, 0], [LABELS_ONLY, LABELS_ONLY], [3, 0]]
    assert texts.lost.tolist() == lost.tolist()
    assert (left.counts["with title"], left.counts["with both"]) == (1, 1)


def test_what_does_not_fit_is_refused():
    texts = TextSet(("a",), (("x",),), ((),), np.array([[0, 3]], np.uint8), TextOptions())
    with pytest.raises(InvalidValueError, match="labels must be of the 1 videos, got 2"):
        without_label_words(texts, Labels.of([[0], [0]], 1), ["Game"])
    with pytest.raises(InvalidValueError, match="label_names must be 1, got 2"):
        without_label_words(texts, Labels.of([[0]], 1), ["Game", "Dance"])
    with pytest.raises(InvalidValueError, match="mode must be one of phrase, all-words"):
        matched(["a"], ["a"], "all")
