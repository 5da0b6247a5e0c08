"""Titles and keywords joined to an example set: another set, shard by shard, with blocks of words beside its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.encoders.codebook import Codebook, KMeans
from lightmeter.encoders.english import read_words
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library.example_layout import MANIFEST, Stored, read_json
from lightmeter.library.example_set import ExampleSet, open_set
from lightmeter.library.example_writing import PLAN, SetWriter, ShardRows, alone
from lightmeter.library.label_words import overlap, without_label_words
from lightmeter.library.text_blocks import fit_codebook
from lightmeter.library.text_files import TextFiles, VideoText
from lightmeter.library.text_set import GONE, TextSet, common_label_words, common_words, common_words_png, text_set
from lightmeter.library.yt8m.word_blocks import BlockMaker, RawTexts, Sayings, block_makers, without_label_sayings
from lightmeter.library.yt8m.words_options import CODEBOOK, WordsOptions, place_of, said_of
from lightmeter.meter.record import hash_of
from lightmeter.types import Array, Words

REPORT = "words-report.json"
_STAGED = ".codebook"
_TOLD_EVERY = 256
Told = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class WordsMade:
    """What `add_words` made. report: what `words-report.json` says · again: it stood there already"""

    examples: ExampleSet
    report: Mapping[str, Any]
    again: bool


def add_words(
    whole: ExampleSet, texts: Sequence[Path], out: Path | str, options: WordsOptions, *, told: Told | None = None
) -> WordsMade:
    """Write a set of the items of `whole` with blocks of words behind its own, which are copied to the bit.

    texts: JSON lines (see `TextFiles`), joined by id; of segments (`id:second`) by the id of the video
    Beside the set: `codebook/` (what test sets need), `words-report.json` (what was lost, and why) and plots of the
    commonest words.  A stopped run goes on after the last shard that stands; texts are read again.
    told: hears `read` with the texts and `write` with the items that were done since it last heard
    Memory: the kept words of all items, some 250 bytes each, the word vectors, and one shard.
    Raises InvalidValueError: blocks of these names, texts of other videos, OUT that holds something else.
    """
    out = Path(out)
    tell = told or (lambda what, count: None)
    said = said_of(whole, texts, options)
    _check_names(whole, options)
    with alone(out):
        if _stands(out, said["key"]):
            return WordsMade(open_set(out), _report_of(out), again=True)
        with RawTexts(out, _videos(whole)[0] if options.sentence else ()) as raw:
            lines, joined, at = _joined(whole, texts, options, raw, tell)
            kept = joined
            if options.without_labels is not None:
                assert whole.labels is not None, "said_of sees to it"
                kept = without_label_words(joined, whole.labels, whole.label_names, options.without_labels)
            codebook = _codebook(kept, out, options, said["key"])
            makers = block_makers(codebook, options, options.text.opened(), _sayings(whole, options, raw, at))
            writer = _writer(whole, makers, out, said, codebook)
            _write_shards(writer, whole, kept, makers, tell)
        report = _report(whole, joined, kept, options) | {"lines": dict(lines), "made": writer.about["words"]}
        write_whole(out / REPORT, json.dumps(report, indent=1) + "\n")
        _draw(whole, kept, out)
        return WordsMade(writer.finish(labelled=whole.labels is not None), report, again=False)


def _check_names(whole: ExampleSet, options: WordsOptions) -> None:
    known = {block.name for block in whole.blocks}
    doubled = [name for name in options.names if name in known]
    if doubled:
        raise InvalidValueError(f"SET must have no block of words yet, got {doubled[0]}: take the set without it")
    if not options.names:
        raise InvalidValueError("there must be a block to make: keywords, title, keyword tokens or a sentence")


def _stands(out: Path, key: str) -> bool:
    """Whether the set that is to be made is there, whole; raises InvalidValueError where another is."""
    if (out / PLAN).is_file():
        plan = read_json(out / PLAN)
        if not isinstance(plan, dict) or dict(dict(plan.get("about", {})).get("words", {})).get("key") != key:
            raise InvalidValueError(f"{out} holds a set that was made otherwise: choose another folder")
    elif any(not path.name.startswith(".") for path in out.iterdir()):
        raise InvalidValueError(f"{out} must be empty or a set that was begun: choose another folder")
    return (out / MANIFEST).is_file()


def _report_of(out: Path) -> dict[str, Any]:
    if not (out / REPORT).is_file():
        raise RejectedFileError("missing-file", f"{out / REPORT} must be there: the set is not whole, make it again")
    made: dict[str, Any] = read_json(out / REPORT)
    return made


# -- joining ----------------------------------------------------------------------------------------------------------


def _videos(whole: ExampleSet) -> tuple[tuple[str, ...], Array]:
    """The videos of a set, each once, and which of them each item is of, int64 [N]."""
    names = list(whole.ids)
    if whole.rated is not None:
        names = [name.rpartition(":")[0] or name for name in names]
    places = {name: at for at, name in enumerate(dict.fromkeys(names))}
    return tuple(places), np.array([places[name] for name in names], np.int64)


def _joined(
    whole: ExampleSet, paths: Sequence[Path], options: WordsOptions, raw: RawTexts, tell: Told
) -> tuple[Mapping[str, int], TextSet, Array]:
    """How many lines there were of each sort, the words of every item, and the number of its video."""
    videos, at = _videos(whole)
    files = TextFiles(paths)
    lexicon = frozenset() if options.lexicon is None or options.english != "names" else read_words(options.lexicon)
    found = text_set(
        videos, _heard(files, options, raw, tell), options.text, embeddable_only=options.embeddable_only,
        lexicon=lexicon,
    )  # fmt: skip
    if len(videos) and (found.lost == GONE).all():
        raise InvalidValueError(
            f"TEXTS must be of videos of SET, such as {videos[0]!r}, got {files.counts['videos']} texts, none of a "
            "video of it that is still there: write the ids as the set has them"
        )
    return files.counts, found.take(at), at


def _heard(texts: TextFiles, options: WordsOptions, raw: RawTexts, tell: Told) -> Iterator[VideoText]:
    """The texts; those that count are kept aside for the encoder of sentences."""
    number = 0
    for number, text in enumerate(texts, 1):
        raw.keep(text, counts=not text.gone and (text.embeddable or not options.embeddable_only))
        yield text
        if number % _TOLD_EVERY == 0:
            tell("read", _TOLD_EVERY)
    tell("read", number % _TOLD_EVERY)


def _sayings(whole: ExampleSet, options: WordsOptions, raw: RawTexts, videos: Array) -> Sayings:
    """What was written about items, by number; videos: int64 [N], which each is of."""

    def said(rows: Array) -> Sequence[Words]:
        words = raw.of(videos[rows])
        if options.without_labels is None or whole.labels is None:
            return words
        return without_label_sayings(words, whole.labels.take(rows), whole.label_names, options)

    return said


# -- the codebook -----------------------------------------------------------------------------------------------------


def _codebook(texts: TextSet, out: Path, options: WordsOptions, key: str) -> Codebook | None:
    """The codebook of another set, the one that a stopped run had fitted, or a new one, kept aside at once."""
    if not options.clusters:
        return None
    if options.codebook is not None:
        return Codebook.load(place_of(options.codebook))
    for place in (out / CODEBOOK, out / _STAGED):
        if (place / "model.json").is_file() and read_json(place / "model.json").get("key") == key:
            return Codebook.load(place)
    made = fit_codebook(texts, KMeans(options.clusters, seed=options.seed))
    made.save(out / _STAGED, key=key)
    return made


def _writer(
    whole: ExampleSet, makers: Sequence[BlockMaker], out: Path, said: Mapping[str, Any], codebook: Codebook | None
) -> SetWriter:
    """The set as it is begun, its codebook in place."""
    added = {} if codebook is None else {"codebook_sha256": hash_of(codebook.centres)}
    writer = SetWriter.begin(
        out, [*whole.manifest.blocks, *(Stored.of(each.block) for each in makers)], whole.label_names,
        about={**whole.manifest.about, "words": {**said, **added}},
    )  # fmt: skip
    if codebook is not None and not (out / CODEBOOK / "model.json").is_file():
        codebook.save(out / CODEBOOK, key=said["key"])
    shutil.rmtree(out / _STAGED, ignore_errors=True)
    return writer


# -- writing ----------------------------------------------------------------------------------------------------------


def _write_shards(
    writer: SetWriter, whole: ExampleSet, texts: TextSet, makers: Sequence[BlockMaker], tell: Told
) -> None:
    start = 0
    for number, shard in enumerate(whole.manifest.shards):
        rows = np.arange(start, start + shard.items)
        if number >= len(writer.shards):
            writer.add(_shard(whole, number, rows, texts.take(rows), makers))
        tell("write", shard.items)
        start += shard.items


def _shard(whole: ExampleSet, number: int, rows: Array, texts: TextSet, makers: Sequence[BlockMaker]) -> ShardRows:
    values: dict[str, Array] = {block.name: whole.stored(number, block.name) for block in whole.blocks}
    present = [whole.present[rows]]
    for maker in makers:
        values[maker.block.name], there = maker.make(texts, rows)
        present.append(there[:, None])
    return ShardRows(
        ids=[whole.ids[row] for row in rows.tolist()],
        values=values,
        labels=None if whole.labels is None else whole.labels.take(rows),
        present=np.concatenate(present, axis=1),
        lengths=None if whole.lengths is None else whole.lengths[rows],
        rated=None if whole.rated is None else whole.rated.take(rows),
    )


# -- telling ----------------------------------------------------------------------------------------------------------


def _report(whole: ExampleSet, joined: TextSet, kept: TextSet, options: WordsOptions) -> dict[str, Any]:
    """What was kept and lost. cut: texts that were longer than their block"""
    report: dict[str, Any] = {
        "schema": "lightmeter.words-report/1",
        **{name.replace(" ", "_"): value for name, value in kept.counts.items()},
        "losses": kept.losses(),
        "cut": {
            name: sum(len(words) > length for words in lists)
            for name, lists, length in (
                ("title", kept.titles, options.length), ("keyword-tokens", kept.keywords, options.keyword_tokens),
            ) if length
        },
        "commonest": _commonest(whole, kept),
    }  # fmt: skip
    if options.without_labels is not None and whole.labels is not None:
        report["label_words_before"] = {
            name: asdict(overlap(lists, whole.labels, whole.label_names, options.without_labels))
            for name, lists in (("titles", joined.titles), ("keywords", joined.keywords))
        }
    return report


def _commonest(whole: ExampleSet, texts: TextSet) -> dict[str, dict[str, int]]:
    found = {"keywords": common_words(texts.keywords), "title-words": common_words(texts.titles)}
    if whole.labels is not None:
        found["labels"] = common_label_words(whole.labels, whole.label_names)
    return found


def _draw(whole: ExampleSet, texts: TextSet, out: Path) -> None:
    """Figures 2 and 3 of the seed, and one of titles; nothing is drawn of nothing."""
    for name, counts in _commonest(whole, texts).items():
        if counts:
            common_words_png(counts, out / f"common-{name}.png", title=f"The commonest {name.replace('-', ' ')}")
