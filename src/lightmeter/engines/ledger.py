"""The ledger of a run in SQLite: which batches are out on lease, which items are done, which failed and why.

Tables (all ours, all named `engine_*`; a library that lends its connection leaves them alone):
engine_stages    fingerprint → small number
engine_runs      one row a call of `run`: when, by which process, how it ended
engine_batches   one row a batch that is out on lease; gone when its outcomes are kept
engine_done      16 bytes of hash a finished item (about 30 MB a million), unless the ledger was told not to remember
engine_failures  one row a quarantined item
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from lightmeter.assets.files import locked
from lightmeter.engines.plan import Batch
from lightmeter.engines.stage import Failure
from lightmeter.errors import InvalidValueError

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS engine_stages (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS engine_runs (id INTEGER PRIMARY KEY, stage INTEGER NOT NULL, pid INTEGER NOT NULL,"
    " started_s REAL NOT NULL, ended_s REAL, state TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0,"
    " failed INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS engine_batches (run INTEGER NOT NULL, batch INTEGER NOT NULL, keys TEXT NOT NULL,"
    " attempts INTEGER NOT NULL, claimed_s REAL NOT NULL, beat_s REAL NOT NULL,"
    " PRIMARY KEY (run, batch)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS engine_done (stage INTEGER NOT NULL, key BLOB NOT NULL,"
    " PRIMARY KEY (stage, key)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS engine_failures (stage INTEGER NOT NULL, key TEXT NOT NULL, reason TEXT NOT NULL,"
    " detail TEXT NOT NULL, attempts INTEGER NOT NULL, failed_s REAL NOT NULL, PRIMARY KEY (stage, key)) WITHOUT ROWID",
)
LEDGER_FILE = "ledger.sqlite"
_CHUNK = 500  # SQLite takes at least 999 parameters a statement


@dataclass(frozen=True, slots=True)
class Lease:
    """A batch that a run holds: its keys, how often its lone item failed, when it was claimed and last known alive."""

    run: int
    keys: tuple[str, ...]
    attempts: int
    claimed_s: float
    beat_s: float


class Ledger:
    """The ledger on a connection that somebody lends; `Ledger.open(folder)` has one of its own.

    remember: keep a row for every item that is done. A library that knows itself what is missing says False.
    """

    def __init__(self, connection: sqlite3.Connection, *, remember: bool = True) -> None:
        self.connection, self.remember = connection, remember

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, wait_s: float = 0.0) -> Iterator[Ledger]:
        """A ledger in a run folder, for one process at a time.

        Waits up to wait_s for another process to end, then raises LibraryBusyError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "ledger.lock", wait_s=wait_s):
            connection = sqlite3.connect(folder / LEDGER_FILE, timeout=30.0, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                yield cls(connection)
            finally:
                connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside is kept, or nothing."""
        if self.connection.in_transaction:
            raise InvalidValueError("the connection must have no open transaction, got one: commit before the run")
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    # -- what is known --------------------------------------------------------------------------------------------

    def failed(self, fingerprint: str) -> dict[str, Failure]:
        """Quarantined items of a stage by key."""
        if not self._made():
            return {}
        rows = self.connection.execute(
            "SELECT key, reason, detail, attempts FROM engine_failures WHERE stage = ? ORDER BY key",
            (self._known_stage(fingerprint),),
        )
        return {key: Failure(key, reason, detail, attempts) for key, reason, detail, attempts in rows}

    def reasons(self) -> dict[str, dict[str, int]]:
        """How many items are quarantined, by stage and by reason."""
        counts: dict[str, dict[str, int]] = {}
        if self._made():
            for fingerprint, reason, count in self.connection.execute(
                "SELECT fingerprint, reason, count(*) FROM engine_failures JOIN engine_stages ON id = stage"
                " GROUP BY fingerprint, reason ORDER BY fingerprint, reason"
            ):
                counts.setdefault(fingerprint, {})[reason] = count
        return counts

    def done(self, fingerprint: str) -> Done:
        """Finished items of a stage: `key in …` and `len(…)`, without loading them."""
        return Done(self.connection, self._known_stage(fingerprint))

    def settled(self, stage: int, keys: Sequence[str]) -> tuple[set[str], set[str]]:
        """Which of these keys are done, and which are quarantined; `stage` is the number that `begin` gave."""
        return Done(self.connection, stage).among(keys), self._failed_among(stage, keys)

    def leases(self) -> list[Lease]:
        """Batches in flight now, or when a run died."""
        if not self._made():
            return []
        rows = self.connection.execute(
            "SELECT run, keys, attempts, claimed_s, beat_s FROM engine_batches ORDER BY run, batch"
        )
        return [Lease(run, tuple(json.loads(keys)), *rest) for run, keys, *rest in rows]

    def forget(self, keys: Iterable[str], fingerprint: str | None = None) -> None:
        """Make the next run do these items again, of one stage or of all."""
        which, stage = ("", ()) if fingerprint is None else (" AND stage = ?", (self._known_stage(fingerprint),))
        if not self._made():
            return
        with self.transaction() as connection:
            for key in keys:
                connection.execute(f"DELETE FROM engine_failures WHERE key = ?{which}", (key, *stage))
                connection.execute(f"DELETE FROM engine_done WHERE key = ?{which}", (digest(key), *stage))

    def _made(self) -> bool:
        """Whether a run was ever begun here: the tables are made by the first, so that reading changes nothing."""
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'engine_failures'"
        return self.connection.execute(query).fetchone() is not None

    def _known_stage(self, fingerprint: str) -> int:
        if not self._made():
            return -1
        row = self.connection.execute("SELECT id FROM engine_stages WHERE fingerprint = ?", (fingerprint,)).fetchone()
        return int(row[0]) if row else -1

    def _failed_among(self, stage: int, keys: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(keys), _CHUNK):
            part = keys[start : start + _CHUNK]
            marks = ",".join("?" * len(part))
            rows = self.connection.execute(
                f"SELECT key FROM engine_failures WHERE stage = ? AND key IN ({marks})", (stage, *part)
            )
            found.update(row[0] for row in rows)
        return found

    # -- what a run writes ----------------------------------------------------------------------------------------

    def begin(self, fingerprint: str) -> tuple[int, int]:
        """Open a run: its number and its stage's. Leases of runs that died are given up; their items come again."""
        with self.transaction() as connection:
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute("DELETE FROM engine_batches")
            connection.execute("UPDATE engine_runs SET state = 'died' WHERE state = 'running'")
            connection.execute("INSERT OR IGNORE INTO engine_stages (fingerprint) VALUES (?)", (fingerprint,))
            stage = self._known_stage(fingerprint)
            cursor = connection.execute(
                "INSERT INTO engine_runs (stage, pid, started_s, state) VALUES (?, ?, ?, 'running')",
                (stage, os.getpid(), time.time()),
            )
        return int(cursor.lastrowid or 0), stage

    def claim(self, run: int, batch: Batch) -> None:
        """Lease a batch; inside a transaction."""
        now = time.time()
        keys = json.dumps([task.key for task in batch.tasks])
        self.connection.execute(
            "INSERT OR REPLACE INTO engine_batches VALUES (?, ?, ?, ?, ?, ?)",
            (run, batch.id, keys, batch.attempts + batch.outside, now, now),
        )

    def release(self, run: int, batch: Batch) -> None:
        """End a lease; inside a transaction."""
        self.connection.execute("DELETE FROM engine_batches WHERE run = ? AND batch = ?", (run, batch.id))

    def record(self, run: int, stage: int, done: Sequence[str], failures: Sequence[Failure]) -> None:
        """Keep what became of a batch; inside the sink's transaction."""
        if self.remember:
            rows = [(stage, digest(key)) for key in done]
            self.connection.executemany("INSERT OR IGNORE INTO engine_done VALUES (?, ?)", rows)
        now = time.time()
        self.connection.executemany(
            "INSERT OR REPLACE INTO engine_failures VALUES (?, ?, ?, ?, ?, ?)",
            [(stage, f.key, _writable(f.reason), _writable(f.detail), f.attempts, now) for f in failures],
        )
        self.connection.execute(
            "UPDATE engine_runs SET done = done + ?, failed = failed + ? WHERE id = ?", (len(done), len(failures), run)
        )

    def beat(self, run: int) -> None:
        """Say that the leases of a run are alive."""
        with self.transaction() as connection:
            connection.execute("UPDATE engine_batches SET beat_s = ? WHERE run = ?", (time.time(), run))

    def end(self, run: int, state: str) -> None:
        """Close a run; its leases end with it."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM engine_batches WHERE run = ?", (run,))
            connection.execute("UPDATE engine_runs SET ended_s = ?, state = ? WHERE id = ?", (time.time(), state, run))


class Done:
    """Finished items of one stage, looked up by hash."""

    def __init__(self, connection: sqlite3.Connection, stage: int) -> None:
        self._connection, self._stage = connection, stage

    def __contains__(self, key: str) -> bool:
        return bool(self.among([key]))

    def __len__(self) -> int:
        if self._stage < 0:
            return 0
        row = self._connection.execute("SELECT count(*) FROM engine_done WHERE stage = ?", (self._stage,)).fetchone()
        return int(row[0])

    def among(self, keys: Sequence[str]) -> set[str]:
        """Which of these are done."""
        found: set[str] = set()
        if self._stage < 0:
            return found
        for start in range(0, len(keys), _CHUNK):
            part = {digest(key): key for key in keys[start : start + _CHUNK]}
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(
                f"SELECT key FROM engine_done WHERE stage = ? AND key IN ({marks})", (self._stage, *part)
            )
            found.update(part[row[0]] for row in rows)
        return found


def digest(key: str) -> bytes:
    """16 bytes that stand for a key: two of a billion keys collide with a chance of 1e-21."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _writable(text: str) -> str:
    """Text that SQLite takes: a file name that is no UTF-8 may stand in an exception's words."""
    return text.encode("utf-8", "backslashreplace").decode()
