"""Words as blocks of an example set: counts of clusters for keywords, numbers for titles, any encoder of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmeter.encoders.codebook import Codebook, KMeans, Metric
from lightmeter.encoders.protocol import Encoder
from lightmeter.encoders.word_histogram import Lookup, WordHistogram, counted
from lightmeter.encoders.word_tokens import WordTokens, padded_numbers
from lightmeter.encoders.word_vectors import WordVectors
from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import ArrayExamples, Batch, Block, BlockKind, Examples, places_of
from lightmeter.library.text_set import TextSet
from lightmeter.meter.record import hash_of
from lightmeter.types import Array, Labels, Words


def fit_codebook(texts: TextSet, recipe: KMeans) -> Codebook:
    """Centres of the keywords of a (training) set: each word once, weighing as often as it stands."""
    counts = Counter(word for words in texts.keywords for word in words)
    vectors = texts.options.opened()
    return recipe.fit(vectors.table[vectors.numbers(counts)], np.array(list(counts.values()), np.float64))


def keyword_block(texts: TextSet, codebook: Path, *, metric: Metric = "l2", name: str = "keywords") -> ArrayExamples:
    """The block `keywords`: float32 [N, C] counts of clusters; absent where a video has none.

    codebook: folder of `Codebook.save`.  Memory: 4·C bytes a video; for millions make it in parts (`TextSet.take`).
    """
    options = texts.options
    maker = WordHistogram(
        vectors=options.vectors, profile=options.profile, english=options.english, lexicon=options.lexicon,
        codebook=codebook, metric=metric,
    )  # fmt: skip
    vectors, centres = options.opened(), Codebook.load(codebook)
    values = counted(_numbers(texts.keywords, vectors), Lookup(vectors, centres, metric), len(centres))
    return _one(texts.ids, Block(name, "features", len(centres), maker.spec), values, texts.lost[:, 1] == 0)


def title_block(texts: TextSet, *, length: int = 40, name: str = "title") -> tuple[ArrayExamples, int]:
    """The block `title`: int32 [N, length] numbers of words; absent where a video has none. And how many were cut."""
    options = texts.options
    maker = WordTokens(
        vectors=options.vectors, profile=options.profile, english=options.english, lexicon=options.lexicon,
        length=length,
    )  # fmt: skip
    values, cut = padded_numbers(_numbers(texts.titles, options.opened()), length)
    return _one(texts.ids, Block(name, "tokens", length, maker.spec), values, texts.lost[:, 0] == 0), cut


def encoded_block(ids: Sequence[str], texts: Sequence[Words], encoder: Encoder, name: str = "title") -> ArrayExamples:
    """A block of any encoder of words, such as `bge-small`; absent where there is no text.  Cost: the encoder's."""
    if encoder.takes != "words":
        raise InvalidValueError(f"{encoder.spec} encodes {encoder.takes}: take an encoder of words, such as bge-small")
    kind: BlockKind = "tokens" if isinstance(encoder, WordTokens) else "features"
    present = np.array([bool(each.text) for each in texts], bool)
    return _one(ids, Block(name, kind, encoder.dim, encoder.spec), encoder.encode(texts), present)


def _numbers(lists: Sequence[Sequence[str]], vectors: WordVectors) -> list[Array]:
    rows = (vectors.numbers(words) for words in lists)
    return [row[row > 0] for row in rows]


def _one(ids: Sequence[str], block: Block, values: Array, present: Array) -> ArrayExamples:
    return ArrayExamples((block,), {block.name: values}, tuple(ids), (), present=present[:, None])


@dataclass(frozen=True, slots=True, eq=False)
class WithBlocks:
    """A set of examples with more blocks, joined by id; nothing of the set is copied.

    more: their blocks come after those of the whole, in order · rows: for each of `more`, int64 [N], where an item of
    the whole stands in it, −1 where it does not
    """

    whole: Examples
    more: tuple[Examples, ...]
    rows: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Of the whole, then the added ones."""
        return (*self.whole.blocks, *(block for each in self.more for block in each.blocks))

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of the whole."""
        return self.whole.label_names

    @property
    def ids(self) -> Sequence[str]:
        """Of the whole."""
        return self.whole.ids

    @property
    def labels(self) -> Labels | None:
        """Of the whole."""
        return self.whole.labels

    @property
    def fingerprint(self) -> str:
        """Hash of all that was joined."""
        return hash_of([self.whole.fingerprint, [each.fingerprint for each in self.more], *self.rows])

    def batch(self, rows: Array, names: Sequence[str] | None = None) -> Batch:
        """Items by their numbers: int [B]; see `Examples`."""
        rows = np.asarray(rows, np.int64)
        asked = [self.blocks[place] for place in places_of(self.blocks, names)]
        own = [block.name for block in asked if block in self.whole.blocks]
        batch = self.whole.batch(rows, own)
        values, present = dict(batch.values), dict(zip(own, batch.present.T, strict=True))
        for each, places in zip(self.more, self.rows, strict=True):
            at, added = places[rows], [block for block in asked if block in each.blocks]
            there = at >= 0
            found = each.batch(at[there], [block.name for block in added])
            for block, known in zip(added, found.present.T, strict=True):
                made = np.zeros((len(rows), block.dim), found.values[block.name].dtype)
                made[there] = found.values[block.name]
                values[block.name], present[block.name] = made, np.zeros(len(rows), bool)
                present[block.name][there] = known
        columns = [np.empty((len(rows), 0), bool), *(present[block.name][:, None] for block in asked)]
        return Batch(values, np.concatenate(columns, axis=1), batch.lengths, batch.labels, batch.rated)


def with_blocks(whole: Examples, *more: Examples) -> WithBlocks:
    """A set with the blocks of others, joined by id: `write_set` keeps it as any other set.

    An item that others lack has their blocks absent; items that the whole lacks are left out. Frames can't be joined.
    Raises InvalidValueError for two blocks of one name and for ids that are doubled.
    """
    names = [block.name for each in (whole, *more) for block in each.blocks]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InvalidValueError(f"blocks must have different names, got two called {', '.join(doubled)}: rename one")
    rows = []
    for each in more:
        if any(block.kind == "frames" for block in each.blocks):
            raise InvalidValueError("frames can't be joined to a set: write the set with them at once")
        places = {name: row for row, name in enumerate(each.ids)}
        if len(places) != len(each):
            raise InvalidValueError("ids of a set that is joined must be each once: drop the doubles")
        rows.append(np.array([places.get(name, -1) for name in whole.ids], np.int64))
    return WithBlocks(whole, tuple(more), tuple(rows))
