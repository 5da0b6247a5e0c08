"""Wheels, npm tarballs and Debian packages, unpacked as if their author were an enemy."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from lightmeter.errors import RejectedFileError, UnsafeFileError

_CHUNK_BYTES = 1 << 20
BROKEN_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError,
                  RuntimeError, NotImplementedError, ValueError, OverflowError)  # fmt: skip
"""What the readers of archives raise over one that is broken."""
MOST_TAR_HEADER_BYTES = 1 << 20
_LICENCES = re.compile(r"(licen[cs]e|copying|copyright|notice|third-party)[^/]*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """What a package may cost. ratio: unpacked bytes for each byte of the archive, beyond the first `free_bytes`."""

    total_bytes: int = 2 << 30
    entries: int = 50_000
    ratio: float = 100.0
    free_bytes: int = 16 << 20
    once_bytes: int = 16 << 20
    decoder_bytes: int = 256 << 20


def unpack(archive: Path, into: Path, wanted: str, *, limits: UnpackLimits | None = None) -> None:
    """Unpack the file or folder `wanted`, and the licences, of a .whl, .tgz or .deb into the folder `into`.

    Every name in the archive is checked, wanted or not: one that is absolute or climbs, a link, a device or a second
    entry of the same name refuses the whole archive. Bytes are counted as they come, whatever the headers say.
    Raises UnsafeFileError with the name, RejectedFileError for a broken archive.  Cost: O(unpacked bytes).
    """
    limits = limits or UnpackLimits()
    room = _Room(archive, limits)
    try:
        if archive.suffix in (".whl", ".zip"):
            _unpack_zip(archive, into, wanted, room=room)
        else:
            with _plain_tar(archive, into, room) as tar:
                _unpack_tar(tar, into, wanted, room=room)
    except (UnsafeFileError, RejectedFileError):
        raise
    except FileExistsError as error:
        raise UnsafeFileError(f"{archive.name} holds two entries of one name: refused") from error
    except (NotADirectoryError, IsADirectoryError) as error:
        raise UnsafeFileError(f"{archive.name} uses one name for a file and a folder: refused") from error
    except BROKEN_ARCHIVE as error:
        raise RejectedFileError("broken-archive", f"{archive.name}: {str(error)[:200]}") from error
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ):  # an impossible offset or name
            raise RejectedFileError("broken-archive", f"{archive.name}: {error.strerror}") from error
        raise
    if not (into / wanted).exists():
        raise RejectedFileError("incomplete-archive", f"{archive.name} does not hold {wanted}")


class _Source(Protocol):
    def read(self, count: int, /) -> bytes: ...


class _Room:
    """Counts what an archive has cost so far."""

    def __init__(self, archive: Path, limits: UnpackLimits) -> None:
        self.name, self.limits = archive.name, limits
        size = archive.stat().st_size
        self.left_bytes = min(limits.total_bytes, limits.free_bytes + int(limits.ratio * size))
        self.left_entries = limits.entries

    def entry(self) -> None:
        self.left_entries -= 1
        if self.left_entries < 0:
            raise UnsafeFileError(f"{self.name} holds more than {self.limits.entries:,} entries: refused")

    def copy(self, source: _Source, target: BinaryIO) -> None:
        while chunk := source.read(_CHUNK_BYTES):
            self.left_bytes -= len(chunk)
            if self.left_bytes < 0:
                raise UnsafeFileError(f"{self.name} unpacks to far more than its size: refused as a bomb")
            target.write(chunk)


def _inside(name: str) -> PurePosixPath:
    """The relative path of an entry, or a refusal."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise UnsafeFileError(f"the archive names {name[:200]!r}, outside of its folder: refused")
    return path


def _is_wanted(path: PurePosixPath, wanted: str) -> bool:
    return path.is_relative_to(wanted) or bool(_LICENCES.search(path.as_posix()))


def _write(source: _Source, target: Path, room: _Room) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        room.copy(source, file)


# -- zip ------------------------------------------------------------------------------------------------------------


