"""Whatever an item does to its worker: in the end it stands alone, with the right reason; its neighbours are done."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from engine_toys import Square, TableSink, tasks_of

from lightmeter.engines import Ledger, Limits, Local, run
from lightmeter.engines.process import environment

POISONS = {
    3: ("kills_itself", "signal", "killed by SIGKILL, not by us", 4),
    10: ("segfaults", "signal", "in segfaults", 2),  # the stack is in the last words
    17: ("exits_now", "exit", "ended with code 7", 2),
    24: ("hangs", "timeout", "no beat for 1 s", 2),
    31: ("never_done", "timeout", "not done after 2.5 s", 2),
    38: ("eats_memory", "memory", "", 2),  # by the wall or by the watch, whoever is first
    41: ("babbles", "timeout", "last words: ", 2),
    49: ("forges", "exception", "outcomes must be of the batch in hand, got number 0", 2),
    45: ("maps_memory", "memory", "MiB resident, 160 MiB allowed", 2),
}


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        yield ledger


def test_every_poison_stands_alone_and_no_neighbour_is_lost(ledger):
    sink, events = TableSink(ledger.connection), []
    stunts = {n: how for n, (how, *_) in POISONS.items()} | {12: "chatters", 15: "closes_its_mouth"}
    limits = Limits(silent_s=1.0, total_s=2.5, memory_bytes=160 << 20)
    report = run(
        Square(), tasks_of(50, stunts), sink, ledger=ledger, engine=Local(2), limits=limits, batch_size=2,
        events=events.append,
    )  # fmt: skip
    assert [key for key, *_ in sink.squares()] == [f"k{n:05d}" for n in range(50) if n not in POISONS]
    refusals = sink.refusals()
    assert set(refusals) == {f"k{n:05d}" for n in POISONS}
    for n, (_, reason, detail, attempts) in POISONS.items():
        got = refusals[f"k{n:05d}"]
        assert (got[0], got[2]) == (reason, attempts)
        assert detail in got[1]
        assert len(got[1]) < 4000
    restarts = [event for event in events if event.kind == "restart"]
    assert report.restarts == len(restarts) >= 9 * 2
    assert {event.reason for event in restarts} == {"signal", "exit", "timeout", "memory", "exception"}
    assert report.cost_s > 0


def children():
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += (task / "children").read_text().split()
    return [int(pid) for pid in found]


class Killer(threading.Thread):
    """Kills -9 a random child every so often, but never twice without a batch kept between: a busy machine is slow."""

    def __init__(self, every_s):
        super().__init__()
        self.every_s, self.kills, self.over, self.progress = every_s, 0, threading.Event(), threading.Event()

    def hear(self, event):
        if event.kind == "batch":
            self.progress.set()

    def run(self):
        rng = random.Random(0)
        while not self.over.wait(self.every_s):
            if self.progress.is_set() and (pids := children()):
                self.progress.clear()
                os.kill(rng.choice(pids), signal.SIGKILL)
                self.kills += 1


@pytest.mark.parametrize(("count", "sleep_s"), [(120, 0.02), pytest.param(1500, 0.03, marks=pytest.mark.slow)])
def test_killing_workers_loses_nothing_and_condemns_nobody(ledger, count, sleep_s):
    sink, killer = TableSink(ledger.connection), Killer(0.3)
    killer.start()
    try:
        report = run(
            Square(sleep_s), tasks_of(count), sink, ledger=ledger, engine=Local(2), batch_size=8, events=killer.hear
        )
    finally:
        killer.over.set()
        killer.join()
    assert killer.kills >= 2
    assert (report.done, report.failed) == (count, 0)
    assert report.restarts == killer.kills
    assert [key for key, *_ in sink.squares()] == [f"k{n:05d}" for n in range(count)]


def test_a_stopped_worker_is_found_by_its_silence(ledger):
    """SIGSTOP: alive, but mute."""
    sink = TableSink(ledger.connection)
    stopped = []

    def freeze(event):
        if event.kind == "batch" and not stopped:
            stopped.extend(children()[:1])
            os.kill(stopped[0], signal.SIGSTOP)

    report = run(
        Square(0.01), tasks_of(40), sink, ledger=ledger, engine=Local(1), limits=Limits(silent_s=0.6), batch_size=8,
        events=freeze,
    )  # fmt: skip
    assert (report.done, report.restarts) == (40, 1)


def test_no_worker_is_left(ledger):
    run(Square(), tasks_of(8), TableSink(ledger.connection), ledger=ledger, engine=Local(2), batch_size=2)
    deadline = time.monotonic() + 2
    while children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert children() == []


def test_environment_has_one_thread_and_no_current_folder(monkeypatch):
    monkeypatch.setattr("sys.path", ["", "/somewhere", "relative"])
    made = environment(1, {"OMP_NUM_THREADS": "64", "HOME": "/h"})
    assert made["PYTHONPATH"].split(os.pathsep) == ["/somewhere", str(Path("relative").absolute())]
    assert {made[name] for name in made if name.endswith(("_THREADS", "THREADS_NUM"))} == {"1"}
    assert made["HOME"] == "/h"


def test_a_folder_full_of_traps_is_not_imported_from(ledger, tmp_path, monkeypatch):
    """A worker must not run a `numpy.py` that lies in the folder from which the user started."""
    trap, sprung = tmp_path / "traps", tmp_path / "sprung"
    trap.mkdir()
    for name in ("numpy", "pickle", "lightmeter", "struct"):
        (trap / f"{name}.py").write_text(f"open({str(sprung)!r}, 'w')")
    monkeypatch.chdir(trap)
    report = run(Square(), tasks_of(2, {0: "arrays"}), TableSink(ledger.connection), ledger=ledger, engine=Local(1))
    assert (report.done, sprung.exists()) == (2, False)
