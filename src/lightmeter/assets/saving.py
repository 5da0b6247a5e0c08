"""What was learnt, kept in a folder: arrays as safetensors, all else as JSON, written last with the hash of the arrays.

Nothing in either is executed when it is read (`read_checkpoint`); half a model is no model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.assets.files import file_sha256, whole_file, write_whole
from lightmeter.errors import InvalidValueError, LightmeterError, MissingAssetError, RejectedFileError
from lightmeter.parts import build
from lightmeter.types import Array

ARRAYS = "model.safetensors"
ABOUT = "model.json"
_MOST_JSON_BYTES = 16 << 20
_TYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
_Made = TypeVar("_Made")


def save_model(folder: Path | str, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> Path:
    """Write a model into a folder, made where it is missing; an earlier model there stays whole until this one is.

    arrays: by name, of the types float16 … float64, int8 … int64, uint8 and bool · about: what JSON can hold
    Raises InvalidValueError for another type.
    """
    folder = Path(folder)
    with whole_file(folder / ARRAYS) as unfinished:
        write_safetensors(unfinished, arrays)
        digest = file_sha256(unfinished)
    return write_whole(folder / ABOUT, json.dumps({**about, "sha256": digest}, indent=1) + "\n")


def load_model(folder: Path | str, *, mapped: bool = False) -> tuple[dict[str, Array], dict[str, Any]]:
    """What `save_model` wrote: read-only arrays by name, and the rest.

    mapped: arrays stay in the file until they are used, for models larger than the memory

    Raises MissingAssetError where a file is missing, RejectedFileError where the two do not belong together.
    """
    folder = Path(folder)
    for name in (ABOUT, ARRAYS):
        if not (folder / name).is_file():
            raise MissingAssetError(f"a model must hold {ABOUT} and {ARRAYS}, {folder} has no {name}: save it again")
    with (folder / ABOUT).open("rb") as file:
        text = file.read(_MOST_JSON_BYTES + 1)
    try:
        about = json.loads(text[:_MOST_JSON_BYTES])
    except (ValueError, RecursionError) as error:
        raise RejectedFileError("broken-header", f"{folder / ABOUT} must be JSON: {str(error)[:200]}") from error
    if not isinstance(about, dict) or about.pop("sha256", None) != file_sha256(folder / ARRAYS):
        raise RejectedFileError("damaged", f"{folder / ABOUT} and {ARRAYS} must be of one saving: save the model again")
    return read_checkpoint(folder / ARRAYS, mapped=mapped), about


def expect(arrays: Mapping[str, Array], name: str, dtype: str, *shape: int | None) -> Array:
    """One array of a model that was loaded, aligned, of this type and shape (None: any length), every number finite.

    What compiled code will read must be what it takes it for, whoever wrote the file.
    dtype: such as float32; float32+inf lets infinity pass.  Raises RejectedFileError.
    """
    kind, _, infinite = dtype.partition("+")
    array = arrays.get(name)
    fits = array is not None and array.dtype.name == kind and array.ndim == len(shape)
    if array is None or not fits or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("any" if each is None else str(each) for each in shape)
        got = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
        raise RejectedFileError("damaged", f"{name} of a model must be {kind} [{wanted}], got {got}: save it again")
    if array.dtype.kind == "f" and not (np.isfinite(array) | (np.isinf(array) & bool(infinite))).all():
        raise RejectedFileError("damaged", f"{name} of a model must be finite, got NaN or infinity: save it again")
    insist(kind != "bool" or not (array.view(np.uint8) > 1).any(), f"{name} of a model must be 0 or 1, got other bytes")
    return np.require(array, requirements=["C", "A"])


def expect_recipe(about: Mapping[str, Any], kind: str, made: type[_Made]) -> _Made:
    """The recipe that a loaded model was fitted by: of this kind of part and this class; else RejectedFileError."""
    spec = about.get("spec")
    try:
        recipe = build(spec, kind) if isinstance(spec, str) else None
    except (LightmeterError, ValueError) as error:
        raise RejectedFileError("damaged", f"the spec of a model must build its recipe: {str(error)[:200]}") from error
    if recipe is None or not isinstance(recipe, made):
        raise RejectedFileError(
            "damaged", f"the spec of a model must be of {made.__name__}, got {spec!r:.80}: load it with its own class"
        )
    return recipe


def expect_count(about: Mapping[str, Any], name: str, least: int = 1) -> int:
    """A whole number that was saved beside the arrays, at least this; else RejectedFileError."""
    count = about.get(name)
    if not isinstance(count, int) or isinstance(count, bool) or not least <= count < 1 << 63:
        raise RejectedFileError(
            "damaged", f"{name} of a model must be a whole number from {least} on, got {count!r:.80}: save it again"
        )
    return count


def expect_number(about: Mapping[str, Any], name: str, *, zero: bool = False) -> float:
    """A finite number that was saved beside the arrays, above 0, or 0 where `zero`; else RejectedFileError."""
    number = about.get(name)
    if (
        not isinstance(number, int | float)
        or isinstance(number, bool)
        or not 0 <= number < math.inf
        or (not number and not zero)
    ):
        raise RejectedFileError(
            "damaged",
            f"{name} of a model must be finite and {'from' if zero else 'above'} 0, got {number!r:.80}: save it again",
        )
    return float(number)


def insist(fits: object, sentence: str) -> None:
    """Raise RejectedFileError with the sentence unless what was loaded fits."""
    if not fits:
        raise RejectedFileError("damaged", f"{sentence}: save it again")


def write_safetensors(path: Path | str, arrays: Mapping[str, Array]) -> None:
    """Write arrays as a safetensors file: the header's length, the header, the bytes; little-endian, in this order."""
    header: dict[str, Any] = {}
    at = 0
    for name, array in arrays.items():
        if array.dtype.name not in _TYPES:
            raise InvalidValueError(f"{name} must be of {', '.join(_TYPES)}, got {array.dtype}: convert it first")
        header[name] = {
            "dtype": _TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with Path(path).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
