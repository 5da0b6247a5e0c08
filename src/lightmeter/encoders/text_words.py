"""What encoders of words share: which text of an item they read, how it is cleaned and which words they keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lightmeter.encoders.by_path import settle
from lightmeter.encoders.cleaning import PROFILES, Profile, clean_keywords, clean_title
from lightmeter.encoders.english import English, Filter, american_words, read_words
from lightmeter.encoders.word_vectors import PACKAGED, WordVectors, open_vectors
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, Words

Part = Literal["title", "keywords", "both"]


@dataclass(frozen=True)
class TextOptions:
    """Options of every encoder of words.

    vectors: `glove` (the asset), a folder of `WordVectors.save`, or a file that `read_vectors` reads
    part: read the title, the keywords, or both · profile: how they are cleaned (`encoders.cleaning`)
    english: what is kept (`encoders.english`); only words with a vector count in any case
    lexicon: a list of words for `published`, one a line; none is the asset `american-english`
    """

    vectors: str = "glove"
    part: Part = "both"
    profile: Profile = "modern"
    english: Filter = "names"
    lexicon: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("part", get_args(Part)), ("profile", PROFILES), ("english", get_args(Filter))):
            if getattr(self, name) not in known:
                raise InvalidValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.lexicon is not None and self.english != "published":
            raise InvalidValueError(f"lexicon is for english=published, got english={self.english}: leave it out")
        if self.vectors != PACKAGED:
            settle(self, "vectors")
        if self.lexicon is not None:
            settle(self, "lexicon")

    @property
    def reads(self) -> tuple[Path, ...]:
        """Files and folders of the user's."""
        named = (self.vectors if self.vectors != PACKAGED else None, self.lexicon)
        return tuple(Path(each) for each in named if each is not None)

    def opened(self) -> WordVectors:
        """The vectors, read once a process."""
        return open_vectors(self.vectors)

    def kept_numbers(self, items: Sequence[Words]) -> list[Array]:
        """The numbers of the words that are kept and have a vector, in order: int32 [W] an item."""
        vectors = self.opened()
        kept = self.english_of(vectors)
        rows = (vectors.numbers(self._words(each, kept)) for each in items)
        return [row[row > 0] for row in rows]

    def _words(self, item: Words, kept: English) -> tuple[str, ...]:
        title = kept.title(clean_title(item.title, self.profile)) if self.part != "keywords" else ()
        keywords = kept.keywords(clean_keywords(item.keywords, self.profile)) if self.part != "title" else ()
        if self.profile == "modern" and self.english == "none":  # vectors spell a phrase with _
            keywords = tuple(word.replace(" ", "_") for word in keywords)
        return (*title, *keywords)

    def english_of(self, vectors: WordVectors) -> English:
        """The filter that these options name."""
        if self.english != "published" or self.part == "title":
            return English(self.english, vectors=vectors)
        return English(self.english, american_words() if self.lexicon is None else read_words(self.lexicon), vectors)
