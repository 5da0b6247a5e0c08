"""Pictures to upright sRGB arrays, no larger than needed; nothing is decoded before its header has been judged."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.errors import RejectedFileError
from lightmeter.media.colours import to_srgb
from lightmeter.media.door import at_the_door, name_of, read_bytes
from lightmeter.media.exif import exif_orientation
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.reading import Reading
from lightmeter.media.sniff import Format, must_sniff
from lightmeter.types import Array, Image

if TYPE_CHECKING:
    from PIL.Image import Exif
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

_BYTES_PER_PIXEL = {"jpeg": 8, "png": 8, "webp": 16, "gif": 9, "tiff": 10, "bmp": 8, "avif": 16, "heif": 16}
_TAIL_BYTES = 65_536  # some programs write after a JPEG's end


def read_image(
    source: Path | str | bytes, *, short_side: int | None = None, limits: MediaLimits = DEFAULT_LIMITS
) -> Reading[Image]:
    """Decode a picture: upright, sRGB, transparency on white, the first page or frame of several.

    short_side: a decode at least this large is enough; the result's short side lies between it and twice it, or is the
    picture's own where that is smaller. None decodes in full.
    Raises RejectedFileError: what `sniff` raises, `not-a-picture`, `too-large`, `truncated`, `unreadable`.
    Cost: a JPEG is scaled while it is decoded (1/2, 1/4, 1/8); other formats are decoded in full, then reduced.
    """
    what = "the picture" if isinstance(source, bytes) else name_of(source)
    with at_the_door(what):
        data = source if isinstance(source, bytes) else read_bytes(source, limits.picture_bytes)
        found = must_sniff(data[:4096])
        if found.kind != "image":
            raise RejectedFileError("not-a-picture", f"{what} is a {found.kind} ({found.name})")
        return _Decode(found, limits, short_side).read(data)


def picture_facts(data: bytes, limits: MediaLimits) -> tuple[int, int, str]:
    """Width and height, upright, and the date in its EXIF as written there; nothing is decoded."""
    found = must_sniff(data[:4096])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_picture(data, limits) as picture:
            width, height = picture.size
            if _orientation(picture, found) in (5, 6, 7, 8):
                width, height = height, width
            exif = exif_of(picture)
            taken = exif.get_ifd(0x8769).get(0x9003) or exif.get(0x0132) or ""
            return width, height, str(taken)


def upright(pixels: Array, orientation: int) -> Array:
    """Undo an EXIF orientation (1..8).  pixels: [H, W, C] -> [H, W, C] or [W, H, C]"""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _judge(width: int, height: int, found: Format, limits: MediaLimits) -> None:
    limits.check_size(width, height)
    peak_bytes = width * height * _BYTES_PER_PIXEL[found.name]
    if peak_bytes > limits.decode_bytes:
        raise RejectedFileError(
            "too-large",
            f"{width} x {height} pixels of {found.name} need {peak_bytes} bytes: the limit is {limits.decode_bytes}",
        )


def reduction(width: int, height: int, short_side: int | None) -> int:
    """By how much a picture may be reduced (1, 2, 4 or 8) so that its short side stays at least `short_side`.

    >>> reduction(1280, 854, 224)
    2
    """
    if short_side is None:
        return 1
    return next((n for n in (8, 4, 2) if -(-min(width, height) // n) >= short_side), 1)


@dataclass(slots=True)
class _Decode:
    found: Format
    limits: MediaLimits
    short_side: int | None
    notes: list[str] = field(default_factory=list)
    damaged: bool = False
    blocks: int = 0  # of 8 x 8 pixels; each takes at least a bit

    def read(self, data: bytes) -> Reading[Image]:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            with open_picture(data, self.limits) as picture:
                orientation = _orientation(picture, self.found)
                self.blocks = -(-picture.width // 8) * -(-picture.height // 8)
                self._load(picture)
                self._check_end(data)
                pixels, notes = to_srgb(self._reduced(picture))
        self.notes += notes
        self._hear([str(each.message) for each in heard])
        return Reading(Image(upright(pixels, orientation)), "damaged" if self.damaged else "ok", tuple(self.notes))

    def _load(self, picture: Picture) -> None:
        """Decode; of a truncated file, what there is."""
        if _has_more(picture):
            self.notes.append("the first of several pages or frames")
        if self.found.name == "jpeg" and self.short_side is not None:
            n = reduction(*picture.size, self.short_side)
            picture.draft(None, (picture.width // n, picture.height // n))
        try:
            picture.load()
        except (OSError, SyntaxError, EOFError) as error:
            if not _partly_decoded(picture):
                raise RejectedFileError(
                    "unreadable", f"nothing of the {self.found.name} could be decoded: {error}"
                ) from error
            self.damaged = True
            self.notes.append(f"decoded as far as possible: {error}")

    def _check_end(self, data: bytes) -> None:
        """A JPEG's decoder fills what is missing with grey and says nothing: see whether there was enough."""
        if self.found.name != "jpeg" or self.damaged:
            return
        if data.rfind(b"\xff\xd9", -_TAIL_BYTES) < 0:
            self.notes.append("its end is missing")
        elif len(data) * 8 < self.blocks:
            self.notes.append("it holds too few bytes for its size")
        else:
            return
        self.damaged = True

    def _reduced(self, picture: Picture) -> Picture:
        n = min(picture.size) // self.short_side if self.short_side else 1
        if n < 2 or picture.mode not in ("L", "RGB", "RGBA", "CMYK", "LA", "RGBX", "YCbCr", "F", "I"):
            return picture
        if picture.mode == "LA":
            picture = picture.convert("RGBA")
        return picture.reduce(n)

    def _hear(self, messages: list[str]) -> None:
        for message in dict.fromkeys(messages):
            if "bomb" not in message:
                self.notes.append(message[:200])
                self.damaged |= "runcated" in message


