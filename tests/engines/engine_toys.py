"""Toy stages: workers import this module by its name, so it lives beside the tests and not in one of them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lightmeter.engines.stage import Failure, Result, Task
from lightmeter.engines.wire import pack
from lightmeter.errors import MissingAssetError, RejectedFileError


@dataclass(frozen=True)
class Square:
    """n -> n², with as many poisons as a file can have. A task's `how` says what it does."""

    sleep_s: float = 0.0
    diary: Path | None = None
    version: int = 1

    @property
    def fingerprint(self) -> str:
        return f"square/version={self.version}"

    def open(self) -> None:
        pass

    def run(self, tasks, beat):
        if self.diary:
            with self.diary.open("a") as diary:
                diary.write("".join(f"{os.getpid()} {task.key}\n" for task in tasks))
        outcomes = []
        for task in tasks:
            if self.sleep_s:
                time.sleep(self.sleep_s)
            outcomes.extend(POISONS[task.payload.get("how", "good")](task, beat))
            beat()
        return outcomes


def good(task: Task, beat):
    n = task.payload["n"]
    return [Result(task.key, {"square": n * n, "row": b"%d" % n})]


def arrays(task, beat):
    import numpy as np

    n = task.payload["n"]
    return [Result(task.key, {"square": np.int64(n * n), "row": np.full((2, 3), n, np.float32)})]


def refused(task, beat):
    return [Failure(task.key, "rejected:empty", "nothing in it")]


def raises(task, beat):
    raise ValueError("boom")


def rejects(task, beat):
    raise RejectedFileError("truncated", "half of it is gone")


def exits(task, beat):
    sys.exit(3)


def exits_now(task, beat):
    os._exit(7)


def kills_itself(task, beat):
    os.kill(os.getpid(), signal.SIGKILL)


def segfaults(task, beat):
    ctypes.string_at(0)


def hangs(task, beat):
    while True:
        time.sleep(0.01)


def never_done(task, beat):
    while True:
        time.sleep(0.01)
        beat()


def eats_memory(task, beat):
    chunks = []
    while True:
        chunks.append(b"x" * (1 << 24))
        beat()


def maps_memory(task, beat):
    """Shared mappings are not in RLIMIT_DATA: only the watch on the resident set sees them."""
    import mmap

    hoard = [mmap.mmap(-1, 1 << 24) for _ in range(16)]
    for each in hoard:
        each.write(b"x" * (1 << 24))
        beat()
    never_done(task, beat)


def returns_two(task, beat):
    return good(task, beat) * 2


def returns_none(task, beat):
    return []


def unpicklable(task, beat):
    return [Result(task.key, {"square": lambda: 4})]


def chatters(task, beat):
    """Not poison: junk on stdout and stderr must not disturb the protocol."""
    os.write(1, b"\x00junk" * 30_000)
    sys.stdout.write("more junk")
    sys.stderr.write("and on stderr")
    sys.stderr.flush()
    return good(task, beat)


def babbles(task, beat):
    while True:
        os.write(2, b"blah " * 10_000)


def closes_its_mouth(task, beat):
    os.close(1)
    os.close(2)
    time.sleep(0.3)
    return good(task, beat)


def forges(task, beat):
    """What a worker could send that a hostile file has taken over: a result for somebody else's key."""
    frame = pack(("outcomes", 0, [("somebody-else", {"square": 666, "row": b""})]))
    os.write(int(sys.argv[2]), frame)
    time.sleep(60)


def interrupts_once(task, beat):
    os.kill(os.getpid(), signal.SIGINT)
    return good(task, beat)


def interrupts_twice(task, beat):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
    return good(task, beat)


STUNTS = (
    good, arrays, refused, raises, rejects, exits, exits_now, kills_itself, segfaults, hangs, never_done, eats_memory,
    maps_memory, returns_two, returns_none, unpicklable, chatters, babbles, closes_its_mouth, forges,
     interrupts_once,
    interrupts_twice,
)  # fmt: skip
POISONS = {stunt.__name__: stunt for stunt in STUNTS}


def tasks_of(count: int, poisons: dict[int, str] | None = None) -> list[Task]:
    poisons = poisons or {}
    return [Task(f"k{n:05d}", {"n": n, "how": poisons.get(n, "good")}) for n in range(count)]


@dataclass(frozen=True)
class Unopenable:
    how: str = "raises"
    fingerprint = "unopenable"

    def open(self) -> None:
        if self.how == "missing":
            raise MissingAssetError("minilm is not here: lightmeter assets add minilm")
        if self.how == "dies":
            os.write(2, b"cannot load the model")
            os._exit(5)
        raise OSError("no such model")

    def run(self, tasks, beat):
        raise AssertionError("never opened")


class TableSink:
    """Keeps squares in a table without a primary key: what is written twice is seen twice."""

    def __init__(self, connection) -> None:
        self.connection = connection
        connection.execute("CREATE TABLE IF NOT EXISTS squares (key TEXT, square INTEGER, row BLOB)")
        connection.execute("CREATE TABLE IF NOT EXISTS refusals (key TEXT, reason TEXT, detail TEXT, attempts INTEGER)")
        connection.commit()

    def write(self, results, failures) -> None:
        assert self.connection.in_transaction
        rows = [(r.key, int(r.value["square"]), bytes(r.value["row"])) for r in results]
        self.connection.executemany("INSERT INTO squares VALUES (?, ?, ?)", rows)
        rows = [(f.key, f.reason, f.detail, f.attempts) for f in failures]
        self.connection.executemany("INSERT INTO refusals VALUES (?, ?, ?, ?)", rows)

    def squares(self):
        return self.connection.execute("SELECT key, square, row FROM squares ORDER BY key").fetchall()

    def refusals(self):
        rows = self.connection.execute("SELECT key, reason, detail, attempts FROM refusals ORDER BY key")
        return {key: (reason, detail, attempts) for key, reason, detail, attempts in rows}
