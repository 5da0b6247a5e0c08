"""Files that are whole or not there: written beside their place, then moved onto it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
