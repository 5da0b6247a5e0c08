"""Captions as they come, kept in the ledger's own file, so that both tell the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lightmeter.engines.stage import Failure, Result
from lightmeter.types import Array

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS captions (stage TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, measures BLOB,"
    " note TEXT NOT NULL, PRIMARY KEY (stage, key)) WITHOUT ROWID"
)
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Told:
    """What is kept of a picture. measures: float32, as bytes, of a captioner that measures; then `text` is empty."""

    text: str
    measures: bytes | None
    note: str


class CaptionStore:
    """Writes what a stage of this fingerprint found, and reads it again."""

    def __init__(self, connection: sqlite3.Connection, stage: str) -> None:
        self.connection, self.stage = connection, stage
        connection.execute(_SCHEMA)

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        """Keep one batch; called inside the engine's transaction."""
        self.connection.executemany(
            "INSERT OR REPLACE INTO captions VALUES (?, ?, ?, ?, ?)",
            [
                (self.stage, each.key, _text(each.value["text"]), each.value["measures"], _text(each.value["note"]))
                for each in results
            ],
        )

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, Told]]:
        """Those of these keys that are there, in this order, a few hundred in memory at a time."""
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self.connection.execute(
                f"SELECT key, text, measures, note FROM captions WHERE stage = ? AND key IN ({marks})",
                (self.stage, *some),
            )
            found = {key: Told(*rest) for key, *rest in rows}
            yield from ((key, found[key]) for key in some if key in found)


def measures_of(told: Iterable[Told]) -> Array:
    """Rows of what a measuring captioner left: float32 [N, M], [0, 0] of none.  Memory: 44 bytes a row."""
    raw, count = bytearray(), 0
    for count, each in enumerate(told, 1):  # noqa: B007  the count is what is wanted
        raw += each.measures or b""
    return np.frombuffer(bytes(raw), "<f4").reshape(count, -1) if count else np.zeros((0, 0), np.float32)


def _text(text: str) -> str:
    """Text that SQLite takes, whatever a model or a file's name wrote."""
    return text.encode("utf-8", "replace").decode()
