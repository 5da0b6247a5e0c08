"""Opening library.sqlite as its disk allows: WAL on a local one, a rollback journal on a network one, or read-only."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from lightmeter.errors import (
    LibraryBusyError,
    LibraryDamagedError,
    LibraryFullError,
    LibraryNotFoundError,
    LibraryReadOnlyError,
    LibraryShutError,
)

NAME = "library.sqlite"
BUSY_MS = 10_000
CACHE_KIB = 65536  # hashes arrive in no order: the index of a million must not be spilled within one batch
PAGE_BYTES = 16384  # the whole schema fits on the first page, so a torn end never takes the tables' names with it
NETWORK_SYSTEMS = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "afs",
        "ncpfs",
        "9p",
        "ceph",
        "glusterfs",
        "lustre",
        "beegfs",
    ]
).union(["gpfs", "davfs", "fuse.sshfs", "fuse.rclone", "fuse.glusterfs", "fuse.s3fs", "fuse.davfs2", "fuse.gcsfuse"])


def file_system(folder: Path, mounts: str | None = None) -> str:
    """Type of the file system that holds a folder (`ext4`, `nfs4`, …), `unknown` where the system does not say.

    mounts: the text of /proc/mounts, read when None
    """
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(errors="surrogateescape")
        except OSError:
            return "unknown"
    place = str(folder.resolve())
    best, found = -1, "unknown"
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # of two mounts on one point the later one is seen
            best, found = len(point), fields[2]
    return found


def connect_to_write(path: Path) -> tuple[sqlite3.Connection, str]:
    """A connection that may write, durable at every commit, and a note where WAL was not possible (else "")."""
    kind = file_system(path.parent)
    wanted = "delete" if kind in NETWORK_SYSTEMS else "wal"
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000)
    except sqlite3.OperationalError as error:
        raise known(path.parent, error) from error
    try:
        _distrust(connection)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new catalogue; an old one keeps its own
        got = str(connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0])
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise known(path.parent, error) from error
    if got == "wal":
        return connection, ""
    return connection, _no_log(path.parent, kind)


def note_on_disk(folder: Path) -> str:
    """What a reader should know of the disk, "" when nothing."""
    kind = file_system(folder)
    return _no_log(folder, kind) if kind in NETWORK_SYSTEMS else ""


def _no_log(folder: Path, kind: str) -> str:
    return f"{folder} is on {kind}: no write-ahead log there, readers wait while a batch is written"


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; works in a folder that cannot be written either, or that has no room.

    Where the log of a killed writer stands in such a folder, catalogue and log are copied aside and read there.
    """
    if not path.exists():
        raise LibraryNotFoundError(f"no library at {path.parent}: make one with `lightmeter index FOLDER`")
    try:
        return _opened(path, "mode=ro")
    except sqlite3.OperationalError as error:
        if os.access(path.parent, os.W_OK) and not _wants_to_write(error):
            raise damaged(path.parent, error) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path.parent, error) from error
    return _read_without_log(path)


def _wants_to_write(error: sqlite3.Error) -> bool:
    """Whether reading failed because SQLite could not make the index of its log: no permission, or no room."""
    causes = ("FULL", "IOERR_SHM", "IOERR_WRITE", "IOERR_TRUNCATE", "IOERR_LOCK")
    told = "readonly" in str(error) or "unable to open" in str(error)
    return told or getattr(error, "sqlite_errorname", "").startswith(tuple(f"SQLITE_{cause}" for cause in causes))


def _read_without_log(path: Path) -> sqlite3.Connection:
    log = path.with_name(path.name + "-wal")
    try:
        if not log.exists() or log.stat().st_size == 0:
            return _opened(path, "immutable=1")
        with tempfile.TemporaryDirectory(prefix="lightmeter-") as aside:
            copy = Path(aside) / path.name
            shutil.copyfile(path, copy)
            shutil.copyfile(log, copy.with_name(log.name))
            return _in_memory(copy)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_CANTOPEN"):
            raise known(path.parent, error) from error
        raise damaged(path.parent, error) from error


def _in_memory(path: Path) -> sqlite3.Connection:
    source = sqlite3.connect(path)
    try:
        memory = sqlite3.connect(":memory:", isolation_level=None)
        source.backup(memory)
    finally:
        source.close()
    _distrust(memory)
    memory.execute("PRAGMA query_only = ON")
    return memory


def _distrust(connection: sqlite3.Connection) -> None:
    """A library may come from a stranger: its schema calls no function that acts, its pages are looked over."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def _opened(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{how}", uri=True, isolation_level=None, timeout=BUSY_MS / 1000
    )
    try:
        _distrust(connection)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def damaged(folder: Path, error: object) -> LibraryDamagedError:
    """The one error for a library that cannot be trusted; it names the repair."""
    return LibraryDamagedError(
        f"the library at {folder} is damaged ({error}): run `lightmeter fsck --repair --library {folder}`"
    )


def known(folder: Path, error: sqlite3.DatabaseError) -> Exception:
    """What an error of SQLite means for a library, with the way out; the error itself where it is a fault of ours."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ")):
        return damaged(folder, error)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LibraryBusyError(f"another process holds the library at {folder} ({error}): try again")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        how = "free some space and run the same command again"
        return LibraryFullError(f"the library at {folder} could not be written ({error}): {how}")
    if name.startswith("SQLITE_CANTOPEN"):
        how = "check who may use it, and how many files may be open (`ulimit -n`)"
        return LibraryShutError(f"the library at {folder} cannot be opened ({error}): {how}")
    if name.startswith("SQLITE_READONLY"):
        return LibraryReadOnlyError(f"the library at {folder} is open for reading: open it with write=True")
    return error
