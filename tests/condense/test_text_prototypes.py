"""Text prototypes: a corpus worked by hand, the plain way, and both ways of matching."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_prototypes_reference import plain_prototypes

from lightmeter.condense.stop_words import STOP_WORDS, published_words, words_of
from lightmeter.condense.text_prototypes import text_prototypes
from lightmeter.errors import InvalidValueError

CAPTIONS = [
    "The tench is a long green fish with red fins.",  # 0
    "The tench is a green fish in dark water.",  # 1
    "A fish, green and shiny, with red fins and red eyes.",  # 2
    "A man holds the fish on a wooden boat.",  # 3
    "The fish lies on a wooden table of a boat.",  # 4
]
CLUSTERS = [np.array([0, 1, 2]), np.array([3, 4])]


def of(captions, clusters, name="tench", **options):
    return text_prototypes(captions, [np.array(each, np.int64) for each in clusters], name, **options)


def test_a_corpus_by_hand():
    """`fish` stands in 5 of 5 and goes; `green` in 3 of 5, below 0.7; `tench` is the class; the rest is counted."""
    first, second = of(CAPTIONS, CLUSTERS)
    assert first.words == (
        ("green", 3), ("red", 3), ("fins", 2), ("long", 1), ("dark", 1), ("water", 1), ("shiny", 1), ("eyes", 1),
    )  # fmt: skip
    assert (first.member, first.score) == (2, 3 + 3 + 2 + 1 + 1)  # 0 has 3+3+2+1, 1 has 3+1+1
    assert first.text == CAPTIONS[2]
    assert second.words == (("wooden", 2), ("boat", 2), ("man", 1), ("holds", 1), ("lies", 1), ("table", 1))
    assert (second.member, second.score) == (3, 6)  # both have 6: the first


def test_a_corpus_by_hand_as_published():
    """The same counts; but `a` in any letters counts, so that words are found inside others."""
    captions = ["A tench beside art.", "Art beside a tench.", "A party of carts.", "An eel."]
    published, ours = (
        of(captions, [[0, 1, 2], [3]], top=2, matching=matching)[0] for matching in ("published", "words")
    )
    assert published.words == ours.words == (("beside", 2), ("art", 2))
    assert (published.member, published.score) == (0, 4)  # 2: `party` and `carts` hold `art`, 2 points
    assert of(captions, [[1, 2]], matching="published")[0].words[0] == ("art", 1)
    found = of(["Art here.", "carts there"], [[0, 1]], "x", beta=1.0, matching="published")[0]
    assert found.words == (("art", 1), ("carts", 1))
    assert (found.member, found.score) == (1, 2)  # `Art` is not `art`; `carts` is both
    assert of(["Art here.", "carts there"], [[0, 1]], "x", beta=1.0)[0].score == 1


def test_names_are_words_or_letters():
    captions = ["ten old men", "nine young women", "x"]
    assert of(captions, [[0]])[0].words == (("ten", 1), ("old", 1), ("men", 1))
    assert of(captions, [[0]], matching="published")[0].words == (("old", 1), ("men", 1))
    captions = ["a Tinca here", "y", "z"]
    assert of(captions, [[0]], "tench, Tinca Linnaeus")[0].words == ()
    assert of(captions, [[0]], "tench, Tinca Linnaeus", matching="published")[0].words == (("tinca", 1),)


def test_beta_is_a_share_of_captions_each_counted_once():
    captions = ["red red red", "red blue", "blue", "green"]
    for beta, words in ((0.5, (("green", 1),)), (0.51, (("red", 4), ("blue", 2), ("green", 1)))):
        assert of(captions, [[0, 1, 2, 3]], beta=beta)[0].words == words


def test_empty_captions_are_no_captions():
    captions = ["", "red", "red", "blue", "", ""]
    assert of(captions, [[0, 1, 3]], beta=0.6)[0].words == (("blue", 1),), "red in 2 of 3"
    assert of(captions, [[0, 1, 3]], beta=0.6, matching="published")[0].words == (("red", 1), ("blue", 1)), "2 of 6"
    for matching in ("words", "published"):
        none, no_rows = of(captions, [[0, 4], []], matching=matching)
        assert (none.text, none.member, none.score, none.words) == ("", -1, 0, ())
        assert (no_rows.text, no_rows.member) == ("", -1)


def test_captions_that_all_say_the_same():
    captions = ["", "a red fish", "a red fish"]
    found = of(captions, [[0, 1], [2]])
    assert [(each.text, each.member, each.score) for each in found] == [("a red fish", 1, 0), ("a red fish", 2, 0)]
    assert [each.text for each in of(captions[1:], [[0], [1]], matching="published")] == ["", ""]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's a dog's life. Isn't it?", "it a dog life is it"),
        ("well-groomed, black/white; 3 cats (or four)", "cats or four"),
        ("end of one.Next of two. Last…", "end of of two"),
        ("“Quoted” «words» 'x' — dashes--too", "quoted words x dashes too"),
        ("cannot gonna wanna go", "can not gon na wan na go"),
        ("3,5 and a,b and c:d", "and a b and c d"),
    ],
)
def test_tokens_as_published(text, words):
    """By NLTK 3.8.1: `[w.lower() for w in word_tokenize(text) if w.isalpha()]`."""
    assert published_words(text) == words.split()


def test_stop_words_are_words():
    assert len(STOP_WORDS) == 153
    assert all(words_of(word) == [word] for word in STOP_WORDS)


WORDS = st.sampled_from("red Red reddish fins fin of the art part green tench en ten water dark a".split())
CAPTION = st.lists(WORDS, max_size=6).map(" ".join)


@settings(max_examples=60)
@given(
    st.lists(CAPTION, min_size=1, max_size=9),
    st.integers(1, 3),
    st.sampled_from([0.2, 0.5, 0.7, 1.0]),
    st.integers(1, 5),
)
def test_the_plain_way_says_the_same(captions, clusters, beta, top):
    members = [np.arange(start, len(captions), clusters) for start in range(clusters)]
    tried = (
        ("published", published_words, lambda row, word: word in captions[row], lambda word: word in "tench"),
        ("words", words_of, lambda row, word: word in words_of(captions[row]), lambda word: word == "tench"),
    )
    for matching, split, has, in_name in tried:
        told = len(captions) if matching == "published" else sum(1 for caption in captions if caption)
        found = of(captions, members, beta=beta, top=top, matching=matching)
        plain = plain_prototypes(
            captions, [split(each) for each in captions], [each.tolist() for each in members],
            beta=beta, top=top, in_name=in_name, has=has, told=told,
        )  # fmt: skip
        for ours, (text, row, score, words) in zip(found, plain, strict=True):
            assert (ours.words, ours.score) == (words, score)
            assert (ours.text, ours.member) == (text, row) or (matching == "words" and score == 0)


@pytest.mark.parametrize("options", [{"beta": 0.0}, {"beta": 1.1}, {"top": 0}, {"matching": "letters"}])
def test_wrong_options_are_refused(options):
    with pytest.raises(InvalidValueError, match=next(iter(options))):
        of(CAPTIONS, CLUSTERS, **options)


def test_members_are_rows():
    with pytest.raises(InvalidValueError, match="rows of 5 captions"):
        of(CAPTIONS, [[5]])
