"""From how many rows do one-bit codes answer a library's searches cheaper than a scan, and what do they miss?

    OPENBLAS_NUM_THREADS=1 python benchmarks/library_search.py [docs/results/library-search.json]

Libraries of items with one row each, from a seeded mixture of 1,000 Gaussians whose variances fall as 1/j (like
features of a network), kept in shards as `index` leaves them. 40 queries of the same mixture, none of them a row, ask
for ten items. `command`: the library is opened for one query, as `lightmeter search` does; `open`: it stays open. Files
are in the page cache: where they are not, a scan waits for 20 to 30 times as many bytes.
"""

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.library.codes import codes_bytes
from lightmeter.library.coding import keep_codes
from lightmeter.library.features import Series
from lightmeter.library.neighbours import Coded, OpenCodes
from lightmeter.library.store import Library, open_library
from lightmeter.meter.record import Record, write_results
from lightmeter.report.text import table
from lightmeter.search.exact import scan_mean, top
from lightmeter.search.one_bit import OneBit
from lightmeter.types import Array, Item

SEED, QUERIES, K, CENTRES, SPREAD, STEP = 0, 40, 10, 1000, 0.7, 20_000
SIZES = [(10_000, 1280), (20_000, 1280), (50_000, 1280), (100_000, 1280), (20_000, 64), (100_000, 64), (500_000, 512)]


def draw(rng: np.random.Generator, rows: int, dim: int) -> Array:
    """Rows of the mixture; the centres are the same for every call."""
    scale = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    centres = np.random.default_rng(SEED + 1).standard_normal((CENTRES, dim), dtype=np.float32) * scale
    noise = rng.standard_normal((rows, dim), dtype=np.float32)
    return centres[rng.integers(CENTRES, size=rows)] + np.float32(SPREAD) * scale * noise


def make(folder: Path, rows: int, dim: int) -> None:
    rng = np.random.default_rng(SEED)
    with open_library(folder, create=True) as library:
        for start in range(0, rows, STEP):
            count = min(STEP, rows - start)
            with library.transaction():
                names = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(start, start + count)]
                keys = library.add_contents([Item(name, "image", 1) for name in names])
                library.append(library.series("bench", "item", dim), keys, draw(rng, count, dim))
        library.compact()


def by_scan(library: Library, series: Series, query: Array) -> tuple[Array, Array]:
    owners, values, _ = scan_mean(library.features(series).blocks(), query)
    best = top(values, K)
    return owners[best], values[best]


def by_codes(library: Library, series: Series, query: Array) -> tuple[Array, Array]:
    """As a search does it, but also where it was measured to be dearer (the codes then stand there until a sweep)."""
    [folder] = (library.folder / "indexes").glob("codes-*")
    codes = library.opened_codes.get(series.id)
    if codes is None:
        codes = library.opened_codes[series.id] = OpenCodes(library, series, folder.name)
    recipe = OneBit(metric="cosine")
    for found in Coded(codes, library.features(series), recipe).rounds(query, K):
        if np.count_nonzero(found.values > found.sure) >= K:
            best = top(found.values, K)
            return found.owners[best], found.values[best]
    return by_scan(library, series, query)


Ask = Callable[[Library, Series, Array], tuple[Array, Array]]


def asked(folder: Path, queries: Array, ask: Ask, *, cold: bool) -> tuple[list[tuple[Array, Array]], dict[str, float]]:
    """Answers and milliseconds; cold: the library is opened for each query, which is timed."""
    found, wall, cpu = [], [], []
    library = open_library(folder)
    ask(library, library.series("bench"), queries[:1])
    for query in queries:
        start, start_cpu = time.perf_counter(), time.process_time()
        if cold:
            library.close()
            library = open_library(folder)
        found.append(ask(library, library.series("bench"), query[None]))
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    library.close()
    return found, {"wall_ms": float(np.median(wall)) * 1e3, "cpu_ms": float(np.median(cpu)) * 1e3}


def compare(folder: Path, rows: int, dim: int) -> list[dict[str, Any]]:
    make(folder, rows, dim)
    with open_library(folder, write=True) as library:
        start = time.process_time()
        choice = keep_codes(library, library.series("bench"), from_rows=1)
        spent = time.process_time() - start
        assert choice is not None
        [place] = (folder / "indexes").glob("codes-*")
        size = codes_bytes(folder, place.name)
    queries = draw(np.random.default_rng(SEED + 2), QUERIES, dim)
    truth, _ = asked(folder, queries, by_scan, cold=False)
    out = []
    for name, ask in (("scan", by_scan), ("one-bit codes", by_codes)):
        found, cold = asked(folder, queries, ask, cold=True)
        _, warm = asked(folder, queries, ask, cold=False)
        hits = [float(np.mean(values >= true[-1] - 4e-6)) for (_, values), (_, true) in zip(found, truth, strict=True)]
        codes = name != "scan"
        out.append({
            "rows": rows, "dim": dim, "by": name, "agreement_at_10": float(np.mean(hits)),
            "command_cpu_ms": cold["cpu_ms"], "command_wall_ms": cold["wall_ms"],
            "open_cpu_ms": warm["cpu_ms"], "open_wall_ms": warm["wall_ms"],
            "codes_mb": size / 1e6 if codes else 0.0, "build_us_a_row": choice.build_s["one-bit"] / rows * 1e6 * codes,
            "build_and_measure_s": spent * codes, "chosen": choice.spec, "load": os.getloadavg()[0],
        })  # fmt: skip
        print(out[-1], flush=True)
    return out


def main(target: Path) -> None:
    rows = []
    for count, dim in SIZES:
        with tempfile.TemporaryDirectory(prefix="lightmeter-bench-") as place:
            rows += compare(Path(place) / "library", count, dim)
    print(table(rows, list(rows[0])))
    question = "From how many rows do one-bit codes answer a library's searches cheaper than a scan?"
    notes = {
        "queries": QUERIES, "k": K, "centres": CENTRES, "spread": SPREAD,
        "command": "the library is opened for the query", "open": "the library stays open",
        "build": "CPU of making and writing all codes; then with the choice measured",
        "load": "of the machine after the trial; above 2 others took turns on its cores",
    }  # fmt: skip
    write_results(target, Record("library-search", question, rows, seed=SEED, notes=notes))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/library-search.json"))
