"""Files that a command was asked about, read where hostile bytes may do no harm: in a worker that may be killed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.engines.events import Event
from lightmeter.engines.ledger import Ledger
from lightmeter.engines.limits import Limits
from lightmeter.engines.local import Local
from lightmeter.engines.run import run
from lightmeter.engines.stage import Beat, Failure, Result, Stage, Task
from lightmeter.errors import RejectedFileError
from lightmeter.library.leaving_out import RowsOf
from lightmeter.library.room import room_bytes
from lightmeter.library.stage import SOUND_WINDOW_S
from lightmeter.media.sniff import sniff
from lightmeter.parts import build
from lightmeter.types import Array, Clip, Image

LONGEST_SIDES = 4
"""A thumbnail's long side is at most so many times its short side."""
_LIMITS = Limits(attempts=1)
_TOGETHER = 8  # thumbnails a batch

Takes = Literal["image", "sound"]
Looked = dict[str, Result | Failure]


def encode_file(path: Path | str, spec: str, takes: Takes) -> Array:
    """The rows by which a file asks: float32 [Q, D].

    takes: `image`: a picture is one row, a video a row a second; `sound`: a row for every 10 s
    Raises RejectedFileError: why the file cannot be read, or what its worker died of (`timeout`, `memory`, `signal`).
    Cost: a worker's start and the encoder's load, then decoding and encoding. Memory: a few frames and the rows.
    """
    (encoded,) = encode_files([path], spec, takes)
    if isinstance(encoded, RejectedFileError):
        raise encoded
    return encoded.rows


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The rows of a file, float32 [Q, D], and what was wrong with it although it could be read.

    damage: also says how many frames the encoder left out, such as those without a face
    """

    rows: Array
    damage: str = ""


def encode_files(
    paths: Sequence[Path | str], spec: str, takes: Takes, *, events: Callable[[Event, int], None] | None = None
) -> list[Encoded | RejectedFileError]:
    """The same of several files, in one worker: rows, or the error that says why there are none."""
    tasks = [Task(str(at), {"path": os.fspath(path)}) for at, path in enumerate(paths)]
    heard = None if events is None else lambda event: events(event, len(tasks))
    if not tasks:
        return []
    limits = replace(_LIMITS, memory_bytes=room_bytes([build(spec, "encoder")]))
    looked = look(EncodeStage(spec, takes), tasks, limits=limits, events=heard)
    return [_encoded_or_error(looked[task.key]) for task in tasks]


def thumbnails(asks: Sequence[tuple[Path | str, float | None]], *, short_side: int) -> list[Image | str]:
    """Small pictures of files: (path, moment of a video) → picture, or a word that says why there is none.

    A picture's short side is at least short_side, unless its own is less or it is longer than four of them.
    Cost: one worker's start for all, then one scaled decode each.
    """
    tasks = [Task(str(at), {"path": os.fspath(path), "time_s": time_s}) for at, (path, time_s) in enumerate(asks)]
    looked = look(ThumbnailStage(short_side), tasks) if tasks else {}
    return [_picture(looked[task.key]) for task in tasks]


def strip(path: Path | str, *, count: int, short_side: int) -> Clip:
    """At most `count` frames of a video, spread evenly over it, first and last included.

    Raises RejectedFileError as `encode_file`.  Cost: a worker's start, then what those frames need to be decoded.
    """
    value = only(look(StripStage(count, short_side), [Task("0", {"path": os.fspath(path)})]))
    return Clip(value["frames"], value["times_s"])


def _encoded_or_error(outcome: Result | Failure) -> Encoded | RejectedFileError:
    if isinstance(outcome, Failure):
        return RejectedFileError(outcome.reason.removeprefix("rejected:"), outcome.detail)
    return Encoded(**outcome.value)


def _picture(outcome: Result | Failure) -> Image | str:
    if isinstance(outcome, Failure):
        code = outcome.reason.removeprefix("rejected:")
        return "sound" if code == "no-video" else code
    return Image(outcome.value["pixels"])


def only(looked: Looked) -> dict[str, Any]:
    """The outcome of a run of one task; raises RejectedFileError where it failed."""
    (outcome,) = looked.values()
    if isinstance(outcome, Failure):
        raise RejectedFileError(outcome.reason.removeprefix("rejected:"), outcome.detail)
    return outcome.value


def look(
    stage: Stage, tasks: Sequence[Task], *, limits: Limits = _LIMITS, events: Callable[[Event], None] | None = None
) -> Looked:  # fmt: skip
    """Run a few tasks in one worker, with a ledger that nobody keeps: key of each task → its outcome."""
    kept = _Kept()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        ledger = Ledger(connection, remember=False)
        report = run(
            stage, tasks, kept, ledger=ledger, engine=Local(workers=1), limits=limits, batch_size=_TOGETHER,
            events=events,
        )  # fmt: skip
    if report.stopped:
        raise KeyboardInterrupt
    return kept.looked


class _Kept:
    """Holds the outcomes."""

    def __init__(self) -> None:
        self.looked: Looked = {}

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        self.looked |= {each.key: each for each in results}
        self.looked |= {each.key: each for each in failures}


# -- in the worker ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class EncodeStage:
    """Encodes files with one encoder."""

    spec: str
    takes: Takes
    _encoder: Any = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results."""
        return f"encode/{self.takes},{self.spec}"

    def open(self) -> None:
        """Load the encoder."""
        self._encoder = build(self.spec, "encoder")
        self._encoder.load()

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """One array of rows a file."""
        outcomes: list[Result | Failure] = []
        for task in tasks:
            try:
                outcomes.append(Result(task.key, self._encoded(task.payload["path"], beat)))
            except RejectedFileError as error:
                outcomes.append(Failure(task.key, f"rejected:{error.code}", error.detail))
        return outcomes

    def _encoded(self, path: str, beat: Beat) -> dict[str, Any]:
        from lightmeter.media.images import read_image
        from lightmeter.media.sound import SoundReader
        from lightmeter.media.video import FrameReader

        encoder = self._encoder
        assert encoder is not None, "run before open"
        items: Iterator[Any]
        damage, reader = "", None
        if self.takes == "sound":
            items = (sound for _, sound in SoundReader(path, block_s=SOUND_WINDOW_S, beat=beat))
        elif (found := sniff(path)) is not None and found.kind == "image":
            reading = read_image(path, short_side=encoder.short_side)
            damage = "; ".join(reading.notes) if reading.state == "damaged" else ""
            items = iter([reading.value])
        else:
            reader = FrameReader(path, fps=1.0, short_side=encoder.short_side, beat=beat)
            items = (Image(frame) for _, frame in reader)
        made = RowsOf(encoder, beat)
        for item in items:
            made.add([item])
        made.check()
        notes = list(reader.notes) if reader is not None and reader.state == "damaged" else []
        said = [damage, *notes, made.said("frames")]
        return {"rows": made.rows, "damage": "; ".join(note for note in said if note)}


