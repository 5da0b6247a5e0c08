"""One worker process as its supervisor sees it: pipes, clocks, memory, last words."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightmeter.engines.limits import Limits
from lightmeter.engines.plan import Batch, Blow
from lightmeter.engines.wire import Frames, pack

TAIL_BYTES = 2000
_READ_BYTES = 1 << 18
_READS = 32  # at a time, so that a worker that never stops talking does not get all the attention
_BLINK_S = 0.5
_MEMORY_SIGNS = ("std::bad_alloc", "MemoryError", "Cannot allocate memory")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "OPENCV_FOR_THREADS_NUM", "LIGHTMETER_THREADS",
)  # fmt: skip


class Worker:
    """A process that is starting, idle or busy with one batch.

    The clocks count the time that the supervisor watched, at most `_BLINK_S` between two looks: while it was itself
    stopped or busy, nobody is blamed for silence.
    """

    def __init__(self, stage: bytes, limits: Limits, threads: int) -> None:
        self.ready = False
        self.batch: Batch | None = None
        self.breach: tuple[str, str] | None = None
        self.silent_s = self.busy_s = 0.0
        self._looked = time.monotonic()
        self._frames, self._tail = Frames(), bytearray()
        self._limits = limits
        self._start(threads)
        self._outbox = bytearray()
        self.send({"stage": stage, "memory_bytes": limits.memory_bytes, "beat_every_s": min(1.0, limits.silent_s / 10)})

    def _start(self, threads: int) -> None:
        tasks_read, self.tasks_fd = os.pipe()
        self.results_fd, results_write = os.pipe()
        self.words_fd, words_write = os.pipe()
        theirs = (tasks_read, results_write, words_write)
        try:
            command = [sys.executable, "-P", "-m", "lightmeter.engines.worker"]
            self.process = subprocess.Popen(
                [*command, str(tasks_read), str(results_write), str(os.getpid())],
                stdin=subprocess.DEVNULL, stdout=words_write, stderr=words_write, env=environment(threads),
                pass_fds=(tasks_read, results_write), process_group=0,
            )  # fmt: skip
        except OSError:
            self._close()
            raise
        finally:
            for each in theirs:
                os.close(each)
        for each in (self.tasks_fd, self.results_fd, self.words_fd):
            os.set_blocking(each, False)

    # -- talking ------------------------------------------------------------------------------------------------------

    def give(self, batch: Batch, body: bytes) -> None:
        """Hand over a batch; its clocks start when the worker is ready."""
        self.batch = batch
        self.silent_s = self.busy_s = 0.0
        self.listen()
        if self.ready:
            self._tail.clear()
        self.send((batch.id, body))

    def send(self, message: Any) -> None:
        """Queue a message; what the pipe does not take now is sent by `flush`."""
        self._outbox += pack(message)
        self.flush()

    def flush(self) -> None:
        """Write what the pipe takes. A worker that is gone takes nothing: its death is seen elsewhere."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self._outbox:
                with memoryview(self._outbox) as view:
                    count = os.write(self.tasks_fd, view[:_READ_BYTES])
                del self._outbox[:count]

    @property
    def has_mail(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._outbox)

    def receive(self) -> tuple[list[bytes], bool]:
        """Frames that came, and whether the pipe is at its end."""
        bodies: list[bytes] = []
        for _ in range(_READS):
            try:
                data = os.read(self.results_fd, _READ_BYTES)
            except BlockingIOError:
                return bodies, False
            if not data:
                return bodies, True
            bodies.extend(self._frames.feed(data))
            limit = self._limits.memory_bytes
            if self._frames.expected > limit:
                self.kill("memory", f"a result of {_mib(self._frames.expected)}, {_mib(limit)} allowed")
                return bodies, True
        return bodies, False

    def listen(self) -> bool:
        """Keep the end of what the worker prints; False when it has closed its end."""
        for _ in range(_READS):
            try:
                data = os.read(self.words_fd, _READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._tail += data
            del self._tail[:-TAIL_BYTES]
        return True

    @property
    def last_words(self) -> str:
        """The end of what it printed on stdout and stderr since it got its batch."""
        return self._tail.decode("utf-8", "replace").strip()

    # -- watching -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """It has opened the stage: the clocks of its batch start now."""
        self.ready = True
        self.silent_s = self.busy_s = 0.0

    def heard(self) -> None:
        """It gave a sign of life."""
        self.silent_s = 0.0

    def look(self) -> None:
        """Move its clocks, and kill it when it broke a limit."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, _BLINK_S), now
        self.silent_s += passed
        self.busy_s += passed
        if self.ready and self.batch is None:
            return
        limits = self._limits
        resident = self.resident_bytes()
        if resident > limits.memory_bytes:
            self.kill("memory", f"{_mib(resident)} resident, {_mib(limits.memory_bytes)} allowed")
        elif not self.ready and self.busy_s > limits.open_s:
            self.kill("timeout", f"not ready after {limits.open_s:g} s")
        elif self.ready and self.silent_s > limits.silent_s:
            self.kill("timeout", f"no beat for {limits.silent_s:g} s")
        elif self.ready and self.busy_s > limits.total_s:
            self.kill("timeout", f"not done after {limits.total_s:g} s")

    def resident_bytes(self) -> int:
        """Memory that it holds now, shared pages included; 0 when it is gone."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):
            return 0

    # -- ending -------------------------------------------------------------------------------------------------------

    def kill(self, reason: str, detail: str) -> None:
        """End it and whatever it started, and remember why; it stays to be buried."""
        self.breach = self.breach or (reason, detail)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def dismiss(self) -> None:
        """Let it go: it leaves when its pipe ends."""
        os.close(self.tasks_fd)
        self.tasks_fd = -1

    def has_exited(self) -> bool:
        """Whether it is dead; it stays a zombie, so that its number cannot be given to another process."""
        if self.process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def cause_of_death(self, wait_s: float = 2.0) -> Blow:
        """Bury it, killing it first when it does not go by itself, and say why it died."""
        deadline = time.monotonic() + wait_s
        while not self.has_exited() and time.monotonic() < deadline:
            time.sleep(0.002)
        left = self.has_exited()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # also what it started and left behind
        status = self.process.wait()
        if self.words_fd >= 0:
            self.listen()
        self._close()
        return self._blow(status, left)

    def _close(self) -> None:
        for each in self.files:
            os.close(each)
        self.tasks_fd = self.results_fd = self.words_fd = -1

    def _blow(self, status: int, left: bool) -> Blow:
        words = f"; last words: {self.last_words}" if self.last_words else ""
        if self.breach:
            return Blow(self.breach[0], self.breach[1] + words)
        if not left:
            return Blow("exit", f"closed its pipe and went on{words}")
        if status >= 0:
            return Blow("exit", f"ended with code {status}{words}")
        number = signal.Signals(-status) if -status in set(signal.Signals) else None
        detail = f"killed by {number.name if number else f'signal {-status}'}"
        if any(sign in self.last_words for sign in _MEMORY_SIGNS):
            return Blow("memory", detail + words)
        by_whom = ", not by us: perhaps by the kernel for want of memory" if number == signal.SIGKILL else ""
        return Blow("signal", detail + by_whom + words, outside=number in (signal.SIGKILL, signal.SIGTERM))

    @property
    def files(self) -> list[int]:
        """Our ends of its pipes that are open."""
        return [each for each in (self.tasks_fd, self.results_fd, self.words_fd) if each >= 0]


def environment(threads: int, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The supervisor's environment, its import path, and one thread (or `threads`) for every library that asks."""
    path = [str(Path(entry).absolute()) for entry in sys.path if entry]
    own = {"PYTHONPATH": os.pathsep.join(path), **dict.fromkeys(_THREADS, str(threads))}
    return {**(os.environ if base is None else base), **own}


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.0f} MiB"