def _unpack_zip(archive: Path, into: Path, wanted: str, *, room: _Room) -> None:
    with archive.open("rb") as file, zipfile.ZipFile(_Guarded(file, room.limits.once_bytes)) as opened:
        for info in opened.infolist():
            room.entry()
            path = _inside(info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UnsafeFileError(f"the archive holds a link or device, {info.filename[:200]!r}: refused")
            if not info.is_dir() and _is_wanted(path, wanted):
                with opened.open(info) as source:
                    _write(source, into / path, room)


# -- tar ------------------------------------------------------------------------------------------------------------


class _Guarded(io.RawIOBase):
    """A file that never gives more than `once_bytes` at once: a header cannot ask for the whole memory."""

    def __init__(self, file: BinaryIO, once_bytes: int) -> None:
        self.file, self.once_bytes = file, once_bytes

    def read(self, count: int = -1) -> bytes:
        data = self.file.read(self.once_bytes + 1 if count < 0 else min(count, self.once_bytes + 1))
        if len(data) > self.once_bytes:
            raise UnsafeFileError(f"an archive's header must be at most {self.once_bytes >> 20} MB: refused")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


class _GuardedTar(_Guarded):
    """A tar whose headers between two members, however many are chained, come to at most `once_bytes` in all."""

    in_header, spent_bytes = True, 0

    def read(self, count: int = -1) -> bytes:
        data = super().read(count)
        self.spent_bytes += len(data) if self.in_header else 0
        if self.spent_bytes > self.once_bytes:
            raise UnsafeFileError(f"an archive's header must be at most {self.once_bytes >> 20} MB: refused")
        return data

    def next_of(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        self.in_header = True
        member = tar.next()
        self.in_header, self.spent_bytes = False, 0
        tar.__dict__["members"].clear()  # it would keep every member that it has ever seen
        return member


def tar_members(file: BinaryIO) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """(the tar, its next member), in order and as they come, of a plain tar; the memory is bounded whatever it says.

    Names, kinds and sizes are the caller's to check. Raises UnsafeFileError for headers of more than 1 MB.
    """
    guarded = _GuardedTar(file, MOST_TAR_HEADER_BYTES)
    with tarfile.open(fileobj=guarded, mode="r:", errorlevel=1) as tar:
        while member := guarded.next_of(tar):
            yield tar, member


def _unpack_tar(file: BinaryIO, into: Path, wanted: str, *, room: _Room) -> None:
    for tar, member in tar_members(file):
        room.entry()
        path = _inside(member.name)
        if not (member.isreg() or member.isdir()) or member.issparse():
            raise UnsafeFileError(f"the archive holds a link or device, {member.name[:200]!r}: refused")
        if member.isreg() and _is_wanted(path, wanted):
            source = tar.extractfile(member)
            if source is not None:
                _write(source, into / path, room)


@contextmanager
def _plain_tar(archive: Path, into: Path, room: _Room) -> Iterator[BinaryIO]:
    """The tar inside a .tgz or .deb, decompressed to a file that is gone afterwards."""
    plain = into / ".tar"
    into.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open("rb") as packed, plain.open("xb") as target:
            _RoomForTar(room).copy(_decompressed(packed, archive.name, room.limits), target)
        with plain.open("rb") as file:
            yield file
    finally:
        plain.unlink(missing_ok=True)


class _RoomForTar(_Room):
    """The tar itself may be as large as what comes out of it, and is counted apart."""

    def __init__(self, room: _Room) -> None:
        self.name, self.limits = room.name, room.limits
        self.left_bytes = room.left_bytes


def _decompressed(packed: BinaryIO, name: str, limits: UnpackLimits) -> _Source:
    if name.endswith((".tgz", ".tar.gz")):
        return gzip.GzipFile(fileobj=packed)
    if not name.endswith(".deb"):
        raise RejectedFileError("unknown-format", f"a package must be a .whl, .tgz or .deb, got {name}")
    member, left_bytes = _data_member(packed)
    part = _Part(packed, left_bytes)
    if member == "data.tar.xz":
        return io.BufferedReader(_XzReader(part, limits.decoder_bytes))
    if member == "data.tar.gz":
        return gzip.GzipFile(fileobj=part)
    raise RejectedFileError("unknown-format", f"{name} must hold data.tar.xz or data.tar.gz, got {member}")


def _data_member(packed: BinaryIO) -> tuple[str, int]:
    """Go to the data of a Debian package: an `ar` archive of 60-byte headers (deb(5))."""
    if packed.read(8) != b"!<arch>\n":
        raise RejectedFileError("broken-archive", "a .deb must be an ar archive")
    for _ in range(16):
        header = packed.read(60)
        if len(header) < 60 or header[58:] != b"`\n":
            break
        member, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        if size < 0:
            break
        if member.startswith("data.tar"):
            return member, size
        packed.seek(size + size % 2, io.SEEK_CUR)
    raise RejectedFileError("broken-archive", "a .deb must hold data.tar")


class _Part(io.RawIOBase):
    """The next `left_bytes` of a file, as a file."""

    def __init__(self, file: BinaryIO, left_bytes: int) -> None:
        self.file, self.left_bytes = file, left_bytes

    def read(self, count: int = -1) -> bytes:
        data = self.file.read(min(_CHUNK_BYTES if count < 0 else count, self.left_bytes))
        self.left_bytes -= len(data)
        return data

    def readable(self) -> bool:
        return True


class _XzReader(io.RawIOBase):
    """An xz stream, read with a bound on the decoder's memory (`lzma.open` has none)."""

    def __init__(self, file: _Part, memory_bytes: int) -> None:
        self.file = file
        self.decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory_bytes)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = b""
        while not data and not self.decoder.eof:
            packed = self.file.read(_CHUNK_BYTES) if self.decoder.needs_input else b""
            if not packed and self.decoder.needs_input:
                raise EOFError("the xz stream ends early")
            data = self.decoder.decompress(packed, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        return True
