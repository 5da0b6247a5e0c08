"""The door through which every file comes in: only regular files, only our own errors out."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BufferedReader
from pathlib import Path

from lightmeter.errors import LightmeterError, RejectedFileError

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of an object in memory: the same file must be refused in the same words
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_SAID = {
    "InvalidDataError": "damaged, or not what its first bytes say",
    "EOFError": "it ends before anything can be read",
}
"""What FFmpeg's commonest errors mean, in place of their numbers."""
_pinned: ContextVar[tuple[str, str] | None] = ContextVar("pinned", default=None)  # path, and the way to its open file


def open_file(path: Path | str, *, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading; FIFOs, devices, sockets and folders are refused without blocking.

    follow: whether the path may be a symbolic link (whoever names the path has judged it)
    """
    try:
        pin = _pinned.get()
        if pin is not None and os.fspath(path) == pin[0]:
            descriptor = os.open(pin[1], _FLAGS)  # another look at the same file, from its beginning
        else:
            descriptor = os.open(path, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW)
    except (OSError, ValueError) as error:
        code = getattr(error, "errno", None)
        if code in (errno.ENOENT, errno.ENOTDIR):
            raise RejectedFileError("missing", f"no file at {name_of(path)}") from error
        if code == errno.ELOOP:
            raise RejectedFileError("not-a-file", f"{name_of(path)} is a symbolic link") from error
        raise RejectedFileError("unreadable", f"{name_of(path)} cannot be opened: {error}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RejectedFileError("not-a-file", f"{name_of(path)} is no regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def pinned(path: Path | str, inside: Path | str) -> Iterator[os.stat_result]:
    """Open a file once: whoever opens this path within the block gets that very file, whatever stands there by then.

    Yields the file's status. Raises RejectedFileError: `link-outside` where the file really lies outside the folder (or
    file) `inside`, because a folder on the way to it became a link; `not-a-file` for a link in its own place.
    What `inside` itself stands for is not asked: it was named by the user.
    """
    with open_file(path, follow=False) as file:
        way = f"/proc/self/fd/{file.fileno()}"
        real, base = os.readlink(way), os.path.realpath(inside)  # noqa: PTH115  a Path is slower
        if real != base and not real.startswith(os.path.join(base, "")):  # noqa: PTH118
            raise RejectedFileError(
                "link-outside", f"{name_of(path)} leads out of the folder by a link: index its target"
            )
        token = _pinned.set((os.fspath(path), way))
        try:
            yield os.fstat(file.fileno())
        finally:
            _pinned.reset(token)


def read_bytes(path: Path | str, limit_bytes: int, *, follow: bool = True) -> bytes:
    """The whole file, which must not be larger than the limit."""
    with at_the_door(name_of(path)), open_file(path, follow=follow) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > limit_bytes:
            raise RejectedFileError("too-large", f"{size_bytes} bytes: the limit is {limit_bytes}")
        return file.read(limit_bytes)


def name_of(path: Path | str) -> str:
    """The file's name as text that can always be printed (invalid UTF-8 becomes `?`)."""
    name = os.fsencode(path).rstrip(b"/").rpartition(b"/")[2]  # a Path would cost ten times as much, on every open
    return name.decode("utf-8", "replace").replace("\n", "?").replace("\r", "?")


@contextmanager
def at_the_door(what: str) -> Iterator[None]:
    """Turn whatever a decoder raises into RejectedFileError; our own errors pass."""
    try:
        yield
    except LightmeterError:
        raise
    except MemoryError as error:
        raise RejectedFileError("too-large", f"{what}: not enough memory to decode it") from error
    except Exception as error:  # decoders raise anything on hostile bytes: this is the one place that may catch it
        kind, text = type(error).__name__, _ADDRESS.sub("", " ".join(str(error).split()))[:200]
        raise RejectedFileError("unreadable", f"{what}: {_SAID.get(kind, f'{kind}: {text}')}") from error
