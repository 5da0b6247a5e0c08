"""How much slower than multiprocessing.Pool is the supervised executor on clean files? Both decode and encode JPEGs."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmeter.encoders.efficientnet_lite import EfficientNetLite
from lightmeter.engines.ledger import Ledger
from lightmeter.engines.local import Local
from lightmeter.engines.run import run
from lightmeter.engines.stage import Beat, Failure, Result, Task
from lightmeter.media.images import read_image
from lightmeter.meter.cost import measure
from lightmeter.types import Array

WORKERS, BATCH = 2, 16


def load() -> None:
    """What each worker does first."""
    EfficientNetLite().load()


def features(path: str) -> Array:
    """One item of work: float32 [1280]."""
    encoder = EfficientNetLite()
    return encoder.encode([read_image(path, short_side=encoder.short_side).value])[0]


@dataclass(frozen=True)
class Encode:
    """The same as a stage."""

    fingerprint: str = "decode-encode"

    def open(self) -> None:
        """Load the model."""
        load()

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """A row a task."""
        outcomes = []
        for task in tasks:
            beat()
            outcomes.append(Result(task.key, {"row": features(task.payload["path"])}))
        return outcomes


class Rows:
    """Keeps rows as blobs, durably."""

    def __init__(self, ledger: Ledger) -> None:
        self.connection = ledger.connection
        self.connection.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, row BLOB)")

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        """One row a result."""
        rows = [(result.key, result.value["row"].tobytes()) for result in results]
        self.connection.executemany("INSERT INTO rows VALUES (?, ?)", rows)


def with_pool(paths: Sequence[str]) -> None:
    """The baseline; it forgets what it made."""
    with multiprocessing.get_context("spawn").Pool(WORKERS, initializer=load) as pool:
        for _ in pool.imap_unordered(features, paths, chunksize=BATCH):
            pass
        pool.close()
        pool.join()


def with_executor(paths: Sequence[str]) -> None:
    """Ours; results are on disk when it returns."""
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder)) as ledger:
        tasks = (Task(f"{number:064d}", {"path": path}) for number, path in enumerate(paths))
        report = run(Encode(), tasks, Rows(ledger), ledger=ledger, engine=Local(WORKERS), batch_size=BATCH)
        if report.done != len(paths):
            raise RuntimeError(f"all {len(paths)} items must be done, got {report}")


def compare(files: Sequence[Path], repeats: int, *, few: int = 32) -> list[dict[str, Any]]:
    """Both on all files and on a few, interleaved; the difference of the two is the work without starting up."""
    paths = [str(path) for path in files]
    calls: dict[str, Callable[[Sequence[str]], None]] = {"multiprocessing.Pool": with_pool, "lightmeter": with_executor}
    took: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(repeats):
        for name, call in calls.items():
            spent = []
            for some in (paths[:few], paths):
                with measure() as meter:
                    call(some)
                spent.append((meter.cost.wall_s, meter.cost.cpu_s))
            took.setdefault((name, "with start-up"), []).append(spent[1])
            took.setdefault((name, "without start-up"), []).append(
                (spent[1][0] - spent[0][0], spent[1][1] - spent[0][1])
            )
    rows = []
    for (name, what), values in took.items():
        base = took["multiprocessing.Pool", what]
        ratios = {
            f"over_pool_{unit}": spread([mine[at] / theirs[at] for mine, theirs in zip(values, base, strict=True)])
            for at, unit in enumerate(("wall", "cpu"))
        }
        spent_by = {unit: spread([value[at] for value in values]) for at, unit in enumerate(("wall_s", "cpu_s"))}
        items = len(paths) if what == "with start-up" else len(paths) - few
        rows.append({"part": "executor", "candidate": name, "what": what, "items": items, **spent_by, **ratios})
    return rows


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": round(middle, 4), "q1": round(low, 4), "q3": round(high, 4)}
