"""Opening a library: the lock, the version, a cheap look at the manifest, the sweep of what a killed writer left."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

from lightmeter.assets.files import FileLock
from lightmeter.errors import LibraryNotFoundError, LibraryVersionError
from lightmeter.library import schema
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.connect import NAME, connect_to_read, connect_to_write, damaged, known, note_on_disk
from lightmeter.library.migrate import migrate
from lightmeter.library.shards import broken, links, make_folder, shard_files, shard_path, sync_folder

LOCK_NAME = "library.lock"


def open_catalogue(
    folder: Path, *, create: bool, write: bool, wait_s: float, waiting: Callable[[str], None] | None
) -> tuple[Catalogue, str]:
    """Open the catalogue of a folder and look it over. Returns it and a note for the user, "" when there is none."""
    path = folder / NAME
    if not create and not path.exists():
        raise LibraryNotFoundError(
            f"no library at {folder}: make one with `lightmeter index FOLDER --library {folder}`"
        )
    if not write:
        catalogue = Catalogue(folder, connect_to_read(path), None)
        return _looked_over(catalogue), note_on_disk(folder)
    make_folder(folder)
    lock = FileLock(folder / LOCK_NAME)
    lock.take(wait_s, waiting=waiting)
    connection = None
    try:
        check_length(path)
        connection, note = connect_to_write(path)
        catalogue = Catalogue(folder, connection, lock)
        try:
            if _is_new(connection, folder):
                schema.create(connection)
                sync_folder(folder)
        except sqlite3.DatabaseError as error:
            raise known(folder, error) from error
        _looked_over(catalogue)
        sweep(catalogue)
    except BaseException:
        if connection:
            connection.close()
        lock.release()
        raise
    return catalogue, note


def _is_new(connection: sqlite3.Connection, folder: Path) -> bool:
    empty = not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if empty and any(path.suffix == ".shard" for path in shard_files(folder)):
        raise damaged(folder, "its catalogue is empty and its shards are not")
    return empty


def _looked_over(catalogue: Catalogue) -> Catalogue:
    """Hold a catalogue to its version and its shards to their lengths, or close it."""
    try:
        check_version(catalogue)
        strange = strangers(catalogue)
        if strange:
            raise damaged(catalogue.folder, strange[0])
        check_manifest(catalogue)
    except BaseException:
        catalogue.connection.close()
        raise
    return catalogue


def check_version(catalogue: Catalogue) -> None:
    """Hold a catalogue to this program's version, migrating an older one; only a writer can."""
    application = catalogue.value("PRAGMA application_id")
    if application != schema.APPLICATION_ID:
        raise LibraryNotFoundError(
            f"{catalogue.folder / NAME} must be a library, got another SQLite file: choose another folder"
        )
    version = int(catalogue.value("PRAGMA user_version"))
    if version > schema.VERSION:
        raise LibraryVersionError(
            f"the library at {catalogue.folder} is of version {version}, this Lightmeter knows {schema.VERSION}: "
            "install a newer one"
        )
    if version < schema.VERSION:
        if not catalogue.writable:
            raise LibraryVersionError(
                f"the library at {catalogue.folder} is of version {version}, older than {schema.VERSION}: "
                "open it once for writing"
            )
        migrate(catalogue, schema.STEPS, schema.VERSION)


_MADE = re.compile(r"CREATE (TABLE|INDEX|UNIQUE INDEX) [\"]?(\w+)\b", re.IGNORECASE)
_OURS = {name: kind.lower() for kind, name in re.findall(r"CREATE (TABLE|INDEX) (\w+)", schema.TABLES)}


def strangers(catalogue: Catalogue) -> list[str]:
    """What is wrong with the tables that a catalogue has: another kind of thing under a name, one too many or missing.

    A view or trigger would run a stranger's queries inside ours. Cost: about 30 short rows.
    """
    found = {}
    wrong = []
    for kind, name, table, sql in catalogue.rows("SELECT type, name, tbl_name, sql FROM sqlite_schema"):
        found[name] = kind
        made = _MADE.match(str(sql))
        inner = str(name).startswith(("sqlite_sequence", "sqlite_stat", "sqlite_autoindex_"))
        ours = _OURS.get(name) == kind or str(table).startswith("engine_") or inner
        told = made and (inner or made[2] == name) and made[1].lower().endswith(str(kind))
        if kind not in ("table", "index") or not ours or not (told or (kind == "index" and inner and sql is None)):
            wrong.append(f"it holds the {kind} {name!r}, which no library has")
    return wrong + [f"it has no {kind} {name}" for name, kind in _OURS.items() if name not in found]


def check_length(path: Path) -> None:
    """A catalogue without even a whole header has been cut, unless a log holds the rest; SQLite finds longer cuts.

    The file is not opened here: closing it would drop the locks of every other connection of this process to it.
    """
    log = path.with_name(path.name + "-wal")
    if not path.exists() or (log.exists() and log.stat().st_size):
        return
    if 0 < path.stat().st_size < 512:
        raise damaged(path.parent, "its catalogue has been cut")


def check_manifest(catalogue: Catalogue) -> None:
    """Every registered shard must be there with its length, and no link. Cost: one `stat` a shard."""
    for link in links(catalogue.folder):
        raise damaged(catalogue.folder, f"{link} is a link")
    with catalogue.snapshot():
        shards = catalogue.rows("SELECT series, name, size_bytes FROM shards")
    for series, name, size_bytes in shards:
        path = shard_path(catalogue.folder, series, name)
        try:
            found = os.lstat(path)
        except FileNotFoundError as error:
            if not catalogue.row("SELECT 1 FROM shards WHERE name = ?", (name,)):
                continue  # a writer replaced it since
            raise broken(path, "the file is gone") from error
        if not stat.S_ISREG(found.st_mode):
            raise broken(path, "it is a link or no plain file")
        if found.st_size != size_bytes:
            raise broken(path, f"it has {found.st_size} bytes and {size_bytes} were registered")


def sweep(catalogue: Catalogue) -> list[Path]:
    """Delete shard files that no committed transaction registered. Only for the writer, outside transactions."""
    registered = {(str(series), name) for series, name in catalogue.rows("SELECT series, name FROM shards")}
    gone = []
    for path in shard_files(catalogue.folder):
        ours = path.name.endswith((".shard", ".shard.tmp"))
        if ours and (path.parent.name, path.name) not in registered:
            path.unlink()
            gone.append(path)
    return gone
