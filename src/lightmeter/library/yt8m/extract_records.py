"""What was extracted → TFRecords that YouTube-8M's own readers take."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.heads.examples import Block
from lightmeter.library.yt8m.exporting import VOCABULARY, WORDS, write_label_names, write_records_about
from lightmeter.library.yt8m.extract_labels import Labelled, id_of
from lightmeter.library.yt8m.extract_set import Level, cuts, is_there, rows_in_set, words_line
from lightmeter.library.yt8m.extract_store import ExtractStore, Kept
from lightmeter.library.yt8m.records import FrameRecord, VideoRecord, encode_frame_record, encode_video
from lightmeter.library.yt8m.reduction import Reduction, save_reductions
from lightmeter.media.tfrecord import write_records
from lightmeter.types import Array


def write_extracted_records(
    folder: Path, store: ExtractStore, videos: Sequence[Kept], reductions: Sequence[Reduction], *,
    level: Level, labelled: Labelled | None, about: dict[str, Any],
) -> None:  # fmt: skip
    """Write `frame-00000.tfrecord` … (or `video-…`), `words.jsonl`, `records.json` and, with labels, `vocabulary.csv`.

    Readers take a byte q for q * 4/255 + 4/512 - 2, whatever range it stands for: they see features that are moved and
    scaled, block by block; the ranges are in `reduction/`. The floats of whole videos are on the same scale.
    They also want both lists of every video: one without sound gets the bytes that stand nearest to 0.
    Memory: one file of 64 MiB is written record by record.
    """
    for number, (start, stop) in enumerate(cuts(videos, reductions, level)):
        some = _encoded(store, videos[start:stop], reductions, level, labelled, start)
        write_records(folder / f"{level}-{number:05d}.tfrecord", some)
    lines = (json.dumps(words_line(each.name, store.words(each)), ensure_ascii=False) for each in videos)
    write_whole(folder / WORDS, "".join(f"{line}\n" for line in lines))
    names = labelled.names if labelled is not None else ()
    if names:
        write_label_names(folder / VOCABULARY, names)
    blocks = [replace(block, made_by=_scaled_by(each, block)) for each in reductions for block in [each.block(level)]]
    write_records_about(folder, blocks, {})
    save_reductions(folder, reductions, {**about, "label_names": list(names)})


def _scaled_by(reduction: Reduction, block: Block) -> str:
    """Who made the numbers that readers see: moved and scaled, they are others than those of the set."""
    return block.made_by if reduction.is_plain else f"{block.made_by} then {reduction.low:g}…{reduction.high:g} to ±2"


def _encoded(
    store: ExtractStore, videos: Sequence[Kept], reductions: Sequence[Reduction], level: Level,
    labelled: Labelled | None, first: int,
) -> Iterator[bytes]:  # fmt: skip
    for at, video in enumerate(videos, first):
        labels: tuple[int, ...] = ()
        if labelled is not None:
            classes = labelled.labels
            labels = tuple(classes.classes[classes.offsets[at] : classes.offsets[at + 1]].tolist())
        blocks = {each.name: _rows(store, video, each, level) for each in reductions}
        name = id_of(video.name)
        if level == "frame":
            yield encode_frame_record(FrameRecord(name, labels, blocks.get("visual"), blocks.get("audio")))
        else:
            means = {block: rows[0] for block, rows in blocks.items()}
            yield encode_video(VideoRecord(name, labels, means.get("visual"), means.get("audio")))


def _rows(store: ExtractStore, video: Kept, reduction: Reduction, level: Level) -> Array:
    """uint8 [T, K], or float32 [1, K] on the scale of YouTube-8M's features."""
    silent = not is_there(video, reduction)
    if level == "frame":
        if silent:
            return reduction.bytes_of(np.zeros((video.seconds, reduction.kept), np.float32))
        return rows_in_set(store, video, reduction, level)
    rows = np.zeros((1, reduction.kept)) if silent else rows_in_set(store, video, reduction, level)
    return reduction.scaled(rows).astype(np.float32)
