"""Example sets → TFRecords that other readers of YouTube-8M accept."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import whole_file, write_whole
from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block
from lightmeter.library.example_layout import MOST_DIM, YT8M_OFFSET, YT8M_SCALE, read_json
from lightmeter.library.example_set import ExampleSet
from lightmeter.library.example_writing import ShardRows
from lightmeter.library.own_folder import check_own
from lightmeter.library.yt8m.records import (
    FrameRecord,
    IdKey,
    Segments,
    VideoRecord,
    encode_frame_record,
    encode_video,
)  # fmt: skip
from lightmeter.media.tfrecord import write_records
from lightmeter.types import Array, Labels

_BLOCKS = ("visual", "audio")
VOCABULARY, WORDS = "vocabulary.csv", "words.jsonl"
"""What lies beside records and sets: names of the classes; titles and keywords, as `yt8m words` reads them."""
RECORDS = "records.json"
"""What lies beside records that we write: their blocks, since records tell neither widths nor who made them."""
_RECORDS_SCHEMA = "lightmeter.records/1"


def write_tfrecords(
    examples: ExampleSet,
    folder: Path | str,
    *,
    id_key: IdKey = "id",
    packed: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write a set as one TFRecord file a shard, `vocabulary.csv`, `records.json` and the set's `words.jsonl` beside.

    Blocks must be called visual and audio, of features or of frames as YouTube-8M quantises them: records hold nothing
    else. Files that a stopped run of the same set left are kept. Items with rated classes (segments) are written as
    segment-level records of their own frames.
    id_key: `video_id` for readers from before May 2018 · packed: gzip · progress: called with the items of each file
    Raises InvalidValueError for a set of other blocks, and for a folder that holds other things.
    """
    _check(examples)
    folder = Path(folder)
    about = {"set": examples.fingerprint, "id_key": id_key, "packed": packed}
    plan = _records_json(examples.blocks, about)
    check_own(folder, lambda out: _stranger(out, plan), "records of this very set")
    write_whole(folder / RECORDS, plan)
    write_label_names(folder / VOCABULARY, examples.label_names)
    carry_words([examples.folder / WORDS], folder)
    written, start = [], 0
    for shard in examples.manifest.shards:
        path = folder / f"{shard.name}.tfrecord{'.gz' if packed else ''}"
        rows = range(start, start + shard.items)
        if not path.is_file():
            write_records(path, _records(examples, rows, id_key), packed=packed)
        written.append(path)
        start += shard.items
        if progress:
            progress(shard.items)
    return written


def _stranger(folder: Path, plan: str) -> str:
    there = folder / RECORDS
    if there.is_file():
        return "" if there.read_bytes() == plan.encode() else RECORDS
    return min((each.name for each in folder.iterdir() if not each.name.startswith(".")), default="")


def write_records_about(folder: Path, blocks: Sequence[Block], about: Mapping[str, Any]) -> Path:
    """Write `records.json` beside records: name, width and `made_by` of each block, and what else is to be said."""
    return write_whole(folder / RECORDS, _records_json(blocks, about))


def _records_json(blocks: Sequence[Block], about: Mapping[str, Any]) -> str:
    said = [{"name": each.name, "dim": each.dim, "made_by": each.made_by} for each in blocks]
    return json.dumps({"schema": _RECORDS_SCHEMA, "blocks": said, **about}, indent=1) + "\n"


