"""One process at a time in a run folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightmeter.errors import LibraryBusyError


@contextmanager
def locked(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold an advisory lock on a file; the kernel lets go of it when the process dies, however it dies.

    Raises LibraryBusyError, with the holder's process number, when it is not free within wait_s.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait_s
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                holder = os.pread(file, 20, 0).decode("ascii", "replace") or "unknown"
                raise LibraryBusyError(
                    f"{path.parent} must be free, got process {holder} at work there: wait for it, or stop it"
                )
            time.sleep(0.05)
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
