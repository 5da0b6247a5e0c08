"""What blocks of words are made with, and what a set says of it, so that a test set can be made alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from lightmeter.assets.files import file_sha256
from lightmeter.encoders.by_path import absolute, content_sha256
from lightmeter.encoders.cleaning import Profile
from lightmeter.encoders.codebook import Codebook, Metric
from lightmeter.encoders.english import Filter
from lightmeter.encoders.text_words import TextOptions
from lightmeter.encoders.word_vectors import PACKAGED, check_place
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library.example_layout import read_manifest
from lightmeter.library.example_set import ExampleSet
from lightmeter.library.label_words import Mode
from lightmeter.meter.record import hash_of

CODEBOOK = "codebook"
_NOT_SAID = ("codebook", "called")


@dataclass(frozen=True, slots=True)
class WordsOptions:
    """Which blocks are made, and how.

    vectors, profile, english: see `TextOptions` · lexicon: file of English words, for `published` instead of the asset;
    with `names` it only tells what is not English from what lacks a vector
    clusters: of the block `keywords`, 0: no such block · metric: nearest centre by l1 or l2
    codebook: folder of another set's codebook, None: fitted on this set's keywords
    length: words of the block `title`, keyword_tokens: words of the block `keyword-tokens`, 0: no such block
    sentence: spec of an encoder of words for the block `sentence`, which reads titles and keywords as they were written
    embeddable_only: see `text_set` · without_labels: words that name a label of their own video go (`label_words`); a
    sentence then is the cleaned words that stay
    called: how blocks name the vectors, where those of another set have moved
    """

    vectors: str = PACKAGED
    profile: Profile = "modern"
    english: Filter = "names"
    lexicon: str | None = None
    clusters: int = 1024
    metric: Metric = "l2"
    codebook: Path | None = None
    length: int = 40
    keyword_tokens: int = 0
    sentence: str = ""
    embeddable_only: bool = False
    without_labels: Mode | None = None
    seed: int = 0
    called: str = ""

    def __post_init__(self) -> None:
        for name in ("clusters", "length", "keyword_tokens"):
            if not 0 <= getattr(self, name) <= 10_000:
                raise InvalidValueError(f"{name} must be 0 to 10000, got {getattr(self, name)}")
        if self.metric not in get_args(Metric):
            raise InvalidValueError(f"metric must be l1 or l2, got {self.metric!r}")
        if self.without_labels not in (None, *get_args(Mode)):
            raise InvalidValueError(
                f"without_labels must be {' or '.join(get_args(Mode))}, got {self.without_labels!r}"
            )
        if self.lexicon is not None and self.english == "none":
            raise InvalidValueError("lexicon goes with english=published or names, got none: leave it out")
        self.named_text()

    @property
    def text(self) -> TextOptions:
        """For the text set; the vectors are where they are now."""
        lexicon = self.lexicon if self.english == "published" else None
        return TextOptions(self.vectors, profile=self.profile, english=self.english, lexicon=lexicon)

    def named_text(self) -> TextOptions:
        """The same as blocks name it."""
        return replace(self.text, vectors=self.called or self.vectors)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the blocks."""
        made = {
            "keywords": self.clusters, "title": self.length, "keyword-tokens": self.keyword_tokens,
            "sentence": self.sentence,
        }  # fmt: skip
        return tuple(name for name, wanted in made.items() if wanted)


def place_of(codebook: Path) -> Path:
    """A codebook, or that of a set."""
    return codebook / CODEBOOK if (codebook / CODEBOOK).is_dir() else codebook


def said_of(whole: ExampleSet, texts: Sequence[Path], options: WordsOptions) -> dict[str, Any]:
    """What the manifest is to say of the words; `key` is the hash of all that decides what is made.

    Cost: reads texts and vectors once.  Raises InvalidValueError, MissingAssetError, RejectedFileError.
    """
    if options.without_labels is not None and whole.labels is None:
        raise InvalidValueError("SET must have labels for words that name them to be left out, got none labelled")
    for path in texts:
        if not path.is_file():
            raise RejectedFileError("not-a-file", f"texts must be a file of JSON lines, got {path}")
    given = None if options.codebook is None or not options.clusters else Codebook.load(place_of(options.codebook))
    if given is not None:
        options = replace(options, clusters=len(given))
    how = {name: value for name, value in asdict(options).items() if name not in _NOT_SAID}
    how |= {"vectors": options.named_text().vectors, "lexicon": options.lexicon and str(absolute(options.lexicon))}
    said = {
        "options": how,
        "vectors_sha256": vectors_sha256(options.vectors),
        "lexicon_sha256": None if options.lexicon is None else content_sha256(Path(options.lexicon)),
        "texts": [{"name": path.name, "sha256": file_sha256(path)} for path in texts],
        "whole": whole.fingerprint,
    }
    return {**said, "key": hash_of([said, None if given is None else given.centres])}


def options_like(folder: Path, *, vectors: str | None = None) -> WordsOptions:
    """The options that the words of a set were made with, and its codebook.

    vectors: where its word vectors are now, None: where they were
    Raises RejectedFileError for a set without words, or where vectors or lexicon are not those that it was made with.
    """
    words = read_manifest(folder).about.get("words")
    said = words.get("options") if isinstance(words, dict) else None
    if not isinstance(words, dict) or not isinstance(said, dict):
        raise RejectedFileError("no-words", f"{folder} must be a set that `lightmeter yt8m words` made, it is not")
    known = {each.name: each.default for each in fields(WordsOptions) if each.name not in _NOT_SAID}
    fits = said.keys() == known.keys() and all(
        type(said[name]) is type(value) or (value is None and isinstance(said[name], str | None))
        for name, value in known.items()
    )
    if not fits:
        raise RejectedFileError("broken-manifest", f"{folder} must say how its words were made, it says {said!r:.200}")
    made = WordsOptions(**said)
    made = replace(
        made, vectors=vectors or made.vectors, called=made.vectors,
        codebook=folder / CODEBOOK if made.clusters else None,
    )  # fmt: skip
    if vectors_sha256(made.vectors) != words.get("vectors_sha256"):
        raise RejectedFileError(
            "other-vectors", f"word vectors must be those of {folder}, got others in {made.vectors}"
        )
    if made.lexicon is not None and content_sha256(Path(made.lexicon)) != words.get("lexicon_sha256"):
        raise RejectedFileError("other-lexicon", f"{made.lexicon} must be as it was for {folder}, it has changed")
    if made.clusters and hash_of(Codebook.load(folder / CODEBOOK).centres) != words.get("codebook_sha256"):
        raise RejectedFileError("other-codebook", f"the codebook of {folder} must be its own, got another")
    return made


def vectors_sha256(where: str) -> str:
    """What tells word vectors from others: the hash of a file or folder; the packaged ones' name."""
    check_place(where)
    return where if where == PACKAGED else content_sha256(Path(where))
