"""numpy files from strangers: no pickles, and no more memory than the file has bytes."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lightmeter.errors import RejectedFileError, UnsafeFileError
from lightmeter.types import Array

MOST_HEADER_BYTES = 10_000
MOST_DIMENSIONS = 32


def read_array(path: Path | str, *, mapped: bool = False) -> Array:
    """The array of a `.npy` file; `mapped` leaves it on disk (read-only memory map) and reads pages when asked.

    Held to its header before anything is read: plain numbers only, never objects, and the file must hold exactly the
    bytes that type and shape say. Raises UnsafeFileError for objects and lying headers, RejectedFileError for a file
    that is broken or of another kind.  Cost: the array's bytes, or nothing when mapped.
    """
    path = Path(path)
    if not path.is_file():
        raise RejectedFileError("not-a-file", f"an array must be a regular file, got {path}")
    with path.open("rb") as file:
        shape, fortran, dtype = _header(file, path.name)
        start = file.tell()
        _check_size(path, shape, dtype, left_bytes=path.stat().st_size - start)
        if not mapped:
            flat = np.fromfile(file, dtype, math.prod(shape))
            return flat.reshape(shape, order="F" if fortran else "C")
    if 0 in shape:  # an empty range cannot be mapped
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, order="F" if fortran else "C")


_HEADER = re.compile(
    rb"\{\s*'descr':\s*'(?P<descr>[<>|=][biufcSU][0-9]{1,9})',\s*'fortran_order':\s*(?P<order>True|False),"
    rb"\s*'shape':\s*\((?P<shape>[0-9, ]*)\),?\s*\}\s*"
)


def _header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type; the header is matched, never evaluated.  Source: numpy.lib.format, versions 1 to 3."""
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise RejectedFileError("unknown-format", f"{name} must be a .npy file of version 1, 2 or 3")
    length = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
    if length > MOST_HEADER_BYTES:
        raise UnsafeFileError(f"{name} must have a header of at most {MOST_HEADER_BYTES} bytes, got {length}: refused")
    text = file.read(length)
    found = _HEADER.fullmatch(text)
    if b"|O" in text:
        raise UnsafeFileError(f"{name} holds Python objects, which are pickles: refused, save plain numbers")
    if found is None:
        raise RejectedFileError("broken-header", f"{name} must hold one array of plain numbers, got {text[:80]!r}")
    try:
        dtype = np.dtype(found["descr"].decode("ascii"))
        shape = tuple(int(length) for length in found["shape"].split(b",") if length.strip())
    except (TypeError, ValueError, SyntaxError) as error:
        raise RejectedFileError("broken-header", f"{name}: {str(error)[:200]}") from error
    return shape, found["order"] == b"True", dtype


def _check_size(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], *, left_bytes: int) -> None:
    if dtype.itemsize == 0:
        raise UnsafeFileError(f"{path.name} must hold numbers or text, got items of 0 bytes: refused")
    if len(shape) > MOST_DIMENSIONS or math.prod(length for length in shape if length) >= 1 << 48:
        raise UnsafeFileError(f"{path.name} has an impossible shape, {str(shape)[:80]}: refused")
    needed_bytes = math.prod(shape) * dtype.itemsize
    if needed_bytes > left_bytes:
        raise RejectedFileError("truncated", f"{path.name} must hold {needed_bytes} bytes, got {left_bytes}")
