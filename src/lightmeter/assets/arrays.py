"""numpy files from strangers: no pickles, and no more memory than the file has bytes."""

from __future__ import annotations

import math
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


def _header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    readers: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise RejectedFileError("unknown-format", f"{name} must be .npy version 1 or 2, got {version}")
        shape, fortran, dtype = readers[version](file, max_header_size=MOST_HEADER_BYTES)
    except RejectedFileError:
        raise
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, EOFError) as error:
        raise RejectedFileError("broken-header", f"{name} must be a .npy file: {str(error)[:200]}") from error
    return shape, fortran, dtype


def _check_size(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], *, left_bytes: int) -> None:
    if dtype.hasobject:
        raise UnsafeFileError(f"{path.name} holds Python objects, which are pickles: refused, save plain numbers")
    if dtype.kind not in "biufcSU" or dtype.itemsize == 0:
        raise UnsafeFileError(f"{path.name} must hold plain numbers or text, got {str(dtype)[:80]}: refused")
    counts = all(type(length) is int and 0 <= length < 1 << 48 for length in shape)
    if not counts or len(shape) > MOST_DIMENSIONS or math.prod(length for length in shape if length) >= 1 << 48:
        raise UnsafeFileError(f"{path.name} has an impossible shape, {str(shape)[:80]}: refused")
    needed_bytes = math.prod(shape) * dtype.itemsize
    if needed_bytes > left_bytes:
        raise RejectedFileError("truncated", f"{path.name} must hold {needed_bytes} bytes, got {left_bytes}")
