"""What is done with whole files: their hash, one process at a time, and written whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lightmeter.errors import LibraryBusyError

_CHUNK_BYTES = 1 << 20
_POLL_S = 0.05


def file_sha256(path_or_file: Path | BinaryIO, beat: Callable[[], None] | None = None) -> str:
    """sha256, in hex, of a file's bytes; of an open file: from where it stands to its end.

    beat: called after every MB, for those that must show that they are alive · Cost: one read of the file
    """
    if isinstance(path_or_file, Path):
        with path_or_file.open("rb") as file:
            return file_sha256(file, beat)
    digest = hashlib.sha256()
    while chunk := path_or_file.read(_CHUNK_BYTES):
        digest.update(chunk)
        if beat:
            beat()
    return digest.hexdigest()


class FileLock:
    """Holds a lock file from `take` to `release`; the kernel lets go of it when the process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self, wait_s: float, *, waiting: Callable[[str], None] | None = None) -> None:
        """Become the holder, or wait up to `wait_s` seconds for the other one, saying so once through `waiting`.

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
        while not try_lock(descriptor):
            holder = _holder(descriptor)
            if time.monotonic() >= until:
                raise LibraryBusyError(f"another process{holder} writes to {self._path.parent}: wait for it or stop it")
            if waiting and not told:
                waiting(f"waiting for another process{holder} that writes to {self._path.parent}")
                told = True
            time.sleep(min(_POLL_S, max(0.001, until - time.monotonic())))

    def release(self) -> None:
        """Let the next one in; safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextlib.contextmanager
def locked(path: Path, *, wait_s: float = 0.0, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a lock file, alone among processes; `FileLock` says how."""
    lock = FileLock(path)
    lock.take(wait_s, waiting=waiting)
    try:
        yield
    finally:
        lock.release()


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file or folder, if it is free, until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    written = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return f" (number {written})" if written.isdigit() else ""


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A temporary name beside a path, moved onto it when the block ends well, removed when not. Parents are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path | str, data: bytes | str) -> Path:
    """Write a file so that readers see the old one or the new one, never half of it."""
    with whole_file(path) as unfinished:
        unfinished.write_bytes(data.encode("utf-8", "replace") if isinstance(data, str) else data)
    return Path(path)
