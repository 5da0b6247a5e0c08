"""How much slower than a plain multiprocessing.Pool is the supervised executor on clean work?

Both decode the same JPEGs (about 10 ms each) with two processes and chunks of 16; the pool gives its results to a loop
that drops them, the executor to a sink that keeps them in SQLite (WAL, synchronous=FULL). Repeats are interleaved.
Run: python benchmarks/executor.py [--items 600] [--repeats 5] > docs/results/executor.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lightmeter import __version__
from lightmeter.engines import Beat, Failure, Ledger, Local, Result, Task, run

BATCH = 16


@cache
def jpeg() -> bytes:
    """A smooth picture with noise, 1280 x 854, quality 90."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (9, 13, 3), np.uint8)
    picture = cv2.resize(coarse, (1280, 854), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noisy = np.clip(picture + rng.integers(-12, 12, picture.shape), 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def decode(number: int) -> Any:
    """One item of work: decode at half size, shrink, average."""
    import cv2
    import numpy as np

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


def with_pool(items: int, workers: int) -> None:
    """The baseline."""
    with multiprocessing.get_context("spawn").Pool(workers, initializer=jpeg) as pool:
        for _ in pool.imap_unordered(decode, range(items), chunksize=BATCH):
            pass
        pool.close()
        pool.join()


def with_executor(items: int, workers: int) -> None:
    """Ours."""
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder)) as ledger:
        tasks = (Task(f"{n:064d}", {"n": n}) for n in range(items))
        report = run(Decode(), tasks, Rows(ledger), ledger=ledger, engine=Local(workers), batch_size=BATCH)
        if report.done != items:
            raise RuntimeError(f"all {items} items must be done, got {report}")


def timed(work: Callable[[int, int], None], items: int, workers: int) -> tuple[float, float]:
    """Wall and CPU seconds of this process and its children."""

    def cpu_s() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)

    wall, cpu = time.perf_counter(), cpu_s()
    work(items, workers)
    return time.perf_counter() - wall, cpu_s() - cpu


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": round(middle, 3), "q1": round(low, 3), "q3": round(high, 3)}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    pool, ours = [], []
    for _ in range(given.repeats):
        pool.append(timed(with_pool, given.items, given.workers))
        ours.append(timed(with_executor, given.items, given.workers))
    ratios = {
        name: spread([mine[at] / theirs[at] for mine, theirs in zip(ours, pool, strict=True)])
        for at, name in enumerate(("wall", "cpu"))
    }
    json.dump(
        {
            "schema": "lightmeter/benchmark/1", "id": "executor", "question": (__doc__ or "").splitlines()[0],
            "items": given.items, "repeats": given.repeats, "workers": given.workers, "batch": BATCH,
            "pool": {"wall_s": spread([w for w, _ in pool]), "cpu_s": spread([c for _, c in pool])},
            "executor": {"wall_s": spread([w for w, _ in ours]), "cpu_s": spread([c for _, c in ours])},
            "executor_over_pool": ratios,
            "version": __version__, "python": platform.python_version(), "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2), "date": time.strftime("%Y-%m-%d"),
        },
        sys.stdout, indent=2,
    )  # fmt: skip
    sys.stdout.write("\n")


if __name__ == "__main__":
    import executor  # by its name, so that workers can import the stage too

    executor.main()
