"""Sets with the statistics of YouTube-8M, drawn from a seed: for load and regression tests only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.assets.files import whole_file, write_whole
from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block
from lightmeter.library.example_layout import Stored
from lightmeter.library.example_writing import PLAN, SetWriter, ShardRows, alone
from lightmeter.library.own_folder import check_own
from lightmeter.library.yt8m.exporting import VOCABULARY, WORDS, encoded, write_label_names
from lightmeter.library.yt8m.quantise import quantise
from lightmeter.library.yt8m.world import AUDIO, LATENT, VISUAL, Statistics, World, make_world
from lightmeter.media.tfrecord import write_records
from lightmeter.types import Array, Labels

NOTE = "generated from a seed, for load and regression tests only: quality on it says nothing about real videos"
_PARTS = {"train": 10, "test": 11}  # where each part's seeds start


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to generate.

    videos: of train and test together · test_share: of them in test · level: `video` (mean features) or `frame`
    (8-bit features once a second) · most_frames: videos have 40 % to all of it, evenly · shard_videos: videos a shard
    """

    videos: int = 20_000
    statistics: Statistics = field(default_factory=Statistics)
    level: Literal["video", "frame"] = "video"
    test_share: float = 0.2
    most_frames: int = 300
    shard_videos: int = 8192
    seed: int = 0

    def __post_init__(self) -> None:
        if self.videos < 2 or not 0 < self.test_share < 1:
            raise InvalidValueError(f"videos must be 2 or more and test_share within 0 and 1, got {self}")
        if not 1 <= self.most_frames <= 3600 or self.shard_videos < 1 or self.seed < 0:
            raise InvalidValueError(f"most_frames must be 1 to 3600, shard_videos and seed above 0, got {self}")

    def count(self, part: str) -> int:
        """Videos of `train` or of `test`: at least one each."""
        test = min(self.videos - 1, max(1, round(self.videos * self.test_share)))
        return test if part == "test" else self.videos - test

    @property
    def blocks(self) -> tuple[Stored, ...]:
        """What a video has."""
        if self.level == "video":
            return Stored.of(VISUAL), Stored.of(AUDIO)
        return tuple(Stored.of(Block(each.name, "frames", each.dim, each.made_by)) for each in (VISUAL, AUDIO))

    @property
    def about(self) -> dict[str, Any]:
        """For a manifest."""
        return {"made_by": "lightmeter yt8m generate", "note": NOTE, "quantised_by": "floor", **asdict(self)}


@dataclass(frozen=True, slots=True)
class Generated:
    """One part. statistics: labels a video, share of the ten commonest classes, classes that occur"""

    folder: Path
    videos: int
    statistics: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """For a line of `--json`."""
        return {"path": self.folder, "videos": self.videos, **self.statistics}


def generate(
    folder: Path | str,
    wanted: Wanted,
    *,
    form: Literal["set", "tfrecord"] = "set",
    progress: Callable[[int], None] | None = None,
) -> dict[str, Generated]:
    """Write `folder/train` and `folder/test`; a stopped run goes on with the shard where it ended.

    Beside each part lies `words.jsonl`: `id`, and `title` and `keywords` where they are known; beside TFRecords also
    `vocabulary.csv`, the names of the classes.
    progress: called with the number of videos of each finished shard · Cost: about 60 µs of CPU a video at video level
    Raises InvalidValueError for a folder that holds other things, and for statistics that cannot be had.
    """
    folder = Path(folder)
    check_own(folder, _stranger, "train and test as this command makes them")
    world = make_world(wanted.statistics, wanted.seed)
    with alone(folder):
        write = _write_set if form == "set" else _write_tfrecords
        return {part: write(folder / part, world, wanted, part, progress or (lambda count: None)) for part in _PARTS}


def _stranger(folder: Path) -> str:
    """Hidden files are nobody's concern: none is touched."""
    names = {each.name for each in folder.iterdir() if not each.name.startswith(".")}
    begun = {part for part in names & _PARTS.keys() if _is_begun(folder / part)}
    return min(names - begun, default="")


def _is_begun(part: Path) -> bool:
    return part.is_dir() and ((part / PLAN).is_file() or all(each.name.startswith(".") for each in part.iterdir()))


def _write_set(folder: Path, world: World, wanted: Wanted, part: str, progress: Callable[[int], None]) -> Generated:
    writer = SetWriter.begin(folder, wanted.blocks, world.label_names, about={**wanted.about, "part": part})
    for number, count in enumerate(shard_counts(wanted, part)):
        if number >= len(writer.shards) and not writer.finished:
            writer.add(shard_rows(world, wanted, part, number))
        progress(count)
    made = writer.finish()
    assert made.labels is not None
    return Generated(folder, len(made), measured(made.labels))


