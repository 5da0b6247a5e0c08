"""What goes through the pipes: a length, then a pickle; what comes back from a worker may hold plain values only."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Iterator
from typing import Any

from lightmeter.errors import UnsafeFileError

_HEAD = struct.Struct("<Q")
_ALLOWED = {
    (module, name)
    for core in ("numpy._core", "numpy.core")
    for module, name in (
        (f"{core}.multiarray", "_reconstruct"), (f"{core}.multiarray", "scalar"), (f"{core}.numeric", "_frombuffer"),
    )
} | {("numpy", "ndarray"), ("numpy", "dtype")}  # fmt: skip


def pack(message: Any) -> bytes:
    """A frame that holds a message."""
    body = pickle.dumps(message, protocol=5)
    return _HEAD.pack(len(body)) + body


def unpack_plain(body: bytes) -> Any:
    """Read a message that came from a worker: a hostile file may have taken it over, so nothing is executed."""
    return _PlainUnpickler(io.BytesIO(body)).load()


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafeFileError(
                f"a worker may send numbers, text, bytes, lists, dicts and arrays, got {module}.{name}"
            )
        return super().find_class(module, name)


class Frames:
    """Cuts a stream of bytes into the bodies of frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Bodies that are complete now."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            end = _HEAD.size + _HEAD.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            body = bytes(memoryview(self._buffer)[_HEAD.size : end])
            del self._buffer[:end]
            yield body

    @property
    def expected(self) -> int:
        """Bytes that the frame under way says it has; 0 when none is under way."""
        return int(_HEAD.unpack_from(self._buffer)[0]) if len(self._buffer) >= _HEAD.size else 0


def read_frame(stream: io.BufferedIOBase) -> Any:
    """The next message from the supervisor; EOFError when it has closed the pipe or died."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    body = stream.read(_HEAD.unpack(head)[0])
    return pickle.loads(body)
