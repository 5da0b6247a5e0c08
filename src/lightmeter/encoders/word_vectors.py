"""Word vectors: files of word2vec (.bin, .txt), GloVe (.txt) and gensim (.kv), the packaged GloVe, our own folders."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from lightmeter.assets.arrays import read_array
from lightmeter.assets.finding import find
from lightmeter.assets.keyed_vectors import read_keyed_vectors
from lightmeter.assets.saving import ABOUT, expect, expect_count, insist, load_model, save_model
from lightmeter.encoders.by_path import Stamp, stamp_of
from lightmeter.errors import InvalidValueError, RejectedFileError, UnsafeFileError
from lightmeter.parts import need
from lightmeter.types import Array, check_axes

MOST_TABLE_BYTES = 4 << 30
MOST_DIM = 4096
_MOST_WORD_BYTES = 1000
_MOST_LINE_BYTES = 1 << 20
PACKAGED = "glove"
"""The one name that is no path."""


@dataclass(frozen=True, slots=True, eq=False)
class WordVectors:
    """Words and their vectors; the number of `words[i]` is i + 1, and 0 is no word.

    words: V of them, each once · table: float32 [V + 1, D], row 0 is zeros: what a network looks numbers up in
    """

    words: tuple[str, ...]
    table: Array
    places: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_axes("table", self.table, f"{len(self.words) + 1} D", "float32")
        if self.table[0].any():
            raise InvalidValueError("row 0 of table must be zeros: it stands for no word")
        places = {word: number for number, word in enumerate(self.words, 1)}
        if len(places) != len(self.words):
            raise InvalidValueError(f"words must be each once, {len(self.words) - len(places)} are doubled")
        object.__setattr__(self, "places", places)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.places

    @property
    def dim(self) -> int:
        """Numbers a vector."""
        return int(self.table.shape[1])

    @property
    def size_bytes(self) -> int:
        """Bytes of the table."""
        return int(self.table.nbytes)

    def numbers(self, words: Iterable[str]) -> Array:
        """The number of each word, int32 [W]; 0 for a word without a vector."""
        return np.array([self.places.get(word, 0) for word in words], np.int32)

    def only(self, words: Container[str]) -> WordVectors:
        """The vectors of some words, in the same order: what a text set needs of millions."""
        kept = [number for number, word in enumerate(self.words, 1) if word in words]
        return WordVectors(tuple(self.words[number - 1] for number in kept), self.table[[0, *kept]])

    def save(self, folder: Path | str) -> Path:
        """Write `model.safetensors` (`table` float32 [V + 1, D], `words` as UTF-8 lines) and `model.json`."""
        text = np.frombuffer("\n".join(self.words).encode(), np.uint8)
        return save_model(folder, {"table": self.table, "words": text}, {"kind": "word vectors", "words": len(self)})

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
        count = expect_count(about, "words", least=0)
        table = expect(arrays, "table", "float32", count + 1, None)
        try:
            text = expect(arrays, "words", "uint8", None).tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise RejectedFileError("damaged", "words of word vectors must be UTF-8: save them again") from error
        words = tuple(text.split("\n")) if count else ()
        insist(len(words) == len(set(words)) == count, f"words of word vectors must be {count}, each once")
        insist(not table[0].any(), "row 0 of word vectors must be zeros")
        return cls(words, table)


def open_vectors(where: str) -> WordVectors:
    """Vectors by name or path, kept in memory: `glove` (the asset), a folder that `save` wrote, or a file.

    Raises MissingAssetError, MissingExtraError (`glove` needs `lightmeter[arrow]`), RejectedFileError.
    Cost: of files that stay as they are, read once a process; the last four are kept.
    """
    check_place(where)
    return _opened(where, () if where == PACKAGED else stamp_of(where))


def check_place(where: str) -> None:
    """Whether word vectors may lie there, before a folder of other things is read; raises RejectedFileError."""
    path = Path(where).expanduser()
    if where != PACKAGED and path.is_dir() and not (path / ABOUT).is_file():
        raise RejectedFileError(
            "no-vectors", f"word vectors must be {PACKAGED}, a file, or a folder that was saved, got {path}: a folder "
            f"without {ABOUT}"
        )  # fmt: skip


@lru_cache(maxsize=4)
def _opened(where: str, _stamp: Stamp) -> WordVectors:
    if where == PACKAGED:
        return _glove(find(PACKAGED))
    path = Path(where).expanduser()
    return WordVectors.load(path) if path.is_dir() else read_vectors(path)


def read_vectors(
    path: Path | str, *, only: Container[str] | None = None, most_bytes: int = MOST_TABLE_BYTES
) -> WordVectors:
    """Word vectors of a file: `.bin` (word2vec), gensim's, else text, with word2vec's first line or without (GloVe).

    only: keep these words; the file is mapped, so the memory is that of what is kept
    most_bytes: of the table; a file that wants more is refused before anything is read
    Of a word that stands twice the first counts; a word that is no UTF-8 is left out. gensim's `.kv` is a pickle: it is
    read by `assets.keyed_vectors`, which runs nothing, with the `.kv.vectors.npy` that may lie beside it.
    Raises RejectedFileError (truncated, no numbers, infinite), UnsafeFileError (a header that lies, another pickle).
    Cost: one pass over the file, about 1 µs a word and the copy of its vector (text: 0.2 µs a number; gensim: 17 µs a
    word, 83 before its version 4).
    Source: word2vec.c of Mikolov et al. 2013, arXiv:1301.3781; GloVe's text files; gensim 4.4.0.
    """
    path = Path(path)
    if not path.is_file():
        raise RejectedFileError("not-a-file", f"word vectors must be a file or a folder that was saved, got {path}")
    with path.open("rb") as file:
        start = file.read(2)
        if start == b"\x1f\x8b":
            raise RejectedFileError("compressed", f"{path.name} is gzip: run `gunzip` on it first")
        if start[:1] == b"\x80":  # a pickle of protocol 2 or later; no word begins so in UTF-8
            return _of_gensim(path, only, most_bytes)
        if path.suffix == ".kv":
            raise RejectedFileError("unknown-format", f"{path.name} must be what gensim's KeyedVectors.save writes")
        file.seek(0)
        if path.suffix != ".bin":
            return _gathered(_of_text(file, path, only), path, most_bytes)
        count, dim = _shape_of_bin(file, path)
        if only is None and (count + 1) * dim * 4 > most_bytes:
            raise _too_large(path, most_bytes)
        return _gathered(_of_bin(file, path, only, (count, dim)), path, most_bytes, rows=count + 1)


def _too_large(path: Path, most_bytes: int) -> UnsafeFileError:
    return UnsafeFileError(
        f"{path.name} holds more than {most_bytes >> 20} MB of vectors: name the words to keep (only=…), or raise "
        "most_bytes"
    )


def _gathered(entries: Iterator[tuple[str, Array]], path: Path, most_bytes: int, rows: int = 1024) -> WordVectors:
    """Vectors one after the other into one table, of `rows` at first (untouched memory costs nothing)."""
    words: dict[str, None] = {}
    table = np.zeros((1, 0), np.float32)
    for word, vector in entries:
        if word in words:
            continue
        row = len(words) + 1
        if row * vector.nbytes > most_bytes:
            raise _too_large(path, most_bytes)
        if row >= len(table):
            longer = np.zeros((max(rows, row + row // 2), len(vector)), np.float32)
            if row > 1:
                longer[:row] = table[:row]
            table = longer
        table[row] = vector
        words[word] = None
    if not table.shape[1]:
        raise RejectedFileError("empty", f"{path.name} holds no word vectors, or none of the words to keep")
    made = table[: len(words) + 1]
    if not np.isfinite(made).all():
        raise RejectedFileError("not-finite", f"the vectors of {path.name} must be finite, got NaN or infinity")
    return WordVectors(tuple(words), made)


# -- word2vec, binary -------------------------------------------------------------------------------------------------


def _shape_of_bin(file: BinaryIO, path: Path) -> tuple[int, int]:
    """Words and dimensions of the first line, held to the size of the file."""
    size, counts = path.stat().st_size, _counts(file.readline(100))
    if counts is None:
        raise RejectedFileError("broken-header", f"{path.name} must begin with its words and dimensions: '3000 300'")
    count, dim = counts
    if not 0 < dim <= MOST_DIM or not 0 < count <= size // (4 * dim + 2):  # a word has a byte at least, and its space
        raise UnsafeFileError(f"{path.name} says {count} words x {dim}, which its {size} bytes cannot hold: refused")
    return count, dim


def _of_bin(
    file: BinaryIO, path: Path, only: Container[str] | None, shape: tuple[int, int]
) -> Iterator[tuple[str, Array]]:
    """`V D` and a line end, then V times: the word, a space, D little-endian float32, perhaps a line end."""
    count, dim = shape
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = file.tell()
        for number in range(count):
            if data[at : at + 1] == b"\n":
                at += 1
            end = data.find(b" ", at, at + _MOST_WORD_BYTES)
            if end < 0 or end + 1 + 4 * dim > len(data):
                raise RejectedFileError("truncated", f"{path.name} ends or breaks off at word {number} of {count}")
            word = _decoded(data[at:end])
            at = end + 1 + 4 * dim
            if word is not None and (only is None or word in only):
                yield word, np.frombuffer(data[end + 1 : at], "<f4")


def _decoded(word: bytes) -> str | None:
    try:
        return word.decode("utf-8") or None
    except UnicodeDecodeError:
        return None


def _counts(line: bytes) -> tuple[int, int] | None:
    """Words and dimensions of word2vec's first line; None for any other line."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) < 12 for field in fields):
        return None
    return int(fields[0]), int(fields[1])


