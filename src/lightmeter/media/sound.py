"""Sound of a file or of a video's track: one channel, resampled, its loudness as it is; and its log-mel picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.containers import Opened, open_container
from lightmeter.media.decoding import Pulse
from lightmeter.media.door import name_of
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.reading import Reading
from lightmeter.types import Array, Sound

_FROM_ZERO = ("matroska", "mp4", "m4a")  # formats whose clock starts at 0 when they are played


class SoundReader:
    """Iterates over (start_s, Sound) blocks of a file's sound, each `block_s` long but the last.

    Sounds are one channel (the mean of all but that for low effects), resampled to rate_hz, loudness untouched.
    start_s: since the first frame of a video, or since a file's own zero: a track may begin late
    state, notes, duration_s (of the sound itself): complete once the iteration has ended
    Memory: one block, whatever the length. A gap inside a track is closed up: times behind it are early by its length.
    Raises RejectedFileError: what `sniff` raises, `no-sound`, `unreadable`, `too-large`.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        rate_hz: int = 16_000,
        block_s: float = 10.0,
        limits: MediaLimits = DEFAULT_LIMITS,
        beat: Callable[[], None] | None = None,
    ) -> None:
        if not 1000 <= rate_hz <= 384_000 or block_s * rate_hz < 1:
            raise InvalidValueError(f"rate_hz must be 1000..384000 and block_s above 0, got {rate_hz} and {block_s}")
        self.path, self.rate_hz, self.limits = Path(path), rate_hz, limits
        self.block = round(block_s * rate_hz)
        self.beat = beat
        self.state: Literal["ok", "damaged"] = "ok"
        self.notes: tuple[str, ...] = ()
        self.start_s = self.duration_s = 0.0

    def __iter__(self) -> Iterator[tuple[float, Sound]]:
        held: list[Array] = []
        count = done = 0
        for piece in self._pieces():
            held.append(piece)
            count += len(piece)
            while count >= self.block:
                joined = np.concatenate(held)
                yield self.start_s + done / self.rate_hz, Sound(joined[: self.block], self.rate_hz)
                done += self.block
                held, count = [joined[self.block :]], count - self.block
        if count:
            yield self.start_s + done / self.rate_hz, Sound(np.concatenate(held), self.rate_hz)

    def _pieces(self) -> Iterator[Array]:
        with open_container(self.path, self.limits) as opened:
            if opened.sound is None:
                raise RejectedFileError("no-sound", f"{name_of(self.path)} holds no sound that can be decoded")
            track = _Track(opened, self.rate_hz, Pulse(self.beat))
            samples = 0
            for piece in track:
                samples += len(piece)
                self.start_s = track.start_s
                self.duration_s = samples / self.rate_hz
                if self.duration_s > self.limits.duration_s:
                    raise RejectedFileError(
                        "too-large", f"longer than {self.limits.duration_s:.0f} s: that is the limit"
                    )
                yield piece
            if not samples:
                raise RejectedFileError("unreadable", f"{name_of(self.path)}: no sound could be decoded")
            self.notes = track.notes(self.duration_s)
            self.state = "damaged" if track.damaged else "ok"


class _Track:
    """The samples of one sound stream: float32 pieces of any length."""

    def __init__(self, opened: Opened, rate_hz: int, pulse: Pulse) -> None:
        from av.audio.resampler import AudioResampler
        from av.stream import Discard

        assert opened.sound is not None
        self.opened, self.stream, self.pulse = opened, opened.sound, pulse
        self.resampler = AudioResampler(format="fltp", rate=rate_hz)
        self.errors, self.clipped, self.damaged = 0, False, False
        self.first_s: float | None = None  # stamp of the first frame
        for other in opened.container.streams:
            if other is not self.stream:
                other.discard = Discard.all
        self.stream.codec_context.thread_count = 1

    def __iter__(self) -> Iterator[Array]:
        from av.error import FFmpegError

        try:
            for packet in self.opened.container.demux(self.stream):
                self.pulse.beat()
                for frame in self._decode(packet):
                    if self.first_s is None:
                        self.first_s = float(frame.pts * frame.time_base) if frame.pts is not None else 0.0
                    yield from self._resample(frame)
        except FFmpegError:
            self.errors += 1
        yield from self._resample(None)

    def _decode(self, packet: Any) -> list[Any]:
        from av.error import FFmpegError

        try:
            return list(packet.decode())
        except EOFError:
            return []
        except FFmpegError:
            self.errors += 1
            return []

    def _resample(self, frame: Any) -> Iterator[Array]:
        from av.error import FFmpegError

        try:
            pieces = self.resampler.resample(frame)
        except (FFmpegError, ValueError):  # a frame of another layout or rate than the first
            self.errors += 1
            return
        for piece in pieces:
            samples = np.nan_to_num(_one_channel(piece))
            self.clipped |= bool(samples.size and np.abs(samples).max() > 1)
            yield np.clip(samples, -1, 1)

    def notes(self, seen_s: float) -> tuple[str, ...]:
        found = []
        if self.errors:
            found.append(f"{self.errors} parts could not be decoded")
        declared_s = self._declared_s()
        if declared_s is not None and declared_s - seen_s > max(0.5, 0.02 * declared_s):
            found.append(f"it ends at {seen_s:.2f} s, its header says {declared_s:.2f} s")
        self.damaged = bool(found)
        if self.clipped:
            found.append("samples beyond -1..1 were clipped")
        return tuple(found)

    @property
    def start_s(self) -> float:
        """When the first sample is heard, never below 0; formats whose clock starts anywhere start with the sound."""
        first_s, video = self.first_s or 0.0, self.opened.video
        if video is not None:
            zero_s = float(video.start_time * video.time_base) if video.start_time and video.time_base else 0.0
        else:
            zero_s = 0.0 if self.opened.format.name in _FROM_ZERO else first_s
        return max(0.0, first_s - zero_s)

    def _declared_s(self) -> float | None:
        """How long the header says that this track is.

        Of a track that was not met while the headers were read FFmpeg knows nothing: it repeats the file's start and
        length, which say nothing of a sound that begins late and may end early.
        """
        stream = self.stream
        if not stream.duration or not stream.time_base:
            return None
        late_s = (self.first_s or 0.0) - float((stream.start_time or 0) * stream.time_base)
        return float(stream.duration * stream.time_base) if late_s < 0.5 else None


