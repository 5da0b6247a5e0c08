"""Reading tar archives that strangers made: plain files only, plain names only, and never more than was agreed."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from lightmeter.assets.unpacking import BROKEN_ARCHIVE, tar_members
from lightmeter.errors import RejectedFileError, UnsafeFileError

MAX_NAME_BYTES = 255
MAX_RATIO = 100


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What one archive may hold. Beyond any of these it is rejected."""

    members: int = 1_000_000
    member_bytes: int = 64 << 30
    json_bytes: int = 16 << 20


class Content:
    """The bytes of one member, read once and in order."""

    def __init__(self, file: IO[bytes], archive: str) -> None:
        self._file = file
        self._archive = archive

    def read(self, size_bytes: int) -> bytes:
        """The next bytes, none at the end. Raises RejectedFileError where the archive ends early."""
        try:
            return self._file.read(size_bytes)
        except (*BROKEN_ARCHIVE, OSError) as error:
            raise RejectedFileError("archive-damaged", f"{self._archive} does not read: {error}") from error


def members(path: Path, limits: ArchiveLimits | None = None) -> Iterator[tuple[str, int, Content]]:
    """(name, size, content) of every member of an uncompressed or gzipped tar, in order, read as a stream.

    Raises RejectedFileError for links, devices, sparse files, absolute names, `..`, folders in names, names twice,
    and content that unpacks to more than 100 times the archive.
    """
    limits = limits or ArchiveLimits()
    room = max(1 << 20, path.stat().st_size * MAX_RATIO)
    seen: set[str] = set()
    try:
        with path.open("rb") as packed:
            for archive, member in tar_members(_plain(packed)):
                check_member(member, seen, limits)
                if archive.offset > room:  # where the next header stands: what came before it, headers and all
                    raise RejectedFileError("archive-ratio", f"{path.name} unpacks to over {MAX_RATIO} times its size")
                file = archive.extractfile(member)
                assert file is not None, member.name
                yield member.name, member.size, Content(file, path.name)
    except RejectedFileError:
        raise
    except UnsafeFileError as error:
        raise RejectedFileError("archive-header", f"{path.name}: {error}") from error
    except (*BROKEN_ARCHIVE, OSError) as error:
        raise RejectedFileError("archive-damaged", f"{path.name} does not read: {error}") from error


def _plain(packed: BinaryIO) -> BinaryIO:
    """The tar itself, unpacked as it is read."""
    zipped = packed.read(2) == b"\x1f\x8b"
    packed.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=packed)) if zipped else packed


def check_member(member: tarfile.TarInfo, seen: set[str], limits: ArchiveLimits) -> None:
    """Hold one member to the rules above."""
    name = member.name
    if not member.isreg() or member.issparse():
        raise RejectedFileError(
            "archive-member", f"{name!r} must be a plain file, got a link, folder, device or sparse one"
        )
    if not is_plain_name(name):
        raise RejectedFileError("archive-name", f"{name!r} must be a plain file name without folders")
    if name in seen:
        raise RejectedFileError("archive-twice", f"{name!r} stands in the archive twice")
    seen.add(name)
    if len(seen) > limits.members:
        raise RejectedFileError("archive-members", f"the archive holds over {limits.members} files")
    if member.size > (limits.json_bytes if name.endswith(".json") else limits.member_bytes):
        raise RejectedFileError("archive-member-size", f"{name!r} claims {member.size} bytes")


def is_plain_name(name: str) -> bool:
    """Whether a name is one file's name and nothing else."""
    return (
        0 < len(name.encode("utf-8", "surrogateescape")) <= MAX_NAME_BYTES
        and not name.startswith((".", "-"))
        and not any(letter in name for letter in "/\\\0")
        and name.isprintable()
    )
