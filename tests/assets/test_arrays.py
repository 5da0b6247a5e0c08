"""numpy files: good ones whole, hostile ones refused before memory is taken."""

import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from lightmeter.assets.arrays import read_array
from lightmeter.errors import LightmeterError, RejectedFileError, UnsafeFileError


def npy(header: str, data: bytes = b"", *, version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(text)) + text + data


def described(descr: str = "'<f4'", order: str = "False", shape: str = "(2,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(hnp.scalar_dtypes().filter(lambda t: t.kind in "biufc"), hnp.array_shapes(min_dims=0, min_side=0)))
def test_gives_back_what_numpy_saved(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    np.save(path, array)
    for mapped in (False, True):
        np.testing.assert_array_equal(read_array(path, mapped=mapped), array, strict=True)


@pytest.mark.parametrize("mapped", [False, True])
def test_keeps_fortran_order(tmp_path, mapped):
    array = np.asfortranarray(np.arange(6).reshape(2, 3))
    np.save(tmp_path / "a.npy", array)
    got = read_array(tmp_path / "a.npy", mapped=mapped)
    np.testing.assert_array_equal(got, array)
    assert got.flags.f_contiguous


def test_mapped_arrays_cannot_change_the_file(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6))
    with pytest.raises(ValueError, match="read-only"):
        read_array(tmp_path / "a.npy", mapped=True)[0] = 1


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_reads_every_version(tmp_path, version):
    (tmp_path / "a.npy").write_bytes(npy(described(), np.float32([1, 2]).tobytes(), version=version))
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), [1, 2])


def test_objects_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UnsafeFileError, match="Python objects"):
        read_array(tmp_path / "a.npy")


HOSTILE = {
    "objects in a record": npy(described("[('a', '|O')]"), bytes(64)),
    "a record": npy(described("[('a', '<f4')]"), bytes(64)),
    "times": npy(described("'<M8[s]'"), bytes(64)),
    "items of no size": npy(described("'|S0'", shape="(1000000000000,)")),
    "huge": npy(described(shape="(1099511627776,)"), bytes(64)),
    "overflow": npy(described(shape="(4294967296, 4294967296, 16)"), bytes(64)),
    "huge and empty": npy(described(shape="(0, 4294967296, 4294967296, 4294967296)")),
    "negative": npy(described(shape="(-1,)"), bytes(64)),
    "true": npy(described(shape="(True,)"), bytes(64)),
    "many axes": npy(described(shape=str((1,) * 60)), bytes(64)),
    "truncated": npy(described(shape="(4,)"), bytes(15)),
    "code in the header": npy("__import__('os').system('true')\n", bytes(64)),
    "deep header": npy("(" * 5000 + ")" * 5000, bytes(64)),
    "long header": npy(described() + " " * 20_000, bytes(64)),
    "header past the end": npy(described())[:40],
    "version 9": npy(described(), bytes(64), version=(9, 0)),
    "a pickle": pickle.dumps([1, 2]),
    "a zip": b"PK\x03\x04" + bytes(100),
    "empty": b"",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("mapped", [False, True])
def test_hostile_files_are_refused(tmp_path, data, mapped):
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises((UnsafeFileError, RejectedFileError)) as caught:
        read_array(path, mapped=mapped)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(caught.value, LightmeterError)
    assert peak_bytes < 8 << 20


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(RejectedFileError, match="regular file"):
        read_array(tmp_path)
