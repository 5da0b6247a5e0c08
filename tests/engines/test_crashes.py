"""Kill -9 and Ctrl-C at any moment, of workers and of the supervisor; and no sockets."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("engine_runner.py")
BATCH, WORKERS = 4, 2


class Runs:
    """Runs of the same work in one folder, each in a process of its own."""

    def __init__(self, folder, count, sleep_s):
        self.folder, self.count = folder, count
        self.diary = folder / "diary"
        self.command = [sys.executable, str(RUNNER), str(folder / "run"), str(count), str(sleep_s), str(self.diary)]
        folder.mkdir(exist_ok=True)
        self.diary.touch()

    def start(self, before=()):
        return subprocess.Popen([*before, *self.command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, process=None):
        """The report of a run that is left to itself."""
        out, err = (process or self.start()).communicate(timeout=60)
        assert not err, err
        return json.loads(out.splitlines()[-1])

    def kept(self):
        with closing(sqlite3.connect(self.folder / "run" / "ledger.sqlite")) as connection:
            return connection.execute("SELECT key, square FROM squares ORDER BY key").fetchall()

    def tries(self):
        """How often each key was begun, and by which processes."""
        lines = [line.split() for line in self.diary.read_text().splitlines()]
        return Counter(key for _, key in lines), {int(pid) for pid, _ in lines}

    def wait_for_work(self, process):
        """Until the first batch is kept."""
        while '"batch"' not in process.stdout.readline():
            assert process.poll() is None


def all_squares(count):
    return [(f"k{n:05d}", n * n) for n in range(count)]


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and "(zombie)" not in _state(pid)]


def _state(pid):
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "(zombie)"


def kill_at_random_moments(runs, kills, rng, longest_s):
    """Kill -9 the supervisor, again and again; gives how many were killed at work."""
    killed = 0
    for _ in range(kills):
        process = runs.start()
        time.sleep(rng.uniform(0.1, longest_s))
        killed += process.poll() is None
        process.kill()
        process.communicate()
    return killed


@pytest.mark.parametrize(("kills", "count"), [(8, 240), pytest.param(60, 3000, marks=pytest.mark.slow)])
def test_kill_of_the_supervisor_loses_and_repeats_nothing(tmp_path, kills, count):
    runs = Runs(tmp_path / "a", count, 0.01)
    killed = kill_at_random_moments(runs, kills, random.Random(3), 0.8)
    deadline = time.monotonic() + 5
    while alive(runs.tries()[1]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive(runs.tries()[1]) == []  # workers die with their supervisor
    before = runs.kept() if (runs.folder / "run" / "ledger.sqlite").exists() else []
    report = runs.finish()
    assert runs.kept() == all_squares(count)
    assert report["skipped"] == len(before) == count - report["done"]
    redone = sum(runs.tries()[0].values()) - count
    assert redone <= killed * WORKERS * BATCH
    assert killed >= kills // 2
    assert runs.finish()["skipped"] == count


def test_ctrl_c_once_finishes_what_is_in_flight(tmp_path):
    runs = Runs(tmp_path / "a", 400, 0.01)
    process = runs.start()
    runs.wait_for_work(process)
    os.kill(process.pid, signal.SIGINT)
    report = runs.finish(process)
    tries, pids = runs.tries()
    assert report["stopped"]
    assert 0 < report["done"] < 400
    assert len(runs.kept()) == report["done"] == sum(tries.values())  # what had begun is kept
    assert alive(pids) == []
    assert runs.finish()["done"] == 400 - report["done"]
    assert runs.kept() == all_squares(400)
    assert set(runs.tries()[0].values()) == {1}


def test_ctrl_c_twice_stops_now(tmp_path):
    runs = Runs(tmp_path / "a", 12, 1.5)  # a batch takes 6 s
    process = runs.start()
    while not runs.diary.read_text():
        time.sleep(0.02)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    report = runs.finish(process)
    assert time.monotonic() - began < 4
    assert (report["stopped"], report["done"]) == (True, 0)
    assert alive(runs.tries()[1]) == []
    with closing(sqlite3.connect(tmp_path / "a" / "run" / "ledger.sqlite")) as connection:
        assert connection.execute("SELECT state FROM engine_runs").fetchall() == [("stopped",)]
        assert connection.execute("SELECT count(*) FROM engine_batches").fetchone() == (0,)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_process_of_a_run_touches_a_socket(tmp_path):
    runs = Runs(tmp_path / "a", 40, 0.001)
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-e", "trace=%network", "-o", str(trace)]
    assert runs.finish(runs.start(strace))["done"] == 40
    calls = [line for line in trace.read_text().splitlines() if "(" in line and "---" not in line]
    assert calls == []
    canary = "import socket; socket.socket()"  # so that an strace that sees nothing does not pass
    subprocess.run([*strace, sys.executable, "-c", canary], check=True)
    assert "socket(" in trace.read_text()
