"""TFRecord files: records with their lengths and checksums, plain or gzipped; what is damaged is told, never fatal.

A record is its length (uint64), a masked CRC-32C of these 8 bytes, the data, and a masked CRC-32C of the data, all
little-endian.  Source: tensorflow/core/lib/io/record_writer.h.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import google_crc32c

from lightmeter.assets.files import whole_file
from lightmeter.errors import InvalidValueError, RejectedFileError

MOST_RECORD_BYTES = 16 << 20
"""Longer records are passed over: an hour of YouTube-8M's frames has 4 MB, a trajectory of BAIR's robot 740 kB."""
_CHUNK_BYTES = 1 << 20
_HEAD = struct.Struct("<QI")
_SUM = struct.Struct("<I")
_GZIP = b"\x1f\x8b\x08"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a record. offset: where it starts in the (unpacked) file · code: a word for counting"""

    file: str
    offset: int
    code: str
    reason: str
    id: str = ""

    def as_json(self) -> dict[str, Any]:
        """For a line of `quarantine.jsonl`."""
        return asdict(self)


Told = Callable[[Problem], None]


def read_records(
    path: Path | str, told: Told, *, start: int = 0, check: bool = True, most_bytes: int = MOST_RECORD_BYTES
) -> Iterator[tuple[int, bytes, int]]:
    """(offset, data, offset of the next) of each whole record of a file, from `start` on; gzip is seen by its bytes.

    told: called with each Problem. `data-crc` and `too-large` cost one record; after `length-crc`, `truncated` and
    `broken-gzip` nothing can be framed, and the file ends there
    check: compare the data's checksum (the length's always is) · Memory: a buffer of 1 MB and one record
    Raises OSError where the file cannot be read, RejectedFileError where it is no regular file.
    """
    path = Path(path)
    if not path.is_file():
        raise RejectedFileError("not-a-file", f"TFRecords must be a regular file, got {path}")
    with _opened(path) as file:
        framer = _Framer(file, str(path), told, start)
        try:
            if start and file.seek(start) != start:
                return
            yield from framer.records(check, most_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            what = "it ends early" if isinstance(error, EOFError) else f"its stream is damaged ({str(error)[:160]})"
            told(Problem(str(path), framer.offset, "broken-gzip", f"the file cannot be unpacked to its end: {what}"))


def record_heads(path: Path | str, told: Told) -> Iterator[tuple[int, int, int]]:
    """(offset, length, checksum of the data as written) of each record, without reading the data.

    `read_records(path, told, start=offset)` then gives the record itself, first of all. told: hears `length-crc`,
    `truncated` and `broken-gzip`, which end the file; the data's checksums are not compared here.
    Cost: 16 bytes a record; of a gzipped file everything is unpacked.
    Raises OSError where the file cannot be read, RejectedFileError where it is no regular file.
    """
    path = Path(path)
    if not path.is_file():
        raise RejectedFileError("not-a-file", f"TFRecords must be a regular file, got {path}")
    with _opened(path) as file:
        offset = 0
        try:
            while head := file.read(12):
                length, wanted = _HEAD.unpack(head) if len(head) == 12 else (0, -1)
                if len(head) == 12 and _masked(google_crc32c.value(head[:8])) != wanted:
                    told(Problem(str(path), offset, "length-crc", "the length has another checksum"))
                    return
                tail = b""
                if len(head) == 12 and length < 1 << 62 and file.seek(offset + 12 + length) == offset + 12 + length:
                    tail = file.read(4)
                if len(tail) < 4:
                    told(Problem(str(path), offset, "truncated", "the file ends within this record"))
                    return
                yield offset, length, _SUM.unpack(tail)[0]
                offset += 16 + length
        except (EOFError, zlib.error, gzip.BadGzipFile):
            told(Problem(str(path), offset, "broken-gzip", "the file cannot be unpacked to its end"))


class _Framer:
    """Cuts a stream into records. offset: where the record begins that is being read"""

    def __init__(self, file: BinaryIO, name: str, told: Told, start: int) -> None:
        self._file, self._name, self._told = file, name, told
        self.offset = start

    def records(self, check: bool, most_bytes: int) -> Iterator[tuple[int, bytes, int]]:
        value, read = google_crc32c.value, self._file.read
        head = read(12)
        while len(head) == 12:
            length, wanted = _HEAD.unpack(head)
            if _masked(value(head[:8])) != wanted:
                return self._tell("length-crc", "the length has another checksum: the rest cannot be framed")
            following = self.offset + 16 + length
            if length > most_bytes:
                self._tell("too-large", f"a record must be at most {most_bytes} bytes, got {length}")
                data = b""
                tail = read(16) if self._skipped(length) else b""
            else:
                data = read(length)
                tail = read(16) if len(data) == length else b""  # its checksum, and the next head
            if len(tail) < 4:
                return self._tell("truncated", "the file ends within this record")
            if length <= most_bytes:
                if check and _masked(value(data)) != _SUM.unpack_from(tail)[0]:
                    self._tell("data-crc", "the data have another checksum")
                else:
                    yield self.offset, data, following
            self.offset, head = following, tail[4:]
        if head:
            self._tell("truncated", "the file ends within a length")
        return None

    def _tell(self, code: str, reason: str) -> None:
        self._told(Problem(self._name, self.offset, code, reason))

    def _skipped(self, count: int) -> bool:
        """Pass over so many bytes without keeping them; False where the file ends before."""
        while count:
            step = len(self._file.read(min(count, _CHUNK_BYTES)))
            if not step:
                return False
            count -= step
        return True


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb", _CHUNK_BYTES) as file:
        head = file.read(12)
        file.seek(0)
        plain = len(head) == 12 and _masked(google_crc32c.value(head[:8])) == _SUM.unpack_from(head, 8)[0]
        if head[:3] != _GZIP or plain:  # a length may look like gzip; its checksum then says that it is none
            yield file
        else:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast(BinaryIO, unpacked)


def write_records(path: Path | str, records: Iterable[bytes], *, packed: bool = False) -> int:
    """Write records as one file, whole or not at all; gives their number.

    packed: gzip; its head holds no time, so that the same records give the same bytes
    """
    count = 0
    with whole_file(path) as unfinished, unfinished.open("wb") as raw:
        file = gzip.GzipFile("", "wb", 6, raw, 0) if packed else raw
        for data in records:
            if len(data) > MOST_RECORD_BYTES:
                raise InvalidValueError(f"a record must be at most {MOST_RECORD_BYTES} bytes, got {len(data)}")
            head = struct.pack("<Q", len(data))
            file.write(head + _SUM.pack(_masked(google_crc32c.value(head))))
            file.write(data)
            file.write(_SUM.pack(_masked(google_crc32c.value(data))))
            count += 1
        if packed:
            file.close()
    return count


def _masked(checksum: int) -> int:
    """As TFRecords keep it: turned by 15 bits and moved, so that checksums of checksums stay good."""
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF
