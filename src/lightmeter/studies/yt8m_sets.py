"""The sets of the study `yt8m`: stamps as clips (real), generated videos (for load), or YouTube-8M sets of the user."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lightmeter.assets.files import file_sha256
from lightmeter.encoders.codebook import KMeans
from lightmeter.encoders.text_words import TextOptions
from lightmeter.encoders.word_histogram import Lookup, counted
from lightmeter.encoders.word_tokens import padded_numbers
from lightmeter.encoders.word_vectors import WordVectors, open_vectors
from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import ArrayExamples, Block, Chosen, Examples
from lightmeter.library.example_set import open_set
from lightmeter.library.label_words import overlap, without_label_words
from lightmeter.library.text_blocks import fit_codebook, with_blocks
from lightmeter.library.text_files import TextFiles, VideoText
from lightmeter.library.text_set import TextSet, common_label_words, common_words, development, text_set
from lightmeter.library.yt8m.generate import Wanted, generate
from lightmeter.library.yt8m.world import Statistics
from lightmeter.meter.record import hash_of
from lightmeter.parts import build
from lightmeter.studies.features import Tell
from lightmeter.studies.folds import Fold, FoldSet
from lightmeter.studies.stamp_clips import folds_of, stamp_clips
from lightmeter.types import Array, Labels, Words

FRAMES, FEATURES = ("visual-frames", "audio-frames"), ("visual", "audio")
WORDS_A_TITLE = 40


@dataclass(frozen=True, eq=False)
class Texts:
    """Titles and keywords of all items of a set: as they are, and without words that name a label of the item."""

    whole: TextSet
    filtered: TextSet
    raw: tuple[Words, ...]

    @cached_property
    def vectors(self) -> WordVectors:
        """What the numbers of words stand for: vectors of these words only."""
        words = {word for some in (*self.whole.titles, *self.whole.keywords) for word in some}
        return open_vectors(self.whole.options.vectors).only(words)

    @cached_property
    def kept(self) -> Path:
        """A folder with these vectors, there for as long as the texts are: text-cnn reads it."""
        place = tempfile.mkdtemp(prefix="lightmeter-words-")
        weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
        self.vectors.save(place)
        return Path(place)


def texts_of(examples: Examples, texts: Sequence[VideoText], options: TextOptions) -> Texts:
    """Join texts to a labelled set."""
    if examples.labels is None:
        raise InvalidValueError("a study needs labels, the set has none")
    whole = text_set(examples.ids, texts, options)
    filtered = without_label_words(whole, examples.labels, [_spoken(name) for name in examples.label_names])
    by_id = {each.id: each for each in texts}
    empty = VideoText("")
    raw = tuple(Words(by_id.get(name, empty).title, by_id.get(name, empty).keywords) for name in examples.ids)
    return Texts(whole, filtered, raw)


def _spoken(name: str) -> str:
    """A label as it would be said: the last folder of its path."""
    return name.rpartition("/")[2].replace("_", " ")


def word_blocks(texts: Texts, train: Array, *, clusters: int, seed: int) -> ArrayExamples:
    """Blocks `title`, `keywords` and both `-filtered`; the codebook is learnt from the keywords of `train` alone.

    keywords: float32 [N, clusters], counts · title: int32 [N, 40], numbers in `texts.vectors`
    """
    learnt = texts.whole.take(train)
    known = len({word for words in learnt.keywords for word in words})
    if known < 2:
        raise InvalidValueError(f"a codebook needs keywords to be learnt from, got {known} different ones")
    recipe, vectors = KMeans(min(clusters, known), seed=seed), texts.vectors
    look = Lookup(vectors, fit_codebook(learnt, recipe), "l2")
    blocks, values, present = [], {}, []
    for ending, kept in (("", texts.whole), ("-filtered", texts.filtered)):
        titles = padded_numbers([vectors.numbers(words) for words in kept.titles], WORDS_A_TITLE)[0]
        keywords = counted([vectors.numbers(words) for words in kept.keywords], look, recipe.clusters)
        for name, made in ((f"title{ending}", titles), (f"keywords{ending}", keywords)):
            tokens = name.startswith("title")
            blocks.append(Block(name, "tokens" if tokens else "features", made.shape[1]))
            values[name] = made
            present.append(made.any(axis=1))
    return ArrayExamples(tuple(blocks), values, texts.whole.ids, (), present=np.stack(present, axis=1))


def sentence_block(texts: Texts, encoder: str) -> ArrayExamples:
    """The block `sentence`: title and keywords by an encoder of words."""
    made = build(encoder, "encoder")
    there = np.array([bool(each.text) for each in texts.raw])
    rows = np.zeros((len(there), made.dim), np.float32)
    rows[there] = made.encode([each for each in texts.raw if each.text])
    block = Block("sentence", "features", made.dim, made.spec)
    return ArrayExamples((block,), {"sentence": rows}, texts.whole.ids, (), present=there[:, None])


def with_means(frames: Examples) -> ArrayExamples:
    """A set of `visual` and `audio` frames with their means: frames are renamed `visual-frames`, `audio-frames`."""
    batch = frames.batch(np.arange(len(frames)))
    assert batch.lengths is not None
    lengths = np.maximum(batch.lengths, 1)[:, None].astype(np.float32)
    blocks, values = [], {}
    for block, framed in zip(frames.blocks, FRAMES, strict=True):
        rows = batch.values[block.name]
        blocks += [Block(framed, "frames", block.dim, block.made_by), Block(block.name, "features", block.dim)]
        values[framed] = [row[:length] for row, length in zip(rows, batch.lengths.tolist(), strict=True)]
        values[block.name] = rows.sum(axis=1) / lengths
    return ArrayExamples(
        tuple(blocks), values, tuple(frames.ids), frames.label_names, frames.labels, np.repeat(batch.present, 2, axis=1)
    )


@dataclass(frozen=True)
class Cut:
    """How a set is cut and its words are read. clusters: of keywords · sentence: an encoder of words, "" for none"""

    folds: int
    clusters: int
    sentence: str = ""
    seed: int = 0


def folded(
    name: str, examples: ArrayExamples, texts: Texts, groups: Array, *, cut: Cut, source: str, licence: str
) -> FoldSet:
    """A set cut into folds, groups whole; an eighth of what is left beside the test is kept for tuning."""
    place = folds_of(groups, cut.folds, seed=cut.seed)
    base: Examples = with_blocks(examples, sentence_block(texts, cut.sentence)) if cut.sentence else examples

    def fold(number: int) -> Fold:
        rest = np.flatnonzero(place != number)
        kept = folds_of(groups[rest], 8, seed=cut.seed) == 0
        train, dev = rest[~kept], rest[kept]
        items = with_blocks(base, word_blocks(texts, train, clusters=cut.clusters, seed=cut.seed))
        return Fold(number, items, train, dev, np.flatnonzero(place == number), texts, cut.seed)

    return FoldSet(
        name, len(examples), len(examples.label_names), cut.folds, fold, groups, source, licence, examples.fingerprint,
        *told_of(examples, texts),
    )  # fmt: skip


def told_of(examples: Examples, texts: Texts) -> tuple[dict[str, float], dict[str, dict[str, int]]]:
    """The numbers of table 1 and of section 4.3.2 (words that name a label of their item), and the commonest words."""
    assert examples.labels is not None
    names = [_spoken(each) for each in examples.label_names]
    counts: dict[str, float] = {**texts.whole.counts, "labels an item": len(examples.labels.classes) / len(examples)}
    for part, words in (("keywords", texts.whole.keywords), ("title words", texts.whole.titles)):
        counts[f"label words among {part}"] = overlap(words, examples.labels, names).words
    return counts, {
        "keywords": common_words(texts.whole.keywords),
        "labels": common_label_words(examples.labels, names),
    }


# -- which sets there are -------------------------------------------------------------------------------------------


def stamp_set(*, folds: int = 5, seed: int = 0, tell: Tell) -> FoldSet:
    """Tux Paint's stamps; titles are captions, keywords the words of captions, as folders are the labels."""
    made = stamp_clips(seed=seed, tell=tell)
    texts = [
        VideoText(name, title, tuple(title.replace(".", " ").split()))
        for name, title in zip(made.examples.ids, made.titles, strict=True)
    ]
    joined = texts_of(made.examples, texts, TextOptions(vectors="glove"))
    examples = with_means(made.examples)
    return folded(
        "tuxpaint-stamps", examples, joined, made.groups, cut=Cut(folds, 128, "bge-small", seed),
        source=made.source, licence=made.licence,
    )  # fmt: skip


