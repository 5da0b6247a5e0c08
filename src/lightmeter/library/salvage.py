"""Saving what can still be read of a damaged catalogue into a new one; the damaged one is kept beside it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from lightmeter.errors import LibraryDamagedError
from lightmeter.library import schema
from lightmeter.library.connect import NAME
from lightmeter.library.shards import sync_folder

TABLES = (
    "meta",
    "items",
    "paths",
    "words",
    "tags",
    "series",
    "shards",
    "features",
    "dead",
    "errors",
    "calibrations",
    "runs",
)


def salvage(folder: Path) -> dict[str, int]:
    """Rebuild the catalogue from every row that can be read, and keep the damaged one as `library.sqlite.damaged`.

    Rows of other parts (the ledger of runs) are not carried over: the next run asks again what is missing.
    Killed at any moment, either the old or the new catalogue stands. Returns rows saved by table.
    """
    old, new = folder / NAME, folder / f"{NAME}.salvaged"
    _forget(new)
    saved: dict[str, int] = {}
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as target:
        schema.create(target)
        target.execute("BEGIN")
        for table in TABLES:
            saved[table] = _copy(old, target, table)
        _drop_strays(target)
        target.execute("COMMIT")
    if not saved["items"]:
        _forget(new)
        raise LibraryDamagedError(
            f"no item of the catalogue of {folder} can be read: move the folder away and index again"
        )
    with new.open("rb") as file:
        os.fsync(file.fileno())
    for suffix in ("-wal", "-shm"):  # read into the copy above; left there they would be taken for the new one's
        log = old.with_name(NAME + suffix)
        if log.exists():
            log.replace(folder / f"{NAME}.damaged{suffix}")
    if old.exists():
        kept = folder / f"{NAME}.damaged"
        kept.unlink(missing_ok=True)
        os.link(old, kept)
    new.replace(old)
    sync_folder(folder)
    return saved


def _forget(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _copy(old: Path, target: sqlite3.Connection, table: str) -> int:
    """Read a table from its start and from its end, each up to the first page that does not read."""
    columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    keys = [row[1] for row in sorted(target.execute(f"PRAGMA table_info({table})"), key=lambda r: r[5]) if row[5]]
    write = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(columns))})"
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{key} {direction}" for key in keys)
        read = f"SELECT {', '.join(columns)} FROM {table} NOT INDEXED ORDER BY {order}"
        if _copy_rows(old, target, table, read, write):
            break
    return int(target.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


_IS_TABLE = "SELECT 1 FROM sqlite_schema WHERE name = ? AND type = 'table' AND sql LIKE 'CREATE TABLE %'"


def _copy_rows(old: Path, target: sqlite3.Connection, table: str, read: str, write: str) -> bool:
    """Copy up to the first page that does not read. Returns whether all were."""
    with contextlib.closing(sqlite3.connect(old)) as source:
        try:
            source.execute("PRAGMA trusted_schema = OFF")
            source.execute("PRAGMA writable_schema = ON")  # read a file that has been cut as far as it goes
            if not source.execute(_IS_TABLE, (table,)).fetchone():
                return True  # a view under its name: nothing of it is a row of ours
            for row in source.execute(read):
                target.execute(write, row)
        except sqlite3.DatabaseError:
            return False
    return True


def _drop_strays(target: sqlite3.Connection) -> None:
    """Rows that speak of rows that were lost."""
    for sql in (
        "DELETE FROM paths WHERE item NOT IN (SELECT key FROM items)",
        "UPDATE items SET removed = 1 WHERE key NOT IN (SELECT item FROM paths)",
        "DELETE FROM words WHERE path NOT IN (SELECT key FROM paths)",
        "DELETE FROM tags WHERE path NOT IN (SELECT key FROM paths)",
        "DELETE FROM shards WHERE series NOT IN (SELECT id FROM series)",
        "DELETE FROM features WHERE series NOT IN (SELECT id FROM series)",
        "DELETE FROM features WHERE shard NOT NULL AND shard NOT IN (SELECT id FROM shards)",
        "DELETE FROM dead WHERE shard NOT IN (SELECT id FROM shards)",
        "DELETE FROM calibrations WHERE series NOT IN (SELECT id FROM series)",
        "UPDATE errors SET item = NULL WHERE item NOT IN (SELECT key FROM items)",
    ):
        target.execute(sql)
