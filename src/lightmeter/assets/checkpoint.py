"""Checkpoints as arrays, without torch and without running what they say: PyTorch (zip and legacy) and safetensors."""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lightmeter.assets import inert
from lightmeter.assets.inert import BFLOAT16, BoundedStream, Dialect, StorageRef, TensorRef
from lightmeter.assets.tensors import MOST_TENSORS, arrays_of, named_tensors, storage_ref, widened
from lightmeter.errors import RejectedFileError, UnsafeFileError
from lightmeter.types import Array

MOST_HEADER_BYTES = 16 << 20
MOST_ENTRIES = 200_000
MOST_DIRECTORY_BYTES = 32 << 20

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


Pick = Callable[[Any], Any]
"""What is wanted of a pickled tree: given all of it, the container whose tensors are read."""


def read_checkpoint(
    path: Path | str, *, mapped: bool = False, dialect: Dialect | None = None, pick: Pick | None = None
) -> dict[str, Array]:
    """All tensors of a checkpoint, by name; nothing in the file is executed.

    mapped: of a safetensors file, leave the tensors where they are until they are read; the file must stay as it is
    dialect, pick: of a PyTorch file, the names that its pickle may use, and what of its tree is read (all by default)

    Arrays are read-only and keep their type; bfloat16 is widened to float32. Nested containers are named by their path
    (`state_dict.conv.weight`); what is no tensor is left out. Raises UnsafeFileError, which names what was refused,
    and RejectedFileError for a file that is broken or of another kind.  Cost: reads the file once, into memory.

    Source: torch/serialization.py (both formats), github.com/huggingface/safetensors#format.
    """
    path = Path(path)
    if not path.is_file():
        raise RejectedFileError("not-a-file", f"a checkpoint must be a regular file, got {path}")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(512)
        file.seek(0)
        try:
            return _read(file, size, start, mapped=mapped, pickled=_Pickled(dialect, pick))
        except RejectedFileError as error:
            raise RejectedFileError(error.code, f"{error.detail} ({path.name})") from error
        except UnsafeFileError as error:
            raise UnsafeFileError(f"{error} ({path.name})") from error


@dataclass(frozen=True, slots=True)
class _Pickled:
    """How the pickle of a PyTorch file is read."""

    dialect: Dialect | None
    pick: Pick | None

    def tensors(self, tree: Any) -> dict[str, TensorRef]:
        """Those that are wanted, by name."""
        return named_tensors(tree if self.pick is None else self.pick(tree))


def _read(file: BinaryIO, size: int, start: bytes, *, mapped: bool, pickled: _Pickled) -> dict[str, Array]:
    if not start:
        raise RejectedFileError("empty", "a checkpoint must have content, got 0 bytes")
    if start.startswith(b"PK\x03\x04"):
        return _read_zip(file, size, pickled)
    if (
        start[:1] == b"\x80" and start[8:9] != b"{"
    ):  # a safetensors header may be of 128 bytes: it is JSON from byte 8 on
        return _read_legacy(file, size, pickled)
    if start[257:262] == b"ustar":
        raise UnsafeFileError("a tar checkpoint (torch before 0.1.11) is not read: save the weights again")
    if start[8:9] == b"{":
        return _read_safetensors(file, size, mapped)
    raise RejectedFileError("unknown-format", "a checkpoint must be a PyTorch or a safetensors file")


class _Storages:
    """Turns persistent ids into storages; one key is one storage, always described alike."""

    def __init__(self, *, longest: int) -> None:
        self.longest = longest
        self.known: dict[str, StorageRef] = {}

    def __call__(self, persistent_id: Any) -> StorageRef:
        made = storage_ref(persistent_id, longest=self.longest)
        known = self.known.setdefault(made.key, made)
        if (known.dtype, known.count) != (made.dtype, made.count):
            raise UnsafeFileError(f"storage {made.key[:80]!r} is described twice, differently: refused")
        return known


# -- PyTorch, zip ---------------------------------------------------------------------------------------------------


