"""The SQLite side of an open library: one connection, its transactions, and errors that name the repair."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import FileLock
from lightmeter.errors import LibraryReadOnlyError
from lightmeter.library.connect import known
from lightmeter.search.exact import Block
from lightmeter.types import Array

Row = tuple[Any, ...]


class Catalogue:
    """A connection to library.sqlite, the folder it stands in, and whether it may write."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: FileLock | None) -> None:
        self.folder = folder
        self.connection = connection
        self.lock = lock
        self.mapped: dict[int, dict[str, Block]] = {}  # series → its shards that are mapped; they never change
        self.replaced: list[Path] = []  # shard files to delete once no committed state names them

    @property
    def writable(self) -> bool:
        """Whether this is the one writer."""
        return self.lock is not None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; inside another transaction it becomes a part of that one."""
        if self.lock is None:
            raise LibraryReadOnlyError(f"the library at {self.folder} is open for reading: open it with write=True")
        nested = self.connection.in_transaction
        begin, commit, roll_back = _NESTED if nested else _OUTER
        self.execute(begin)
        try:
            yield
            self.execute(commit)
        except BaseException:
            if self.connection.in_transaction:
                for each in roll_back:
                    self.connection.execute(each)
            raise

    def joined(self) -> AbstractContextManager[None]:
        """A transaction for one statement, which is all or nothing itself: inside another it costs nothing."""
        if self.connection.in_transaction and self.writable:
            return nullcontext()
        return self.transaction()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several queries see one state of the library, whatever a writer commits meanwhile."""
        if self.connection.in_transaction:
            yield
            return
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")  # nothing was written

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement; a torn file becomes LibraryDamagedError, a lock that stays LibraryBusyError."""
        try:
            return self.connection.execute(sql, values)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise known(self.folder, error) from error

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for every row."""
        try:
            self.connection.executemany(sql, rows)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise known(self.folder, error) from error

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Every row of a query."""
        cursor = self.execute(sql, values)
        try:
            return cursor.fetchall()
        except sqlite3.DatabaseError as error:
            raise known(self.folder, error) from error

    def row(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row of a query."""
        found = self.rows(sql, values)
        return found[0] if found else None

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first column of the first row."""
        found = self.row(sql, values)
        return found[0] if found else None

    def keys(self, sql: str, values: Sequence[Any] = ()) -> Array:
        """A query's one column of whole numbers. Returns int64 [N]."""
        rows = self.rows(sql, values)
        return np.fromiter(chain.from_iterable(rows), np.int64, len(rows))

    def close(self) -> None:
        """Fold the log into the catalogue, let go of both; an open transaction is rolled back."""
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if self.writable:
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # the log stays beside the catalogue and is read at the next open: nothing is lost
        finally:
            self.connection.close()
            if self.lock:
                self.lock.release()


_OUTER = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_NESTED = ("SAVEPOINT part", "RELEASE part", ("ROLLBACK TO part", "RELEASE part"))
