"""Tables of a folder, metadata.csv and metadata.jsonl: rows found by file name, in memory that stays small."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lightmeter.errors import RejectedFileError
from lightmeter.media.door import at_the_door, name_of, open_file
from lightmeter.types import Array

FILE_NAMES = ("file_name", "filename", "file")
TABLES = ("metadata.csv", "metadata.jsonl")
MOST_ROWS = 2_000_000
MOST_ROW_BYTES = 1_000_000
MOST_ROWS_HELD = 4_000_000
"""Rows of all tables whose places are held at once, 16 bytes each."""
_BEAT_ROWS = 256

Record = Mapping[str, Any]
Beat = Callable[[], None]


def row_of(
    path: Path, file_name: str, limit_bytes: int, beat: Beat | None = None
) -> tuple[Record | None, tuple[str, ...]]:
    """The last row of the table at `path` about a file, its columns in small letters, and what could not be read.

    Cost: the first call reads the whole table, beating all the time; later ones, until it changes, one row of it.
    Memory: 16 bytes a row.
    """
    try:
        seen = path.lstat()
    except (OSError, ValueError):
        return None, ()
    version = (seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino, limit_bytes)
    table = _HELD.get(path)
    if table is None or table.version != version:
        _HELD.pop(path, None)
        table = _read(path, version, limit_bytes, beat or (lambda: None))
        _hold(path, table)
    return table.row(path, file_name), table.notes


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Where the rows of a table begin.

    hashes: int64 [R] of the file names, ascending · offsets: int64 [R], of equal hashes in the order of the file
    columns: of a CSV
    """

    version: tuple[int, ...]
    notes: tuple[str, ...] = ()
    hashes: Array = field(default_factory=lambda: np.empty(0, np.int64))
    offsets: Array = field(default_factory=lambda: np.empty(0, np.int64))
    columns: tuple[str, ...] = ()

    def row(self, path: Path, file_name: str) -> Record | None:
        wanted = np.int64(hash(file_name))
        first, end = np.searchsorted(self.hashes, wanted), np.searchsorted(self.hashes, wanted, "right")
        if first == end:
            return None
        try:
            with at_the_door(name_of(path)), open_file(path, follow=False) as file:
                for offset in self.offsets[first:end][::-1].tolist():
                    _, record = next(_records(path, _Lines(file, offset), self.columns), (0, None))
                    if _file_name(record) == file_name:
                        return record
        except RejectedFileError:
            return None  # it changes just now
        return None


_HELD: dict[Path, _Table] = {}


def _hold(path: Path, table: _Table) -> None:
    _HELD[path] = table
    while len(_HELD) > 1 and sum(len(each.hashes) for each in _HELD.values()) + 100 * len(_HELD) > MOST_ROWS_HELD:
        del _HELD[next(iter(_HELD))]


def _read(path: Path, version: tuple[int, ...], limit_bytes: int, beat: Beat) -> _Table:
    """Find every row once; what is wrong becomes a note, and the rows before it count."""
    found, lines = _Places(), None
    columns: tuple[str, ...] = ()
    try:
        with at_the_door(name_of(path)), open_file(path, follow=False) as file:
            if version[2] > limit_bytes:
                raise RejectedFileError("too-large", f"{version[2]} bytes: the limit is {limit_bytes}")
            lines = _Lines(file)
            if path.suffix == ".csv":
                columns = tuple(name.lower() for name in next(csv.reader(lines), []))
            found.add_all(_records(path, lines, columns), beat)
    except RejectedFileError as error:
        if error.code not in ("missing", "not-a-file"):
            found.notes.append(f"{name_of(path)} cannot be read{' further' if lines else ''}: {error.detail}")
    if lines and lines.garbled:
        found.notes.append(f"{name_of(path)} holds bytes that are not UTF-8")
    if found.nameless:
        found.notes.append(f"{name_of(path)}: {found.nameless} rows have no file_name")
    hashes, offsets = np.asarray(found.hashes), np.asarray(found.offsets)
    order = np.argsort(hashes, kind="stable")
    return _Table(version, tuple(found.notes), hashes[order], offsets[order], columns)


class _Places:
    """Where rows begin, as they are found."""

    def __init__(self) -> None:
        self.hashes, self.offsets, self.nameless = array("q"), array("q"), 0
        self.notes: list[str] = []

    def add_all(self, records: Iterator[tuple[int, Record | None]], beat: Beat) -> None:
        for count, (offset, record) in enumerate(records):
            if count % _BEAT_ROWS == 0:
                beat()
            if count == MOST_ROWS:
                raise RejectedFileError("too-large", f"only its first {MOST_ROWS} rows are looked at")
            name = _file_name(record)
            if name is None:
                self.nameless += 1
            else:
                self.hashes.append(hash(name))
                self.offsets.append(offset)


class _Lines:
    """Lines of a file as text, from an offset on; `taken_from` is where the first one since `mark()` began."""

    def __init__(self, file: BinaryIO, offset: int = 0) -> None:
        self.file, self.at, self.taken_from = file, offset, offset
        self.garbled = False
        file.seek(offset)

    def mark(self) -> None:
        self.taken_from = self.at

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self.file.readline(MOST_ROW_BYTES + 1)
        if not raw:
            raise StopIteration
        self.at += len(raw)
        if self.at - self.taken_from > MOST_ROW_BYTES:
            raise RejectedFileError("too-large", f"a row has more than {MOST_ROW_BYTES} bytes")
        try:
            return raw.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError:
            self.garbled = True
            return raw.decode("utf-8", "replace")


def _records(path: Path, lines: _Lines, columns: tuple[str, ...]) -> Iterator[tuple[int, Record | None]]:
    """Every row and where it begins; None for one that is no object."""
    if path.suffix != ".csv":
        lines.mark()
        for line in lines:
            if not line.isspace():
                yield lines.taken_from, _json_row(line)
            lines.mark()
        return
    rows = csv.reader(lines)
    while True:
        lines.mark()
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise RejectedFileError("unreadable", str(error)) from error
        if row is None:
            return
        if row:
            yield lines.taken_from, dict(zip(columns, row, strict=False))


def _json_row(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return {str(name).lower(): value for name, value in record.items()} if isinstance(record, dict) else None


def _file_name(record: Record | None) -> str | None:
    """What a row says it is about."""
    found = next((str(record[name]) for name in FILE_NAMES if record.get(name)), None) if record else None
    return found.removeprefix("./") if found else None
