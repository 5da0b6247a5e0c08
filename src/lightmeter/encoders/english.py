"""Which words are kept as English: as the paper's code did it, and one that keeps names."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from lightmeter.assets.finding import find
from lightmeter.errors import RejectedFileError

Filter = Literal["published", "names", "none"]
MOST_LIST_BYTES = 256 << 20
_MOST_REMEMBERED = 500_000
_SEPARATORS = re.compile(r"[\s_'-]+")


@dataclass(frozen=True, slots=True, eq=False)
class English:
    """Keeps words of a lexicon, of the word vectors, or of both.

    way: `published`: a keyword stays when the lexicon holds it as it stands, a word of a title when it has a vector; so
    lower-cased keywords lose every name: a list of US words holds `London` and not `london`.
    `names`: a word stays when the vectors or the lexicon hold it, as it stands, in lower case, as Title or as UPPER
    (`london` is `London`, `nba` is `NBA`); a phrase or hyphened word that neither holds is looked up in pieces.
    `none`: everything stays.
    lexicon: such as `american_words()` · vectors: what knows the words that have a vector
    A video none of whose words stay has no text (seed 003, table 1).  Cost: a few look-ups a word, no language guess.
    """

    way: Filter
    lexicon: Container[str] = field(default_factory=frozenset)
    vectors: Container[str] = field(default_factory=frozenset)
    _spellings: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)

    def keywords(self, words: Iterable[str]) -> tuple[str, ...]:
        """The keywords that stay, in order, as often as they stand and as the lists spell them."""
        if self.way == "published":
            return tuple(word for word in words if word in self.lexicon)
        return self._kept(words)

    def title(self, words: Iterable[str]) -> tuple[str, ...]:
        """The words of a title that stay, in order."""
        if self.way == "published":
            return tuple(word for word in words if word in self.vectors)
        return self._kept(words)

    def _kept(self, words: Iterable[str]) -> tuple[str, ...]:
        if self.way == "none":
            return tuple(words)
        return tuple(kept for word in words for kept in self._remembered(word))

    def _remembered(self, term: str) -> tuple[str, ...]:
        found = self._spellings.get(term)
        if found is None:
            if len(self._spellings) >= _MOST_REMEMBERED:
                self._spellings.clear()
            found = self._spellings[term] = tuple(self._spelled(term))
        return found

    def _spelled(self, term: str) -> list[str]:
        """How the lists spell a term: whole as the vectors know it, else its pieces, else whole as the lexicon does."""
        whole = spellings_of(term.replace(" ", "_"))  # word2vec joins the words of a phrase
        if (known := _first(whole, self.vectors)) is not None:
            return [known]
        pieces = [spellings_of(piece) for piece in _SEPARATORS.split(term) if piece]
        found = [(_first(each, self.vectors), _first(each, self.lexicon)) for each in pieces]
        if (known := _first(whole, self.lexicon)) is not None and not any(vector for vector, _ in found):
            return [known]
        return [known for vector, listed in found if (known := vector or listed)]


def _first(spellings: Iterable[str], known: Container[str]) -> str | None:
    return next((each for each in spellings if each in known), None)


def spellings_of(word: str) -> tuple[str, ...]:
    """As it stands, then in lower case, as Title (each part) and as UPPER; each once.

    >>> spellings_of("new_york")
    ('new_york', 'New_York', 'NEW_YORK')
    """
    title = "_".join(part[:1].upper() + part[1:].lower() for part in word.split("_"))
    return tuple(dict.fromkeys((word, word.lower(), title, word.upper())))


@cache
def american_words() -> frozenset[str]:
    """The list of US words of the asset `american-english`: 170,421 words of SCOWL up to size 70, names with capitals.

    The published code asked a spell checker with `en_US` (SCOWL up to size 60 with affixes): near, not the same.
    Raises MissingAssetError with the command that brings it.
    """
    return read_words(find("american-english"))


def read_words(path: Path | str) -> frozenset[str]:
    """The words of a UTF-8 text file, one a line; blank lines and lines that begin with `#` do not count.

    Raises RejectedFileError for another kind of file and for more than 256 MB.
    """
    path = Path(path)
    if not path.is_file():
        raise RejectedFileError("not-a-file", f"a list of words must be a text file, got {path}")
    with path.open("rb") as file:
        data = file.read(MOST_LIST_BYTES + 1)
    if len(data) > MOST_LIST_BYTES:
        raise RejectedFileError("too-large", f"a list of words must be at most {MOST_LIST_BYTES >> 20} MB: {path.name}")
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise RejectedFileError("unknown-format", f"a list of words must be UTF-8, {path.name} is not") from error
    words = frozenset(word for line in lines if (word := line.strip()) and not word.startswith("#"))
    if not words:
        raise RejectedFileError("empty", f"a list of words must hold one word a line, {path.name} holds none")
    return words
