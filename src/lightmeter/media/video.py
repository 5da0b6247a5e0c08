"""Frames of a video: those shown at chosen moments, without decoding what is not needed for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.containers import Opened, open_container
from lightmeter.media.decoding import Pulse, Source, SparseDecoder
from lightmeter.media.door import name_of
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.pixels import Converter
from lightmeter.media.reading import Reading
from lightmeter.media.sampling import Planner, Ticks, UnusualStream
from lightmeter.types import Array, Clip, Image

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


class FrameReader:
    """Iterates over (time_s, frame) of a video: the frame shown at every moment k / fps from its first frame on.

    time_s: the moment k / fps in seconds; with fps=None every frame, at its own time
    frame:  uint8 [H, W, 3] RGB, upright; its short side is at most `short_side` (the video's own when None)
    state, notes: what was found, complete once the iteration has ended; only what had to be decoded was checked
    decoded: packets that went through the decoder · duration_s: end of the last frame
    Cost: the packets between keyframes and wanted frames; the decoder leaves out frames on which no other depends.
    Memory: a few frames and at most 600 packets, whatever the length.
    Raises RejectedFileError: what `sniff` raises, `no-video`, `unreadable`, `too-large`.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        fps: float | None = 1.0,
        short_side: int | None = None,
        limits: MediaLimits = DEFAULT_LIMITS,
        beat: Callable[[], None] | None = None,
    ) -> None:
        if fps is not None and not 1e-6 <= fps <= 1e6:
            raise InvalidValueError(
                f"fps must be between 1e-6 and 1e6, got {fps}: use 1 for a frame a second, None for all"
            )
        self.path, self.fps = Path(path), fps
        self.short_side, self.limits, self.beat = short_side, limits, beat
        self._reset()

    def _reset(self) -> None:
        self.state: Literal["ok", "damaged"] = "ok"
        self.notes: tuple[str, ...] = ()
        self.decoded = 0
        self.duration_s = 0.0
        self._shown = 0
        self._unusual = ""  # why every frame had to be decoded

    def __iter__(self) -> Iterator[tuple[float, Array]]:
        self._reset()
        convert = Converter(self.short_side, self.limits)
        if self.fps is None:
            yield from self._all(convert)
            return
        yield from self._planned(convert, self.fps)
        if self._unusual:
            yield from self._every(convert, self.fps)

    def _planned(self, convert: Converter, fps: float) -> Iterator[tuple[float, Array]]:
        """Decode what the stamps say is enough; sets `_unusual` where they cannot be trusted."""
        with open_container(self.path, self.limits) as opened:
            source = self._source(opened)
            decoder = SparseDecoder(source)
            try:
                if _stamps_lie(opened):
                    raise UnusualStream("no stamps of showing")
                planner = Planner(_step(opened, fps))
                for k, pixels in _sparse(source, planner, decoder, convert):
                    yield k / fps, pixels
                    self._shown = k + 1
            except UnusualStream as reason:
                self._unusual = str(reason)
            finally:
                self.decoded += decoder.decoded
            if not self._unusual:
                self._finish(source)

    def _every(self, convert: Converter, fps: float) -> Iterator[tuple[float, Array]]:
        """The slow and sure way: decode every frame, convert only those shown at the moments not yet shown."""
        with open_container(self.path, self.limits) as opened:
            source = self._source(opened)
            ticks: Ticks | None = None
            last: _Shown | None = None
            k = self._shown
            for frame, stamp in self._decode_all(source):
                ticks = ticks or Ticks(stamp, _step(opened, fps))
                while last is not None and ticks.at(k) < stamp:
                    yield k / fps, last.pixels(convert)
                    k += 1
                last = _Shown(frame, stamp)
            if last is None or ticks is None:
                raise RejectedFileError("unreadable", f"{name_of(self.path)}: no frame could be decoded")
            for each in range(k, ticks.moments_before(last.end)):
                yield each / fps, last.pixels(convert)
            self._finish(source)

    def _all(self, convert: Converter) -> Iterator[tuple[float, Array]]:
        with open_container(self.path, self.limits) as opened:
            source = self._source(opened)
            start: int | None = None
            for frame, stamp in self._decode_all(source):
                start = stamp if start is None else start
                yield float((stamp - start) * _time_base(opened)), convert(frame)
            if start is None:
                raise RejectedFileError("unreadable", f"{name_of(self.path)}: no frame could be decoded")
            self._finish(source)

    def _source(self, opened: Opened) -> Source:
        if opened.video is None:
            raise RejectedFileError("no-video", f"{name_of(self.path)} holds no video that can be decoded")
        return Source(opened, self.limits, Pulse(self.beat))

    def _decode_all(self, source: Source) -> Iterator[tuple[VideoFrame, int]]:
        """Every frame and its stamp, never falling; a frame without one follows the frame before."""
        assert source.opened.video is not None
        context = source.opened.video.codec_context
        context.skip_frame = "DEFAULT"
        gap = _usual_gap(source.opened)
        last: int | None = None
        by_order = _stamps_lie(source.opened)
        for packet in _and_none(source):
            for frame in _decode(context, packet, source):
                known = frame.dts if by_order else frame.pts
                stamp = known if known is not None else (0 if last is None else last + gap)
                last = stamp if last is None else max(stamp, last)
                source.corrupt += frame.is_corrupt
                yield frame, last
            self.decoded += packet is not None

    def _finish(self, source: Source) -> None:
        self.duration_s = source.end_s
        self.notes = source.notes()
        self.state = "damaged" if self.notes else "ok"