def _one_channel(frame: Any) -> Array:
    """The mean of the channels, that for low effects left out: equal channels keep their loudness, none clips."""
    planes = frame.to_ndarray()
    heard = [i for i, channel in enumerate(frame.layout.channels) if not channel.name.startswith("LFE")]
    if len(planes) > 1 and heard:
        planes = planes[heard]
    return np.asarray(planes.mean(axis=0, dtype=np.float32))


def read_sound(
    path: Path | str,
    *,
    rate_hz: int = 16_000,
    limits: MediaLimits = DEFAULT_LIMITS,
    beat: Callable[[], None] | None = None,
) -> Reading[Sound]:
    """All the sound of a file, or of a video's track, at once, from its first sample on.

    Memory: 4 bytes a sample, refused with `too-large` above `limits.sound_bytes`; SoundReader needs one block only.
    """
    reader = SoundReader(path, rate_hz=rate_hz, block_s=60.0, limits=limits, beat=beat)
    pieces, held_bytes = [], 0
    for _, piece in reader:
        held_bytes += piece.samples.nbytes
        if held_bytes > limits.sound_bytes:
            raise RejectedFileError(
                "too-large", f"more than {limits.sound_bytes} bytes of samples: read it block by block"
            )
        pieces.append(piece.samples)
    return Reading(Sound(np.concatenate(pieces), rate_hz), reader.state, reader.notes)


def log_mel(sound: Sound, *, bands: int = 64, window_s: float = 0.025, step_s: float = 0.010) -> Array:
    """Log energies in bands that are equally wide on the mel scale.

    sound: [S] -> float32 [T, bands], T = 1 + (S - window) // step; a sound shorter than a window is padded to one row
    Each row: Hann window, power spectrum, triangles of height 1 on the HTK scale, mel = 2595 log10(1 + f / 700), from
    0 Hz to half the rate, then ln(energy + 1e-6). The window is scaled so that energies do not depend on its length.
    Cost: O(T * window * log(window)).  Source: Davis and Mermelstein 1980; HTK book, section 5.4.
    """
    window, step = round(window_s * sound.rate_hz), round(step_s * sound.rate_hz)
    if window < 2 or step < 1 or bands < 1:
        raise InvalidValueError(f"a window must be at least 2 samples and a step 1, got {window} and {step}")
    size = 1 << (window - 1).bit_length()
    weights, triangles = _hann(window), _triangles(bands, size, sound.rate_hz)
    samples = np.pad(sound.samples, (0, max(0, window - len(sound.samples))))
    pieces = np.lib.stride_tricks.sliding_window_view(samples, window)[::step]
    out = np.empty((len(pieces), bands), np.float32)
    for start in range(0, len(pieces), 1024):
        spectrum = np.abs(np.fft.rfft(pieces[start : start + 1024] * weights, size)) ** 2
        out[start : start + 1024] = np.log(spectrum @ triangles + 1e-6)
    return out


@cache
def _hann(window: int) -> Array:
    """A Hann window scaled so that a full-scale sine has a power of about one half."""
    raw = np.hanning(window + 1)[:-1]
    return np.asarray(raw * np.sqrt(2.0) / raw.sum(), np.float64)


@cache
def _triangles(bands: int, size: int, rate_hz: int) -> Array:
    """float64 [size // 2 + 1, bands]"""
    top = 2595 * np.log10(1 + rate_hz / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins_hz = np.arange(size // 2 + 1)[:, None] * rate_hz / size
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None))
