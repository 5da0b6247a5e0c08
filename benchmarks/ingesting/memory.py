"""Does memory stay flat? 10,000 pictures and a two-hour video through the real command line, the whole process tree."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingesting.material import jpegs, lengthened
from ingesting.start import single_threaded
from lightmeter.meter.processes import Proc

PICTURES, HOURS = 10_000, 2.0
MOST_BYTES = 1_500_000_000
LIGHTMETER = str(Path(sys.executable).with_name("lightmeter"))


def many_pictures(folder: Path, count: int = PICTURES) -> Path:
    """So many different JPEGs of 640 x 427: a hundred drawn ones, each with other comments in its header."""
    drawn = [path.read_bytes() for path in jpegs(folder.with_name("drawn"), 100, width=640, height=427)]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        data = drawn[number % len(drawn)]
        note = b"picture %d" % number
        comment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
        (folder / f"{number:05d}.jpg").write_bytes(data[:2] + comment + data[2:])
    return folder


def long_video(source: Path, path: Path, hours: float = HOURS) -> Path:
    """A short clip's packets over and over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return lengthened(source, path, hours * 3600)


def index(folder: Path, library: Path, *, workers: Sequence[str] = ()) -> dict[str, Any]:
    """Run `lightmeter index FOLDER --library …` and watch its process tree ten times a second.

    peak_bytes: largest sum of proportional sets, where a page that is shared counts once
    peak_rss_bytes: largest sum of resident sets, where it counts once a process
    """
    command = [LIGHTMETER, "index", str(folder), "--library", str(library), "--json", "--quiet", *workers]
    start_s = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=single_threaded(), text=True
    )
    watch = _Watch(process.pid)
    watch.start()
    told, said = process.communicate()
    watch.join()
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {said[-500:]}")
    summary = json.loads(told.splitlines()[0])
    return {
        "read": summary["read"], "failed": summary["failed"], "cpu_s": summary["cost"]["cpu_s"],
        "wall_s": round(time.perf_counter() - start_s, 1),
        "peak_bytes": watch.peak_bytes, "peak_rss_bytes": watch.peak_rss_bytes, "processes": watch.most,
        "samples": watch.samples,
    }  # fmt: skip


class _Watch(threading.Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.proc = pid, Proc()
        self.peak_bytes = self.peak_rss_bytes = self.most = self.samples = 0

    def run(self) -> None:
        while (Path("/proc") / str(self.pid) / "statm").exists():
            below = self.proc.descendants(self.pid)
            self.peak_bytes = max(self.peak_bytes, self.proc.tree_bytes(self.pid, below))
            self.peak_rss_bytes = max(self.peak_rss_bytes, sum(map(_resident, [self.pid, *below])))
            self.most, self.samples = max(self.most, 1 + len(below)), self.samples + 1
            time.sleep(0.1)
            if not _resident(self.pid):
                return  # it has ended and waits to be reaped


def _resident(pid: int) -> int:
    try:
        return int((Path("/proc") / str(pid) / "statm").read_text().split()[1]) * 4096
    except (OSError, IndexError, ValueError):
        return 0


def compare(work: Path, clip: Path) -> list[dict[str, Any]]:
    """One row a folder."""
    rows = []
    folders = {"10,000 pictures": many_pictures(work / "many"), "a two-hour video": None}
    for name, folder in folders.items():
        place = folder or long_video(clip, work / "long" / "two-hours.mp4").parent
        rows.append({"part": "memory", "candidate": name, **index(place, work / f"library of {name}")})
    return rows
