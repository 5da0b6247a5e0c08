"""Files that are dear to make and cheap to keep: built models and label tables, in the user's cache folder."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

from lightmeter.assets.files import write_whole

_DIGEST_BYTES = 32
_PACKAGED = Path(__file__).with_name("kept")
_log = logging.getLogger("lightmeter.encoders")


def cache_folder() -> Path:
    """LIGHTMETER_CACHE, else XDG_CACHE_HOME/lightmeter, else ~/.cache/lightmeter; deleting it is harmless."""
    told = os.environ.get("LIGHTMETER_CACHE")
    if told:
        return Path(told)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightmeter"


def kept(name: str, stamp: str, make: Callable[[], bytes]) -> bytes:
    """What `make` returns, from the cache where a whole copy with the same stamp lies there.

    name: start of the file's name · stamp: everything that the bytes depend on, alike on every machine
    A few small ones come with the package (`encoders/kept`), so that a fresh machine need not make them.
    A file whose checksum fails is made again. The checksum tells damage, not malice: a folder that somebody else owns
    or may write to is not used. Doing without costs time, and is logged.
    """
    file = f"{name}-{hashlib.sha256(stamp.encode()).hexdigest()[:24]}"
    path = cache_folder() / file
    why_not = refused(path.parent)
    for place in (_PACKAGED / file, *(() if why_not else (path,))):
        found = _read(place)
        if found is not None:
            return found
    made = make()
    if why_not:
        _log.warning("the cache %s %s: it is not used, and %s will be made again each time", path.parent, why_not, name)
        return made
    try:
        _write(path, made)
    except OSError as error:
        _log.warning("cannot keep %s, it will be made again each time: %s", path, error)
    return made


def refused(folder: Path) -> str:
    """Why what lies in a folder is not to be trusted, "" where it is (or the folder is not there)."""
    try:
        found = folder.stat()
    except OSError:
        return ""
    if found.st_uid != os.geteuid():
        return "belongs to somebody else"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "may be written by others (`chmod go-w` mends it)"
    return ""


def _read(path: Path) -> bytes | None:
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    body = whole[_DIGEST_BYTES:]
    return body if whole[:_DIGEST_BYTES] == hashlib.sha256(body).digest() else None


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, hashlib.sha256(body).digest() + body)
