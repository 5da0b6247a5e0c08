"""Arrays to encoded pictures and sound, for pages and sheets."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, Image, Sound

if TYPE_CHECKING:
    from PIL import Image as Pillow

_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif"}


def pillow_of(picture: Image | Array) -> Pillow.Image:
    """A Pillow picture of RGB pixels `uint8 [H, W, 3]`; InvalidValueError for anything else or nothing at all."""
    from PIL import Image as Pillow

    image = picture if isinstance(picture, Image) else Image(picture)
    if 0 in image.pixels.shape:
        raise InvalidValueError(f"a picture must have at least one pixel, got {list(image.pixels.shape)}: leave it out")
    return Pillow.fromarray(np.ascontiguousarray(image.pixels))


def jpeg_bytes(picture: Image | Array, *, long_side: int = 480, quality: int = 80) -> bytes:
    """A JPEG for a page, made smaller (never larger) to `long_side` pixels; 480 pixels are about 40 kB."""
    made = pillow_of(picture)
    made.thumbnail((long_side, long_side))
    out = io.BytesIO()
    made.save(out, "JPEG", quality=quality, optimize=True, progressive=True)
    return out.getvalue()


def png_bytes(picture: Image | Array) -> bytes:
    """A PNG, pixel by pixel."""
    out = io.BytesIO()
    pillow_of(picture).save(out, "PNG")
    return out.getvalue()


def wav_bytes(sound: Sound, *, longest_s: float = 10.0) -> bytes:
    """The first `longest_s` seconds as 16-bit WAV: 32 kB a second at 16 kHz."""
    if longest_s <= 0:
        raise InvalidValueError(f"longest_s must be above 0, got {longest_s}")
    samples = np.nan_to_num(sound.samples[: round(longest_s * sound.rate_hz)]).clip(-1, 1)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate_hz)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return out.getvalue()


def picture_type(data: bytes) -> str:
    """The MIME type of an encoded picture, by its first bytes: JPEG, PNG, GIF or WebP."""
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise InvalidValueError(
        f"a picture must be JPEG, PNG, GIF or WebP bytes, got {data[:8]!r}: encode it with jpeg_bytes"
    )


def sound_type(data: bytes) -> str:
    """The MIME type of encoded sound, by its first bytes: WAV, MP3, Ogg or FLAC."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "audio/wav"
    for magic, name in (
        (b"ID3", "audio/mpeg"),
        (b"\xff\xfb", "audio/mpeg"),
        (b"OggS", "audio/ogg"),
        (b"fLaC", "audio/flac"),
    ):
        if data.startswith(magic):
            return name
    raise InvalidValueError(f"a sound must be WAV, MP3, Ogg or FLAC bytes, got {data[:8]!r}: encode it with wav_bytes")
