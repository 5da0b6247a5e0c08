"""The compiled kernels of granular search, by ctypes; without them the twin in numpy answers the same, slower.

`native/` is compiled when the package is installed (`hatch_build.py`), without headers of Python: one library serves
all its versions, and calls release the interpreter's lock.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.types import Array

MOST_LEVELS = 4
MOST_COMPONENTS = 1024
COMPILED = Path(__file__).with_name("_kernels.so")
_Levels = ctypes.c_void_p * MOST_LEVELS


class GranulesStruct(ctypes.Structure):
    """`Granules` of native/granular.h."""

    _fields_ = [
        ("rows", ctypes.c_int64), ("dim", ctypes.c_int64), ("padded", ctypes.c_int64), ("levels", ctypes.c_int64),
        ("widths", ctypes.c_int64 * MOST_LEVELS), ("vectors", ctypes.c_void_p), ("inverse_norms", ctypes.c_void_p),
        ("mean", ctypes.c_void_p), ("basis", ctypes.c_void_p), ("basis_step", ctypes.c_void_p),
        ("mix", ctypes.c_void_p),
        ("codes", _Levels), ("errors", _Levels), ("residuals", _Levels), ("energies", ctypes.c_void_p),
        ("steps", ctypes.c_double * MOST_LEVELS), ("scale", ctypes.c_double), ("typical", ctypes.c_double),
    ]  # fmt: skip


class AskStruct(ctypes.Structure):
    """`Ask` of native/granular.h."""

    _fields_ = [
        ("k", ctypes.c_int64), ("kappa", ctypes.c_float * MOST_LEVELS), ("guess", ctypes.c_float * MOST_LEVELS),
        ("among", ctypes.c_void_p), ("few", ctypes.c_int64),
    ]  # fmt: skip


TOLD = np.dtype(
    [
        ("levels", np.int64), ("refined", np.int64), ("bytes", np.int64), ("survivors", np.int64, MOST_LEVELS),
        ("gap", np.float64), ("proof", np.float64),
    ]
)  # fmt: skip
"""`Told` of native/granular.h: what a query took."""


@cache
def compiled() -> Any:
    """The library, or None where it was not built here or is of another version."""
    try:
        library = ctypes.CDLL(str(COMPILED))
    except OSError:
        return None
    library.lm_layout.restype = ctypes.c_int64
    sizes = ctypes.sizeof(GranulesStruct), ctypes.sizeof(AskStruct), TOLD.itemsize
    if library.lm_layout() != sizes[0] << 32 | sizes[1] << 16 | sizes[2]:
        return None
    library.lm_scratch.restype = library.lm_search.restype = ctypes.c_int64
    library.lm_scratch.argtypes = [ctypes.c_void_p]
    library.lm_search.argtypes = [*3 * [ctypes.c_void_p], ctypes.c_int64, *4 * [ctypes.c_void_p]]
    return library


def address(array: Array | None) -> int | None:
    """Where an array's numbers start; None for None."""
    return None if array is None else array.ctypes.data
