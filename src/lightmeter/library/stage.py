"""One file → what the library keeps of it: identity, measures, words, features. Runs in a worker that may be killed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import file_sha256
from lightmeter.encoders.protocol import Encoder, understands
from lightmeter.engines.stage import Beat, Failure, Result, Task
from lightmeter.errors import RejectedFileError
from lightmeter.library.coverage import specs_of
from lightmeter.library.leaving_out import RowsOf, check_some
from lightmeter.library.twins import twin_of_image, twin_of_sound
from lightmeter.media.door import open_file, pinned
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.probe import Probe, probe
from lightmeter.media.words import find_words
from lightmeter.parts import build
from lightmeter.types import Array, Image, Words

VERSION = 2
FRAMES_AT_ONCE = 16
REMEMBERED_TEXTS = 4096
SOUND_WINDOW_S = 10.0
MOST_WORD_NOTES = 3


@dataclass(slots=True)
class IndexStage:
    """Reads one file a task.

    encoders: specs; one with a `base` must stand behind it, and takes its features instead of the pictures
    words: spec of the text encoder for what is written about a file, "" for none
    library: folder whose known contents need not be encoded again · fps: frames a second of video that are encoded
    """

    encoders: tuple[str, ...]
    words: str
    library: Path
    fps: float = 1.0
    limits: MediaLimits = DEFAULT_LIMITS
    _open: _Tools | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results."""
        return f"index-{VERSION}/fps={self.fps},encoders={list(self.encoders)},words={self.words}"

    def made(self) -> list[Encoder]:
        """The encoders, none of them read yet."""
        return [build(spec, "encoder") for spec in self.encoders]

    def open(self) -> None:
        """Load the encoders and look into the library."""
        from lightmeter.library.store import open_library

        made = self.made()
        text = build(self.words, "encoder") if self.words else None
        for encoder in (*made, *([text] if text else [])):
            encoder.load()
        self._open = _Tools(made, text, open_library(self.library))

    def close(self) -> None:
        """Let go of the library: a connection left open in the supervisor's process would go stale there."""
        if self._open is not None:
            self._open.library.close()
            self._open = None

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """One outcome a file; a file that is refused is a failure with its code."""
        outcomes: list[Result | Failure] = []
        for task in tasks:
            beat()
            try:
                outcomes.append(Result(task.key, self._look(task.payload, beat)))
            except RejectedFileError as error:
                outcomes.append(Failure(task.key, f"rejected:{error.code}", error.detail))
        return outcomes

    def _look(self, asked: dict[str, Any], beat: Beat) -> dict[str, Any]:
        tools = self._open
        assert tools is not None, "run before open"
        path = Path(asked["path"])
        with pinned(path, asked["root"]) as status:
            found = self._read(tools, path, asked, beat)
            if _now(path) != _stamp(status):
                raise RejectedFileError("changed", "the file changed while it was read: index again")
        return found | {"taken_at": found["taken_at"] or _iso(status.st_mtime)}

    def _read(self, tools: _Tools, path: Path, asked: dict[str, Any], beat: Beat) -> dict[str, Any]:
        with open_file(path, follow=False) as file:
            digest = file_sha256(file, beat)
        seen = probe(path, self.limits)
        words = find_words(path, Path(asked["root"]), limits=self.limits, beat=beat)
        known = specs_of(tools.library.catalogue, digest)
        reader = _Encoding(self, tools, path, seen, beat)
        features = reader.features([encoder for encoder in tools.encoders if encoder.spec not in known])
        twins = reader.twins() if asked.get("twin") else {}
        return {
            "path": asked["path"],
            "size_bytes": asked["size_bytes"],
            "stamp_ns": asked["stamp_ns"],
            "id": digest,
            "kind": seen.kind,
            "width": seen.width,
            "height": seen.height,
            "duration_s": seen.duration_s,
            "taken_at": seen.taken_at,
            "state": reader.state,
            "notes": [*reader.notes, *words.notes[:MOST_WORD_NOTES]],
            "words": [(each.source, each.title, each.keywords) for each in words.value],
            "words_features": tools.words_rows(words.value),
            "features": features,
            "twins": twins,
        }


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is written to or replaced; not its ctime, which a new name or mode changes as well."""
    return status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


def _now(path: Path) -> tuple[int, ...]:
    try:
        return _stamp(os.lstat(path))
    except OSError as error:
        raise RejectedFileError("missing", f"the file is gone since it was listed: {error.strerror}") from error


def _iso(time_s: float) -> str | None:
    """The date of a file; None beyond the years 1 to 9999."""
    try:
        return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    except (ValueError, OverflowError, OSError):
        return None


@dataclass(slots=True)
class _Tools:
    encoders: list[Encoder]
    text: Encoder | None
    library: Any
    rows: dict[str, Array] = field(default_factory=dict)

    def words_rows(self, words: Sequence[Words]) -> Array | None:
        """A row for each text that the encoder knows the words of: float32 [N, D]; None where there is none.

        Bursts and folders repeat their words, so the last few thousand rows are remembered.
        """
        told = [each.text for each in words if each.text and self.text and understands(self.text, each.text)]
        if not told or self.text is None:
            return None
        if len(self.rows) > REMEMBERED_TEXTS:
            self.rows.clear()
        for text in told:
            if text not in self.rows:
                self.rows[text] = self.text.encode([Words(text)])[0]
        return np.stack([self.rows[text] for text in told])


class _Encoding:
    """The features of one file, each picture decoded once for all encoders."""

    def __init__(self, stage: IndexStage, tools: _Tools, path: Path, seen: Probe, beat: Beat) -> None:
        self.stage, self.tools, self.path, self.seen, self.beat = stage, tools, path, seen, beat
        self.state = "ok"
        self.notes: list[str] = []
        self._pixels: Image | None = None

    def features(self, encoders: Sequence[Encoder]) -> dict[str, tuple[Array, Array | None]]:
        """Spec → (vectors float32 [N, D], times_s float64 [N] or None); an empty [0, D] says: nothing there."""
        found: dict[str, tuple[Array, Array | None]] = {}
        pictures = [e for e in encoders if e.takes == "image" and getattr(e, "base", None) is None]
        derived: list[Any] = [e for e in encoders if e.takes == "image" and getattr(e, "base", None) is not None]
        if self.seen.kind == "image":
            found |= self._image([*pictures, *self._bases(derived, pictures)])
        elif self.seen.kind == "video":
            found |= self._video([*pictures, *self._bases(derived, pictures)])
        for encoder in derived:
            if encoder.base in found:
                vectors, times_s = found[encoder.base]
                found[encoder.spec] = (encoder.derive(vectors), times_s)
        sounds = [e for e in encoders if e.takes == "sound"]
        if sounds and self.seen.has_sound:
            found |= self._sound(sounds)
        wanted = {encoder.spec: encoder.dim for encoder in encoders}
        empty = {spec: (np.empty((0, dim), np.float32), None) for spec, dim in wanted.items() if spec not in found}
        return {spec: rows for spec, rows in (found | empty).items() if spec in wanted}

    def _bases(self, derived: Sequence[Any], pictures: Sequence[Encoder]) -> list[Encoder]:
        """Base encoders that must run although their own features are known already."""
        running = {encoder.spec for encoder in pictures}
        return [build(spec, "encoder") for spec in {e.base for e in derived} if spec not in running]

    def _image(self, encoders: Sequence[Encoder]) -> dict[str, tuple[Array, Array | None]]:
        made = [RowsOf(encoder, self.beat) for encoder in encoders]
        for each in made:
            each.add([self._picture(encoders)])
        check_some(made)
        self._note("ok", [each.said("pictures") for each in made])
        return {each.encoder.spec: (each.rows, None) for each in made}

    def _picture(self, encoders: Sequence[Any]) -> Image:
        from lightmeter.media.images import read_image

        if self._pixels is None:
            reading = read_image(self.path, short_side=_short_side(encoders), limits=self.stage.limits)
            self._note(reading.state, reading.notes)
            self._pixels = reading.value
        return self._pixels

    def _video(self, encoders: Sequence[Encoder]) -> dict[str, tuple[Array, Array | None]]:
        from lightmeter.media.video import FrameReader

        made = [RowsOf(encoder, self.beat) for encoder in encoders]
        times: list[float] = []
        if not encoders:
            return {}
        frames = FrameReader(
            self.path, fps=self.stage.fps, short_side=_short_side(encoders), limits=self.stage.limits, beat=self.beat
        )
        for chunk in _chunks(iter(frames)):
            times += [time_s for time_s, _ in chunk]
            images = [Image(frame) for _, frame in chunk]
            for each in made:
                each.add(images)
            self.beat()
        self._note(frames.state, frames.notes)
        if not times:
            raise RejectedFileError("undecodable", "no frame of the video could be decoded")
        check_some(made)
        self._note("ok", [each.said("frames") for each in made])
        shown_s = np.asarray(times, np.float64)
        return {each.encoder.spec: (each.rows, shown_s[np.array(each.kept, np.int64)]) for each in made}

    def _sound(self, encoders: Sequence[Encoder]) -> dict[str, tuple[Array, Array | None]]:
        from lightmeter.media.sound import SoundReader

        rows: dict[str, list[Array]] = {encoder.spec: [] for encoder in encoders}
        times: list[float] = []
        windows = SoundReader(self.path, block_s=SOUND_WINDOW_S, limits=self.stage.limits, beat=self.beat)
        for time_s, sound in windows:
            times.append(time_s)
            for encoder in encoders:
                rows[encoder.spec].append(encoder.encode([sound]))
        self._note(windows.state, windows.notes)
        if not times:
            return {}
        return {spec: (np.concatenate(parts), np.asarray(times, np.float64)) for spec, parts in rows.items()}

    def twins(self) -> dict[str, float]:
        """Spec → cosine of the file with a changed copy of itself: what a related query reaches."""
        found: dict[str, float] = {}
        for encoder in self.tools.encoders:
            self.beat()
            if self.seen.kind == "image" and encoder.takes == "image" and getattr(encoder, "base", None) is None:
                with suppress(RejectedFileError):  # its middle may show no face: then only the twin is missing
                    found[encoder.spec] = twin_of_image(encoder, self._picture([encoder]))
            elif self.seen.kind == "sound" and encoder.takes == "sound":
                found[encoder.spec] = twin_of_sound(
                    encoder, self.path, window_s=SOUND_WINDOW_S, limits=self.stage.limits
                )
        return found

    def _note(self, state: str, notes: Sequence[str]) -> None:
        self.state = "damaged" if "damaged" in (state, self.state) else "ok"
        self.notes += [note for note in notes if note and note not in self.notes]


def _short_side(encoders: Sequence[Any]) -> int | None:
    """The smallest decode that is enough for all; None where one wants every pixel."""
    sides = [encoder.short_side for encoder in encoders]
    return None if None in sides or not sides else max(sides)


def _chunks(frames: Iterator[tuple[float, Array]]) -> Iterator[list[tuple[float, Array]]]:
    chunk: list[tuple[float, Array]] = []
    for frame in frames:
        chunk.append(frame)
        if len(chunk) == FRAMES_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
