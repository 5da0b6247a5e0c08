"""Kill -9 at random moments of index, gc and export, every round checked: for the short proofs and the long ones."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import attack
from hostile import CASES, make

from lightmeter.library.fsck import fsck
from lightmeter.library.store import open_library

BAD = ("empty.jpg", "text.jpg", "only-magic.jpg", "cut-75.jpg")


def media(folder: Path, count: int) -> Path:
    """Small pictures with a few bad ones among them."""
    attack.pictures(folder, count)
    for case in CASES:
        if case.id in BAD:
            make(case, folder)
    return folder


class IndexSiege:
    """One folder, its undisturbed library, and one library under siege that starts again whenever it is finished."""

    def __init__(self, place: Path, count: int, *, workers: int = attack.WORKERS) -> None:
        self.place, self.workers = place, workers
        self.folder = media(place / "media", count)
        self.files = count + len(BAD)
        self.tally: Counter[str] = Counter()
        self.rounds = 0
        ran = attack.lightmeter(*attack.index_args(self.folder, place / "calm", workers=workers))
        assert ran.code == 3, ran
        self.calm = attack.contents(place / "calm", self.folder)
        self.rejected = len(self.calm["errors"])
        self._anew()

    def _anew(self) -> None:
        self.rounds += 1
        self.library = self.place / f"siege-{self.rounds}"
        self.events = self.place / f"events-{self.rounds}"

    def start(self, *more: str):
        """A run of the besieged index."""
        args = attack.index_args(
            self.folder, self.library, "--events", self.events, "--json", *more, workers=self.workers
        )
        return attack.start(*args)

    def kill_supervisor(self, draw: random.Random) -> None:
        """One kill: after some batches that were told of, or while it starts; then everything is looked at."""
        process = self.start()
        self._wait_for_moment(process, draw)
        if process.poll() is not None:
            return self.check_end(attack.finish(process))
        attack.kill_supervisor(process)
        self.tally["supervisor"] += 1
        self.check_killed()
        return None

    def kill_workers(self, draw: random.Random, most: int) -> int:
        """Up to `most` kills of workers in one run, which must end as if nothing had been. Returns how many."""
        process, killed = self.start(), 0
        attack.wait_until(lambda: attack.workers_of(process.pid), process)
        while process.poll() is None and killed < most:
            time.sleep(draw.uniform(0, 0.5))
            killed += attack.kill_a_worker(process, draw)
        ran = attack.finish(process)
        self.tally["worker"] += killed
        self.check_end(ran)
        return killed

    def _wait_for_moment(self, process, draw: random.Random) -> None:
        before = attack.acknowledged(self.events)
        more = draw.choice([-1, 0, 1, attack.BATCH, 2 * attack.BATCH])
        if more < 0:
            time.sleep(draw.uniform(0, 0.6))
            return
        attack.wait_until(lambda: attack.acknowledged(self.events) >= before + more, process)
        time.sleep(draw.uniform(0, 0.1))

    def check_killed(self) -> None:
        """It opens, is sound, holds all that was told of and nothing twice, and lost at most a batch a worker."""
        if not attack.is_made(self.library):
            assert attack.acknowledged(self.events) == 0
            return
        health = fsck(self.library)
        assert health.problems == ()
        leases = attack.in_flight(self.library)
        assert len(leases) <= self.workers
        assert all(size <= attack.BATCH for size in leases)
        held = attack.contents(self.library, self.folder)
        assert len(held["paths"]) >= attack.acknowledged(self.events)
        assert held["paths"].items() <= self.calm["paths"].items()
        assert held["errors"].items() <= self.calm["errors"].items()
        for spec, rows in held["features"].items():
            assert rows.items() <= self.calm["features"][spec].items()  # no row twice, none changed
            assert set(rows) == {facts[0] for facts in held["paths"].values()}  # whole batches only
        self.tally["lost"] += sum(leases)

    def check_end(self, ran: attack.Ran) -> None:
        """A run that was left to end: it read what was not kept yet and no more, and all is as in the calm library."""
        assert ran.code == 3, ran
        held = attack.contents(self.library, self.folder)
        for part, wanted in self.calm.items():
            assert held[part] == wanted, part
        assert fsck(self.library).problems == ()
        assert attack.acknowledged(self.events) <= len(self.calm["paths"])  # told of once, not twice
        again = attack.lightmeter(*attack.index_args(self.folder, self.library, "--json"))
        assert again.rows[0]["read"] == 0
        self.tally["finished"] += 1
        self._anew()

    def relieve(self) -> None:
        """Let the last library be finished: only what was not kept is read."""
        kept = attack.count_paths(self.library)
        ran = attack.finish(self.start())
        assert ran.rows[0]["read"] == len(self.calm["paths"]) - kept
        self.check_end(ran)


class GcSiege:
    """A library from which items are removed before each kill of gc."""

    def __init__(self, place: Path, count: int) -> None:
        self.folder, self.library = place / "media", place / "library"
        attack.pictures(self.folder, count)
        attack.index_here(self.folder, self.library)
        self.whole = attack.contents(self.library, self.folder)
        self.removed: set[str] = set()
        self.kills = 0

    def kill(self, draw: random.Random) -> None:
        """Remove a few, start gc, kill it at a moment of its work."""
        self._remove(draw, 5)
        process = attack.start("gc", "--library", self.library)
        lock = self.library / "library.lock"
        attack.wait_until(lambda: lock.read_text().strip() == str(process.pid), process)
        time.sleep(draw.choice([draw.uniform(0, 0.01), draw.uniform(0, 0.1)]))
        self.kills += attack.kill_supervisor(process)
        self.check()

    def _remove(self, draw: random.Random, count: int) -> None:
        with open_library(self.library, write=True, wait_s=5) as library:
            items = {item.id: key for key, item in zip(library.items().keys.tolist(), library.items(), strict=True)}
            chosen = draw.sample(sorted(items), count)
            library.remove([items[each] for each in chosen])
        self.removed |= set(chosen)

    def check(self) -> None:
        """What was not removed is whole; what was stays removed."""
        assert fsck(self.library).problems == ()
        held = attack.contents(self.library, self.folder)
        assert {item[0] for item in held["items"]} == {i[0] for i in self.whole["items"]} - self.removed
        for spec, rows in self.whole["features"].items():
            assert held["features"][spec] == {i: row for i, row in rows.items() if i not in self.removed}

    def relieve(self) -> None:
        """Let gc end: nothing dead is left, on disk either."""
        assert attack.lightmeter("gc", "--library", self.library).code == 0
        self.check()
        health = fsck(self.library)
        assert health.orphans == 0
        with open_library(self.library) as library:
            assert library.counts().removed == 0
            assert library.catalogue.value("SELECT count(*) FROM dead") == 0
            assert library.catalogue.value("SELECT sum(rows) FROM shards") == len(self.whole["items"]) - len(
                self.removed
            )


class ExportSiege:
    """Exports of one library, killed: OUT is whole or not there, and the next export leaves no rest behind."""

    def __init__(self, place: Path, count: int, form: str) -> None:
        self.place, self.form, self.library = place, form, place / "library"
        attack.pictures(place / "media", count)
        attack.index_here(place / "media", self.library)
        (place / "out").mkdir()
        before_s = time.monotonic()
        self.calm = tree(self._export(place / "calm"))
        self.takes_s = time.monotonic() - before_s
        self.kills = self.whole = 0

    def _export(self, out: Path) -> Path:
        ran = attack.lightmeter("export", out, "--format", self.form, "--library", self.library, "--json")
        assert ran.code == 0, ran
        return out

    def kill(self, draw: random.Random) -> None:
        """Kill one export once its first file is begun; now and then check that the next one is whole."""
        out = self.place / "out" / "export"
        process = attack.start("export", out, "--format", self.form, "--library", self.library)
        attack.wait_until(lambda: any(out.parent.iterdir()), process)
        time.sleep(draw.uniform(0, draw.choice([0.02, 0.6 * self.takes_s])))
        self.kills += attack.kill_supervisor(process)
        if out.exists():
            self.whole += 1
            assert tree(out) == self.calm
            shutil.rmtree(out)
        assert fsck(self.library).problems == ()

    def relieve(self) -> None:
        """An export that is left alone."""
        out = self._export(self.place / "out" / "export")
        assert tree(out) == self.calm
        assert os.listdir(out.parent) == ["export"]


def tree(folder: Path) -> dict[str, str]:
    """Name → hash of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
