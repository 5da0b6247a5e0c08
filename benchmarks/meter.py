"""What measuring costs: `python benchmarks/meter.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightmeter.meter.bench import Bench, bench_rows, run_bench
from lightmeter.meter.cost import measure
from lightmeter.meter.record import write_results
from lightmeter.report.text import table

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def bare(rows: np.ndarray) -> float:
    return sum(float(np.sin(np.sin(np.sin(row))).sum()) for row in rows)


def one_block(rows: np.ndarray) -> float:
    with measure():
        return bare(rows)


def hundred_blocks(rows: np.ndarray) -> float:
    return sum(map(one_block, np.split(rows, 100)))


BENCH = Bench(
    id="meter-overhead",
    question="How much longer does the same work take when it is measured as one block, and as a hundred?",
    data=lambda: np.random.default_rng(0).random((100, 100_000)),
    variants={"bare": bare, "one-block": one_block, "hundred-blocks": hundred_blocks},
    quality={"same-sum": lambda total, rows: float(np.isclose(total, bare(rows)))},
    seed=0,
)

if __name__ == "__main__":
    record = run_bench(BENCH, repeats=7)
    write_results(RESULTS / f"{BENCH.id}.json", record)
    print(BENCH.question)
    print(table(bench_rows(record)))
