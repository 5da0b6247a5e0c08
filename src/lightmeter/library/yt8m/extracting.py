"""One video → a row a second of sight and of sound, as YouTube-8M has them. Runs in a worker that may be killed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.encoders.protocol import Encoder
from lightmeter.engines.stage import Beat, Failure, Result, Task
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.door import pinned
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.probe import probe
from lightmeter.media.sound import SoundReader
from lightmeter.media.video import FrameReader
from lightmeter.media.words import find_words
from lightmeter.parts import build
from lightmeter.types import Array, Image, Sound

VERSION = 2
AT_ONCE = 16
WINDOW_S = 0.96
"""A row of sound hears this much, from its second on: 96 steps of 10 ms."""
USUAL_RATE_HZ = 16_000
MOST_SECONDS = 360
_MOST_NOTES = 3
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(slots=True)
class ExtractStage:
    """Reads one video a task; the payload holds its `path`, the `root` that it must not leave, and its `name`.

    visual: spec of an encoder of pictures · audio: spec of an encoder of sound, "" for none
    max_seconds: seconds of a video that are looked at
    A result's value: `visual` float16 [T, D], the frames shown at the seconds 0, 1, … T − 1 after the first one ·
    `audio` float16 [T, D'], what is heard in the 0.96 s from each of them on, or None where the video has no sound ·
    `words`: (source, title, keywords) · `state`: ok or damaged, with `notes`.
    Source: the frames and windows of MediaPipe's youtube8m graph (1 frame a second from time 0; 16 kHz mono, frames of
    0.96 s, one a second); the encoders are yours.
    """

    visual: str
    audio: str
    max_seconds: int = MOST_SECONDS
    limits: MediaLimits = DEFAULT_LIMITS
    _open: tuple[Encoder, Encoder | None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.max_seconds < 1:
            raise InvalidValueError(f"max_seconds must be at least 1, got {self.max_seconds}")

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results."""
        return f"extract-{VERSION}/visual={self.visual},audio={self.audio},max_seconds={self.max_seconds}"

    def open(self) -> None:
        """Load the encoders."""
        visual, audio = encoders_of(self.visual, self.audio)
        visual.load()
        if audio is not None:
            audio.load()
        self._open = visual, audio

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """One outcome a video; one that is refused is a failure with its code."""
        outcomes: list[Result | Failure] = []
        for task in tasks:
            beat()
            try:
                outcomes.append(Result(task.key, self._look(task.payload, beat)))
            except RejectedFileError as error:
                outcomes.append(Failure(task.key, f"rejected:{error.code}", error.detail))
        return outcomes

    def _look(self, asked: dict[str, Any], beat: Beat) -> dict[str, Any]:
        path, root = Path(asked["path"]), Path(asked["root"])
        with pinned(path, root):
            seen = probe(path, self.limits)
            if seen.kind != "video":
                raise RejectedFileError("no-video", f"it holds {seen.kind} only: extract reads videos")
            words = find_words(path, root, limits=self.limits, beat=beat)
            looked = _Looking(self, path, beat)
            visual = looked.frames()
            audio = looked.sounds(len(visual)) if seen.has_sound else None
        return {
            "name": asked["name"],
            "visual": visual,
            "audio": audio,
            "words": [(each.source, each.title, list(each.keywords)) for each in words.value],
            "state": "damaged" if looked.notes else "ok",
            "notes": [*looked.notes, *words.notes[:_MOST_NOTES]],
        }


class _Looking:
    """The rows of one video."""

    def __init__(self, stage: ExtractStage, path: Path, beat: Beat) -> None:
        assert stage._open is not None, "run before open"
        self.stage, self.path, self.beat = stage, path, beat
        self.visual, self.audio = stage._open
        self.notes: list[str] = []

    def frames(self) -> Array:
        """Sight: float16 [T, D], T of 1 or more."""
        side = getattr(self.visual, "short_side", None)
        reader = FrameReader(self.path, fps=1.0, short_side=side, limits=self.stage.limits, beat=self.beat)
        pictures = (Image(frame) for _, frame in islice(reader, self.stage.max_seconds))
        rows = encoded(self.visual, pictures, self.beat)
        if not len(rows):
            raise RejectedFileError("undecodable", "no frame of the video could be decoded")
        self._note(reader.state, reader.notes)
        return rows

    def sounds(self, count: int) -> Array | None:
        """Sound: float16 [count, D']; None, and a note, where the track cannot be decoded."""
        if self.audio is None:
            return None
        rate_hz = int(getattr(self.audio, "rate_hz", USUAL_RATE_HZ))
        reader = SoundReader(self.path, rate_hz=rate_hz, limits=self.stage.limits, beat=self.beat)
        try:
            rows = encoded(self.audio, seconds_of(reader, count), self.beat)
        except RejectedFileError as error:
            self.notes.append(f"its sound is left out: {error.detail}")
            return None
        self._note(reader.state, reader.notes)
        return rows

    def _note(self, state: str, notes: Sequence[str]) -> None:
        if state == "damaged":
            self.notes += [note for note in notes if note not in self.notes]


def encoders_of(visual: str, audio: str) -> tuple[Encoder, Encoder | None]:
    """The two encoders of these specs; audio "" is none.  Raises InvalidValueError where they take other things."""
    seeing = build(visual, "encoder")
    if seeing.takes != "image":
        raise InvalidValueError(f"--encoder must take pictures, got {visual}, which takes {seeing.takes}: see --sound")
    hearing = build(audio, "encoder") if audio else None
    if hearing is not None and hearing.takes != "sound":
        raise InvalidValueError(f"--sound must take sound, got {audio}, which takes {hearing.takes}: try log-mel")
    return seeing, hearing


def encoded(encoder: Encoder, items: Iterator[Any], beat: Beat) -> Array:
    """Rows of a stream of items, a few of which are in memory at a time: float16 [N, D]."""
    parts = [np.empty((0, encoder.dim), np.float16)]
    while some := list(islice(items, AT_ONCE)):
        rows = encoder.encode(some)
        largest = float(np.abs(rows).max(initial=0))
        if not largest <= _LARGEST:
            raise RejectedFileError(
                "not-numbers",
                f"features must be finite and within {_LARGEST:.0f}, got {largest:g} of {encoder.spec}: "
                "scale them in the encoder",
            )
        parts.append(rows.astype(np.float16))
        beat()
    return np.concatenate(parts)


def seconds_of(reader: SoundReader, count: int) -> Iterator[Sound]:
    """What is heard in the 0.96 s from the seconds 0, 1, … count − 1 of a video on, silence where there is no sound.

    Second 0 is that of the first frame: a track that begins late is preceded by silence, one that ends early followed.
    Memory: a block of the reader and two seconds.
    """
    rate, window = reader.rate_hz, round(WINDOW_S * reader.rate_hz)
    held: Array | None = None
    given = 0
    for start_s, block in reader:
        if held is None:
            held = np.zeros(min(round(start_s * rate), count * rate), np.float32)
        held = np.concatenate([held, block.samples])
        while len(held) >= rate and given < count:
            yield Sound(held[:window], rate)
            held, given = held[rate:], given + 1
        if given == count:
            return
    held = np.zeros(0, np.float32) if held is None else held
    for at in range(count - given):
        heard = held[at * rate : at * rate + window]
        yield Sound(np.pad(heard, (0, window - len(heard))), rate)
