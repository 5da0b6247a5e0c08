"""Titles and keywords by hand, in every profile."""

from __future__ import annotations

import re

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.encoders.cleaning import MOST_CHARACTERS, PROFILES, clean_keywords, clean_title, without_marks
from lightmeter.errors import InvalidValueError

TITLES = {
    # by paper and code alike, by modern
    "Minecraft: Let's Play #12 (PS4)!": ("Minecraft Lets Play 12 PS4", "Minecraft Let's Play 12 PS4"),
    "rock&roll": ("rockroll", "rock roll"),
    "AC/DC - Thunderstruck [LIVE]": ("ACDC Thunderstruck LIVE", "AC DC Thunderstruck LIVE"),
    "Spider-Man 3 — der Trailer…": ("SpiderMan 3 der Trailer", "Spider-Man 3 der Trailer"),
    "don’t stop": ("dont stop", "don't stop"),
    "ｆｕｌｌ width №1 ½": ("ｆｕｌｌ width 1 ½", "full width No1 1 2"),
    "a_b + c = 5$": ("ab c 5", "a b c 5"),
    "'quoted' --flag -x-": ("quoted flag x", "quoted flag x"),
    "dog--cat o''clock": ("dogcat oclock", "dog cat o clock"),
    "  two   spaces ": ("two spaces", "two spaces"),
    "ελληνικά 日本語!": ("ελληνικά 日本語", "ελληνικά 日本語"),
    "!!! ???": ("", ""),
    "": ("", ""),
}
KEYWORDS = {
    # by paper, by code, by modern
    "Call of Duty": ("call of duty", "call duty", "[call of duty]"),
    "GTA5": ("gta", "gta", "[gta5]"),
    "2016": ("", "", ""),
    "The Beatles": ("beatles", "beatles", "[the beatles]"),
    "the": ("", "", ""),
    "and": ("", "", ""),
    "cats, and dogs": ("cats dogs", "cats dogs", "[cats] [and dogs]"),
    "(funny": ("funny", "funny", "[funny]"),
    "((a cat))": ("a cat", "cat", "[a cat]"),
    "rock&roll": ("rockroll", "rock&roll", "[rock roll]"),
    "#hashtag": ("hashtag", "#hashtag", "[hashtag]"),
    "don't": ("dont", "don't", "[don't]"),
    "C++": ("c++", "c++", "[c]"),
    "$$": ("", "", ""),
    "up": ("up", "", "[up]"),
    "𝐆𝐚𝐦𝐞，㎴": ("𝐆𝐚𝐦𝐞㎴", "𝐆𝐚𝐦𝐞，㎴", "[game] [pv]"),
    "ÉTÉ": ("été", "été", "[été]"),
    "3d 1080p 7": ("d p", "", "[3d 1080p]"),
    "tab\tinside": ("tab inside", "tab\tinside", "[tab inside]"),
    "": ("", "", ""),
}


@pytest.mark.parametrize(("title", "wanted"), TITLES.items(), ids=[repr(each) for each in TITLES])
def test_titles_by_hand(title, wanted):
    paper, modern = wanted
    assert clean_title(title, "paper") == tuple(paper.split())
    assert clean_title(title, "code") == tuple(paper.split())
    assert clean_title(title, "modern") == tuple(modern.split())


@pytest.mark.parametrize(("keyword", "wanted"), KEYWORDS.items(), ids=[repr(each) for each in KEYWORDS])
def test_keywords_by_hand(keyword, wanted):
    paper, code, modern = wanted
    assert clean_keywords([keyword], "paper") == tuple(paper.split())
    assert clean_keywords([keyword], "code") == tuple(filter(None, code.split(" ")))
    assert clean_keywords([keyword], "modern") == tuple(re.findall(r"\[(.*?)\]", modern))


def test_keywords_stay_in_order_and_as_often_as_they_stand():
    assert clean_keywords(["dog", "cat", "Dog"], "paper") == ("dog", "cat", "dog")


KNOWN = st.characters(exclude_categories=("Cn", "Cs"))  # what this Python's Unicode has; `regex` may know a newer one


@given(st.text(KNOWN, max_size=60))
def test_marks_are_those_of_unicode(text):
    assert without_marks(text) == regex.sub(r"[\p{P}\p{S}]+", "", text)
    assert without_marks(text, "P") == regex.sub(r"\p{P}+", "", text)


@given(st.text(max_size=60), st.sampled_from(PROFILES))
def test_what_is_clean_stays_as_it_is(text, profile):
    once = clean_title(text, profile)
    assert clean_title(" ".join(once), profile) == once
    once = clean_keywords([text], profile)
    again = clean_keywords(once, profile)
    assert again == once or profile == "code"  # its lone ) or digits may go in two steps


@given(st.lists(st.text(max_size=20), max_size=5), st.sampled_from(PROFILES))
def test_keywords_are_cleaned_one_by_one(keywords, profile):
    assert clean_keywords(keywords, profile) == tuple(
        word for keyword in keywords for word in clean_keywords([keyword], profile)
    )


def test_a_text_without_end_is_cut():
    assert len("".join(clean_title("ab " * MOST_CHARACTERS, "paper"))) <= MOST_CHARACTERS
    assert sum(map(len, clean_keywords(["x" * 10 * MOST_CHARACTERS], "modern"))) == MOST_CHARACTERS


def test_an_unknown_profile_is_refused():
    with pytest.raises(InvalidValueError, match="profile must be one of paper, code, modern, got 'papers'"):
        clean_title("a", "papers")
    with pytest.raises(InvalidValueError, match="did you mean 'code'"):
        clean_keywords([], "coed")
