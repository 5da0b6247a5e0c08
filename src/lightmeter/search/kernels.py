"""The compiled kernels of search, by ctypes; without them their twins in numpy answer the same, slower.

`native/` is compiled when the package is installed (`hatch_build.py`), without headers of Python: one library serves
all its versions, and calls release the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import warnings
from functools import cache, reduce
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

NEAREST = 5
"""`TOP` of native/three_way.h: nearest classes that a rule may look at."""


class DeciderStruct(ctypes.Structure):
    """`Decider` of native/three_way.h."""

    _fields_ = [
        ("rows", ctypes.c_int64), ("alive", ctypes.c_int64), ("classes", ctypes.c_int64), ("dim", ctypes.c_int64),
        ("levels", ctypes.c_int64), ("rule", ctypes.c_int64), ("by_row", ctypes.c_int64), ("lazy", ctypes.c_int64),
        ("normalise", ctypes.c_int64), ("defer", ctypes.c_int64), ("edges", ctypes.c_void_p),
        ("blocks", ctypes.c_void_p), ("longest", ctypes.c_void_p), ("coarse", ctypes.c_void_p),
        ("lost", ctypes.c_void_p), ("coarse_squares", ctypes.c_void_p), ("coarse_step", ctypes.c_double),
        ("coarse_width", ctypes.c_int64), ("codes", ctypes.c_void_p),
        ("counts", ctypes.c_void_p), ("ids", ctypes.c_void_p), ("labels", ctypes.c_void_p), ("mean", ctypes.c_void_p),
        ("components", ctypes.c_void_p), ("unit", ctypes.c_double),
    ]  # fmt: skip


DECIDED = np.dtype(
    [
        ("label", np.int64), ("id", np.int64), ("levels", np.int64), ("reliable_at", np.int64),
        ("multiply_adds", np.int64), ("bytes_read", np.int64), ("unclear", np.int64), ("distance", np.float64),
        ("confidence", np.float64), ("nearest", np.float64, NEAREST),
    ]
)  # fmt: skip
"""`Decided` of native/three_way.h: what came of a query."""


@cache
def compiled() -> Any:
    """The library, or None where it was not built here or is of another version."""
    try:
        library = ctypes.CDLL(str(COMPILED))
    except OSError:
        return None
    library.lm_layout.restype = ctypes.c_int64
    structs = ctypes.sizeof(GranulesStruct), ctypes.sizeof(AskStruct), ctypes.sizeof(DeciderStruct)
    sizes = *structs[:2], TOLD.itemsize, structs[2], DECIDED.itemsize
    if library.lm_layout() != reduce(lambda packed, size: packed << 12 | size, sizes):
        warnings.warn(f"{COMPILED} is of another version, numpy stands in: install lightmeter again", stacklevel=2)
        return None
    for each in (library.lm_scratch, library.lm_search, library.lm_decide_scratch, library.lm_decide):
        each.restype = ctypes.c_int64
    library.lm_scratch.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    library.lm_search.argtypes = [*3 * [ctypes.c_void_p], ctypes.c_int64, *4 * [ctypes.c_void_p]]
    library.lm_decide_scratch.argtypes = [ctypes.c_void_p]
    library.lm_decide.argtypes = [*3 * [ctypes.c_void_p], *2 * [ctypes.c_int64], *6 * [ctypes.c_void_p]]
    return library


def address(array: Array | None) -> int | None:
    """Where an array's numbers start; None for None."""
    return None if array is None else array.ctypes.data
