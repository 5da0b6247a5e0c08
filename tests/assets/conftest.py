"""Checkpoints put together byte by byte, so that lies can be told in them."""

from __future__ import annotations

import io
import struct
import zipfile
from types import SimpleNamespace

import pytest


class Raw(bytes):
    """Opcodes that stand for themselves."""


def named(module: str, name: str) -> Raw:
    return Raw(f"c{module}\n{name}\n".encode())


def encoded(value) -> bytes:
    """The opcodes that build a plain value; Raw inside it is kept."""
    if isinstance(value, Raw):
        return value
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        size = value.bit_length() // 8 + 1
        return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
    if isinstance(value, str):
        text = value.encode()
        return b"X" + struct.pack("<I", len(text)) + text
    if isinstance(value, tuple):
        return b"(" + b"".join(map(encoded, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(encoded, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(encoded(key) + encoded(each) for key, each in value.items()) + b"u"
    raise TypeError(value)


def storage(kind="FloatStorage", key="0", count=6, *, more=()) -> Raw:
    return Raw(encoded(("storage", named("torch", kind), key, "cpu", count, *more)) + b"Q")


def tensor(kind="FloatStorage", key="0", count=6, *, offset=0, size=(2, 3), stride=(3, 1), more=()) -> Raw:
    ordered = Raw(named("collections", "OrderedDict") + b")R")
    arguments = (storage(kind, key, count, more=more), offset, size, stride, False, ordered)
    return Raw(named("torch._utils", "_rebuild_tensor_v2") + encoded(arguments) + b"R")


def pickled(tree) -> bytes:
    return b"\x80\x02" + encoded(tree) + b"."


def zipped(tree, storages: dict[str, bytes], *, compression=zipfile.ZIP_STORED, extra=()) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", tree if type(tree) is bytes else pickled(tree))
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        for name, data in extra:
            archive.writestr(name, data)
    return file.getvalue()


def legacy(tree, storages: list[tuple[str, int, bytes]], *, little=True) -> bytes:
    parts = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled({"little_endian": little}), pickled(tree)]
    parts.append(pickled([key for key, _, _ in storages]))
    parts += [struct.pack("<q", count) + data for _, count, data in storages]
    return b"".join(parts)


@pytest.fixture
def make():
    """The makers above, under one name."""
    return SimpleNamespace(
        Raw=Raw,
        named=named,
        encoded=encoded,
        storage=storage,
        tensor=tensor,
        pickled=pickled,
        zipped=zipped,
        legacy=legacy,
    )


@pytest.fixture
def saved(tmp_path):
    """Write bytes to a file and give its path."""

    def save(data: bytes, name: str = "weights.pth"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return save
