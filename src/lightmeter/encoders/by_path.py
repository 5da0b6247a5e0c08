"""What encoders have in common that read a file or a folder of the user's: where it lies, and what it holds now."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from lightmeter.assets.files import file_sha256
from lightmeter.assets.keyed_vectors import arrays_beside
from lightmeter.errors import InvalidValueError, MissingAssetError

PIN_DIGITS = 16
"""Hex digits of a hash in a spec: enough to tell any two files that somebody has, few enough to be read."""

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Name, device, inode, size and time of change of files."""


class ByPath:
    """Mixin of encoders with an option `sha256`: what their files must hold, once that is said.

    sha256: first digits of the hash of what is read, "" for whatever is there (`digest_of`)
    """

    sha256: str

    def pinned(self) -> Self:
        """The same, held to its files as they are now: the first digits of their hash stand in the spec."""
        paths = _paths(self)
        if self.sha256 or not paths:
            return self
        return dataclasses.replace(self, sha256=digest_of(paths)[:PIN_DIGITS])  # type: ignore[type-var]

    def check_pin(self) -> None:
        """Raises MissingAssetError where the files are not those that it is held to.  Cost: as `weights_id`."""
        check_digits(self.sha256, _paths(self) if self.sha256 else ())


def settle(part: Any, option: str) -> None:
    """Make an option that is a path absolute: a spec is stored, and read from other folders than it was typed in.

    part: a frozen dataclass, in its `__post_init__` · option: a Path or text; `~` is understood, links are not followed
    """
    told = getattr(part, option)
    object.__setattr__(part, option, type(told)(str(absolute(told))))


def settle_digits(part: Any) -> None:
    """Make the option `sha256` lower case; raises InvalidValueError for what are no first digits of a hash."""
    digits = str(part.sha256).lower()
    if not re.fullmatch(r"(?:[0-9a-f]{8,64})?", digits):
        raise InvalidValueError(f"sha256 must be the first 8 to 64 hex digits of the file's hash, got {part.sha256!r}")
    object.__setattr__(part, "sha256", digits)


def absolute(path: Path | str) -> Path:
    """A path from the root.

    >>> absolute("/models/./a.pth").as_posix()
    '/models/a.pth'
    """
    return Path(path).expanduser().absolute()


def weights_id(encoder: Any) -> str:
    """What the files hold that an encoder reads by path, those of encoders inside it too; "" where it reads none.

    Paths are its options of type Path and what its `reads` names. With the spec it names all that changes features.
    Raises MissingAssetError where nothing lies there.  Cost: a read of the files, once a process while they stay.
    """
    return " ".join(content_sha256(each) for each in _paths(encoder))


def pinned(encoder: Any) -> Any:
    """The encoder held to its files as they are now, their hash in the spec, so that others are refused later.

    So are encoders inside of it. One that reads no file by path is returned as it is.
    Raises MissingAssetError, InvalidValueError for a folder in the place of a file.  Cost: as `weights_id`.
    """
    hold = getattr(encoder, "pinned", None)
    if hold is not None:
        return hold()
    inside = {each.name: getattr(encoder, each.name) for each in _fields(encoder)}
    held = {name: pinned(value) for name, value in inside.items() if dataclasses.is_dataclass(value)}
    changed = {name: value for name, value in held.items() if value is not inside[name]}
    return dataclasses.replace(encoder, **changed) if changed else encoder


def check_digits(sha256: str, paths: Sequence[Path]) -> None:
    """Raises MissingAssetError unless the hash of what lies at some paths begins with these digits; "" fits all."""
    if sha256 and not (found := digest_of(paths)).startswith(sha256):
        raise MissingAssetError(
            f"{' and '.join(map(str, paths))} must have the sha256 {sha256}…, got {found[:PIN_DIGITS]}…: "
            "put back the file that was meant, or name the hash of this one and index again"
        )


def digest_of(paths: Sequence[Path]) -> str:
    """The hash of what lies at a path, as `content_sha256`; of several, the sha256 of theirs."""
    found = [content_sha256(path) for path in paths]
    return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest()


def content_sha256(path: Path) -> str:
    """sha256, in hex, of a file; of a folder: over the names and hashes of its files, hidden ones left out.

    A file of gensim's counts with the arrays beside it, as a folder of them would.
    Remembered while inode, size and time of change stay.  Raises MissingAssetError where nothing lies there.
    """
    path = absolute(path)
    if not path.exists():
        raise MissingAssetError(f"{path} is not there: put back what the encoder reads, or name where it is")
    return _content(path, stamp_of(path))


def stamp_of(path: Path | str) -> Stamp:
    """What changes when a file, or one in a folder, is written again or another is moved onto it; () for nothing there.

    What is kept of a file in memory is kept under it.  Cost: a stat a file.
    """
    path = absolute(path)
    if path.is_dir():
        found = sorted(each for each in path.rglob("*") if each.is_file() and not each.name.startswith("."))
    else:
        found = [path, *arrays_beside(path)] if path.exists() else []
    return tuple(_stamped(each) for each in found)


def _stamped(path: Path) -> tuple[str, int, int, int, int]:
    found = path.stat()
    return str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=64)
def _content(path: Path, stamps: Stamp) -> str:
    names = [Path(name) for name, *_ in stamps]
    if names == [path]:
        return file_sha256(path)
    base = path if path.is_dir() else path.parent
    lines = [f"{each.relative_to(base)} {file_sha256(each)}" for each in names if each.is_file()]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _fields(part: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()


def _paths(part: Any) -> list[Path]:
    found: list[Path] = list(getattr(part, "reads", ()))
    for field in _fields(part):
        value = getattr(part, field.name)
        found += [value] if isinstance(value, Path) else _paths(value)
    return found