# -- gensim -----------------------------------------------------------------------------------------------------------


def _of_gensim(path: Path, only: Container[str] | None, most_bytes: int) -> WordVectors:
    """The words that have a place and are wanted; a refusal says how to do without a pickle."""
    try:
        words, vectors = read_keyed_vectors(path)
    except UnsafeFileError as error:
        raise UnsafeFileError(
            f"{path.name}: {error}; in gensim, write vectors.save_word2vec_format('vectors.bin', binary=True)"
        ) from error
    count, dim = len(words), vectors.shape[1]
    if not 0 < dim <= MOST_DIM:
        raise UnsafeFileError(f"{path.name} must hold vectors of 1 to {MOST_DIM} numbers, got {dim}: refused")
    if only is None and (count + 1) * dim * 4 > most_bytes:
        raise _too_large(path, most_bytes)
    rows = np.asarray(vectors)  # a plain view: slices of a memory map cost more
    entries = ((word, rows[at]) for at, word in enumerate(words) if word and (only is None or word in only))
    return _gathered(entries, path, most_bytes, count + 1 if only is None else 1024)


# -- text -------------------------------------------------------------------------------------------------------------


def _of_text(file: BinaryIO, path: Path, only: Container[str] | None) -> Iterator[tuple[str, Array]]:
    """A word and its D numbers a line; a word may hold spaces, as some of GloVe's do."""
    first = _line(file, path, 1)
    counts = _counts(first)
    if counts is None:
        dim, count, seen = len(first.split()) - 1, None, 0
        file.seek(0)
    else:
        (count, dim), seen = counts, 0
    if not 0 < dim <= MOST_DIM:
        raise RejectedFileError("unknown-format", f"a line of {path.name} must be a word and up to {MOST_DIM} numbers")
    while line := _line(file, path, seen + 1):
        if not line.strip():
            continue
        seen += 1
        fields = line.rstrip().rsplit(b" ", dim)
        word = _decoded(fields[0])
        if len(fields) != dim + 1:
            raise RejectedFileError("broken-line", f"{path.name} must have {dim} numbers a line, got {line[:60]!r}")
        if word is not None and (only is None or word in only):
            yield word, _parsed(fields[1:], path)
    if count is not None and seen != count:
        raise RejectedFileError("truncated", f"{path.name} says {count} words and holds {seen}: get it again")


def _line(file: BinaryIO, path: Path, number: int) -> bytes:
    line = file.readline(_MOST_LINE_BYTES)
    if len(line) == _MOST_LINE_BYTES:
        raise UnsafeFileError(f"line {number} of {path.name} must be below {_MOST_LINE_BYTES >> 20} MB: refused")
    return line


def _parsed(fields: list[bytes], path: Path) -> Array:
    try:
        return np.array(fields, np.float32)
    except ValueError as error:
        raise RejectedFileError("broken-line", f"{path.name} must hold numbers: {str(error)[:100]}") from error


# -- the packaged ones ------------------------------------------------------------------------------------------------


def _glove(folder: Path) -> WordVectors:
    """400,000 lower-case words x 50.  Cost: 160 MB, 0.3 s."""
    index = need("pyarrow.parquet", "arrow").read_table(folder / "glove_6B_index.parquet", columns=["index"])
    vectors = read_array(folder / "glove_6B_50d_emb.npy", mapped=True)
    words: Collection[str] = index["index"].to_pylist()
    return WordVectors(tuple(words), np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors]))
