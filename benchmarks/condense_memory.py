"""Does clustering 200,000 latents take memory that grows with them?

    python benchmarks/condense_memory.py [docs/results/condense-memory.json] [rows]

200,000 x 1,024 float16 latents (4 x 16 x 16, as of 128-pixel pictures) in a memory-mapped file, class after class:
1,000 classes of 200 and 10 of 20,000; a tenth of each as well, to see what grows. Ten clusters a class, ten starts.
Rivals: scikit-learn's KMeans and MiniBatchKMeans in a plain loop over the whole set in memory. Each runs in a process
of its own, on one thread. Peak: resident pages, those of the mapped file included, less what imports and labels take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np

from lightmeter.condense.clusters import k_means
from lightmeter.condense.rows import RowsOf, blocks
from lightmeter.meter.cost import measure
from lightmeter.meter.processes import Proc
from lightmeter.meter.record import Record, write_results
from lightmeter.report.text import table

SEED, DIM, CLUSTERS, STARTS, MODES = 0, 1024, 10, 10, 30


def write_latents(path: Path, rows: int, per_class: int) -> None:
    """Each class a mixture of 30 Gaussians; variances fall as 1/sqrt(j), as those of latents about do."""
    out = np.lib.format.open_memmap(path, "w+", np.float16, (rows, DIM))
    scale = (np.arange(1, DIM + 1) ** -0.25).astype(np.float32)
    for start in range(0, rows, per_class):
        rng = np.random.default_rng([SEED, start])
        modes = rng.standard_normal((MODES, DIM), dtype=np.float32) * scale
        noise = rng.standard_normal((per_class, DIM), dtype=np.float32) * scale
        out[start : start + per_class] = 0.7 * modes[rng.integers(MODES, size=per_class)] + noise
    out.flush()


def ours(path: Path, labels: np.ndarray) -> Iterator[np.ndarray]:
    rows = np.load(path, mmap_mode="r")
    for label in range(labels[-1] + 1):
        of_class = RowsOf(rows, np.flatnonzero(labels == label))
        yield k_means(of_class, CLUSTERS, seed=SEED, starts=STARTS).centres


def in_memory(estimator: str) -> Callable[[Path, np.ndarray], Iterator[np.ndarray]]:
    def run(path: Path, labels: np.ndarray) -> Iterator[np.ndarray]:
        import sklearn.cluster

        rows = np.load(path).astype(np.float32)
        for label in range(labels[-1] + 1):
            made = getattr(sklearn.cluster, estimator)(CLUSTERS, n_init=STARTS, random_state=SEED)
            yield made.fit(rows[labels == label]).cluster_centers_

    return run


WAYS = {
    "lightmeter, mapped": ours,
    "scikit-learn KMeans, in memory": in_memory("KMeans"),
    "scikit-learn MiniBatchKMeans, in memory": in_memory("MiniBatchKMeans"),
}


def one(way: str, path: Path, per_class: int) -> dict:
    """In a process of its own: what it cost, and how far rows are from their centres."""
    import sklearn.cluster  # noqa: F401 -- not what is measured

    count = len(np.load(path, mmap_mode="r"))
    labels = np.repeat(np.arange(count // per_class), per_class)
    before = Proc().resident_bytes(os.getpid())
    kept = path.with_name("centres")
    with measure() as meter, kept.open("wb") as file:
        for made in WAYS[way](path, labels):
            file.write(made.astype(np.float32).tobytes())
    centres = np.fromfile(kept, np.float32).reshape(-1, CLUSTERS, DIM)
    return {
        "classes": len(centres), "rows_a_class": per_class, "rows": count, "way": way,
        "peak_above_start_mb": round((meter.cost.peak_bytes - before) / 1e6, 1),
        "cpu_s": round(meter.cost.cpu_s, 1), "spread": round(spread(path, labels, centres), 4),
        "cost": meter.cost.as_json(),
    }  # fmt: skip


def spread(path: Path, labels: np.ndarray, centres: np.ndarray) -> float:
    """The mean squared distance of rows to the nearest centre of their class."""
    rows, total = np.load(path, mmap_mode="r"), 0.0
    for label, own in enumerate(centres):
        for _, block in blocks(RowsOf(rows, np.flatnonzero(labels == label))):
            apart = (block**2).sum(axis=1)[:, None] + (own**2).sum(axis=1) - 2 * block @ own.T
            total += float(apart.min(axis=1).sum())
    return total / len(rows)


def main(out: Path, rows: int) -> None:
    found = []
    for per_class in (rows // 1000, rows // 10):
        for count in (rows // 10, rows):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "latents.npy"
                write_latents(path, max(count, per_class), per_class)
                for way in WAYS:
                    command = [sys.executable, __file__, "one", way, str(path), str(per_class)]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    found.append(json.loads(done.stdout))
                    print({name: value for name, value in found[-1].items() if name != "cost"}, flush=True)
    print(table(found, [name for name in found[0] if name != "cost"]))
    notes = {
        "dim": DIM, "clusters": CLUSTERS, "starts": STARTS, "modes": MODES, "file_bytes": rows * DIM * 2,
        "peak_above_start_mb": "resident pages, the mapped file's included, less those before the first read",
        "spread": "mean squared distance of a row to its nearest centre; lower is better",
        "load": os.getloadavg()[0],
    }  # fmt: skip
    question = "Does clustering 200,000 latents take memory that grows with them?"
    print(write_results(out, Record("condense-memory", question, found, seed=SEED, notes=notes)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(one(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        main(
            Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/condense-memory.json"),
            int(sys.argv[2]) if len(sys.argv) > 2 else 200_000,
        )
