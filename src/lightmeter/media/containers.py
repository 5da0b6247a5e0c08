"""Videos and sounds opened safely: the demuxer is forced, nothing is opened by name, codecs are an allow-list."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lightmeter.errors import RejectedFileError
from lightmeter.media.door import at_the_door, name_of, open_file
from lightmeter.media.limits import MediaLimits
from lightmeter.media.sniff import HEAD_BYTES, Format, must_sniff

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_CODECS = frozenset(  # names of FFmpeg's decoders
    "h264 hevc av1 libdav1d vp8 vp9 mpeg1video mpeg2video mpegvideo mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 mjpeg mjpegb "
    "h261 h263 h263i h263p flv vp6 vp6a vp6f wmv1 wmv2 wmv3 vc1 theora prores dnxhd cfhd ffv1 ffvhuff huffyuv utvideo "
    "rawvideo v210 dvvideo svq1 svq3 qtrle rpza cinepak indeo3 indeo4 indeo5 png gif msvideo1 zmbv vvc".split()
)
SOUND_CODECS = frozenset(
    "aac aac_latm mp1float mp2float mp3float mp1 mp2 mp3 ac3 eac3 dca truehd opus libopus vorbis flac alac wavpack "
    "amrnb amrwb wmav1 wmav2 wmapro wmalossless speex libspeex nellymoser adpcm_ms adpcm_ima_wav adpcm_ima_qt "
    "adpcm_swf "
    "adpcm_yamaha gsm gsm_ms qdm2 mace3 mace6 pcm_alaw pcm_mulaw pcm_s8 pcm_u8 pcm_s16le pcm_s16be pcm_u16le pcm_u16be "
    "pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le pcm_f32be pcm_f64le pcm_f64be pcm_bluray pcm_dvd "
    "pcm_s16le_planar pcm_s16be_planar".split()
)  # fmt: skip


class _Bytes:
    """A file for FFmpeg that has no name, so that nothing can be found beside it."""

    def __init__(self, file: BufferedReader) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@dataclass(frozen=True, slots=True)
class Opened:
    """An open container: `video` and `sound` are the streams that will be read, if there are any."""

    container: InputContainer
    format: Format
    video: VideoStream | None
    sound: AudioStream | None
    size_bytes: int


@contextmanager
def open_container(path: Path | str, limits: MediaLimits) -> Iterator[Opened]:
    """Open a video or sound with the demuxer that its first bytes name; whatever goes wrong is a RejectedFileError."""
    import av

    with at_the_door(name_of(path)), open_file(path) as file:
        head = file.read(HEAD_BYTES)
        found = must_sniff(head)
        if found.kind == "image":
            raise RejectedFileError("not-a-video", f"{name_of(path)} is a picture ({found.name})")
        file.seek(0)
        with av.open(
            _Bytes(file),
            "r",
            format=found.decoder,
            container_options=_options(limits),
            metadata_errors="replace",
            buffer_size=1 << 16,
            io_open=_refuse,
        ) as container:
            if len(container.streams) > limits.streams:
                raise RejectedFileError("too-large", f"{len(container.streams)} streams: the limit is {limits.streams}")
            video, sound = _video_stream(container), _sound_stream(container)
            yield Opened(container, found, video, sound, os.fstat(file.fileno()).st_size)


def _options(limits: MediaLimits) -> dict[str, str]:
    return {
        "protocol_whitelist": "none",
        "codec_whitelist": ",".join(sorted(VIDEO_CODECS | SOUND_CODECS)),
        "max_streams": str(limits.streams),
        "max_pixels": str(limits.frame_pixels),
    }


def _refuse(*args: Any) -> NoReturn:
    raise RejectedFileError("disguise", "the file asks for another file or address to be opened")


def _video_stream(container: InputContainer) -> VideoStream | None:
    """The default video stream, else the first; cover pictures are none."""
    known = [s for s in container.streams.video if not _is_cover(s) and _codec(s) in VIDEO_CODECS]
    return next((s for s in known if "default" in _flags(s)), known[0] if known else None)


def _sound_stream(container: InputContainer) -> AudioStream | None:
    known = [s for s in container.streams.audio if _codec(s) in SOUND_CODECS]
    return next((s for s in known if "default" in _flags(s)), known[0] if known else None)


def _codec(stream: Any) -> str:
    """The decoder's name, empty where there is none."""
    context = stream.codec_context
    return str(context.codec.name) if context is not None else ""


def _flags(stream: Any) -> tuple[str, ...]:
    from av.stream import Disposition

    return tuple(str(flag.name) for flag in Disposition if flag in stream.disposition)


def _is_cover(stream: Any) -> bool:
    return any(name in ("attached_pic", "timed_thumbnails", "still_image") for name in _flags(stream))