class _Shown:
    """A frame on screen, converted at most once."""

    def __init__(self, frame: VideoFrame, stamp: int) -> None:
        self.frame, self.stamp = frame, stamp
        self.end = stamp + max(frame.duration or 0, 1)
        self._pixels: Array | None = None

    def pixels(self, convert: Converter) -> Array:
        if self._pixels is None:
            self._pixels = convert(self.frame)
        return self._pixels


def _sparse(
    source: Source, planner: Planner, decoder: SparseDecoder, convert: Converter
) -> Iterator[tuple[int, Array]]:
    last: _Shown | None = None
    for feed in _feeds(source, planner):
        if feed is None:
            decoder.drain()
        else:
            decoder.feed(feed)
        while planner.wanted:
            k, stamp = planner.wanted[0]
            if last is None or last.stamp != stamp:
                if stamp not in decoder.frames:
                    break
                last = _Shown(decoder.frames[stamp], stamp)
                decoder.forget(stamp)
            planner.wanted.popleft()
            yield k, last.pixels(convert)
    if planner.wanted:
        raise UnusualStream("a wanted frame did not come out")


def _feeds(source: Source, planner: Planner) -> Iterator[Any]:
    """What to decode, then None: drain."""
    for packet in source:
        yield from planner.add(packet)
    yield from planner.finish()
    yield None


def _and_none(source: Source) -> Iterator[Any]:
    yield from source
    yield None


def _decode(context: Any, packet: Any, source: Source) -> list[VideoFrame]:
    from av.error import FFmpegError

    source.pulse.beat()
    try:
        return list(context.decode(packet))
    except EOFError:
        return []
    except FFmpegError:
        source.errors += 1
        return []


def _time_base(opened: Opened) -> Fraction:
    assert opened.video is not None
    return opened.video.time_base or Fraction(1, 90_000)


def _step(opened: Opened, fps: float) -> Fraction:
    """Ticks of the stream's clock from one moment to the next."""
    return 1 / (Fraction(fps).limit_denominator(1_000_000) * _time_base(opened))


def _stamps_lie(opened: Opened) -> bool:
    """AVI has no stamps of showing: where frames are reordered, those FFmpeg makes up are in the wrong order."""
    assert opened.video is not None
    context = opened.video.codec_context
    return opened.format.name == "avi" and context.name in ("h264", "hevc") and bool(context.has_b_frames)


def _usual_gap(opened: Opened) -> int:
    assert opened.video is not None
    rate = opened.video.average_rate or opened.video.guessed_rate or Fraction(25)
    return max(1, round(1 / (rate * _time_base(opened)))) if rate > 0 else 1


def frames(
    path: Path | str,
    *,
    fps: float | None = 1.0,
    short_side: int | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
    beat: Callable[[], None] | None = None,
) -> Iterator[tuple[float, Array]]:
    """The frames shown at every moment k / fps, one at a time; see FrameReader."""
    return iter(FrameReader(path, fps=fps, short_side=short_side, limits=limits, beat=beat))


def read_clip(
    path: Path | str,
    *,
    fps: float | None = None,
    short_side: int | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
    beat: Callable[[], None] | None = None,
) -> Reading[Clip]:
    """A whole video as one Clip; fps=None keeps every frame.

    Memory: all frames at once, refused with `too-large` above `limits.decode_bytes`.
    """
    reader = FrameReader(path, fps=fps, short_side=short_side, limits=limits, beat=beat)
    times_s, pictures, held_bytes = [], [], 0
    for time_s, frame in reader:
        held_bytes += frame.nbytes
        if held_bytes > limits.decode_bytes:
            raise RejectedFileError(
                "too-large", f"more than {limits.decode_bytes} bytes of frames: read them one by one"
            )
        times_s.append(time_s)
        pictures.append(frame)
    return Reading(Clip(np.stack(pictures), np.array(times_s)), reader.state, reader.notes)


def frame_at(
    path: Path | str, time_s: float = 0.0, *, short_side: int | None = None, limits: MediaLimits = DEFAULT_LIMITS
) -> Reading[Image]:
    """The frame on screen at one moment; after the end, the last one. `frame_at(path)` is the first frame.

    Cost: what lies before is read, and decoded from the last keyframe on; after the end, every frame.
    """
    if not 0 <= time_s <= 1e6:
        raise InvalidValueError(f"time_s must be 0 to 1e6, got {time_s}")
    every_s = max(time_s, 1e-6) if time_s else 1.0
    reader = FrameReader(path, fps=1 / every_s, short_side=short_side, limits=limits)
    for number, (_, frame) in enumerate(reader):
        if number == (1 if time_s else 0):
            return Reading(Image(frame), reader.state, reader.notes)
    reader = FrameReader(path, fps=None, short_side=short_side, limits=limits)
    (_, last), *_ = deque(reader, maxlen=1)
    return Reading(Image(last), reader.state, reader.notes)
