"""Titles and keywords as lists of words: the paper's reading, its released code's, and one that keeps more."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Literal, get_args

from lightmeter.errors import InvalidValueError, nearest

Profile = Literal["paper", "code", "modern"]
PROFILES: tuple[Profile, ...] = get_args(Profile)
STOP_WORDS = frozenset(("and", "the"))
MOST_CHARACTERS = 20_000
"""Of one title or keyword; what comes after is not looked at."""

_DIGITS = re.compile(r"\d+")
_INNER = "'-"
"""What may stand inside a word of the profile `modern`: `don't`, `spider-man`."""
_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "‐": "-", "‑": "-"})


def clean_title(title: str, profile: Profile = "paper") -> tuple[str, ...]:
    """The words of a title, in order, case kept.

    paper, code: every symbol and punctuation mark goes, and what it held apart grows together (`rock&roll` is
    `rockroll`); split at spaces only
    modern: NFKC; marks become spaces, except an apostrophe or hyphen inside a word (`rock`, `roll`, `spider-man`)
    Cost: one look at each character; the first 20,000 count.
    Source: seed 003, section 3.1 ("removing all symbols and punctuation only"); the code's `[\\p{P}\\p{S}]+`.

    >>> clean_title("Rock&Roll -- LIVE (2016)!")
    ('RockRoll', 'LIVE', '2016')
    >>> clean_title("Rock&Roll: Spider-Man's day", "modern")
    ('Rock', 'Roll', "Spider-Man's", 'day')
    """
    _known(profile)
    if profile == "modern":
        return tuple(_words(title[:MOST_CHARACTERS]))
    return tuple(filter(None, without_marks(title[:MOST_CHARACTERS]).split(" ")))


def clean_keywords(keywords: Iterable[str], profile: Profile = "paper") -> tuple[str, ...]:
    """Keywords, in order and as often as they stand, in lower case.

    paper: a comma parts keywords; lower case, without punctuation (category P) and digits; the words of a phrase stand
    alone; `and`, `the` go
    code: parentheses at the ends go, all digits, then split at commas and spaces; words of one or two letters go, and
    `and`, `the`; other punctuation stays where it is (`don't`, `#tag`)
    modern: NFKC; a keyword stays one phrase (`grand theft auto`), as do digits beside letters (`ps4`, `3d`); marks
    become spaces; what is digits only goes, and a keyword that is `and` or `the`
    Source: seed 003, section 3.1; its released `keywords_preprocessing`.

    >>> clean_keywords(["(GTA 5", "Rock & Roll, the PS4", "it"], "paper")
    ('gta', 'rock', 'roll', 'ps', 'it')
    >>> clean_keywords(["(GTA 5", "Rock & Roll, the PS4", "it"], "code")
    ('gta', 'rock', 'roll')
    >>> clean_keywords(["(GTA 5", "Rock & Roll, the PS4", "it"], "modern")
    ('gta', 'rock roll', 'the ps4', 'it')
    """
    _known(profile)
    clean = {"paper": _as_paper, "code": _as_code, "modern": _as_modern}[profile]
    return tuple(word for keyword in keywords for word in clean(keyword[:MOST_CHARACTERS]))


def without_marks(text: str, kinds: str = "PS") -> str:
    """A text without the characters of some main Unicode categories: P punctuation, S symbols.

    >>> without_marks("C++ & «été», $5_000!")
    'C  été 5000'
    """
    return text.translate(_without(kinds))


class _Table(dict[int, str | None]):
    """What `str.translate` makes of characters of some categories, found when one is first met; the rest stays."""

    def __init__(self, kinds: str, made: str | None, kept: str = "") -> None:
        self._kinds, self._made, self._kept = kinds, made, kept

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        marked = unicodedata.category(char)[0] in self._kinds and char not in self._kept
        self[code] = self._made if marked else char
        return self[code]


@cache
def _without(kinds: str) -> _Table:
    return _Table(kinds, None)


_SPACED = _Table("PSC", " ", kept=_INNER)


def _as_paper(keyword: str) -> list[str]:
    lowered = _DIGITS.sub("", keyword.lower())
    pieces = (word for piece in lowered.split(",") for word in without_marks(piece, "P").split())
    return [word for word in pieces if word not in STOP_WORDS and without_marks(word)]


def _as_code(keyword: str) -> list[str]:
    lowered = _DIGITS.sub("", keyword.strip("(").strip(")")).lower()
    words = (word for piece in lowered.split(",") for word in piece.split(" "))
    return [word for word in words if len(word) > 2 and word not in STOP_WORDS]


def _as_modern(keyword: str) -> list[str]:
    lowered = unicodedata.normalize("NFKC", keyword).lower()  # letters such as 𝐆 have no lower case before NFKC
    phrases = (" ".join(word for word in _words(piece) if not word.isdigit()) for piece in lowered.split(","))
    return [phrase for phrase in phrases if phrase and phrase not in STOP_WORDS]


def _words(text: str) -> list[str]:
    """NFKC, marks as spaces but for one apostrophe or hyphen between two characters of a word."""
    plain = unicodedata.normalize("NFKC", text.translate(_QUOTES)).translate(_QUOTES)
    words = (re.sub(r"['-]{2,}", " ", word) for word in plain.translate(_SPACED).split())
    return [stripped for word in words for piece in word.split() if (stripped := piece.strip(_INNER))]


def _known(profile: str) -> None:
    if profile not in PROFILES:
        raise InvalidValueError(
            f"profile must be one of {', '.join(PROFILES)}, got {profile!r}{nearest(profile, PROFILES)}"
        )
