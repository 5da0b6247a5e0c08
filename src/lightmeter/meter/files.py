"""Files that are whole or not there: written beside their place, then moved onto it."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_whole(path: Path | str, data: bytes | str) -> Path:
    """Write a file so that readers see the old one or the new one, never half of it. Parent folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".lightmeter-{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(data.encode("utf-8", "replace") if isinstance(data, str) else data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
