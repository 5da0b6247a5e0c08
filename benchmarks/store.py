"""What does a library cost to write, open and filter, beside Lance and SQLite blobs in the same run?

    pip install 'lightmeter[bench]' && python benchmarks/store.py docs/results/store.json

100,000 rows of 512 float32 numbers, with an id and a label each, in 50 batches, each durable before the next
(Lance never waits for the disk). `append`: keys and vectors alone; `write`: with unique ids and labels (Lance holds
neither of them unique). Every variant is checked to give back what went in.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.library.contents import Tag
from lightmeter.library.filters import Where
from lightmeter.library.store import open_library
from lightmeter.meter.record import Record, write_results
from lightmeter.types import Item

ROWS, DIM, BATCHES = 100_000, 512, 50
STEP = ROWS // BATCHES
RARE = "rare"  # the label of one row in a hundred
REPEATS = 3


class Ours:
    """A library: items, labels and feature shards."""

    def write(self, folder: Path, vectors: np.ndarray, ids: list[str]) -> None:
        with open_library(folder, create=True) as library:
            for start in range(0, ROWS, STEP):
                with library.transaction():
                    series = library.series("bench", "item", DIM)
                    keys = library.add_contents([Item(name, "image", DIM) for name in ids[start : start + STEP]])
                    library.append(series, keys, vectors[start : start + STEP])
            with library.transaction():
                tags = []
                for key in library.items().keys[::100].tolist():
                    path = library.add_path(f"/{key}.jpg", key, size_bytes=DIM, mtime_ns=0)
                    tags.append(Tag(path, RARE, 1.0, "bench"))
                library.set_tags(tags)

    def append(self, folder: Path, vectors: np.ndarray, ids: list[str]) -> Callable[[], None]:
        """Items that are there get their features; putting the items in is not timed."""
        with open_library(folder, create=True) as library:
            keys = library.add_contents([Item(name, "image", DIM) for name in ids])

        def write() -> None:
            with open_library(folder, write=True) as library:
                series = library.series("bench", "item", DIM)
                for start in range(0, ROWS, STEP):
                    library.append(series, keys[start : start + STEP], vectors[start : start + STEP])

        return write

    def open(self, folder: Path) -> int:
        with open_library(folder) as library:
            return len(library.features("bench"))

    def rare(self, folder: Path) -> Callable[[], np.ndarray]:
        library = open_library(folder)
        return lambda: library.features("bench", Where(tags=(RARE,))).vectors


class Blobs:
    """One SQLite table with the vector as a blob, WAL and synchronous=FULL as a library has."""

    def write(self, folder: Path, vectors: np.ndarray, ids: list[str]) -> None:
        folder.mkdir()
        with contextlib.closing(sqlite3.connect(folder / "x.sqlite", isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("CREATE TABLE x (key INTEGER PRIMARY KEY, id TEXT UNIQUE, tag TEXT, vector BLOB)")
            connection.execute("CREATE INDEX x_tag ON x (tag)")
            for start in range(0, ROWS, STEP):
                connection.execute("BEGIN")
                span = range(start, start + STEP)
                rows = ((ids[i], None if i % 100 else RARE, vectors[i].tobytes()) for i in span)
                connection.executemany("INSERT INTO x (id, tag, vector) VALUES (?, ?, ?)", rows)
                connection.execute("COMMIT")

    def append(self, folder: Path, vectors: np.ndarray, ids: list[str]) -> Callable[[], None]:
        folder.mkdir()

        def write() -> None:
            with contextlib.closing(sqlite3.connect(folder / "x.sqlite", isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("CREATE TABLE x (key INTEGER PRIMARY KEY, vector BLOB)")
                for start in range(0, ROWS, STEP):
                    connection.execute("BEGIN")
                    rows = ((i, vectors[i].tobytes()) for i in range(start, start + STEP))
                    connection.executemany("INSERT INTO x (key, vector) VALUES (?, ?)", rows)
                    connection.execute("COMMIT")

        return write

    def open(self, folder: Path) -> int:
        with contextlib.closing(sqlite3.connect(folder / "x.sqlite")) as connection:
            return int(connection.execute("SELECT count(*) FROM x").fetchone()[0])

    def rare(self, folder: Path) -> Callable[[], np.ndarray]:
        connection = sqlite3.connect(folder / "x.sqlite")
        sql = "SELECT vector FROM x WHERE tag = ? ORDER BY key"
        return lambda: np.stack([np.frombuffer(v, np.float32) for (v,) in connection.execute(sql, (RARE,))])


class Lance:
    """A Lance dataset, a fragment a batch."""

    def __init__(self) -> None:
        import lance
        import pyarrow

        self.lance, self.arrow = lance, pyarrow

    def write(self, folder: Path, vectors: np.ndarray, ids: list[str]) -> None:
        kind = self.arrow.list_(self.arrow.float32(), DIM)
        for start in range(0, ROWS, STEP):
            flat = self.arrow.array(vectors[start : start + STEP].reshape(-1))
            columns = {
                "id": ids[start : start + STEP],
                "tag": [RARE if i % 100 == 0 else None for i in range(start, start + STEP)],
                "vector": self.arrow.FixedSizeListArray.from_arrays(flat, type=kind),
            }
            self.lance.write_dataset(self.arrow.table(columns), str(folder), mode="append" if start else "create")

    def append(self, folder: Path, vectors: np.ndarray, ids: list[str]) -> Callable[[], None]:
        kind = self.arrow.list_(self.arrow.float32(), DIM)

        def write() -> None:
            for start in range(0, ROWS, STEP):
                flat = self.arrow.array(vectors[start : start + STEP].reshape(-1))
                vector = self.arrow.FixedSizeListArray.from_arrays(flat, type=kind)
                table = self.arrow.table({"key": np.arange(start, start + STEP), "vector": vector})
                self.lance.write_dataset(table, str(folder), mode="append" if start else "create")

        return write

    def open(self, folder: Path) -> int:
        return int(self.lance.dataset(str(folder)).count_rows())

    def rare(self, folder: Path) -> Callable[[], np.ndarray]:
        found = self.lance.dataset(str(folder))

        def fetch() -> np.ndarray:
            column = found.to_table(columns=["vector"], filter=f"tag = '{RARE}'").column("vector").combine_chunks()
            return column.flatten().to_numpy().reshape(-1, DIM)

        return fetch


def timed(call: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    answer = call()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}, answer


def variants() -> dict[str, Any]:
    found: dict[str, Any] = {"lightmeter": Ours(), "sqlite-blobs": Blobs()}
    try:
        found["pylance"] = Lance()
    except ImportError:
        print("pylance is not installed: pip install 'lightmeter[bench]'; its rows are left out", file=sys.stderr)
    return found


def compare(place: Path) -> list[dict[str, Any]]:
    """Write, open and filter in every variant, interleaved; medians and quartiles of REPEATS rounds."""
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIM), np.float32)
    ids = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(ROWS)]
    took: dict[tuple[str, str], list[dict[str, float]]] = {}
    whole: dict[str, bool] = {}
    for _ in range(REPEATS):
        for name, variant in variants().items():
            folder = place / name
            shutil.rmtree(folder, ignore_errors=True)
            call = variant.append(folder, vectors, ids)
            took.setdefault((name, "append"), []).append(timed(call)[0])
            shutil.rmtree(folder)
            took.setdefault((name, "write with ids and labels"), []).append(
                timed(lambda v=variant, f=folder: v.write(f, vectors, ids))[0]
            )
            for _ in range(3):
                cost, count = timed(lambda v=variant, f=folder: v.open(f))
                took.setdefault((name, "open"), []).append(cost)
            fetch = variant.rare(folder)
            for _ in range(3):
                cost, found = timed(fetch)
                took.setdefault((name, "filter and fetch 1 %"), []).append(cost)
            whole[name] = count == ROWS and np.array_equal(found, vectors[::100])
    return [
        {"variant": name, "step": step, "gives back what went in": whole[name], "rounds": len(costs), **summary(costs)}
        for (name, step), costs in took.items()
    ]


def summary(costs: list[dict[str, float]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for unit in ("wall_s", "cpu_s"):
        low, middle, high = np.percentile([cost[unit] for cost in costs], [25, 50, 75])
        found |= {unit: round(float(middle), 6), f"{unit.removesuffix('_s')}_iqr_s": round(float(high - low), 6)}
    return found


def million(place: Path) -> list[dict[str, Any]]:
    """A million items at a path each, with a row of 8 numbers: how long until it is open, and until it is read?"""
    folder, count, step = place / "million", 1_000_000, 50_000
    with open_library(folder, create=True) as library:
        for start in range(0, count, step):
            with library.transaction():
                series = library.series("bench", "item", 8)
                span = range(start, start + step)
                keys = library.add_contents(
                    [Item(hashlib.sha256(b"%d" % number).hexdigest(), "image", number) for number in span]
                )
                for number, key in zip(span, keys.tolist(), strict=True):
                    library.add_path(f"/photos/{number}.jpg", key, size_bytes=number, mtime_ns=0)
                library.append(series, keys, np.full((step, 8), start))
    steps: dict[str, Callable[[], Any]] = {
        "open a million": lambda: open_library(folder).close(),
        "open a million for writing": lambda: open_library(folder, write=True).close(),
        "open a million and map its features": lambda: Ours().open(folder),
    }
    rows = []
    for name, call in steps.items():
        costs = [timed(call)[0] for _ in range(REPEATS)]
        rows.append({"variant": "lightmeter", "step": name, "rounds": len(costs), **summary(costs)})
    return rows


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="lightmeter-bench-") as place:
        rows = compare(Path(place)) + million(Path(place))
    for row in rows:
        print(f"{row['variant']:14} {row['step']:36} {row['wall_s'] * 1e3:9.1f} ms  {row['cpu_s'] * 1e3:9.1f} CPU-ms")
    question = "What does a library cost to write, open and filter, beside Lance and SQLite blobs in the same run?"
    notes = {"rows": ROWS, "dim": DIM, "batches": BATCHES, "aims": AIMS, "durability": DURABILITY}
    write_results(target, Record("store", question, rows, seed=0, notes=notes))


DURABILITY = "lightmeter and sqlite-blobs fsync every batch before the next; pylance never does"
AIMS = {
    "append": "no slower than pylance and sqlite-blobs",
    "open": "at most 0.010 s",
    "filter and fetch 1 %": "at most 0.020 s",
    "open a million": "at most 1 s",
}

if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "store.json"))
