"""What supervision costs on clean work, beside a plain pool: `python benchmarks/executor.py [REPEATS]`.

Both decode the same JPEGs (about 10 ms each), two processes, chunks of 16. The pool hands its rows to a loop that
sums them; the executor to a sink that keeps them in SQLite (WAL, synchronous=FULL) with one transaction a batch.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.engines import Beat, Failure, Ledger, Local, Result, Task, run
from lightmeter.meter.bench import Bench, bench_rows, run_bench
from lightmeter.meter.record import write_results
from lightmeter.report.text import table

RESULTS = Path(__file__).parents[1] / "docs" / "results"
ITEMS, BATCH, WORKERS = 600, 16, 2


@cache
def jpeg() -> bytes:
    """A smooth picture with noise, 1280 x 854, quality 90."""
    import cv2

    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (9, 13, 3), np.uint8)
    picture = cv2.resize(coarse, (1280, 854), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noisy = np.clip(picture + rng.integers(-12, 12, picture.shape), 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def decode(number: int) -> Any:
    """One item of work: decode at half size, shrink to 768 numbers."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(jpeg(), np.uint8), cv2.IMREAD_REDUCED_COLOR_2)
    return cv2.resize(pixels, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32).ravel() + number


@dataclass(frozen=True)
class Decode:
    """The same work as a stage."""

    fingerprint: str = "decode"

    def open(self) -> None:
        """Make the picture before the first batch, as the pool's initialiser does."""
        jpeg()

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """768 numbers a task."""
        results = []
        for task in tasks:
            results.append(Result(task.key, {"row": decode(task.payload["n"])}))
            beat()
        return results


class Rows:
    """Keeps rows as blobs."""

    def __init__(self, ledger: Ledger) -> None:
        self.connection = ledger.connection
        self.connection.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, row BLOB)")

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        """One row a result."""
        rows = [(result.key, result.value["row"].tobytes()) for result in results]
        self.connection.executemany("INSERT INTO rows VALUES (?, ?)", rows)

    def total(self) -> float:
        """Of everything that was kept."""
        return sum(
            float(np.frombuffer(row, np.float32).sum()) for (row,) in self.connection.execute("SELECT row FROM rows")
        )


def with_pool(items: int) -> float:
    """The baseline."""
    with multiprocessing.get_context("spawn").Pool(WORKERS, initializer=jpeg) as pool:
        total = sum(float(row.sum()) for row in pool.imap_unordered(decode, range(items), chunksize=BATCH))
        pool.close()
        pool.join()
    return total


def with_executor(items: int) -> float:
    """Ours."""
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder)) as ledger:
        tasks = (Task(f"{n:064d}", {"n": n}) for n in range(items))
        rows = Rows(ledger)
        run(Decode(), tasks, rows, ledger=ledger, engine=Local(WORKERS), batch_size=BATCH)
        return rows.total()


@cache
def expected(items: int) -> float:
    """The sum without any process."""
    return items * float(decode(0).sum()) + 768 * items * (items - 1) / 2


BENCH = Bench(
    id="executor",
    question="How much slower than a plain multiprocessing.Pool is the supervised executor on clean work?",
    data=lambda: ITEMS,
    variants={"pool": with_pool, "executor": with_executor},
    quality={"same-sum": lambda total, items: float(np.isclose(total, expected(items), rtol=1e-5))},
    seed=0,
)


def main() -> None:
    """Run it, keep the figures, show them."""
    record = run_bench(BENCH, repeats=int(sys.argv[1]) if len(sys.argv) > 1 else 7)
    write_results(RESULTS / f"{BENCH.id}.json", record)
    print(BENCH.question)
    print(table(bench_rows(record)))


if __name__ == "__main__":
    import executor  # by its name, so that workers can import the stage too

    executor.main()