@dataclass(frozen=True, slots=True)
class ThumbnailStage:
    """Decodes pictures, or one frame of videos, and makes them small."""

    short_side: int

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results."""
        return f"thumbnails/{self.short_side}"

    def open(self) -> None:
        """Nothing to load."""

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """One array of pixels a file."""
        outcomes: list[Result | Failure] = []
        for task in tasks:
            beat()
            try:
                outcomes.append(Result(task.key, {"pixels": self._pixels(**task.payload)}))
            except RejectedFileError as error:
                outcomes.append(Failure(task.key, f"rejected:{error.code}", error.detail))
        return outcomes

    def _pixels(self, path: str, time_s: float | None) -> Array:
        from lightmeter.media.images import read_image
        from lightmeter.media.video import frame_at

        found = sniff(path)
        if found is None:
            raise RejectedFileError("not media", "this is no picture, video or sound")
        if found.kind == "image":
            return _bounded(read_image(path, short_side=self.short_side).value.pixels, self.short_side)
        return _bounded(frame_at(path, time_s or 0.0, short_side=self.short_side).value.pixels, self.short_side)


@dataclass(frozen=True, slots=True)
class StripStage:
    """Chooses frames of videos, evenly."""

    count: int
    short_side: int

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results."""
        return f"strips/{self.count},{self.short_side}"

    def open(self) -> None:
        """Nothing to load."""

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """Frames and times a video."""
        return [Result(task.key, self._frames(task.payload["path"], beat)) for task in tasks]

    def _frames(self, path: str, beat: Beat) -> dict[str, Array]:
        from lightmeter.media.probe import probe
        from lightmeter.media.video import FrameReader
        from lightmeter.report.sheet import spread_out

        duration_s = probe(path).duration_s
        fps = min(60.0, max(1e-5, 4 * self.count / max(duration_s, 0.1))) if duration_s else 1.0
        shown = _thinned(FrameReader(path, fps=fps, short_side=self.short_side, beat=beat), 8 * self.count)
        chosen = [shown[at] for at in spread_out(len(shown), self.count)]
        frames = np.stack([_bounded(frame, self.short_side) for _, frame in chosen])
        return {"frames": frames, "times_s": np.array([time_s for time_s, _ in chosen])}


def _thinned(frames: Iterable[tuple[float, Array]], most: int) -> list[tuple[float, Array]]:
    """At least half of `most` evenly spaced frames when there are as many, never more than `most`: headers may lie."""
    kept: list[tuple[float, Array]] = []
    every = 1
    for at, frame in enumerate(frames):
        if at % every == 0:
            kept.append(frame)
            if len(kept) == most:
                kept, every = kept[::2], 2 * every
    return kept


def _bounded(pixels: Array, short_side: int) -> Array:
    """The same with its long side at most LONGEST_SIDES times short_side."""
    from PIL import Image as pillow  # noqa: N813

    most = LONGEST_SIDES * short_side
    if max(pixels.shape[:2]) <= most:
        return pixels
    made = pillow.fromarray(pixels)
    made.thumbnail((most, most))
    return np.array(made)
