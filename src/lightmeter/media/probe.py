"""What a file holds, from its headers: kind, size, length, date; almost nothing is decoded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmeter.errors import RejectedFileError
from lightmeter.media.containers import Opened, open_container
from lightmeter.media.door import at_the_door, name_of, read_bytes
from lightmeter.media.images import picture_facts
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.sniff import Format, sniff
from lightmeter.types import Kind

if TYPE_CHECKING:
    from av.video.stream import VideoStream


@dataclass(frozen=True, slots=True)
class Probe:
    """Facts about one file.

    kind: what it holds: a container without pictures is `sound` · format: its name in `sniff`
    width, height: pixels, upright; None for sound · duration_s: as the headers say; None for pictures or when unsaid
    fps: mean frame rate · rate_hz, channels: of the sound · streams: how many there are, of all kinds
    taken_at: ISO 8601 date and time from EXIF or the container, as written there
    """

    kind: Kind
    format: str
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    has_sound: bool = False
    taken_at: str | None = None
    fps: float | None = None
    streams: int = 1
    video_codec: str | None = None
    sound_codec: str | None = None
    rate_hz: int | None = None
    channels: int | None = None


def probe(path: Path | str, limits: MediaLimits = DEFAULT_LIMITS) -> Probe:
    """Read a file's headers.

    Raises RejectedFileError: what `sniff` raises, `unknown-format` for other kinds, `unreadable`, `too-large`,
    `no-streams`.
    """
    found = sniff(path)
    if found is None:
        raise RejectedFileError("unknown-format", f"{name_of(path)} is no picture, video or sound")
    return _probe_picture(path, found, limits) if found.kind == "image" else _probe_container(path, limits)


def _probe_picture(path: Path | str, found: Format, limits: MediaLimits) -> Probe:
    with at_the_door(name_of(path)):
        width, height, taken = picture_facts(read_bytes(path, limits.picture_bytes), limits)
    return Probe("image", found.name, width, height, taken_at=_iso(taken))


def _probe_container(path: Path | str, limits: MediaLimits) -> Probe:
    with open_container(path, limits) as opened:
        video, sound = opened.video, opened.sound
        if video is None and sound is None:
            raise RejectedFileError("no-streams", f"{name_of(path)} holds no picture or sound that can be decoded")
        duration_s = _duration_s(opened)
        if duration_s is not None and duration_s > limits.duration_s:
            raise RejectedFileError("too-large", f"{duration_s:.0f} s: the limit is {limits.duration_s:.0f} s")
        width, height = _shown_size(video, limits) if video else (None, None)
        return Probe(
            kind="video" if video else "sound",
            format=opened.format.name,
            width=width,
            height=height,
            duration_s=duration_s,
            has_sound=sound is not None,
            taken_at=_iso(str(opened.container.metadata.get("creation_time", ""))),
            fps=float(video.average_rate) if video and video.average_rate else None,
            streams=len(opened.container.streams),
            video_codec=video.codec_context.codec.name if video else None,
            sound_codec=sound.codec_context.codec.name if sound else None,
            rate_hz=sound.codec_context.sample_rate if sound else None,
            channels=sound.codec_context.channels if sound else None,
        )


def _duration_s(opened: Opened) -> float | None:
    main: Any = opened.video or opened.sound
    if main.duration is not None and main.time_base is not None:
        return float(main.duration * main.time_base)
    return opened.container.duration / 1e6 if opened.container.duration is not None else None


def _shown_size(video: VideoStream, limits: MediaLimits) -> tuple[int, int]:
    """Width and height after rotation, which only a frame tells: the first one is decoded."""
    from av.error import FFmpegError

    width, height = video.codec_context.width, video.codec_context.height
    limits.check_size(width, height, of_video=True)
    video.codec_context.thread_count = 1
    try:
        frame = next(video.container.decode(video), None)  # type: ignore[attr-defined]
    except FFmpegError:
        frame = None
    return (height, width) if frame is not None and frame.rotation % 180 == 90 else (width, height)


_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)(?:[T ](\d\d):(\d\d):(\d\d))?")


def _iso(text: str) -> str | None:
    """A date as EXIF or a container writes it, in ISO 8601.

    >>> _iso("2024:05:06 07:08:09")
    '2024-05-06T07:08:09'
    """
    match = _DATE.match(text.strip())
    if (
        not match
        or match[1] in ("0000", "1904")
        or match[0].startswith("1970-01-01")
        or not (1 <= int(match[2]) <= 12 and 1 <= int(match[3]) <= 31)
    ):
        return None
    return f"{match[1]}-{match[2]}-{match[3]}T{match[4] or '00'}:{match[5] or '00'}:{match[6] or '00'}"
