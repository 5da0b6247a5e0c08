"""The one EXIF tag that changes pixels, read without a library, since EXIF is where hostile files like to hide."""

from __future__ import annotations


def exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory, 1 where it is absent or nonsense.

    >>> exif_orientation(b"II*\\0\\x08\\0\\0\\0\\x01\\0\\x12\\x01\\x03\\0\\x01\\0\\0\\0\\x06\\0\\0\\0\\0\\0\\0\\0")
    6
    """
    if tiff[:2] not in (b"II", b"MM"):
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], "little" if tiff[:2] == b"II" else "big")

    start = number(4, 4)
    for entry in range(min(number(start, 2), 500)):
        at = start + 2 + 12 * entry
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
