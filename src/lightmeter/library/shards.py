"""Feature shards: immutable files of vectors, their owners and times, checksummed and read through memory maps.

Layout: magic, header length, JSON header, then one column after the other, each starting at a multiple of 64 bytes:
`vectors` float32 [N, D], `owners` int64 [N], `times_s` float64 [N] (NaN: no time). Little-endian. The header holds a
CRC-32 of every column; the manifest holds a SHA-256 of the header.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import re
import secrets
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lightmeter.errors import LibraryDamagedError, LibraryFullError
from lightmeter.library.connect import damaged
from lightmeter.search.exact import Block

MAGIC = b"LMSHARD1"
ALIGN = 64
MAX_HEADER_BYTES = 1 << 20
MAX_DIM = 1 << 24
MAPPED_FROM_BYTES = 1 << 18
"""Smaller shards are read: a map holds a descriptor, and a stopped run leaves many small shards."""
_NOT_THE_FILE = (errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM)
"""Errors that say nothing about a file's bytes: a shard must not be called damaged for want of descriptors."""
_NAME = re.compile(r"[0-9a-f]+\.shard")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # no link is followed, no pipe is waited for
_HEAD_BYTES = 4096
_DTYPES = {"vectors": "<f4", "owners": "<i8", "times_s": "<f8"}


@dataclass(frozen=True, slots=True)
class Written:
    """A shard that is whole and durable on disk, ready to be registered."""

    name: str
    rows: int
    size_bytes: int
    digest: str


def write_shard(folder: Path, blocks: Iterable[Block], *, spec: str, dim: int, rows: int) -> Written:
    """Write blocks of `rows` rows in all as one shard: temporary name, fsync, rename, fsync of the folder.

    Cost: one pass over the data, memory of one block.
    """
    make_folder(folder)
    name = f"{secrets.token_hex(10)}.shard"
    temporary = folder / f"{name}.tmp"
    try:
        with temporary.open("xb") as file:
            head, size_bytes = _write(file, blocks, {"spec": spec, "dim": dim, "rows": rows})
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / name)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            how = "free some space and run the same command again"
            raise LibraryFullError(f"no room for {rows} feature rows in {folder}: {how}") from error
        raise
    sync_folder(folder)
    return Written(name, rows, size_bytes, hashlib.sha256(head).hexdigest())


def _write(file: BinaryIO, blocks: Iterable[Block], about: dict[str, Any]) -> tuple[bytes, int]:
    widths = {"vectors": 4 * about["dim"], "owners": 8, "times_s": 8}
    start = len(_header(about, dict.fromkeys(widths, 0), dict.fromkeys(widths, 0)))
    offsets, end = {}, start
    for column, width in widths.items():
        offsets[column] = end
        end += _padded(about["rows"] * width)
    sums = dict.fromkeys(widths, 0)
    done = 0
    for block in blocks:
        for column, width in widths.items():
            data = np.ascontiguousarray(getattr(block, column), dtype=_DTYPES[column]).data.cast("B")
            file.seek(offsets[column] + done * width)
            file.write(data)
            sums[column] = zlib.crc32(data, sums[column])
        done += len(block.owners)
    assert done == about["rows"], (done, about["rows"])
    head = _header(about, offsets, sums)
    file.seek(0)
    file.write(head)
    file.truncate(end)
    return head, end


def _header(about: dict[str, Any], offsets: dict[str, int], sums: dict[str, int]) -> bytes:
    columns = {  # fixed widths: the header's length must not depend on what it says
        column: {"dtype": dtype, "offset": f"{offsets[column]:012d}", "crc32": f"{sums[column]:08x}"}
        for column, dtype in _DTYPES.items()
    }
    text = json.dumps({**about, "columns": columns}).encode()
    return (MAGIC + struct.pack("<Q", len(text)) + text).ljust(_padded(16 + len(text)), b"\0")


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // ALIGN) * ALIGN


def open_shard(path: Path | str, *, digest: str | None = None) -> Block:
    """Map a shard; checks the header and the length, not the columns. Cost: one page read, whatever the size.

    Raises LibraryDamagedError when the file is torn, is a link, or is not the one that was registered.
    """
    try:
        file = os.open(path, _FLAGS)
        try:
            header, head = _read_header(path, file)
            if digest is not None and hashlib.sha256(head).hexdigest() != digest:
                raise broken(path, "its header is not the one that was registered")
            return _map(path, file, header)
        finally:
            os.close(file)
    except OSError as error:
        if error.errno in _NOT_THE_FILE:
            raise
        raise broken(path, error) from error