class _DirectoryGuard(io.RawIOBase):
    """Lets zipfile read the directory of an archive, but only so much at once."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int = -1) -> bytes:
        left_bytes = max(0, self.size - self.file.tell())
        count = left_bytes if count < 0 else min(count, left_bytes)
        if count > MOST_DIRECTORY_BYTES:
            raise UnsafeFileError(f"a zip directory must be at most {MOST_DIRECTORY_BYTES >> 20} MB: refused")
        return self.file.read(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True


def _entries(file: BinaryIO, size: int) -> dict[str, zipfile.ZipInfo]:
    try:
        infos = zipfile.ZipFile(_DirectoryGuard(file, size)).infolist()
    except UnsafeFileError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError, OverflowError) as error:
        raise RejectedFileError("broken-zip", str(error)[:200]) from error
    if len(infos) > MOST_ENTRIES:
        raise UnsafeFileError(f"a zip checkpoint must have at most {MOST_ENTRIES:,} entries, got {len(infos):,}")
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise UnsafeFileError("two entries of the zip have one name: refused")
    return entries


class _Archive:
    """The stored entries of a torch zip; no byte of the file is handed out twice, so memory stays below its size."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.left_bytes = file, size, size
        self.entries = _entries(file, size)
        tops = [name.removesuffix("/data.pkl") for name in self.entries if name.count("/") == 1]
        roots = [top for top in tops if f"{top}/data.pkl" in self.entries]
        if not roots:
            raise RejectedFileError("not-a-checkpoint", "the zip has no data.pkl: it is no PyTorch checkpoint")
        self.root = roots[0]

    def has(self, name: str) -> bool:
        return f"{self.root}/{name}" in self.entries

    def bytes_of(self, name: str, count: int | None = None) -> bytes:
        """The first `count` bytes of an entry, all of them by default."""
        info = self.entries.get(f"{self.root}/{name}")
        if info is None:
            raise RejectedFileError("truncated", f"the zip lacks {name!r}")
        start = self._start_of(info)
        wanted = info.file_size if count is None else count
        if wanted > info.file_size or start + wanted > self.size:
            raise RejectedFileError("truncated", f"{name!r} must have {wanted} bytes, got fewer")
        self.left_bytes -= wanted
        if self.left_bytes < 0:
            raise UnsafeFileError("the entries of the zip overlap: refused")
        self.file.seek(start)
        return self.file.read(wanted)

    def _start_of(self, info: zipfile.ZipInfo) -> int:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise UnsafeFileError(f"{info.filename[:200]!r} is compressed or encrypted, torch stores plainly: refused")
        if not 0 <= info.header_offset <= self.size - 30:
            raise RejectedFileError("broken-zip", "an entry lies outside of the file")
        self.file.seek(info.header_offset)
        header = self.file.read(30)
        if len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise RejectedFileError("broken-zip", "an entry has no header")
        name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
        return info.header_offset + 30 + int(name_bytes) + int(extra_bytes)


def _read_zip(file: BinaryIO, size: int, pickled: _Pickled) -> dict[str, Array]:
    archive = _Archive(file, size)
    if archive.has("constants.pkl"):
        raise UnsafeFileError("a TorchScript program is not read: save its state_dict")
    if archive.has("byteorder") and archive.bytes_of("byteorder") != b"little":
        raise UnsafeFileError("a big-endian checkpoint is not read: save the weights again")
    text = archive.bytes_of("data.pkl")
    stream = BoundedStream(io.BytesIO(text), len(text))
    tree = inert.load(stream, _Storages(longest=5), pickled.dialect)

    def raw(storage: StorageRef) -> bytes:
        return archive.bytes_of(f"data/{storage.key}", storage.count * storage.raw_dtype.itemsize)

    return arrays_of(pickled.tensors(tree), raw, file_bytes=size)


# -- PyTorch, legacy ------------------------------------------------------------------------------------------------


def _read_legacy(file: BinaryIO, size: int, pickled: _Pickled) -> dict[str, Array]:
    """Four pickles (magic, protocol, machine, tree), a pickle of keys, then each storage: int64 items, raw bytes."""
    storages = _Storages(longest=6)

    def next_pickle() -> Any:
        return inert.load(BoundedStream(file, size - file.tell()), storages, pickled.dialect)

    if next_pickle() != _LEGACY_MAGIC or next_pickle() != _LEGACY_PROTOCOL:
        raise UnsafeFileError("a bare pickle is not a PyTorch checkpoint: refused")
    machine = next_pickle()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise UnsafeFileError("a checkpoint must be little-endian: save the weights again")
    tree = next_pickle()
    keys = next_pickle()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(storages.known):
        raise RejectedFileError("broken-pickle", "the storages in the file are not the ones that its tensors use")
    raws = {key: _legacy_storage(file, size, storages.known[key]) for key in keys}
    return arrays_of(pickled.tensors(tree), lambda storage: raws[storage.key], file_bytes=size)


