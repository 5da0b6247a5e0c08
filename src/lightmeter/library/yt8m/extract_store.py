"""What was extracted, kept until a set is written of it: rows in the ledger's own file, so that both tell the same."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.engines.stage import Failure, Result
from lightmeter.types import Array, Words

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS extracted (id INTEGER PRIMARY KEY, stage TEXT NOT NULL, key TEXT NOT NULL,"
    " name TEXT NOT NULL, seconds INTEGER NOT NULL, words TEXT NOT NULL, notes TEXT NOT NULL,"
    " visual BLOB NOT NULL, audio BLOB, UNIQUE (stage, key))"
)
NAME_OF_KIND = ("visual", "audio")
_ITEM_BYTES = 2


@dataclass(frozen=True, slots=True)
class Kept:
    """One video that was extracted.

    row: its row in the table · seconds: T · has_audio: whether it has rows of sound · notes: what was damaged, or ""
    """

    row: int
    key: str
    name: str
    seconds: int
    has_audio: bool
    notes: str


class ExtractStore:
    """Writes what a stage of this fingerprint found, and reads it again; float16, exactly as it came.

    Size: 2 bytes a number: 1 MB for five minutes of 1,280 numbers of sight and 384 of sound.
    """

    def __init__(self, connection: sqlite3.Connection, stage: str) -> None:
        self.connection, self.stage = connection, stage
        connection.execute(SCHEMA)

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        """Keep one batch; called inside the engine's transaction."""
        for result in results:
            value = result.value
            audio = value["audio"]
            self.connection.execute(
                "INSERT OR REPLACE INTO extracted (stage, key, name, seconds, words, notes, visual, audio)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self.stage, result.key, value["name"], len(value["visual"]), json.dumps(value["words"]),
                    "; ".join(value["notes"]) if value["state"] == "damaged" else "", _bytes(value["visual"]),
                    None if audio is None else _bytes(audio),
                ),
            )  # fmt: skip

    def kept(self, keys: Sequence[str]) -> list[Kept]:
        """Those of these keys that were extracted, in this order.  Cost: one pass over the table without its rows."""
        rows = self.connection.execute(
            "SELECT id, key, name, seconds, audio IS NOT NULL, notes FROM extracted WHERE stage = ?", (self.stage,)
        )
        found = {key: Kept(row, key, name, count, bool(has), notes) for row, key, name, count, has, notes in rows}
        return [found[key] for key in keys if key in found]

    def rows(self, kept: Kept, kind: str, dim: int) -> Array:
        """The rows of a video, float16 [T, dim]; no rows where there is no sound."""
        with self._opened(kept, kind) as blob:
            return np.frombuffer(blob.read(), "<f2").reshape(-1, dim)

    def some(self, kept: Kept, kind: str, dim: int, seconds: Array) -> Array:
        """A few rows of a video, float16 [S, dim], by their seconds.  Cost: what lies between them is not read."""
        width = dim * _ITEM_BYTES
        with self._opened(kept, kind) as blob:
            raw = b"".join(blob[second * width : (second + 1) * width] for second in seconds.tolist())
        return np.frombuffer(raw, "<f2").reshape(-1, dim)

    def words(self, kept: Kept) -> list[Words]:
        """What people wrote about a video, best source first."""
        [(text,)] = self.connection.execute("SELECT words FROM extracted WHERE id = ?", (kept.row,))
        return [Words(title, tuple(keywords), source) for source, title, keywords in json.loads(text)]

    def _opened(self, kept: Kept, kind: str) -> Any:
        assert kind in NAME_OF_KIND, kind
        return self.connection.blobopen("extracted", kind, kept.row, readonly=True)


def _bytes(rows: Array) -> bytes:
    return np.ascontiguousarray(rows, "<f2").tobytes()