@dataclass(frozen=True, slots=True)
class _Header:
    rows: int
    dim: int
    offsets: tuple[int, ...]  # of the columns, in the order of _DTYPES
    sums: tuple[str, ...]


def _read_header(path: Path | str, file: int) -> tuple[_Header, bytes]:
    """The header, and the bytes that it and what pads it stand in."""
    start = os.pread(file, _HEAD_BYTES, 0)
    if len(start) < 16 or start[:8] != MAGIC:
        raise broken(path, "it does not start like one")
    length = int.from_bytes(start[8:16], "little")
    if length > MAX_HEADER_BYTES:
        raise broken(path, f"its header claims {length} bytes")
    end = _padded(16 + length)
    head = start[:end] if end <= _HEAD_BYTES else os.pread(file, end, 0)
    try:
        said = json.loads(head[16 : 16 + length].decode())
        columns = [said["columns"][name] for name in _DTYPES]
        offsets, sums = (tuple(each[name] for each in columns) for name in ("offset", "crc32"))
        return _Header(int(said["rows"]), int(said["dim"]), tuple(map(int, offsets)), sums), head
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise broken(path, "its header does not parse, or lacks a column") from error


def _map(path: Path | str, file: int, header: _Header) -> Block:
    size_bytes = os.fstat(file).st_size
    rows, dim = header.rows, header.dim
    vectors, owners, times_s = header.offsets
    end = max(vectors + rows * dim * 4, owners + rows * 8, times_s + rows * 8)
    if rows < 0 or not 0 < dim <= MAX_DIM or min(header.offsets) < 16 or size_bytes != _padded(end):
        raise broken(path, f"it has {size_bytes} bytes and its header wants {_padded(end)}")
    if rows == 0:
        return Block(np.empty((0, dim), "<f4"), np.empty(0, "<i8"), np.empty(0, "<f8"))
    memory: bytes | mmap.mmap
    if size_bytes < MAPPED_FROM_BYTES:
        memory = os.pread(file, size_bytes, 0)
    else:
        memory = mmap.mmap(file, size_bytes, access=mmap.ACCESS_READ)
    return Block(
        np.frombuffer(memory, "<f4", rows * dim, vectors).reshape(rows, dim),
        np.frombuffer(memory, "<i8", rows, owners),
        np.frombuffer(memory, "<f8", rows, times_s),
    )


def check_shard(path: Path, *, digest: str | None = None) -> str:
    """Read a whole shard and compare every checksum; "" when it is sound, else what is wrong."""
    try:
        block = open_shard(path, digest=digest)
        with path.open("rb") as file:
            header, _ = _read_header(path, file.fileno())
    except FileNotFoundError:
        return "the file is gone"
    except LibraryDamagedError as error:
        return str(error)
    for column, wanted in zip(_DTYPES, header.sums, strict=True):
        data = np.ascontiguousarray(getattr(block, column)).data.cast("B") if header.rows else b""
        if f"{zlib.crc32(data):08x}" != wanted:
            return f"the checksum of {column} does not fit"
    return ""


# -- places ---------------------------------------------------------------------------------------------------------


def shard_path(folder: Path, series: object, name: object) -> str:
    """Where a registered shard stands. Raises LibraryDamagedError where the manifest names another place."""
    if not isinstance(series, int) or not isinstance(name, str) or not _NAME.fullmatch(name):
        raise damaged(folder, f"{name!r} of series {series!r} is no name of a shard")
    return f"{folder}/shards/{series}/{name}"


def links(folder: Path) -> list[Path]:
    """Links where a library's own folders should stand: what lies behind one is not the library's to touch."""
    top = f"{folder}/shards"
    if os.path.islink(top):  # noqa: PTH114 (asked at every open)
        return [Path(top)]
    try:
        with os.scandir(top) as entries:
            return [Path(entry.path) for entry in entries if entry.is_symlink()]
    except FileNotFoundError:
        return []


def shard_files(folder: Path) -> Iterator[Path]:
    """Every plain file in the folders of the series; no link is followed."""
    top = folder / "shards"
    if top.is_symlink() or not top.is_dir():
        return
    for series in sorted(top.iterdir()):
        if series.is_dir() and not series.is_symlink():
            yield from sorted(path for path in series.iterdir() if path.is_file() and not path.is_symlink())


def broken(path: Path | str, why: object) -> LibraryDamagedError:
    """The error for a shard that cannot be trusted; it names the repair."""
    library = Path(path).parent.parent.parent
    return LibraryDamagedError(
        f"{path} is not a sound shard, {why}: run `lightmeter fsck --repair --library {library}`"
    )


def make_folder(folder: Path) -> None:
    """Make a folder and what leads to it, each durable in its parent."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
