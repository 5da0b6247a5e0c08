"""How calls of the study `bair` that run at once share the work: whoever holds a piece's lock does it."""

from __future__ import annotations

import re
from pathlib import Path

from lightmeter.assets.files import FileLock
from lightmeter.errors import LibraryBusyError

POLL_S = 1.0
"""Between two looks at pieces that others have in hand."""


def slug(text: str) -> str:
    """A file's name for some text."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-") or "none"


def taken(path: Path) -> FileLock | None:
    """The lock of a file, None where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.take(0)
    except LibraryBusyError:
        return None
    return lock
