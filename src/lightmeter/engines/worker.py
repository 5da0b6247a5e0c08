"""A worker process: opens a stage, works on the batches it is handed, dies with its supervisor.

Started by `local` as `python -P -m lightmeter.engines.worker TASKS RESULTS SUPERVISOR`: two pipes and a process number.
-P keeps the current folder off the import path: it may be the folder of hostile files that is being indexed.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import pickle
import resource
import signal
import sys
import threading
import time
from typing import Any, BinaryIO

from lightmeter.engines.attempt import attempt, blow_of
from lightmeter.engines.plan import Blow
from lightmeter.engines.stage import Failure, Result, Stage
from lightmeter.engines.wire import pack, read_frame

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Work until the supervisor closes the pipe; no clean-up of libraries, which may hang or crash."""
    tasks_fd, results_fd, supervisor = map(int, sys.argv[1:4])
    _die_with(supervisor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for each in (tasks_fd, results_fd):
        os.set_inheritable(each, False)
    with contextlib.suppress(EOFError, BrokenPipeError):
        _serve(os.fdopen(tasks_fd, "rb"), _Sender(results_fd))
    os._exit(0)


def _serve(tasks: BinaryIO, sender: _Sender) -> None:
    opening = read_frame(tasks)  # type: ignore[arg-type]
    _limit_memory(opening["memory_bytes"])
    sender.beat_every_s = opening["beat_every_s"]
    stage = _open(opening["stage"], sender)
    if stage is None:
        return
    sender.send(("ready",))
    while True:
        number, body = read_frame(tasks)  # type: ignore[arg-type]
        sender.write(_outcome(stage, number, body, sender))


def _limit_memory(size_bytes: int) -> None:
    """A wall in the kernel: what would pass it gets a MemoryError or a null pointer, before any memory is taken.

    RLIMIT_DATA counts private writable memory, not the files and reserved ranges that RLIMIT_AS would.
    """
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes if most < 0 else min(size_bytes, most), most))


def _open(body: bytes, sender: _Sender) -> Stage | None:
    try:
        stage: Stage = pickle.loads(body)
        stage.open()
    except BaseException as error:  # noqa: BLE001 - the supervisor raises it again, in the user's process
        sender.send(("unopened", type(error).__name__, str(error), blow_of(error).detail))
        return None
    return stage


def _outcome(stage: Stage, number: int, body: bytes, sender: _Sender) -> bytes:
    try:
        outcome = attempt(stage, pickle.loads(body), sender.beat)
        if not isinstance(outcome, Blow):
            return pack(("outcomes", number, [_plain(each) for each in outcome]))
    except Exception as error:  # noqa: BLE001 - a payload that does not load, or results too large, fail their batch
        outcome = blow_of(error)
    return pack(("raised", number, outcome.reason, outcome.detail))


def _plain(outcome: Result | Failure) -> tuple[Any, ...]:
    if isinstance(outcome, Result):
        return outcome.key, outcome.value
    return outcome.key, outcome.reason, outcome.detail, outcome.attempts


class _Sender:
    """Writes frames, also from a stage's threads; beats are thinned so that they never fill the pipe."""

    def __init__(self, file: int) -> None:
        self._file, self._lock = file, threading.Lock()
        self.beat_every_s, self._next_s = 1.0, 0.0

    def beat(self) -> None:
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + self.beat_every_s
            self.send(("beat",))

    def send(self, message: tuple[Any, ...]) -> None:
        self.write(pack(message))

    def write(self, body: bytes) -> None:
        frame = memoryview(body)
        with self._lock:
            while frame:
                frame = frame[os.write(self._file, frame) :]


def _die_with(supervisor: int) -> None:
    """Ask the kernel for a SIGKILL when the supervisor dies, and leave if it has died already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        os._exit(0)


if __name__ == "__main__":
    main()