def _has_more(picture: Picture) -> bool:
    try:
        return bool(getattr(picture, "is_animated", False))
    except (OSError, SyntaxError, EOFError, ValueError):  # a second page that cannot be read
        return False


def _partly_decoded(picture: Picture) -> bool:
    """Whether a failed load left pixels behind; then the picture is made to be content with them."""
    core = getattr(picture, "_im", None)
    if core is None or not hasattr(picture, "tile"):
        return False
    picture.tile = []
    extrema = picture.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return any(low != high for low, high in bands)


def open_picture(data: bytes, limits: MediaLimits) -> ImageFile:
    """A lazily opened picture, judged by its header; only the decoder that its first bytes name is tried."""
    from PIL import Image as pillow  # noqa: N813
    from PIL import UnidentifiedImageError

    found = must_sniff(data[:4096])
    if found.name == "heif":
        _register_heif()
    if found.name == "webp":
        _judge(*webp_size(data), found, limits)  # its decoder makes the canvas before the header can be asked
    try:
        picture = pillow.open(io.BytesIO(data), formats=(found.decoder,))
    except pillow.DecompressionBombError as error:
        raise RejectedFileError("too-large", str(error)) from error
    except UnidentifiedImageError as error:
        raise RejectedFileError("unreadable", f"the header of the {found.name} cannot be read") from error
    _judge(*picture.size, found, limits)
    return picture


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP's canvas.  Source: RFC 9649, sections 2.4 to 2.7."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(data) >= 30:
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    raise RejectedFileError("unreadable", "the WebP does not tell its size")


def exif_of(picture: Picture) -> Exif:
    """A picture's EXIF; of a PNG only what stands before its pixels: to look behind them Pillow decodes it all."""
    from PIL.Image import Exif

    return Exif() if picture.format == "PNG" and "exif" not in picture.info else picture.getexif()


def _orientation(picture: Picture, found: Format) -> int:
    if found.name == "tiff":
        return 1  # Pillow turns these itself
    exif = picture.info.get("exif", b"")
    return exif_orientation(exif.removeprefix(b"Exif\0\0")) if isinstance(exif, bytes) else 1


def _register_heif() -> None:
    from lightmeter.parts import need

    try:
        need("pillow_heif", "heif").register_heif_opener()
    except ImportError as error:
        raise RejectedFileError("no-decoder", str(error)) from error
