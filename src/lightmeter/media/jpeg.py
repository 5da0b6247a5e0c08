"""What a JPEG's segments say, read without decoding: size, colours, profile, orientation, and whether it is whole."""

from __future__ import annotations

from dataclasses import dataclass

from lightmeter.errors import RejectedFileError

_SIZES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
_MOST_SEGMENTS = 4000


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """width, height in pixels before any rotation · precision: bits · orientation: EXIF, 1..8

    progressive: needs all coefficients in memory · icc: its colour profile, empty when there is none
    complete: an end-of-image marker was found in the last 64 KiB
    """

    width: int
    height: int
    components: int
    precision: int
    progressive: bool
    icc: bytes
    orientation: int
    complete: bool


def read_header(data: bytes) -> JpegHeader:
    """Walk the segments up to the first scan; RejectedFileError where there is no size.

    Cost: a few hundred bytes per segment, no decoding.  Source: ITU-T T.81, annex B; EXIF 2.3 for the orientation.
    """
    size: tuple[int, int, int, int, int] | None = None
    icc: list[tuple[int, bytes]] = []
    orientation, at = 1, 2
    for _ in range(_MOST_SEGMENTS):
        marker, body, at = _segment(data, at)
        if marker in (None, 0xDA, 0xD9):
            break
        if marker in _SIZES and len(body) >= 6 and size is None:
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            size = (marker, body[0], height, width, body[5])
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            icc.append((body[12], body[14:]))
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body[6:])
    if size is None:
        raise RejectedFileError("truncated", "the JPEG ends before its size is told")
    return JpegHeader(
        width=size[3], height=size[2], components=size[4], precision=size[1],
        progressive=size[0] in (0xC2, 0xC6, 0xCA, 0xCE), icc=b"".join(part for _, part in sorted(icc)),
        orientation=orientation, complete=data.rfind(b"\xff\xd9", -65536) > at,
    )  # fmt: skip


def _segment(data: bytes, at: int) -> tuple[int | None, bytes, int]:
    """The marker at or after a position, its body, and where the next one starts."""
    at = data.find(b"\xff", at)
    while at >= 0 and data[at + 1 : at + 2] == b"\xff":
        at += 1
    if at < 0 or at + 2 > len(data):
        return None, b"", len(data)
    marker = data[at + 1]
    if marker in _BARE or marker in (0xDA, 0xD9, 0x00):
        return marker, b"", at + 2
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    return marker, data[at + 4 : at + 2 + length], at + 2 + max(length, 2)


def exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory, 1 where it is absent or nonsense.

    >>> exif_orientation(b"II*\\0\\x08\\0\\0\\0\\x01\\0\\x12\\x01\\x03\\0\\x01\\0\\0\\0\\x06\\0\\0\\0\\0\\0\\0\\0")
    6
    """
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], "little" if order == "little" else "big")

    start = number(4, 4)
    for entry in range(min(number(start, 2), 500)):
        at = start + 2 + 12 * entry
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
