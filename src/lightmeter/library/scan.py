"""Folders → the files worth reading: stat only, no file's content is parsed here."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.sniff import is_media_name, sniff

SIDECARS = (".txt", ".json", ".info.json")
TABLES = ("metadata.csv", "metadata.jsonl")


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may be media.

    path: absolute, undecodable bytes as surrogates · root: the folder that was asked for
    stamp_ns: the newest change of the file or of the words beside it, within what 64 bits hold (1677 to 2262)
    """

    path: str
    root: str
    size_bytes: int
    stamp_ns: int


@dataclass(slots=True)
class Scan:
    """What lies below some folders: files to read, how many were of other kinds, and what was refused unread."""

    found: list[Found] = field(default_factory=list)
    skipped: int = 0
    refused: list[tuple[Found, RejectedFileError]] = field(default_factory=list)


def scan(folders: Sequence[Path], *, leave_out: Path | None = None, exclude: Sequence[str] = ()) -> Scan:
    """List the regular files below folders (or the files named), media by name or by their first bytes.

    Hidden files and folders, `leave_out` (the library itself) and whatever matches a pattern of `exclude` by name or
    its whole path (`*.gif`, `*/thumbs/*`) are passed over; links are never followed: one that leaves the folders is
    refused, one that stays inside points to a file that is listed anyway.
    Raises InvalidValueError where a folder does not exist.  Cost: one stat a file, 64 bytes read of unnamed kinds.
    """
    result = Scan()
    roots = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100  resolve() would follow links
    for given, root in zip(folders, roots, strict=True):
        if not root.exists():
            raise InvalidValueError(f"FOLDER must exist, got {os.fspath(given)!r}: check the spelling")
    inside = [os.path.realpath(root) for root in roots]
    hidden = os.path.realpath(leave_out) if leave_out else None
    seen: set[str] = set()
    for root in roots:
        entries: Iterator[os.DirEntry[str] | Path] = _walk(root, hidden, result) if root.is_dir() else iter([root])
        for entry in entries:
            path = os.fspath(entry)
            if path in seen:
                continue
            seen.add(path)
            if any(fnmatch(path, pattern) or fnmatch(Path(path).name, pattern) for pattern in exclude):
                result.skipped += 1
            else:
                _look(path, root, inside, result)
    result.found.sort(key=lambda found: os.fsencode(found.path))
    return result


def _walk(root: Path, hidden: str | None, result: Scan) -> Iterator[os.DirEntry[str]]:
    pending = [os.fspath(root)]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            refused = RejectedFileError("unreadable", f"the folder cannot be listed: {error.strerror}")
            result.refused.append((Found(folder, os.fspath(root), 0, 0), refused))
            continue
        for entry in entries:
            if entry.name.startswith("."):
                result.skipped += not entry.is_dir(follow_symlinks=False)
            elif entry.is_dir(follow_symlinks=False):
                if hidden is None or os.path.realpath(entry.path) != hidden:
                    pending.append(entry.path)
            else:
                yield entry


def _look(path: str, root: Path, inside: Sequence[str], result: Scan) -> None:
    """Put one directory entry where it belongs."""
    try:
        status = os.lstat(path)
    except OSError:
        result.skipped += 1  # gone since it was listed
        return
    found = Found(path, os.fspath(root), status.st_size, _within_64_bits(max(status.st_mtime_ns, _words_ns(path))))
    if stat.S_ISLNK(status.st_mode):
        target = os.path.realpath(path)
        if any(target == base or target.startswith(base.rstrip(os.sep) + os.sep) for base in inside):
            result.skipped += 1
        else:
            result.refused.append(
                (found, RejectedFileError("link-outside", "the link leaves the folder: index its target"))
            )
    elif not stat.S_ISREG(status.st_mode) or not (is_media_name(path) or _smells_of_media(path)):
        result.skipped += 1
    else:
        result.found.append(found)


def _smells_of_media(path: str) -> bool:
    """Whether a file without a media name holds a picture, video or sound by its first bytes."""
    try:
        return sniff(Path(path)) is not None
    except (RejectedFileError, OSError):
        return False


def _words_ns(path: str) -> int:
    """When the words beside a file last changed, 0 where there are none."""
    file, newest = Path(path), 0
    for beside in (*(file.with_suffix(suffix) for suffix in SIDECARS), *(file.parent / name for name in TABLES)):
        try:
            newest = max(newest, beside.lstat().st_mtime_ns)
        except OSError:
            continue
    return newest


def _within_64_bits(time_ns: int) -> int:
    """A file's date may lie anywhere; a database's number may not."""
    return max(-(1 << 63), min(time_ns, (1 << 63) - 1))
