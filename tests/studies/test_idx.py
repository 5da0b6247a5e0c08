"""IDX files are read as they were written, and no file of a stranger does harm."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from lightmeter.errors import RejectedFileError, UnsafeFileError
from lightmeter.studies.idx import read_idx


def idx_bytes(array):
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class TestIdx:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_reads_what_was_written(self, tmp_path, pack):
        (tmp_path / "a").write_bytes(pack(idx_bytes(self.array)))
        np.testing.assert_array_equal(read_idx(tmp_path / "a"), self.array)

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    @pytest.mark.parametrize(
        ("data", "error", "code"),
        [
            (b"", RejectedFileError, "unknown-format"),
            (b"\0\0\x0d\1\0\0\0\1abcd", RejectedFileError, "unknown-format"),  # floats
            (b"\0\0\x08\x09" + b"\0\0\0\1" * 9 + b"a", RejectedFileError, "unknown-format"),
            (b"\0\0\x08\x02\0\0\0\1", RejectedFileError, "truncated"),
            (idx_bytes(array)[:-1], RejectedFileError, "truncated"),
            (idx_bytes(array) + b"x", RejectedFileError, "too-long"),
            (b"\0\0\x08\x03" + b"\xff\xff\xff\xff" * 3, UnsafeFileError, "refused"),
        ],
    )
    def test_refuses_the_rest(self, tmp_path, data, error, code, pack):
        (tmp_path / "a").write_bytes(pack(data))
        with pytest.raises(error, match=code):
            read_idx(tmp_path / "a")

    def test_unpacks_no_bomb(self, tmp_path):
        (tmp_path / "a").write_bytes(gzip.compress(idx_bytes(self.array) + bytes(50_000_000)))
        with pytest.raises(RejectedFileError, match="too-long"):
            read_idx(tmp_path / "a")
        (tmp_path / "b").write_bytes(gzip.compress(idx_bytes(np.zeros((1000, 1000), np.uint8))))
        with pytest.raises(UnsafeFileError, match="at most 1000 bytes"):
            read_idx(tmp_path / "b", most_bytes=1000)

    def test_refuses_a_broken_gzip(self, tmp_path):
        whole = gzip.compress(idx_bytes(self.array))
        for data in (whole[:-9], whole[:12] + bytes([whole[12] ^ 255]) + whole[13:]):
            (tmp_path / "a").write_bytes(data)
            with pytest.raises(RejectedFileError):
                read_idx(tmp_path / "a")
        with pytest.raises(RejectedFileError, match="not-a-file"):
            read_idx(tmp_path)
