"""The English filter: what it keeps by hand, as published and with names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.assets.finding import find_or_none
from lightmeter.encoders.english import English, american_words, read_words, spellings_of
from lightmeter.errors import RejectedFileError

LEXICON = frozenset(("game", "London", "NBA", "color", "fun", "well-known", "cat", "sofa"))
VECTORS = frozenset(("game", "Game", "minecraft", "new_york", "spider", "man", "play", "cat", "iPhone"))


def test_as_published_keywords_need_the_list_and_titles_a_vector():
    published = English("published", LEXICON, VECTORS)
    assert published.keywords(["game", "london", "minecraft", "nba", "color", "colour", "game"]) == (
        "game", "color", "game",
    )  # fmt: skip
    assert published.title(["Game", "London", "minecraft", "Minecraft", "fun"]) == ("Game", "minecraft")


@pytest.mark.parametrize(
    ("word", "wanted"),
    {
        "game": ["game"],
        "GAME": ["game"],
        "london": ["London"],
        "nba": ["NBA"],
        "Minecraft": ["minecraft"],
        "new york": ["new_york"],
        "New York": ["new_york"],
        "spider-man": ["spider", "man"],
        "well-known": ["well-known"],
        "well-known man": ["man"],
        "play game": ["play", "game"],
        "sofa cat": ["sofa", "cat"],
        "zzz fun": ["fun"],
        "zzz": [],
        "iphone": [],
        "-": [],
    }.items(),
)  # fmt: skip
def test_names_are_kept_as_the_lists_spell_them(word, wanted):
    assert English("names", LEXICON, VECTORS).title([word]) == tuple(wanted)
    assert English("names", LEXICON, VECTORS).keywords([word]) == tuple(wanted)


def test_none_keeps_everything():
    assert English("none").keywords(["zzz", "the cat"]) == ("zzz", "the cat")


_WORDS = st.sampled_from([*sorted(LEXICON | VECTORS), "zzz", "Zzz", "spider-man", "new york", "cat zzz", "SOFA"])


@given(st.lists(_WORDS, max_size=8))
def test_laws(words):
    names = English("names", LEXICON, VECTORS)
    kept = names.title(words)
    assert set(kept) <= LEXICON | VECTORS
    assert names.title(kept) == kept, "what was kept is kept again"
    assert set(English("published", LEXICON, VECTORS).keywords(words)) <= set(words)
    without = English("names", vectors=VECTORS).title(words)
    assert without == tuple(word for word in kept if word in VECTORS), "the lexicon never changes which vectors count"


def test_spellings():
    assert spellings_of("nba") == ("nba", "Nba", "NBA")
    assert spellings_of("iPhone") == ("iPhone", "iphone", "Iphone", "IPHONE")


def test_the_american_list_loses_names_of_classes():
    if find_or_none("american-english") is None:
        pytest.skip("`lightmeter assets add american-english` brings the list")
    words = american_words()
    assert len(words) == 170_421
    lost = "minecraft pokemon iphone fifa london paris nba gameplay youtube colour".split()
    published = English("published", words)
    assert published.keywords(lost) == ()
    assert published.keywords("game cooking guitar hairstyle".split()) == ("game", "cooking", "guitar", "hairstyle")
    assert English("names", words).keywords(["london", "paris", "nba"]) == ("London", "Paris", "NBA")


def test_a_list_is_read_line_by_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffcat\r\n# a note\n\nété \nNBA".encode())
    assert read_words(path) == {"cat", "été", "NBA"}


@pytest.mark.parametrize(
    ("data", "match"), [(b"caf\xe9", "must be UTF-8"), (b"# note\n\n", "holds none"), (None, "must be a text file")]
)
def test_what_is_no_list_is_refused(tmp_path, data, match):
    path = tmp_path / "words.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RejectedFileError, match=match):
        read_words(path)
