"""What encoders have in common that read a file or a folder of the user's: where it lies, and what it holds now."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightmeter.assets.files import file_sha256
from lightmeter.errors import MissingAssetError

PIN_DIGITS = 16
"""Hex digits of a hash in a spec: enough to tell any two files that somebody has, few enough to be read."""

_Stamp = tuple[tuple[str, int, int, int, int], ...]


def settle(part: Any, option: str) -> None:
    """Make an option that is a path absolute: a spec is stored, and read from other folders than it was typed in.

    part: a frozen dataclass, in its `__post_init__` · option: a Path or text; `~` is understood, links are not followed
    """
    told = getattr(part, option)
    object.__setattr__(part, option, type(told)(str(absolute(told))))


def absolute(path: Path | str) -> Path:
    """A path from the root.

    >>> absolute("/models/./a.pth").as_posix()
    '/models/a.pth'
    """
    return Path(path).expanduser().absolute()


def weights_id(encoder: Any) -> str:
    """What the files hold that an encoder reads by path, those of encoders inside it too; "" where it reads none.

    Paths are its options of type Path. With its spec it names all that changes the features.
    Raises MissingAssetError where nothing lies there.  Cost: a read of the files, once a process while they stay.
    """
    return " ".join(content_sha256(each) for each in _paths(encoder))


def pinned(encoder: Any) -> Any:
    """The encoder held to its file as that is now, its hash in the spec, so that another file is refused later.

    One that cannot be held (a packaged one, one without an option `sha256`) is returned as it is.
    Raises MissingAssetError, InvalidValueError for a folder.  Cost: as `weights_id`.
    """
    hold = getattr(encoder, "pinned", None)
    return encoder if hold is None else hold()


def content_sha256(path: Path) -> str:
    """sha256, in hex, of a file; of a folder: over the names and hashes of its files, hidden ones left out.

    Remembered while inode, size and time of change stay.  Raises MissingAssetError where nothing lies there.
    """
    path = absolute(path)
    if not path.exists():
        raise MissingAssetError(f"{path} is not there: put back what the encoder reads, or name where it is")
    inside = path.rglob("*") if path.is_dir() else [path]
    files = sorted(each for each in inside if each.is_file() and not each.name.startswith("."))
    return _content(path, tuple(_stamped(each) for each in files or [path]))


def _stamped(path: Path) -> tuple[str, int, int, int, int]:
    found = path.stat()
    return str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=64)
def _content(path: Path, stamps: _Stamp) -> str:
    if path.is_file():
        return file_sha256(path)
    names = (Path(name) for name, *_ in stamps)
    lines = [f"{each.relative_to(path)} {file_sha256(each)}" for each in names if each.is_file()]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _paths(part: Any) -> list[Path]:
    found: list[Path] = []
    for field in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
        value = getattr(part, field.name)
        found += [value] if isinstance(value, Path) else _paths(value)
    return found
