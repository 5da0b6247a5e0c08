"""One writer at a time: a lock file that the system frees when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from lightmeter.errors import LibraryBusyError

POLL_S = 0.1


class WriterLock:
    """Holds `library.lock` of a folder from `take` to `release`; the kernel drops it when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self, wait_s: float, *, waiting: Callable[[str], None] | None = None) -> None:
        """Become the writer, or wait up to `wait_s` seconds for the other one, saying so once through `waiting`.

        Raises LibraryBusyError with the process that holds the lock.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._wait(descriptor, wait_s, waiting)
        except BaseException:
            os.close(descriptor)
            raise
        with contextlib.suppress(OSError):  # the name of the holder is a courtesy, not worth failing for
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def _wait(self, descriptor: int, wait_s: float, waiting: Callable[[str], None] | None) -> None:
        until = time.monotonic() + wait_s
        told = False
        while not _try(descriptor):
            holder = _holder(descriptor)
            if time.monotonic() >= until:
                raise LibraryBusyError(f"another process{holder} writes to {self._path.parent}: wait for it or stop it")
            if waiting and not told:
                waiting(f"waiting for another process{holder} that writes to {self._path.parent}")
                told = True
            time.sleep(min(POLL_S, max(0.001, until - time.monotonic())))

    def release(self) -> None:
        """Let the next writer in; safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    written = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return f" (number {written})" if written.isdigit() else ""