def generated_set(folder: Path, *, videos: int = 240, classes: int = 24, folds: int = 2, seed: int = 0) -> FoldSet:
    """Generated videos of few frames, and word vectors drawn by chance: it shows that all of it runs, no more.

    folder: where they are written, for as long as the set is used
    """
    wanted = Wanted(
        videos=videos, statistics=Statistics(classes=classes), level="frame", test_share=0.1, most_frames=8, seed=seed
    )
    if not (folder / "data").exists():
        generate(folder / "data", wanted)
    whole = open_set(folder / "data" / "train")
    texts = list(TextFiles([folder / "data" / "train" / "words.jsonl"]))
    words = sorted({word for text in texts for word in (*text.keywords, *text.title.split())})
    words += sorted({word.lower() for word in words} - set(words))
    table = np.random.default_rng(seed).standard_normal((len(words) + 1, 16), np.float32)
    table[0] = 0
    WordVectors(tuple(words), table).save(folder / "vectors")
    options = TextOptions(vectors=str(folder / "vectors"), english="none")
    source = f"generated by seed {seed}: for load and regression only, no quality on it means anything"
    examples = with_means(whole)
    return folded(
        "generated", examples, texts_of(examples, texts, options), np.arange(len(examples)),
        cut=Cut(folds, 16, "", seed), source=source,
        licence="none needed: made by chance",
    )  # fmt: skip


