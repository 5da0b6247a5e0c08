"""Where the pictures of a folder go while they are read: pixels into one file, all else into the ledger's database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmeter.engines.stage import Failure, Result
from lightmeter.types import Array

_TABLE = (
    "CREATE TABLE IF NOT EXISTS {name} (row INTEGER PRIMARY KEY, short_side INTEGER NOT NULL, cmyk INTEGER NOT NULL,"
    " animated INTEGER NOT NULL, grey INTEGER NOT NULL, damaged INTEGER NOT NULL, notes TEXT NOT NULL,"
    " digest BLOB NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a picture that was read.

    short_side: of the file's picture · digest: of its pixels as they are kept, 16 bytes
    """

    short_side: int
    cmyk: bool
    animated: bool
    grey: bool
    damaged: bool
    notes: str
    digest: bytes


class PictureSink:
    """Takes outcomes of `PictureStage`; pixels are on the disk before the ledger's transaction ends."""

    def __init__(self, connection: sqlite3.Connection, descriptor: int | None, size: int) -> None:
        self._connection, self._descriptor, self._size = connection, descriptor, size
        self._name = f"pictures_{size}"
        connection.execute(_TABLE.format(name=self._name))

    @classmethod
    @contextmanager
    def open(cls, connection: sqlite3.Connection, path: Path | None, *, rows: int, size: int) -> Iterator[PictureSink]:
        """A sink whose pixels go into a file of `rows` squares; without a path only what is said is kept."""
        if path is None:
            yield cls(connection, None, size)
            return
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(descriptor, rows * size * size * 3)
            yield cls(connection, descriptor, size)
        finally:
            os.close(descriptor)

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        """Keep one batch; failures are in the ledger."""
        rows = [each.value for each in results]
        if self._descriptor is not None:
            for each in rows:
                os.pwrite(self._descriptor, each["pixels"], each["row"] * self._bytes)
            os.fdatasync(self._descriptor)
        names = ("row", "short_side", "cmyk", "animated", "grey", "damaged", "notes", "digest")
        absent = {"damaged": False, "notes": "", "digest": b""}
        self._connection.executemany(
            f"INSERT OR REPLACE INTO {self._name} VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [tuple((absent | each)[name] for name in names) for each in rows],
        )

    def seen(self) -> dict[int, Seen]:
        """What is known, by row."""
        found = self._connection.execute(f"SELECT * FROM {self._name}")
        return {
            row: Seen(side, bool(cmyk), bool(animated), bool(grey), bool(damaged), notes, bytes(digest))
            for row, side, cmyk, animated, grey, damaged, notes, digest in found
        }

    def sides(self) -> list[int]:
        """Short sides of all that were read."""
        return [side for (side,) in self._connection.execute(f"SELECT short_side FROM {self._name} ORDER BY row")]

    def pixels(self, rows: Sequence[int]) -> Array:
        """Pictures by row: uint8 [R, S, S, 3]."""
        assert self._descriptor is not None, "this sink keeps no pixels"
        data = b"".join(os.pread(self._descriptor, self._bytes, row * self._bytes) for row in rows)
        return np.frombuffer(data, np.uint8).reshape(len(rows), self._size, self._size, 3)

    @property
    def _bytes(self) -> int:
        return self._size * self._size * 3
