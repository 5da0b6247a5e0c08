"""Every error that Lightmeter raises on purpose: one tree, each also a builtin, each with the way out in its text.

The root and InvalidValueError stand in `types`, the lowest part, whose shapes check themselves; import them from here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

from lightmeter.types import InvalidValueError as InvalidValueError
from lightmeter.types import LightmeterError as LightmeterError


class SpecError(InvalidValueError):
    """A spec such as `name/option=value` that does not parse or does not fit its part."""


class UnknownNameError(LightmeterError, LookupError):
    """A name that no table holds; the message suggests the nearest one."""


class RejectedFileError(LightmeterError, ValueError):
    """A file that must not or cannot be read.

    code: one short word for counting (`empty`, `disguise`, `too-large`, `truncated`, …); detail: one sentence.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail

    def __reduce__(self) -> tuple[type[RejectedFileError], tuple[str, str]]:
        return type(self), (self.code, self.detail)


class UnsafeFileError(LightmeterError, ValueError):
    """A checkpoint or array file that would run code or exhaust memory, refused by name."""


class MissingExtraError(LightmeterError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""


class MissingAssetError(LightmeterError, FileNotFoundError):
    """Weights or data that a package carries are not here; the message holds the command that adds them."""


class LibraryNotFoundError(LightmeterError, FileNotFoundError):
    """There is no library at the path."""


class LibraryBusyError(LightmeterError, BlockingIOError):
    """Another process writes to the library."""


class LibraryReadOnlyError(LightmeterError, PermissionError):
    """The library was opened for reading and something wanted to write."""


class LibraryShutError(LightmeterError, PermissionError):
    """The library is there and cannot be opened: for want of permission, or too many files are open."""


class LibraryFullError(LightmeterError, OSError):
    """The disk has no room for what the library should keep; what was committed before is whole."""


class LibraryVersionError(LightmeterError, RuntimeError):
    """The library was written by a newer Lightmeter."""


class LibraryDamagedError(LightmeterError, RuntimeError):
    """The library needs `lightmeter fsck`."""

    exit_code: ClassVar[int] = 4


class WorkerError(LightmeterError, RuntimeError):
    """Workers cannot start, so that no item can be tried; what was done is kept."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The tail of an error: `: did you mean 'x'?` where one is near, else what there is.

    >>> nearest("colour-histogram", ["color-histogram", "mel"])
    ": did you mean 'color-histogram'?"
    """
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f": did you mean {close[0]!r}?"
    return f": there is {', '.join(known)}" if known else ""