def _write_tfrecords(
    folder: Path, world: World, wanted: Wanted, part: str, progress: Callable[[int], None]
) -> Generated:
    """Every shard is drawn, for the statistics; what stands already is not written again."""
    plan = json.dumps({**wanted.about, "part": part, "form": "tfrecord"}, indent=1) + "\n"
    if (folder / PLAN).is_file() and (folder / PLAN).read_text("utf-8") != plan:
        raise InvalidValueError(f"{folder} holds data that were made otherwise: choose another folder")
    if not (folder / PLAN).is_file() and folder.is_dir() and any(folder.iterdir()):
        raise InvalidValueError(f"{folder} must be empty: choose another folder")
    write_whole(folder / PLAN, plan)
    write_label_names(folder / VOCABULARY, world.label_names)
    counts, labels = np.zeros(wanted.statistics.classes, np.int64), 0
    with whole_file(folder / WORDS) as unfinished, unfinished.open("w", encoding="utf-8") as words:
        for number, count in enumerate(shard_counts(wanted, part)):
            rows = shard_rows(world, wanted, part, number)
            assert rows.labels is not None
            words.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in rows.beside["words"])
            path = folder / f"{part}{number:05d}.tfrecord"
            if not path.is_file():
                write_records(path, encoded(rows))
            counts += np.bincount(rows.labels.classes, minlength=len(counts))
            labels += len(rows.labels.classes)
            progress(count)
    videos = wanted.count(part)
    return Generated(folder, videos, _statistics(counts, videos))


def shard_counts(wanted: Wanted, part: str) -> list[int]:
    """Videos of each shard of a part."""
    size, count = shard_size(wanted), wanted.count(part)
    return [min(size, count - start) for start in range(0, count, size)]


def shard_size(wanted: Wanted) -> int:
    """Videos a shard; fewer with frames, so that a shard stays within some 300 MB."""
    if wanted.level == "video":
        return wanted.shard_videos
    return max(1, min(wanted.shard_videos, 250_000 // wanted.most_frames))


def shard_rows(world: World, wanted: Wanted, part: str, number: int) -> ShardRows:
    """One shard, drawn from a seed of its own: the same whatever was drawn before."""
    size, count = shard_size(wanted), shard_counts(wanted, part)[number]
    rng = np.random.default_rng([wanted.seed, _PARTS[part], number])
    ids = [f"{part[:2]}{number * size + at:09d}" for at in range(count)]
    labels = world.draw_labels(count, rng)
    latents = world.latents(labels)
    lengths = None
    if wanted.level == "video":
        visual, audio = world.features(latents, rng)
    else:
        lengths = rng.integers(max(1, wanted.most_frames * 2 // 5), wanted.most_frames + 1, count)
        visual, audio = _frames(world, latents, lengths, rng)
    lines = world.draw_words(ids, labels, rng)
    values = {VISUAL.name: visual, AUDIO.name: audio}
    return ShardRows(ids, values, labels, lengths=lengths, beside={"words": lines})


def _frames(world: World, latents: Array, lengths: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Frames of all videos one after the other, uint8: a video's latent, wandering from second to second."""
    total = int(lengths.sum())
    made = tuple(np.empty((total, block.dim), np.uint8) for block in (VISUAL, AUDIO))
    base = latents + 1.1 * rng.standard_normal(latents.shape, dtype=np.float32)
    start = 0
    for row, length in zip(base, lengths.tolist(), strict=True):
        wander = rng.standard_normal((length, LATENT), dtype=np.float32)
        for out, view, noise in zip(made, world.views, (1.0, 3.0), strict=True):
            seen = np.tanh(np.float32(0.35) * ((row + np.float32(noise) * wander) @ view))
            out[start : start + length] = quantise(seen, "floor")
        start += length
    return made[0], made[1]


def measured(labels: Labels) -> dict[str, float]:
    """What a set's labels measure: labels a video, share of the ten commonest classes, classes that occur."""
    return _statistics(np.bincount(labels.classes, minlength=labels.count), len(labels))


def _statistics(counts: Array, videos: int) -> dict[str, float]:
    falling = np.sort(counts)[::-1]
    return {
        "labels_per_video": float(counts.sum() / max(1, videos)),
        "top_share": float(falling[:10].sum() / max(1, counts.sum())),
        "classes_seen": int((counts > 0).sum()),
    }
