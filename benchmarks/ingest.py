"""What does it cost to take in pictures and videos, and to start? One run, the same files for every candidate.

    python benchmarks/ingest.py [--only PART …] [--photos FOLDER] [--work FOLDER] [--repeats 5]

Parts: `pictures` and `top-1` (decode + encode against the naive loop and stronger peers, and whether the answer is the
same), `executor` (against multiprocessing.Pool), `videos` (against OpenCV), `start` (`--help`, a search from cold) and
`memory` (10,000 pictures and a two-hour video; many minutes). CPU seconds of one thread, repeats interleaved, medians
with quartiles. Rows of parts that are not run are kept from the last time; each row has its own date.
Real photos: scikit-image's, scikit-learn's, opencv-doc's (`lightmeter assets add opencv-doc`) and those of Debian's
mate-backgrounds, plasma-workspace-wallpapers and lomiri-wallpapers-20.04, unpacked with `dpkg-deb -x` below --photos.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LIGHTMETER_THREADS"):
    os.environ[_name] = "1"  # before numpy and torch are imported

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingesting import material

from lightmeter.meter.record import Record, read_results, today, write_results
from lightmeter.report.text import table

OUT = Path(__file__).parents[1] / "docs" / "results" / "ingest.json"
Rows = list[dict[str, Any]]


def pictures(given: argparse.Namespace) -> Rows:
    from ingesting.pictures import compare

    return compare(_pictures(given.work), given.work / "library", given.repeats)


def top1(given: argparse.Namespace) -> Rows:
    from ingesting.pictures import quality

    return quality(material.photos(given.photos), given.work / "crops")


def executor(given: argparse.Namespace) -> Rows:
    from ingesting.pool import compare

    return compare(_pictures(given.work) * 4, given.repeats)


def videos(given: argparse.Namespace) -> Rows:
    from ingesting.videos import compare

    return compare(material.clips(given.work / "clips"), given.repeats)


def start(given: argparse.Namespace) -> Rows:
    from ingesting.start import compare, library

    _pictures(given.work)
    place = given.work / "hundred-thousand"
    return compare(place if place.exists() else library(place), given.repeats)


def memory(given: argparse.Namespace) -> Rows:
    from ingesting.memory import compare

    return compare(given.work, material.clips(given.work / "clips")["5 s, keyframe each 1 s"])


def _pictures(work: Path, count: int = 100) -> list[Path]:
    made = sorted((work / "pictures").glob("*.jpg"))
    return made if len(made) == count else material.jpegs(work / "pictures", count)


PARTS: dict[str, Callable[[argparse.Namespace], Rows]] = {
    "pictures": pictures,
    "top-1": top1,
    "executor": executor,
    "videos": videos,
    "start": start,
    "memory": memory,
}


def verdicts(rows: Rows) -> Rows:
    """The targets and what was reached, losses too."""
    found: Rows = []

    def judge(target: str, value: float | None, least: float | None = None, most: float | None = None) -> None:
        if value is not None:
            met = (least is None or value >= least) and (most is None or value <= most)
            found.append({"target": target, "reached": round(value, 4), "met": met})

    def of(part: str, value: Callable[[dict[str, Any]], float], **where: Any) -> list[float]:
        chosen = [row for row in rows if row["part"] == part and all(row.get(k) == v for k, v in where.items())]
        return [value(row) for row in chosen]

    for name in ("lightmeter: read_image + encode", "lightmeter: whole indexing stage"):
        judge(f"{name}: >= 2 x naive", *of("pictures", lambda row: row["times"], candidate=name), least=2)
    judge("same top-1 on >= 97 % of photos", *of("top-1", lambda row: row["share_same"], source="all"), least=0.97)
    judge("its top-1 in our top-5: >= 99 %", *of("top-1", lambda row: row["share_in_top5"], source="all"), least=0.99)
    for what in ("with start-up", "without start-up"):
        for unit in ("wall", "cpu"):
            values = of(
                "executor", lambda row, u=unit: row[f"over_pool_{u}"]["median"], candidate="lightmeter", what=what
            )
            judge(f"executor / Pool, {unit}, {what}: <= 1.10", *values, most=1.10)
    for row in rows:
        if row["part"] == "videos" and row["candidate"].startswith("lightmeter"):
            least = 2.3 if "each" in row["clip"] or "intra" in row["clip"] else 1.8 if "x264" in row["clip"] else 1.0
            judge(f"video, {row['clip']}: >= {least} x OpenCV", row["times"], least=least)
            judge(f"video, {row['clip']}: equal frames", row["quality"]["equal to the bit"], least=1.0)
    judge("lightmeter --help: <= 0.25 CPU-s", *of("start", _cpu, candidate="lightmeter --help"), most=0.25)
    judge("search of 100,000: < 1 CPU-s", *of("start", _cpu, candidate="lightmeter search 'a cat'"), most=1.0)
    for row in rows:
        if row["part"] == "memory":
            judge(f"memory, {row['candidate']}: <= 1.5 GB", row["peak_rss_bytes"] / 1e9, most=1.5)
    return found


def _cpu(row: dict[str, Any]) -> float:
    return float(row["cpu_s"]["median"])


def show(rows: Rows) -> None:
    shown = [
        {
            "part": row["part"],
            "what": " · ".join(str(row[key]) for key in ("clip", "candidate", "what", "source") if row.get(key)),
            "times": row.get("times", ""),
            "facts": json.dumps(row.get("quality") or {k: v for k, v in row.items() if k in _FACTS}),
        }
        for row in rows
    ]
    print(table(shown))


_FACTS = ("photos", "share_same", "share_in_top5", "over_pool_cpu", "over_pool_wall", "peak_rss_bytes", "cpu_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--photos", type=Path, help="folder below which Debian's wallpapers are unpacked")
    parser.add_argument("--work", type=Path, help="where material is made, and found again (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lightmeter-ingest-") as temporary:
        given.work = given.work or Path(temporary)
        given.work.mkdir(parents=True, exist_ok=True)
        for part in given.only:
            date, load = today(), round(os.getloadavg()[0], 2)
            rows = [{**row, "date": date, "load": load} for row in PARTS[part](given)]
            show(rows)
            keep(given.out, part, rows, given.repeats)
    print(table(read_results(given.out).notes["targets"]))


def keep(out: Path, part: str, rows: Rows, repeats: int) -> None:
    """Put a part's rows in the place of its old ones."""
    before = list(read_results(out).rows) if out.exists() else []
    together = [dict(row) for row in before if row["part"] != part] + rows
    together.sort(key=lambda row: list(PARTS).index(row["part"]))
    question = "What does it cost to take in pictures and videos, and to start?"
    notes = {"repeats": repeats, "targets": verdicts(together)}
    write_results(out, Record("ingest", question, together, seed=0, notes=notes))


if __name__ == "__main__":
    main()
