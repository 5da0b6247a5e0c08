"""The packets of one video stream and the decoder they go through, with every fault counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightmeter.errors import RejectedFileError
from lightmeter.media.containers import Opened
from lightmeter.media.limits import MediaLimits
from lightmeter.media.sampling import Feed, UnusualStream

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_BEAT_S = 0.5
_INTRA = 1
_LATE_S, _LATE_SHARE = 0.5, 0.02  # a stream may end this much before its header says


@dataclass(slots=True)
class Pulse:
    """Says that this process is alive, at most twice a second."""

    say: Callable[[], None] | None = None
    _said_at_s: float = 0.0

    def beat(self) -> None:
        """To be called in every turn of a long loop."""
        if self.say is not None:
            now_s = time.monotonic()
            if now_s - self._said_at_s > _BEAT_S:
                self._said_at_s = now_s
                self.say()


@dataclass(slots=True)
class Source:
    """Packets of the video stream, until the end or the first fault of the container.

    packets, errors, corrupt: counts · end_s: latest end of any packet seen
    """

    opened: Opened
    limits: MediaLimits
    pulse: Pulse = field(default_factory=Pulse)
    packets: int = 0
    errors: int = 0
    corrupt: int = 0
    end_s: float = 0.0
    widest_s: float = 0.0  # between two packets of the video
    _last_s: float | None = None
    _clocks: dict[int, tuple[float, int]] = field(default_factory=dict)  # stream → seconds a tick, first tick

    def __post_init__(self) -> None:
        import av.stream

        stream = self.opened.video
        assert stream is not None
        context = stream.codec_context
        context.thread_count = 1
        self.limits.check_size(context.width or 1, context.height or 1, of_video=True)
        for other in self.opened.container.streams:
            if other is not stream and stream.duration is not None:
                other.discard = av.stream.Discard.all
        if (self.declared_s or 0) > self.limits.duration_s:
            raise RejectedFileError(
                "too-large", f"{self.declared_s:.0f} s: the limit is {self.limits.duration_s:.0f} s"
            )

    @property
    def declared_s(self) -> float | None:
        """What the headers say: of this stream where they do, else of the whole file."""
        stream, container = self.opened.video, self.opened.container
        assert stream is not None
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return container.duration / 1e6 if container.duration is not None else None

    def __iter__(self) -> Iterator[Any]:
        from av.error import FFmpegError

        stream = self.opened.video
        try:
            for packet in self.opened.container.demux():
                self.pulse.beat()
                if packet.size == 0:
                    continue
                self._note(packet)
                if packet.stream is stream:
                    self.packets += 1
                    self._measure(packet)
                    yield packet
        except FFmpegError:
            self.errors += 1

    def _note(self, packet: Any) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            tick_s, first = self._clock(packet)
            self.end_s = max(self.end_s, (stamp - first + (packet.duration or 0)) * tick_s)
        self.corrupt += packet.is_corrupt
        if self.end_s > self.limits.duration_s or self.packets > self.limits.frames:
            raise RejectedFileError(
                "too-large",
                f"longer than {self.limits.duration_s:.0f} s or {self.limits.frames} frames: that is the limit",
            )

    def _clock(self, packet: Any) -> tuple[float, int]:
        """Seconds a tick and the first tick of a packet's stream; asking the packet makes a Fraction each time."""
        clock = self._clocks.get(packet.stream_index)
        if clock is None:
            clock = (float(packet.time_base or 0), packet.stream.start_time or 0)
            self._clocks[packet.stream_index] = clock
        return clock

    def _measure(self, packet: Any) -> None:
        if packet.dts is not None:
            at_s = packet.dts * self._clock(packet)[0]
            if self._last_s is not None:
                self.widest_s = max(self.widest_s, at_s - self._last_s)
            self._last_s = at_s

    def notes(self) -> tuple[str, ...]:
        """What is wrong with the stream; empty when nothing was found."""
        found = []
        if self.errors:
            found.append(f"{self.errors} parts could not be decoded")
        if self.corrupt:
            found.append(f"{self.corrupt} packets are marked as corrupt")
        declared_s, frames = self.declared_s, self.opened.video.frames if self.opened.video else 0
        if declared_s is not None and declared_s - self.end_s > max(_LATE_S, _LATE_SHARE * declared_s, self.widest_s):
            found.append(f"it ends at {self.end_s:.2f} s, its header says {declared_s:.2f} s")
        elif frames and self.packets < frames - max(1.0, _LATE_SHARE * frames):
            found.append(f"it holds {self.packets} frames, its header says {frames}")
        return tuple(found)


@dataclass(slots=True)
class SparseDecoder:
    """Decodes the packets a planner hands over and keeps the frames that are or may be wanted.

    frames: stamp → decoded frame, not converted · decoded: packets sent to the decoder
    """

    source: Source
    frames: dict[int, VideoFrame] = field(default_factory=dict)
    decoded: int = 0
    _needed: set[int] = field(default_factory=set)
    _known: int = -1
    _shown: int | None = None
    _entry: int | None = None  # stamp of the keyframe after a jump, until its frame has been seen
    _leading_until: int | None = None

    def feed(self, feed: Feed) -> None:
        """Decode; raises UnusualStream where the stream is not what its stamps and marks say."""
        context = self._context
        if feed.jump:
            self.drain()
            context.flush_buffers()
            self._entry = self._leading_until = feed.packets[0].pts
        self._needed |= {stamp for stamp in feed.needed if self._shown is None or stamp > self._shown}
        self._known = feed.known
        for old in [each for each in self.frames if each <= self._known and each not in self._needed]:
            del self.frames[old]
        for packet in feed.packets:
            may_skip = packet.pts <= feed.known and packet.pts not in feed.needed
            context.skip_frame = "NONREF" if may_skip else "DEFAULT"
            self._decode(packet)

    def drain(self) -> None:
        """Take the frames that the decoder still holds back; all that is needed must be there afterwards."""
        self._decode(None)
        if not self._needed <= self.frames.keys():
            raise UnusualStream("a wanted frame did not come out")

    def forget(self, stamp: int) -> None:
        """Frames up to this one are no longer wanted."""
        self._needed.discard(stamp)
        self._shown = stamp
        for old in [each for each in self.frames if each <= stamp]:
            del self.frames[old]

    @property
    def _context(self) -> Any:
        assert self.source.opened.video is not None
        return self.source.opened.video.codec_context

    def _decode(self, packet: Any) -> None:
        from av.error import FFmpegError

        self.source.pulse.beat()
        try:
            frames = self._context.decode(packet)
        except EOFError:
            return
        except FFmpegError as error:
            if packet is not None and self._leading_until is not None and packet.pts < self._leading_until:
                return  # it leans on frames before the jump, which were left out, and is not wanted
            raise UnusualStream("a packet cannot be decoded") from error
        self.decoded += packet is not None
        for frame in frames:
            self._keep(frame)

    def _keep(self, frame: VideoFrame) -> None:
        if frame.pts is None or frame.is_corrupt:
            raise UnusualStream("a frame without stamp, or corrupt")
        if self._entry is not None and frame.pts > self._entry:
            raise UnusualStream("a keyframe did not come out")
        if frame.pts == self._entry:
            self._entry = None
            if frame.pict_type != _INTRA and (not frame.key_frame or self._context.name in ("h264", "hevc")):
                raise UnusualStream("a keyframe in name only: frames after it would come out different")
        if frame.pts in self._needed or frame.pts > self._known:
            self.frames[frame.pts] = frame
