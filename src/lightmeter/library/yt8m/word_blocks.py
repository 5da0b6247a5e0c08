"""Words of a shard as values of its blocks: what is looked up is shared by all shards."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from lightmeter.encoders.cleaning import clean_keywords, clean_title
from lightmeter.encoders.codebook import Codebook
from lightmeter.encoders.word_histogram import Lookup, WordHistogram, counted
from lightmeter.encoders.word_tokens import WordTokens, padded_numbers
from lightmeter.encoders.word_vectors import WordVectors
from lightmeter.heads.examples import Block
from lightmeter.library.label_words import without_labels
from lightmeter.library.text_blocks import encoded_block
from lightmeter.library.text_files import VideoText
from lightmeter.library.text_set import TextSet
from lightmeter.library.yt8m.words_options import WordsOptions
from lightmeter.meter.record import hash_of
from lightmeter.parts import build
from lightmeter.types import Array, Labels, Words

Made = tuple[Array, Array]
"""Values of some items, and which of them are there: bool [n]."""
Sayings = Callable[[Array], Sequence[Words]]


@dataclass(frozen=True, slots=True, eq=False)
class BlockMaker:
    """A block, and what makes its values of some items: their kept words, and their numbers in the set, int64 [n]."""

    block: Block
    make: Callable[[TextSet, Array], Made]


def block_makers(
    codebook: Codebook | None, options: WordsOptions, vectors: WordVectors, sayings: Sayings
) -> list[BlockMaker]:
    """One a block that the options name, in the order of `WordsOptions.names`.

    sayings: what people wrote about the items of these numbers, for the encoder of sentences
    `made_by` names the codebook by the hash of its centres: sets that share one have the same block wherever it lies.
    """
    made = []
    if codebook is not None:
        made.append(_histogram(codebook, options, vectors))
    if options.length:
        made.append(_tokens("title", 0, options.length, options, vectors))
    if options.keyword_tokens:
        made.append(_tokens("keyword-tokens", 1, options.keyword_tokens, options, vectors))
    if options.sentence:
        made.append(_sentence(options.sentence, sayings))
    return made


def _histogram(codebook: Codebook, options: WordsOptions, vectors: WordVectors) -> BlockMaker:
    look = Lookup(vectors, codebook, options.metric)
    text = options.named_text()
    name = f"sha256-{hash_of(codebook.centres)[:32]}"
    maker = WordHistogram(
        vectors=text.vectors, profile=text.profile, english=text.english, lexicon=text.lexicon,
        codebook=Path("/", name), metric=options.metric,
    )  # fmt: skip
    made_by = maker.spec.replace(f"/{name}", name)

    def make(texts: TextSet, rows: Array) -> Made:
        numbers = [vectors.numbers(words) for words in texts.keywords]
        return counted(numbers, look, len(codebook)), texts.lost[:, 1] == 0

    return BlockMaker(Block("keywords", "features", len(codebook), made_by), make)


def _tokens(name: str, column: int, length: int, options: WordsOptions, vectors: WordVectors) -> BlockMaker:
    text = options.named_text()
    maker = WordTokens(
        vectors=text.vectors, profile=text.profile, english=text.english, lexicon=text.lexicon, length=length,
        part="keywords" if column else "title",
    )  # fmt: skip

    def make(texts: TextSet, rows: Array) -> Made:
        numbers = [vectors.numbers(words) for words in (texts.keywords if column else texts.titles)]
        return padded_numbers(numbers, length)[0], texts.lost[:, column] == 0

    return BlockMaker(Block(name, "tokens", length, maker.spec), make)


def _sentence(spec: str, sayings: Sayings) -> BlockMaker:
    encoder = build(spec, "encoder")
    (block,) = encoded_block((), (), encoder, name="sentence").blocks

    def make(texts: TextSet, rows: Array) -> Made:
        words = sayings(rows)
        there = np.array([bool(each.text) for each in words], bool)
        some = [each for each in words if each.text]
        values = np.zeros((len(words), block.dim), np.int32 if block.kind == "tokens" else np.float32)
        if some:
            values[there] = encoder.encode(some)
        return values, there

    return BlockMaker(block, make)


# -- what people wrote ------------------------------------------------------------------------------------------------


class RawTexts:
    """Titles and keywords as they were written, in a file without a name while it is open: 8 bytes a video in memory.

    videos: ids of those that count; of a video that comes twice the first text is kept
    """

    def __init__(self, folder: Path, videos: Sequence[str]) -> None:
        self._places = {name: row for row, name in enumerate(videos)}
        self._starts = np.full(len(videos), -1, np.int64)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  open for the life of this

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def keep(self, text: VideoText, *, counts: bool) -> None:
        """Keep the text of a video; one that does not count is kept as none."""
        row = self._places.get(text.id)
        if row is not None and self._starts[row] < 0:
            self._starts[row] = self._file.tell()
            self._file.write(json.dumps([text.title, text.keywords] if counts else ["", []]).encode() + b"\n")

    def of(self, videos: Array) -> list[Words]:
        """What was written about videos int64 [n], by number; nothing where none was kept."""
        found = []
        for start in self._starts[videos].tolist():
            if start < 0:
                found.append(Words())
                continue
            self._file.seek(start)
            title, keywords = json.loads(self._file.readline())
            found.append(Words(title, tuple(keywords)))
        return found


def without_label_sayings(
    said: Sequence[Words], labels: Labels, names: Sequence[str], options: WordsOptions
) -> list[Words]:
    """Texts, cleaned, without words that name a label of their own item; row i of labels is text i."""
    assert options.without_labels is not None, "asked for"
    kept = []
    for words, (start, end) in zip(said, itertools.pairwise(labels.offsets.tolist()), strict=True):
        own = [names[each] for each in labels.classes[start:end].tolist()]
        title = without_labels(clean_title(words.title, options.profile), own, options.without_labels)
        keywords = without_labels(clean_keywords(words.keywords, options.profile), own, options.without_labels)
        kept.append(Words(" ".join(title), keywords))
    return kept