def user_set(
    folder: Path, *, clusters: int = 1024, vectors: str = "glove", both: bool = False, seed: int = 0
) -> FoldSet:
    """Sets of the user: `folder/train` and `folder/test`, as `yt8m convert`, `extract` or `generate` make them.

    Each holds blocks `visual` and `audio`, features or frames, and `words.jsonl` (id, title, keywords). One fold.
    vectors: word vectors by name or path · both: ask only items that have a title and keywords; which of the two the
    seed did is not said.  Raises InvalidValueError for anything else.
    """
    parts = [_user_part(folder / name) for name in ("train", "test")]
    if parts[0].label_names != parts[1].label_names:
        raise InvalidValueError(f"{folder}/train and test must name the same labels: convert them together")
    whole = _stacked(parts)
    files = [path for name in ("train", "test") if (path := folder / name / "words.jsonl").is_file()]
    if not files:
        raise InvalidValueError(f"{folder}/train must hold words.jsonl with id, title and keywords a line, got none")
    joined = texts_of(whole, list(TextFiles(files)), TextOptions(vectors=vectors))
    split = len(parts[0])
    tuned = development(whole.ids[:split], seed=seed)
    train, dev, test = np.flatnonzero(~tuned), np.flatnonzero(tuned), np.arange(split, len(whole))
    if both:
        test = test[(joined.whole.lost[test] == 0).all(axis=1)]

    def fold(number: int) -> Fold:
        items = with_blocks(whole, word_blocks(joined, train, clusters=clusters, seed=seed))
        return Fold(number, items, train, dev, test, joined, seed)

    source = f"train -> test of {folder.name}"
    return FoldSet(
        folder.name, len(whole), len(whole.label_names), 1, fold, np.arange(len(test)), source,
        "as its owner says", hash_of([whole.fingerprint, [file_sha256(path) for path in files]]),
        *told_of(whole, joined),
    )  # fmt: skip


def _user_part(folder: Path) -> Examples:
    whole = open_set(folder)
    names = {block.name for block in whole.blocks}
    if not set(FEATURES) <= names:
        raise InvalidValueError(f"{folder} must hold visual and audio, got {', '.join(sorted(names))}")
    chosen = Chosen.of(whole, blocks=FEATURES)
    kinds = {block.kind for block in chosen.blocks}
    return with_means(chosen) if kinds == {"frames"} else chosen


def _stacked(parts: Sequence[Examples]) -> ArrayExamples:
    """Two sets of the same blocks, one after the other, in memory."""
    batches = [each.batch(np.arange(len(each))) for each in parts]
    blocks = parts[0].blocks
    values: dict[str, Array | list[Array]] = {}
    for block in blocks:
        if block.kind == "frames":
            values[block.name] = [
                row[:length]
                for batch in batches
                for row, length in zip(batch.values[block.name], _lengths(batch.lengths), strict=True)
            ]
        else:
            values[block.name] = np.concatenate([batch.values[block.name] for batch in batches])
    labels = [each.labels for each in parts]
    if any(each is None for each in labels):
        raise InvalidValueError("train and test must both be labelled")
    lists = [row for each in labels if each is not None for row in np.split(each.classes, each.offsets[1:-1])]
    return ArrayExamples(
        blocks, values, [name for each in parts for name in each.ids], parts[0].label_names,
        Labels.of([row.tolist() for row in lists], len(parts[0].label_names)),
        np.concatenate([batch.present for batch in batches]),
    )  # fmt: skip


def _lengths(lengths: Array | None) -> list[int]:
    assert lengths is not None
    return lengths.tolist()  # type: ignore[no-any-return]
