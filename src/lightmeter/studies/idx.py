"""IDX, the format of MNIST and its kin: arrays of bytes behind a short header, gzipped or not; from strangers too."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lightmeter.errors import RejectedFileError, UnsafeFileError
from lightmeter.types import Array

MOST_BYTES = 1 << 30
MOST_DIMENSIONS = 8
_UINT8 = 0x08


def read_idx(path: Path | str, *, most_bytes: int = MOST_BYTES) -> Array:
    """The array of an IDX file: uint8 of one to eight dimensions, the only kind that the MNIST family has.

    The header is held to the limit before anything is unpacked, and no more is unpacked than it says.
    Raises RejectedFileError for another format, a file that ends early or goes on, a broken gzip; UnsafeFileError for
    a header that asks for more than `most_bytes`.
    Source: LeCun, "The MNIST database": bytes 0, 0, type, dimensions; lengths as big-endian 32-bit; values.
    """
    path = Path(path)
    if not path.is_file():
        raise RejectedFileError("not-a-file", f"an IDX file must be a regular file, got {path}")
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            if not zipped:
                return _read(file, path.name, most_bytes)
            with gzip.open(file) as unpacked:
                return _read(unpacked, path.name, most_bytes)  # type: ignore[arg-type]  # a GzipFile reads as one
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise RejectedFileError("broken-gzip", f"{path.name} cannot be unpacked: {error}") from error


def _read(file: BinaryIO, name: str, most_bytes: int) -> Array:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UINT8 or not 1 <= magic[3] <= MOST_DIMENSIONS:
        raise RejectedFileError("unknown-format", f"{name} must be IDX with bytes in it, got a start of {magic!r}")
    lengths = file.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise RejectedFileError("truncated", f"{name} ends within its header")
    shape = tuple(int(each) for each in np.frombuffer(lengths, ">u4"))
    needed = math.prod(shape)
    if needed > most_bytes:
        raise UnsafeFileError(f"{name} must hold at most {most_bytes} bytes, its header says {needed}: refused")
    body = _exactly(file, needed, name)
    if file.read(1):
        raise RejectedFileError("too-long", f"{name} must end after {needed} bytes, got more")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _exactly(file: BinaryIO, needed: int, name: str) -> bytes:
    """As many bytes as were promised; memory grows with what comes, not with what was said."""
    body = bytearray()
    while len(body) < needed:
        chunk = file.read(min(1 << 20, needed - len(body)))
        if not chunk:
            raise RejectedFileError("truncated", f"{name} must hold {needed} bytes, got {len(body)}")
        body += chunk
    return bytes(body)
