"""gensim's word vectors (`KeyedVectors.save`) as words and an array, without gensim and running nothing they say."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.arrays import read_array
from lightmeter.assets.inert import BoundedStream, Dialect, Leaf, Record, leaf, load
from lightmeter.errors import RejectedFileError, UnsafeFileError
from lightmeter.types import Array

MOST_PICKLE_BYTES = 256 << 20
MOST_OPCODES = 16_000_000
"""4 a word of gensim 4, some 20 of gensim 3: about 4 million words, or 800,000."""

_WORDS = ("index_to_key", "index2word", "index2entity")
_ARRAYS = ("vectors", "syn0")
"""Names of the attributes, the newest first."""


def read_keyed_vectors(path: Path | str) -> tuple[list[str | None], Array]:
    """Words and the vectors of their places, float [N or more, D]; a place without a word holds None.

    Arrays that gensim put beside the file (`NAME.vectors.npy`) stay on disk until they are read; no name of a file is
    taken from the pickle. The array is not looked at: it may hold NaN.
    Raises UnsafeFileError, which names what was refused, RejectedFileError for a file that is broken, lacks its array
    or holds something else, such as a whole model or FastText's vectors.
    Cost: 4 µs a step of the pickle, of which a word has 4 (gensim 3: 20); memory: 0.3 kB a word (1.5).
    Source: gensim/utils.py, `SaveLoad`, and gensim/models/keyedvectors.py of 4.4.0, `_load_specials` for older names.
    """
    path = Path(path)
    with path.open("rb") as file:
        stream = BoundedStream(file, os.fstat(file.fileno()).st_size, limit_bytes=MOST_PICKLE_BYTES)
        try:
            made = load(stream, _elsewhere, GENSIM, most=MOST_OPCODES)
        except RejectedFileError as error:
            raise RejectedFileError(error.code, f"{path.name}: {error.detail}") from error
    if not isinstance(made, Record) or made.name not in _KEYED or not isinstance(made.state, dict):
        raise RejectedFileError("unknown-format", f"{path.name} must hold gensim's KeyedVectors, it does not")
    words = next((made.state[name] for name in _WORDS if name in made.state), None)
    if not isinstance(words, list) or not all(isinstance(word, str | None) for word in words):
        raise RejectedFileError("broken-words", f"{path.name} must hold a list of words, it does not")
    vectors = _array_of(made.state, path)
    if vectors.ndim != 2 or len(words) > len(vectors) or vectors.dtype.kind != "f":
        raise RejectedFileError(
            "broken-vectors",
            f"{path.name} must hold a vector of floats a word, got {vectors.dtype} {list(vectors.shape)} for "
            f"{len(words)} words",
        )
    return words, vectors


def arrays_beside(path: Path | str) -> list[Path]:
    """The files that stand beside gensim's and hold its vectors, where there are any."""
    return [file for name in _ARRAYS if (file := _beside(Path(path), name)).is_file()]


def _beside(path: Path, name: str) -> Path:
    return path.parent / f"{path.name}.{name}.npy"


def _elsewhere(_: Any) -> Any:
    raise UnsafeFileError("the pickle has parts elsewhere, which no word vectors need: refused, nothing was run")


def _array_of(state: Mapping[str, Any], path: Path) -> Array:
    separate = state.get("__numpys")
    for name in _ARRAYS:
        if isinstance(state.get(name), Record):
            return _inline(state[name], path)
        if isinstance(separate, list) and name in separate:
            file = _beside(path, name)
            if not file.is_file():
                raise RejectedFileError(
                    "truncated", f"{file.name} must lie beside {path.name}, it does not: put it back"
                )
            return read_array(file, mapped=True)
    raise RejectedFileError("truncated", f"{path.name} must hold vectors, it holds none")


# -- arrays inside of the pickle --------------------------------------------------------------------------------------


def _inline(made: Record, path: Path) -> Array:
    """The array that `numpy.ndarray.__reduce__` describes: version, shape, type, order of axes, bytes."""
    state = made.state
    fits = made.name == "array" and isinstance(state, tuple) and len(state) == 5
    shape, kind, fortran, raw = state[1:] if fits else (None, None, None, None)
    whole, dtype = _bytes_of(raw), _dtype_of(kind)
    if whole is None or dtype is None or not isinstance(shape, tuple) or not all(map(_is_length, shape)):
        raise RejectedFileError("broken-vectors", f"{path.name} must hold vectors of floats, it does not")
    if len(shape) != 2 or math.prod(shape) * dtype.itemsize != len(whole):
        raise RejectedFileError("broken-vectors", f"{path.name} says vectors {str(shape)[:80]}, has {len(whole)} bytes")
    return np.frombuffer(whole, dtype).reshape(shape, order="F" if fortran else "C")


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


def _bytes_of(raw: Any) -> bytes | None:
    """Bytes as protocol 3 has them, as protocol 2 (text and its code), or as Python 2 (text of as many letters)."""
    if isinstance(raw, Record) and raw.name == "encoded" and len(raw.arguments) == 2:
        raw = raw.arguments[0] if raw.arguments[1] == "latin1" else None
    if isinstance(raw, str):
        try:
            return raw.encode("latin-1")
        except UnicodeEncodeError:
            return None
    return raw if isinstance(raw, bytes) else None


def _dtype_of(kind: Any) -> np.dtype[Any] | None:
    """The type that `numpy.dtype.__reduce__` describes, of a float."""
    if not isinstance(kind, Record) or kind.name != "dtype" or not isinstance(kind.state, tuple):
        return None
    code, order = kind.arguments[:1], kind.state[1:2]
    known = code in (("f2",), ("f4",), ("f8",)) and order in (("<",), (">",))
    return np.dtype(order[0] + code[0]) if known else None


def _recorded(name: str) -> Callable[..., Record]:
    """What is to be read later, if at all: bytes are not copied before, however often a pickle asks for it."""
    return lambda arguments=(): Record(name, arguments)


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_KEYED = {
    f"gensim.models.keyedvectors.{name}" for name in ("KeyedVectors", "Word2VecKeyedVectors", "EuclideanKeyedVectors")
}
_CLASSES: dict[str, Callable[[], Record | Leaf]] = {
    **{name: _recorded(name) for name in _KEYED},
    "gensim.models.keyedvectors.Vocab": leaf,  # a word's count and place, before gensim 4
    "gensim.models.word2vec.Vocab": leaf,
}
GENSIM = Dialect(
    "file of word vectors",
    {
        **{f"{module}._reconstruct": _recorded("array") for module in _MULTIARRAY},
        **{f"{module}.scalar": leaf for module in _MULTIARRAY},
        "numpy.dtype": _recorded("dtype"),
        "_codecs.encode": _recorded("encoded"),
        "builtins.frozenset": leaf,
        "__builtin__.frozenset": leaf,
    },
    frozenset({"numpy.ndarray"}),
    _CLASSES,
)
"""What gensim writes of word vectors."""
