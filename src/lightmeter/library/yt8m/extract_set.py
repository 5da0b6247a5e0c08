"""What was extracted → an example set: sampled, reduced, quantised, a shard at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.library.example_set import ExampleSet
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.yt8m.extract_labels import Labelled, id_of
from lightmeter.library.yt8m.extract_store import ExtractStore, Kept
from lightmeter.library.yt8m.reduction import Reduction, load_reductions, save_reductions
from lightmeter.types import Array, Words

Level = Literal["frame", "video"]
SHARD_BYTES = 64 << 20
SHARD_ITEMS = 4096
MOST_SAMPLED = 16_384


@dataclass(frozen=True, slots=True)
class SetOptions:
    """How a set is written of what was extracted; none of it needs the videos again.

    level: a row a second, or the mean of each video · pca, pca_sound: components to keep of sight and sound, None: all
    numbers as they are · span: see `Reduction.fit` · seed: of the sample that reductions are fitted on
    like: folder of a set whose reductions are used instead
    """

    level: Level = "frame"
    pca: int | None = None
    pca_sound: int | None = None
    span: float | None = None
    seed: int = 0
    like: Path | None = None

    def __post_init__(self) -> None:
        for name in ("pca", "pca_sound"):
            if (getattr(self, name) or 1) < 1:
                raise InvalidValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.span is not None and not 0 < self.span < 1e6:
            raise InvalidValueError(f"span must be above 0 and below 1e6, got {self.span}")


def sample(store: ExtractStore, videos: Sequence[Kept], kind: str, dim: int, *, seed: int) -> Array:
    """Rows of as many videos as there are, float32 [≤ 16,384, dim]: the same few of each, drawn from the seed.

    Which rows are drawn depends on the seed and the video's name only.
    """
    heard = [video for video in videos if kind == "visual" or video.has_audio]
    order = sorted(heard, key=lambda video: blake2b(f"{seed} {video.name}".encode(), digest_size=8).digest())
    each = -(-MOST_SAMPLED // max(1, len(heard)))
    parts = [np.empty((0, dim), np.float32)]
    left = MOST_SAMPLED
    for video in order:
        draw = np.random.default_rng([seed, *blake2b(video.name.encode(), digest_size=8).digest()])
        seconds = np.sort(draw.permutation(video.seconds)[: min(each, left)])
        parts.append(store.some(video, kind, dim, seconds).astype(np.float32))
        left -= len(seconds)
        if not left:
            break
    return np.concatenate(parts)


def cut_off(store: ExtractStore, videos: Sequence[Kept], reduction: Reduction, *, seed: int) -> float | None:
    """Share of the sampled numbers of a block that lie beyond what its 8 bits cover; None where no video has it."""
    rows = sample(store, videos, reduction.name, reduction.dim, seed=seed) if reduction.fitted else np.empty((0, 1))
    if not len(rows):
        return None
    numbers = reduction.apply(rows)
    return float(((numbers < reduction.low) | (numbers > reduction.high)).mean())


def reductions_of(
    store: ExtractStore, videos: Sequence[Kept], made_by: dict[str, tuple[str, int]], options: SetOptions
) -> tuple[Reduction, ...]:
    """One a block, unfitted where no video has it; of another set where `options.like` names one.

    made_by: block → spec and dim of its encoder
    """
    if options.like is not None:
        found, _ = load_reductions(options.like)
        theirs = {each.name: (each.made_by, each.dim) for each in found}
        if theirs != made_by:
            raise InvalidValueError(f"the set of --like must be of the same encoders, got {theirs} for {made_by}")
        return found
    wanted = {"visual": options.pca, "audio": options.pca_sound}
    made = []
    for name, (spec, dim) in made_by.items():
        rows = sample(store, videos, name, dim, seed=options.seed)
        made.append(
            Reduction.fit(name, spec, rows, wanted[name], seed=options.seed, span=options.span)
            if len(rows)
            else Reduction.unfitted(name, spec, dim)
        )
    return tuple(made)


def write_extracted(
    folder: Path, store: ExtractStore, videos: Sequence[Kept], reductions: Sequence[Reduction], *,
    level: Level, labelled: Labelled | None, about: dict[str, Any],
) -> ExampleSet:  # fmt: skip
    """Write an example set into an empty or new folder.  Memory: a shard of 64 MiB and its copies."""
    shards = (
        _shard(store, videos[start:stop], reductions, level, labelled, start)
        for start, stop in cuts(videos, reductions, level)
    )
    stored = [each.stored(level) for each in reductions]
    names = labelled.names if labelled is not None else ()
    made = write_set(folder, stored, names, shards, about=about)
    save_reductions(folder, reductions, {**about, "label_names": list(names)})
    return made


def cuts(videos: Sequence[Kept], reductions: Sequence[Reduction], level: Level) -> Iterator[tuple[int, int]]:
    """Where shards begin and end: after 64 MiB of rows or 4,096 videos."""
    width = sum(each.kept for each in reductions)
    start = size_bytes = 0
    for at, video in enumerate(videos):
        size_bytes += width * (video.seconds if level == "frame" else 2)
        if size_bytes >= SHARD_BYTES or at + 1 - start == SHARD_ITEMS or at + 1 == len(videos):
            yield start, at + 1
            start, size_bytes = at + 1, 0


def _shard(
    store: ExtractStore, videos: Sequence[Kept], reductions: Sequence[Reduction], level: Level,
    labelled: Labelled | None, first: int,
) -> ShardRows:  # fmt: skip
    present = np.array([[is_there(video, each) for each in reductions] for video in videos])
    values = {
        each.name: np.concatenate([rows_in_set(store, video, each, level) for video in videos]) for each in reductions
    }
    return ShardRows(
        ids=[id_of(video.name) for video in videos],
        values=values,
        labels=None if labelled is None else labelled.labels.take(np.arange(first, first + len(videos))),
        present=present,
        lengths=np.array([video.seconds for video in videos]) if level == "frame" else None,
        beside={"words": [words_line(video.name, store.words(video)) for video in videos]},
    )


def is_there(video: Kept, reduction: Reduction) -> bool:
    """Whether a video has a block."""
    return reduction.fitted and (reduction.name == "visual" or video.has_audio)


def rows_in_set(store: ExtractStore, video: Kept, reduction: Reduction, level: Level) -> Array:
    """Rows of one block of one video: uint8 [T, K], or float32 [1, K] of the whole; zeros where it has none."""
    if not is_there(video, reduction):
        shape = (video.seconds if level == "frame" else 1, reduction.kept)
        return np.zeros(shape, np.uint8 if level == "frame" else np.float32)
    rows = reduction.apply(store.rows(video, reduction.name, reduction.dim))
    return reduction.bytes_of(rows) if level == "frame" else rows.mean(axis=0, keepdims=True, dtype=np.float64)


def words_line(name: str, words: Sequence[Words]) -> dict[str, Any]:
    """A line of `words.jsonl`: the best title and the best keywords of a video, and where they were found.

    Words of the file's own name count only where there are no others; what nobody wrote is left out.
    """
    line: dict[str, Any] = {"id": id_of(name), "path": name}
    title = next((each for each in words if each.title), None)
    keywords = next((each for each in words if each.keywords), None)
    if title is not None:
        line |= {"title": title.title, "title_from": title.source}
    if keywords is not None:
        line |= {"keywords": list(keywords.keywords), "keywords_from": keywords.source}
    return line