def read_records_about(path: Path) -> dict[str, tuple[int, str]]:
    """Width and `made_by` by block, as `records.json` says.  Raises InvalidValueError for anything else."""
    try:
        said = read_json(path)
        found = {each["name"]: (each["dim"], each["made_by"]) for each in said["blocks"]}
        fits = said["schema"] == _RECORDS_SCHEMA and found.keys() <= set(_BLOCKS) and all(
            type(dim) is int and 1 <= dim <= MOST_DIM and isinstance(made_by, str) for dim, made_by in found.values()
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        fits = False
    if not fits:
        raise InvalidValueError(f"{path} must say the widths of visual and audio, as Lightmeter writes it: remove it")
    return found


def carry_words(texts: Sequence[Path], folder: Path) -> None:
    """Copy files of titles and keywords, one after the other, to `words.jsonl` in a folder; those that are there."""
    there = [path for path in texts if path.is_file()]
    if there:
        with whole_file(folder / WORDS) as unfinished, unfinished.open("wb") as file:
            for path in there:
                with path.open("rb") as source:
                    shutil.copyfileobj(source, file)
                    if source.tell() and source.seek(-1, 2) >= 0 and source.read() != b"\n":
                        file.write(b"\n")  # the last line has no end


def write_label_names(path: Path | str, names: Sequence[str]) -> Path:
    """The names of the classes as YouTube-8M's `vocabulary.csv` has them: Index, Name."""
    text = io.StringIO(newline="")
    made = csv.writer(text, lineterminator="\n")
    made.writerow(["Index", "Name"])
    made.writerows(enumerate(names))
    return write_whole(path, text.getvalue())


def encoded(rows: ShardRows) -> Iterator[bytes]:
    """The records of a shard that is to be: blocks visual and audio, all present."""
    labels = rows.labels or Labels.of([()] * len(rows.ids), 1)
    ends = None if rows.lengths is None else np.cumsum([0, *rows.lengths])
    for at, name in enumerate(rows.ids):
        numbers = _classes(labels, at)
        if ends is None:
            yield encode_video(VideoRecord(name, numbers, rows.values["visual"][at], rows.values["audio"][at]))
        else:
            visual, audio = (rows.values[block][ends[at] : ends[at + 1]] for block in _BLOCKS)
            yield encode_frame_record(FrameRecord(name, numbers, visual, audio))


def _check(examples: ExampleSet) -> None:
    blocks = examples.manifest.blocks
    kinds = {each.block.kind for each in blocks}
    if not {each.block.name for each in blocks} <= set(_BLOCKS) or len(kinds) != 1 or "tokens" in kinds:
        named = ", ".join(f"{each.block.name} ({each.block.kind})" for each in blocks)
        raise InvalidValueError(f"TFRecords of YouTube-8M hold features or frames called visual and audio, got {named}")
    affine = {(each.storage, each.scale, each.offset) for each in blocks}
    if kinds == {"frames"} and affine != {("uint8", YT8M_SCALE, YT8M_OFFSET)}:
        raise InvalidValueError("frames must be quantised as YouTube-8M's are to be written as TFRecords")


def _records(examples: ExampleSet, rows: range, id_key: IdKey) -> Iterator[bytes]:
    labels = examples.labels or Labels.of([()] * len(examples), 1)
    names = [each.name for each in examples.blocks]
    if examples.lengths is None:
        for start in range(rows.start, rows.stop, 1024):
            batch = examples.batch(np.arange(start, min(rows.stop, start + 1024)))
            for at, there in enumerate(batch.present.tolist()):
                found = {name: batch.values[name][at] for name, is_there in zip(names, there, strict=True) if is_there}
                record = VideoRecord(
                    examples.ids[start + at], _classes(labels, start + at), found.get("visual"), found.get("audio")
                )
                yield encode_video(record, id_key=id_key)
        return
    for row in rows:
        there = examples.present[row].tolist()
        shown = {name: examples.frames(row, name) for name, is_there in zip(names, there, strict=True) if is_there}
        yield encode_frame_record(_framed(examples, row, labels, shown), id_key=id_key)


def _framed(examples: ExampleSet, row: int, labels: Labels, shown: dict[str, Array]) -> FrameRecord:
    segments = None
    numbers = _classes(labels, row)
    if examples.rated is not None:
        looked = np.array(_classes(examples.rated, row), np.int64)
        assert examples.lengths is not None
        ends = np.full(len(looked), examples.lengths[row], np.int64)
        segments = Segments(looked, np.zeros(len(looked), np.int64), ends, np.isin(looked, numbers).astype(np.float32))
    return FrameRecord(examples.ids[row], numbers, shown.get("visual"), shown.get("audio"), segments)


def _classes(labels: Labels, row: int) -> tuple[int, ...]:
    return tuple(labels.classes[labels.offsets[row] : labels.offsets[row + 1]].tolist())
