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

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingesting import material  # before anything that starts threads: it sets how many

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

    return compare(given.work, material.clip("5 s, keyframe each 1 s", given.work / "clips"))


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
    return [verdict for row in rows for verdict in JUDGES[row["part"]](row)]


def verdict(target: str, value: float, *, least: float | None = None, most: float | None = None) -> dict[str, Any]:
    met = (least is None or value >= least) and (most is None or value <= most)
    return {"target": target, "reached": round(value, 4), "met": met}


def judge_pictures(row: dict[str, Any]) -> Rows:
    ours = row["candidate"].startswith("lightmeter")
    return [verdict(f"{row['candidate']}: at least 2 x naive", row["times"], least=2)] if ours else []


def judge_top1(row: dict[str, Any]) -> Rows:
    if row["source"] not in ("as they lie", "all"):
        return []
    which = f"{row['photos']} photos ({row['source']})"
    return [
        verdict(f"same top-1, {which}: at least 0.97", row["share_same"], least=0.97),
        verdict(f"its top-1 in our top-5, {which}: at least 0.99", row["share_in_top5"], least=0.99),
    ]


def judge_executor(row: dict[str, Any]) -> Rows:
    if row["candidate"] != "lightmeter":
        return []
    ratios = {unit: row[f"over_pool_{unit}"]["median"] for unit in ("wall", "cpu")}
    return [verdict(f"executor / Pool, {unit}, {row['what']}: at most 1.10", r, most=1.1) for unit, r in ratios.items()]


def judge_videos(row: dict[str, Any]) -> Rows:
    if not row["candidate"].startswith("lightmeter"):
        return []
    clip = row["clip"]
    least = 2.3 if "each" in clip or "intra" in clip else 1.8 if "x264" in clip else 1.0
    return [
        verdict(f"video, {clip}: at least {least} x OpenCV", row["times"], least=least),
        verdict(f"video, {clip}: every frame equal", row["quality"]["equal to the bit"], least=1.0),
    ]


def judge_start(row: dict[str, Any]) -> Rows:
    most = {"lightmeter --help": 0.25, "lightmeter search 'a cat'": 1.0, "lightmeter search PICTURE": 1.0}
    name = row["candidate"]
    return (
        [verdict(f"{name}: at most {most[name]} CPU-s", row["cpu_s"]["median"], most=most[name])]
        if name in most
        else []
    )


def judge_memory(row: dict[str, Any]) -> Rows:
    return [verdict(f"memory, {row['candidate']}: at most 1.5 GB", row["peak_rss_bytes"] / 1e9, most=1.5)]


JUDGES = {
    "pictures": judge_pictures,
    "top-1": judge_top1,
    "executor": judge_executor,
    "videos": judge_videos,
    "start": judge_start,
    "memory": judge_memory,
}


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