def _legacy_storage(file: BinaryIO, size: int, storage: StorageRef) -> bytes:
    needed = storage.count * storage.raw_dtype.itemsize
    count = int.from_bytes(file.read(8), "little")
    if count != storage.count:
        raise UnsafeFileError(f"storage {storage.key[:80]!r} says {storage.count} items, has {count}: refused")
    if needed > size - file.tell():
        raise RejectedFileError("truncated", f"storage {storage.key[:80]!r} must have {needed} bytes, got fewer")
    return file.read(needed)


# -- safetensors ----------------------------------------------------------------------------------------------------

_SAFE_TYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "F32": "float32", "F64": "float64", "BF16": BFLOAT16,
    "C64": "complex64",
}  # fmt: skip


def _read_safetensors(file: BinaryIO, size: int, mapped: bool) -> dict[str, Array]:
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER_BYTES:
        raise UnsafeFileError(f"a header must be at most {MOST_HEADER_BYTES >> 20} MB, got {length} bytes: refused")
    if length > size - 8:
        raise RejectedFileError("truncated", f"a header of {length} bytes in a file of {size}")
    header = _safe_header(file.read(length))
    if mapped:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[8 + length :]
    else:
        data = memoryview(file.read(size - 8 - length))
    needed = max((_span(name, row)[1] for name, row in header.items()), default=0)
    if needed > len(data):
        raise RejectedFileError("truncated", f"the tensors must fill {needed} bytes, got {len(data)}: get it again")
    made: dict[str, Array] = {}
    end = 0
    for name, row in sorted(header.items(), key=lambda item: _span(item[0], item[1])):
        begin, stop = _span(name, row)
        if begin != end:
            raise UnsafeFileError(f"tensor {name[:200]!r} must begin at byte {end}, got {begin}: refused")
        made[name] = _safe_array(name, row, data[begin:stop])
        end = stop
    if end != len(data):
        raise RejectedFileError("truncated", f"the tensors must fill {end} bytes, got {len(data)}")
    return {name: made[name] for name in header}


def _safe_header(text: bytes) -> dict[str, dict[str, Any]]:
    try:
        header = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise RejectedFileError("broken-header", f"a safetensors header must be JSON: {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise RejectedFileError("broken-header", "a safetensors header must be an object")
    header.pop("__metadata__", None)
    if len(header) > MOST_TENSORS:
        raise UnsafeFileError(f"a checkpoint must hold at most {MOST_TENSORS:,} tensors, got {len(header):,}")
    for name, row in header.items():
        if not isinstance(row, dict) or set(row) != {"dtype", "shape", "data_offsets"}:
            raise RejectedFileError("broken-header", f"tensor {name[:200]!r} must state dtype, shape, data_offsets")
    return header


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 1 << 48 for each in value)


def _span(name: str, row: dict[str, Any]) -> tuple[int, int]:
    offsets = row["data_offsets"]
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise UnsafeFileError(f"tensor {name[:200]!r} has impossible offsets: refused")
    return offsets[0], offsets[1]


def _safe_array(name: str, row: dict[str, Any], raw: memoryview) -> Array:
    shape = row["shape"]
    if not _counts(shape) or len(shape) > inert.MOST_DIMENSIONS:
        raise UnsafeFileError(f"tensor {name[:200]!r} has an impossible shape: refused")
    if not isinstance(row["dtype"], str) or row["dtype"] not in _SAFE_TYPES:
        raise RejectedFileError(
            "unknown-type", f"tensor {name[:200]!r} has type {row['dtype']!s:.40}: convert it first"
        )
    kind = StorageRef(name, _SAFE_TYPES[row["dtype"]], math.prod(shape))
    nonzero = math.prod(length for length in shape if length)
    if kind.count * kind.raw_dtype.itemsize != len(raw) or nonzero > 1 << 48:
        raise UnsafeFileError(f"tensor {name[:200]!r} says {kind.count} items, has {len(raw)} bytes: refused")
    array = np.frombuffer(raw, kind.raw_dtype).reshape(shape)
    array = widened(array) if kind.dtype == BFLOAT16 else array.astype(kind.raw_dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array
