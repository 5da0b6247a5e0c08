"""Files made by hand to break a reader: what each is, how it is made, and how it may end.

`make_all(folder)` writes them; `CASES` tells the outcomes that are right for each: "ok", "damaged", a rejection's code.
Every case is made here from nothing, small on disk, and the same each time.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from media_makers import make_sound, make_video, numbered_frame, tone
from PIL import Image

ANY_REFUSAL = "refused"  # whatever the code


@dataclass(frozen=True)
class Case:
    """A hostile file: name (bytes, for names that are no UTF-8), maker of its content, outcomes that are right."""

    name: bytes
    make: Callable[[Path], bytes | None]
    right: frozenset[str]

    @property
    def id(self) -> str:
        return self.name.decode("utf-8", "replace").replace("\n", "~")


def make_all(folder: Path) -> Iterator[tuple[Case, Path]]:
    """Write every case into the folder."""
    for case in CASES:
        yield case, make(case, folder)


def make(case: Case, folder: Path) -> Path:
    """Write one case; a maker returns the bytes, or has put the file there itself."""
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + case.name))
    data = case.make(path)
    if data is not None:
        path.write_bytes(data)
    return path


# -- pieces ---------------------------------------------------------------------------------------------------------


def picture(form: str, size: tuple[int, int] = (96, 64), **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(numbered_frame(5, *size)).save(out, form, **options)
    return out.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, bits: int = 8, colour: int = 2, data: bytes = b"", extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    )


def one_bit_png(side: int) -> bytes:
    """A real picture of side x side black pixels in few bytes."""
    squeeze = zlib.compressobj(1)
    row = bytes(1 + (side + 7) // 8)
    return png(
        side, side, bits=1, colour=0, data=b"".join([*(squeeze.compress(row) for _ in range(side)), squeeze.flush()])
    )


def text_bomb() -> bytes:
    """A small picture with 90 MB of text squeezed into it."""
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(90_000_000)))
    return png(8, 8, data=zlib.compress(bytes(25 * 8)), extra=text)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small JPEG whose header lies about its size."""
    data = bytearray(picture("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def exif_with(directory: bytes) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0" + directory


def exif_loop() -> bytes:
    """A directory whose next directory and whose EXIF directory are itself."""
    return exif_with(struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8))


def exif_lies() -> bytes:
    """Counts and offsets far outside the file."""
    return exif_with(struct.pack("<HHHII", 0xFFFF, 0x010E, 2, 0xFFFFFFF0, 0xFFFFFFF0))


@cache
def gif_of(frames: int) -> bytes:
    single = picture("GIF", (24, 16))
    at = single.rindex(b"\x2c\0\0\0\0\x18\0\x10\0")
    return single[:at] + single[at:-1] * frames + b";"


@cache
def video(form: str = "mp4", **options) -> bytes:
    """Numbered frames in a container."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        known = {"codec": "libx264", "options": (("g", "10"),), "count": 50, **options}
        known["options"] = dict(known["options"])
        return make_video(Path(folder) / f"clip.{form}", known.pop("count"), **known).read_bytes()


@cache
def sound(form: str, codec: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return make_sound(Path(folder) / f"sound.{form}", codec, rate_hz=48000).read_bytes()


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def moov_first(data: bytes) -> bytes:
    """The same MP4 with its index before its frames, so that a cut leaves the index."""
    boxes, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        boxes.append((data[at + 4 : at + 8], data[at : at + size]))
        at += size
    moov = bytearray(next(box for kind, box in boxes if kind == b"moov"))
    place = moov.index(b"stco") + 8
    count = int.from_bytes(moov[place : place + 4], "big")
    for i in range(count):
        entry = place + 4 + 4 * i
        moov[entry : entry + 4] = (int.from_bytes(moov[entry : entry + 4], "big") + len(moov)).to_bytes(4, "big")
    others = [(kind, box) for kind, box in boxes if kind != b"moov"]
    return others[0][1] + bytes(moov) + b"".join(box for _, box in others[1:])


def without_moov(data: bytes) -> bytes:
    return data[: data.rindex(b"moov") - 4]


def wav(samples: np.ndarray, rate_hz: int = 16000, *, claims_bytes: int | None = None) -> bytes:
    body = (samples * 32767).astype("<i2").tobytes()
    size = len(body) if claims_bytes is None else claims_bytes
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + min(size, 2**32 - 37))
        + b"WAVE"
        + form
        + struct.pack("<4sI", b"data", size)
        + body
    )


def secret(path: Path) -> Path:
    """A good video beside the file, which no disguise may get opened."""
    beside = path.with_name("secret.mp4")
    if not beside.exists():
        beside.write_bytes(video())
    return beside


def _link_out(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _link_loop(path: Path) -> None:
    path.symlink_to(path.name)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _ffconcat(path: Path) -> bytes:
    return f"ffconcat version 1.0\nfile {secret(path).name}\n".encode()


# -- the cases ------------------------------------------------------------------------------------------------------

_PNG = picture("PNG")
_JPEG = picture("JPEG", quality=90)
_HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n"
_DASH = (
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    b'<Representation id="1" bandwidth="1"><BaseURL>file:///etc/hostname</BaseURL></Representation></AdaptationSet></Period></MPD>'
)
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/hostname" width="9" height="9"/></svg>'
_SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n"
_ENDLESS = b"\x1aE\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" * 50


def _case(name: str | bytes, data: bytes | Callable[[Path], bytes | None], *right: str) -> Case:
    return Case(os.fsencode(name), data if callable(data) else lambda _: data, frozenset(right))


CASES: tuple[Case, ...] = (
    _case("empty.jpg", b"", "empty"),
    _case("empty.mp4", b"", "empty"),
    _case("one-byte.png", b"\x89", "unknown-format"),
    _case("zeros.mp4", bytes(5000), "unknown-format"),
    _case("text.jpg", b"This is no picture at all.\n" * 40, "unknown-format"),
    _case("jpeg-called.png", _JPEG, "ok"),
    _case("mp4-called.jpg", lambda _: video(), "ok"),
    _case("png-called.mp3", _PNG, "ok"),
    _case("only-magic.jpg", _JPEG[:3], "unreadable"),
    _case("only-header.png", _PNG[:40], "unreadable", "truncated"),
    _case("huge-65500.jpg", jpeg_of_size(65500, 65500), "too-large"),
    _case("huge-65500.png", png(65500, 65500, data=zlib.compress(bytes(1000))), "too-large"),
    _case("bomb-30000.png", lambda _: one_bit_png(30000), "too-large"),
    _case("bomb.webp", b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xfe\x3f\0\xfe\x3f\0ANIM\0\0\0\0", "too-large"),
    _case("bomb.gif", gif_of(1)[:6] + b"\xff\xff\xff\xff" + gif_of(1)[10:], "too-large"),
    _case("bomb.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, 60000, 60000, 1, 1, *[0] * 6), "too-large"),
    _case("lying-header.jpg", jpeg_of_size(4000, 3000), "damaged", "unreadable"),
    _case("lying-header.png", png(400, 300, data=zlib.compress(bytes(1000))), "damaged", "unreadable"),
    _case("zero-size.png", png(0, 0), "unreadable"),
    _case("bad-crc.png", _PNG[:-20] + b"\0\0\0\0" + _PNG[-16:], "ok", "damaged", "unreadable"),
    _case("text-bomb.png", lambda _: text_bomb(), "ok", "unreadable", "too-large"),
    _case("icc-nonsense.png", picture("PNG", icc_profile=b"no profile" * 30), "ok"),
    _case("ten-thousand-frames.gif", gif_of(10_000), "ok"),
    _case("exif-loop.jpg", picture("JPEG", exif=exif_loop()), "ok"),
    _case("exif-lies.jpg", picture("JPEG", exif=exif_lies()), "ok"),
    _case("tail-after-end.jpg", _JPEG + b"<?php system('id'); ?>" * 100, "ok"),
    _case("cut-25.jpg", lambda _: cut(picture("JPEG", (320, 240)), 0.5), "damaged"),
    _case("cut-75.jpg", lambda _: cut(picture("JPEG", (320, 240)), 0.75), "damaged"),
    _case("cut-50.png", lambda _: cut(picture("PNG", (320, 240)), 0.5), "damaged"),
    _case("cut-50.webp", lambda _: cut(picture("WEBP", (320, 240)), 0.5), "damaged", "unreadable"),
    _case("cut-50.tif", lambda _: cut(picture("TIFF", (320, 240)), 0.5), "damaged", "unreadable"),
    _case("no-utf8-\xff\xfe.png".encode("latin-1"), _PNG, "ok"),
    _case("new\nline.png", _PNG, "ok"),
    _case("'; rm -rf $(x) %03d *.png", _PNG, "ok"),
    _case("link-out.jpg", _link_out, "unknown-format", "unreadable", "missing"),
    _case("link-loop.jpg", _link_loop, "unreadable", "not-a-file"),
    _case("fifo.mp4", _fifo, "not-a-file"),
    _case("folder.jpg", _folder, "not-a-file", "unreadable"),
    _case("ffconcat.mp4", _ffconcat, "disguise"),
    _case("ffconcat-spaced.mkv", lambda p: b"\xef\xbb\xbf\n " + _ffconcat(p), "disguise"),
    _case("hls.mp4", _HLS, "disguise"),
    _case("hls.jpg", _HLS, "disguise"),
    _case("dash.mp4", _DASH, "disguise"),
    _case("sdp.mp4", _SDP, "disguise"),
    _case("svg.png", _SVG, "disguise"),
    _case("asx.wmv", b'<asx version="3.0"><entry><ref href="http://127.0.0.1:9/x"/></entry></asx>', "disguise"),
    _case("pls.mp3", b"[playlist]\nFile1=http://127.0.0.1:9/x.mp3\n", "disguise"),
    _case("postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/hostname) run\n", "disguise"),
    _case("variable-rate.mp4", lambda _: video(count=20, stamps=tuple(int(i**2.2 * 3) for i in range(20))), "ok"),
    _case("no-keyframe.mp4", lambda _: video(options=(("x264-params", "intra-refresh=1:keyint=20"),)), "ok"),
    _case("one-frame.mp4", lambda _: video(count=1), "ok"),
    _case("sound-only.mp4", lambda _: sound("mp4", "aac"), "ok"),
    _case("moov-missing.mp4", lambda _: without_moov(video()), "unreadable"),
    *(_case(f"cut-{s}.mp4", lambda _, s=s: cut(moov_first(video()), 0.2 + s / 125), "damaged") for s in (25, 50, 75)),
    *(_case(f"cut-{s}.mkv", lambda _, s=s: cut(video("mkv"), s / 100), "damaged") for s in (25, 50, 75)),
    _case("cut-70.avi", lambda _: cut(video("avi", codec="mpeg4"), 0.7), "damaged"),
    _case("endless.mkv", _ENDLESS, ANY_REFUSAL),
    _case("video-16384.mp4", lambda _: _wide_mp4(), ANY_REFUSAL, "ok", "damaged"),
    _case("lying.wav", wav(tone(0.5, 16000), claims_bytes=2**32 - 1), "ok", "damaged"),
    _case("no-samples.wav", wav(tone(0, 16000)), "unreadable"),
    _case("cut-50.flac", lambda _: cut(sound("flac", "flac"), 0.5), "damaged"),
)  # fmt: skip


def _wide_mp4() -> bytes:
    """An MP4 whose track header and sample entry say 16384 x 16384."""
    data = bytearray(video())
    at = data.index(b"avc1", data.index(b"stsd")) + 4 + 24
    data[at : at + 4] = struct.pack(">HH", 16384, 16384)
    return bytes(data)
