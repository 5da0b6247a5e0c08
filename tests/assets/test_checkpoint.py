"""What read_checkpoint reads, and what it refuses."""

import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lightmeter.assets import inert
from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.assets.finding import find
from lightmeter.errors import RejectedFileError, UnsafeFileError

SIX = np.arange(6, dtype="<f4").tobytes()
BF16_TWO_AND_A_HALF = struct.pack("<H", 0x4020)


def both(make, tree, data=SIX, count=6, key="0"):
    return [make.zipped(tree, {key: data}), make.legacy(tree, [(key, count, data)])]


@pytest.mark.parametrize("kind", [0, 1], ids=["zip", "legacy"])
class TestBothFormats:
    def test_reads_a_tensor(self, make, saved, kind):
        got = read_checkpoint(saved(both(make, {"w": make.tensor()})[kind]))
        np.testing.assert_array_equal(got["w"], [[0, 1, 2], [3, 4, 5]])
        assert got["w"].dtype == np.float32
        assert not got["w"].flags.writeable

    def test_reads_a_transposed_view(self, make, saved, kind):
        tree = {"w": make.tensor(size=(3, 2), stride=(1, 3))}
        np.testing.assert_array_equal(read_checkpoint(saved(both(make, tree)[kind]))["w"], [[0, 3], [1, 4], [2, 5]])

    def test_reads_two_views_of_one_storage(self, make, saved, kind):
        tree = {"a": make.tensor(), "b": make.tensor(offset=4, size=(2,), stride=(1,))}
        got = read_checkpoint(saved(both(make, tree)[kind]))
        np.testing.assert_array_equal(got["b"], [4, 5])
        assert np.shares_memory(got["a"], got["b"])

    def test_reads_scalars_and_empty_tensors(self, make, saved, kind):
        tree = {"one": make.tensor(offset=3, size=(), stride=()), "none": make.tensor(size=(0, 3), stride=(3, 1))}
        got = read_checkpoint(saved(both(make, tree)[kind]))
        assert got["one"].shape == ()
        assert got["one"] == 3
        assert got["none"].shape == (0, 3)

    def test_names_by_path_and_leaves_the_rest_out(self, make, saved, kind):
        tree = {"epoch": 3, "state": {"conv.w": make.tensor(), "more": [None, make.tensor()]}}
        assert list(read_checkpoint(saved(both(make, tree)[kind]))) == ["state.conv.w", "state.more.1"]

    def test_widens_bfloat16(self, make, saved, kind):
        tree = {"w": make.tensor("BFloat16Storage", count=1, size=(1,), stride=(1,))}
        got = read_checkpoint(saved(both(make, tree, BF16_TWO_AND_A_HALF, 1)[kind]))["w"]
        assert got.dtype == np.float32
        assert got[0] == 2.5

    def test_refuses_a_view_that_leaves_its_storage(self, make, saved, kind):
        for lie in ({"offset": 1}, {"stride": (4, 1)}, {"size": (2, 4)}, {"size": (7,), "stride": (1,)}):
            with pytest.raises(UnsafeFileError, match="'w' reaches item"):
                read_checkpoint(saved(both(make, {"w": make.tensor(**lie)})[kind]))

    @pytest.mark.parametrize(
        "lie",
        [
            {"offset": -1},
            {"stride": (-3, 1)},
            {"size": (-2, 3)},
            {"size": (2,)},
            {"size": (True, 3)},
            {"size": "23"},
            {"size": (1,) * 40, "stride": (1,) * 40},
            {"offset": 1 << 63},
        ],
        ids=str,
    )
    def test_refuses_impossible_ranges(self, make, saved, kind, lie):
        with pytest.raises(UnsafeFileError, match="refused"):
            read_checkpoint(saved(both(make, {"w": make.tensor(**lie)})[kind]))

    def test_refuses_much_memory_from_a_small_file(self, make, saved, kind):
        tree = {"w": make.tensor(size=(1 << 20, 1 << 20), stride=(0, 0))}
        peak = peak_of(lambda: refused(read_checkpoint, saved(both(make, tree)[kind])))
        assert peak < 8 << 20

    def test_refuses_a_huge_empty_shape(self, make, saved, kind):
        tree = {"w": make.tensor(size=(0, 1 << 40, 1 << 40), stride=(1, 1, 1))}
        with pytest.raises(UnsafeFileError, match=r"2\*\*48"):
            read_checkpoint(saved(both(make, tree)[kind]))

    def test_refuses_a_storage_described_twice(self, make, saved, kind):
        tree = {"a": make.tensor(), "b": make.tensor(count=600, size=(600,), stride=(1,))}
        with pytest.raises(UnsafeFileError, match="twice"):
            read_checkpoint(saved(both(make, tree)[kind]))

    def test_refuses_a_storage_that_lies_about_its_length(self, make, saved, kind):
        tree = {"w": make.tensor(count=1 << 40)}
        peak = peak_of(lambda: refused(read_checkpoint, saved(both(make, tree, count=1 << 40)[kind])))
        assert peak < 8 << 20

    def test_refuses_unknown_storages(self, make, saved, kind):
        with pytest.raises(UnsafeFileError, match=r"torch\.QInt8Storage"):
            read_checkpoint(saved(both(make, {"w": make.tensor("QInt8Storage")})[kind]))

    def test_refuses_ambiguous_names(self, make, saved, kind):
        tree = {"a": {"b": make.tensor()}, "a.b": make.tensor()}
        with pytest.raises(RejectedFileError, match=r"two tensors are called 'a\.b'"):
            read_checkpoint(saved(both(make, tree)[kind]))

    def test_refuses_circles(self, make, saved, kind):
        for circle in (
            b"]q\x00h\x00h\x00\x86q\x01ah\x01a",
            b"]q\x00(h\x00h\x00h\x00e",
            b"}q\x00X\x01\x00\x00\x00kh\x00s",
        ):
            tree = make.Raw(circle)
            with pytest.raises(UnsafeFileError, match="not in circles"):
                read_checkpoint(saved(both(make, {"x": tree, "w": make.tensor()})[kind]))

    def test_is_cut_anywhere(self, make, saved, kind):
        whole = both(make, {"w": make.tensor()})[kind]
        for length in range(len(whole)):
            refused(read_checkpoint, saved(whole[:length]))


def refused(read, path):
    with pytest.raises((UnsafeFileError, RejectedFileError)) as caught:
        read(path)
    return caught.value


def peak_of(run) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestZip:
    def test_refuses_compressed_entries(self, make, saved):
        data = make.zipped({"w": make.tensor(count=1 << 24)}, {"0": bytes(4 << 24)}, compression=zipfile.ZIP_DEFLATED)
        path = saved(data)
        assert len(data) < 1 << 20
        assert peak_of(lambda: refused(read_checkpoint, path)) < 8 << 20
        assert "compressed" in str(refused(read_checkpoint, path))

    def test_refuses_two_entries_of_one_name(self, make, saved):
        with pytest.warns(UserWarning, match="Duplicate"):
            data = make.zipped({"w": make.tensor()}, {"0": SIX}, extra=[("archive/data/0", SIX)])
        with pytest.raises(UnsafeFileError, match="one name"):
            read_checkpoint(saved(data))

    def test_refuses_entries_that_overlap(self, make, saved):
        count = 1 << 12
        tree = {key: make.tensor(key=key, count=count, size=(count,), stride=(1,)) for key in "0123"}
        data = bytearray(make.zipped(tree, dict.fromkeys("0123", bytes(4 * count))))
        with zipfile.ZipFile(saved(bytes(data))) as archive:
            first = archive.getinfo("archive/data/0").header_offset
        directory = data.index(b"PK\x01\x02")
        while directory > 0:  # every storage points at the first one
            name = bytes(data[directory + 46 : directory + 46 + 14])
            if name in (b"archive/data/1", b"archive/data/2", b"archive/data/3"):
                data[directory + 42 : directory + 46] = struct.pack("<I", first)
            directory = data.find(b"PK\x01\x02", directory + 1)
        small = data[: first + 30 + 14 + 4 * count] + data[data.index(b"PK\x01\x02") :]
        cut = len(data) - len(small)
        end = small.rindex(b"PK\x05\x06")
        small[end + 16 : end + 20] = struct.pack("<I", struct.unpack("<I", small[end + 16 : end + 20])[0] - cut)
        with pytest.raises(UnsafeFileError, match="overlap"):
            read_checkpoint(saved(bytes(small)))

    def test_refuses_a_directory_that_eats_the_memory(self, make, saved, monkeypatch):
        monkeypatch.setattr("lightmeter.assets.checkpoint.MOST_DIRECTORY_BYTES", 80_000)
        data = make.zipped({"w": make.tensor()}, {"0": SIX}, extra=[(f"archive/{i}", b"") for i in range(2000)])
        with pytest.raises(UnsafeFileError, match="zip directory"):
            read_checkpoint(saved(data))

    def test_refuses_too_many_entries(self, make, saved, monkeypatch):
        monkeypatch.setattr("lightmeter.assets.checkpoint.MOST_ENTRIES", 3)
        with pytest.raises(UnsafeFileError, match="at most 3 entries"):
            read_checkpoint(saved(make.zipped({"w": make.tensor()}, {"0": SIX, "1": SIX, "2": SIX})))

    def test_refuses_programs_and_other_zips(self, make, saved):
        program = make.zipped({"w": make.tensor()}, {"0": SIX}, extra=[("archive/constants.pkl", b"")])
        with pytest.raises(UnsafeFileError, match="TorchScript"):
            read_checkpoint(saved(program))
        with pytest.raises(UnsafeFileError, match="big-endian"):
            read_checkpoint(saved(make.zipped({"w": make.tensor()}, {"0": SIX}, extra=[("archive/byteorder", b"big")])))
        empty = saved(b"")
        with zipfile.ZipFile(empty, "w") as archive:
            archive.writestr("notes.txt", "hello")
        with pytest.raises(RejectedFileError, match=r"no data\.pkl"):
            read_checkpoint(empty)

    def test_a_name_that_climbs_is_never_written(self, make, saved, tmp_path):
        read_checkpoint(saved(make.zipped({"w": make.tensor()}, {"0": SIX}, extra=[("../../evil", b"x")])))
        assert not (tmp_path.parent.parent / "evil").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]


class TestLegacy:
    def test_refuses_a_bare_pickle(self, saved):
        with pytest.raises(UnsafeFileError, match="bare pickle"):
            read_checkpoint(saved(pickle.dumps({"w": 1})))

    def test_refuses_big_endian(self, make, saved):
        with pytest.raises(UnsafeFileError, match="little-endian"):
            read_checkpoint(saved(make.legacy({"w": make.tensor()}, [("0", 6, SIX)], little=False)))

    def test_refuses_storages_nobody_uses(self, make, saved):
        with pytest.raises(RejectedFileError, match="storages"):
            read_checkpoint(saved(make.legacy({"w": make.tensor()}, [("0", 6, SIX), ("1", 6, SIX)])))

    def test_refuses_a_storage_inside_a_storage(self, make, saved):
        tree = {"w": make.tensor(more=(("1", 0, 6),))}
        with pytest.raises(UnsafeFileError, match="view of another"):
            read_checkpoint(saved(make.legacy(tree, [("0", 6, SIX)])))


class TestOtherFiles:
    @pytest.mark.parametrize(
        "data", [b"", b"x", b"\x80", b"PK\x03\x04", b"GIF89a", bytes(5000), b"\x80\x02}"], ids=repr
    )
    def test_refuses_them(self, saved, data):
        refused(read_checkpoint, saved(data))

    def test_refuses_tar(self, saved):
        with pytest.raises(UnsafeFileError, match="tar"):
            read_checkpoint(saved(bytes(257) + b"ustar" + b"x" + bytes(249)))

    def test_refuses_what_is_no_regular_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing"):
            with pytest.raises(RejectedFileError, match="regular file"):
                read_checkpoint(path)

    def test_says_which_file(self, saved):
        with pytest.raises(RejectedFileError, match=r"\(odd\.bin\)"):
            read_checkpoint(saved(b"nothing", "odd.bin"))


def safe(header, data=SIX, *, length=None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def row(dtype="F32", shape=(2, 3), offsets=(0, 24)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


class TestSafetensors:
    def test_reads_what_the_package_wrote(self, tmp_path):
        from safetensors.numpy import save_file

        rng = np.random.default_rng(0)
        wrote = {"b": rng.random((3, 4), np.float32), "a": np.arange(5), "h": np.float16([1.5]), "z": np.zeros((0, 2))}
        save_file({**wrote, "flag": np.array([True, False])}, tmp_path / "x.safetensors", {"note": "hi"})
        got = read_checkpoint(tmp_path / "x.safetensors")
        assert set(got) == {*wrote, "flag"}
        for name, array in wrote.items():
            np.testing.assert_array_equal(got[name], array, strict=True)

    def test_widens_bfloat16(self, saved):
        got = read_checkpoint(saved(safe({"w": row("BF16", (1,), (0, 2))}, BF16_TWO_AND_A_HALF)))
        assert got["w"].dtype == np.float32
        assert got["w"][0] == 2.5

    @pytest.mark.parametrize(
        "header",
        [
            {"w": row(offsets=(0, 20))},
            {"w": row(offsets=(4, 28))},
            {"w": row(offsets=(24, 0))},
            {"w": row(offsets=(0, -24))},
            {"w": row(offsets=(0, 24, 24))},
            {"w": row(shape=(2, 4))},
            {"w": row(shape=(-2, -3))},
            {"w": row(shape=(1 << 62, 1 << 62))},
            {"w": row(shape=(0, 1 << 47, 1 << 47), offsets=(0, 0)), "v": row()},
            {"w": row(dtype="F8_E4M3")},
            {"w": row(dtype=["F32"])},
            {"w": {**row(), "code": "import os"}},
            {"w": [1]},
            {"w": row(), "v": row()},
            [1, 2],
            b"{" * 5000,
            b'{"a":' * 5000,
            b'{"w": 1, "w": 2}',
            b"{\xff}",
        ],
        ids=lambda header: str(header)[:60],
    )
    def test_refuses_lies(self, saved, header):
        refused(read_checkpoint, saved(safe(header)))

    def test_a_file_that_was_cut_is_called_truncated(self, saved):
        whole = safe({"w": row(), "v": row(offsets=(24, 48))}, SIX * 2)
        for cut in (1, 24, 30):
            with pytest.raises(RejectedFileError, match=f"truncated: the tensors must fill 48 bytes, got {48 - cut}"):
                read_checkpoint(saved(whole[:-cut]))

    def test_refuses_a_large_header(self, saved):
        with pytest.raises(UnsafeFileError, match="header must be at most 16 MB"):
            read_checkpoint(saved(safe(b"{}", length=17 << 20)))
        with pytest.raises(RejectedFileError, match="truncated"):
            read_checkpoint(saved(safe(b"{}", length=1 << 20)))

    def test_refuses_too_many_tensors(self, saved, monkeypatch):
        monkeypatch.setattr("lightmeter.assets.checkpoint.MOST_TENSORS", 2)
        header = {name: row(shape=(0,), offsets=(0, 0)) for name in "abc"}
        with pytest.raises(UnsafeFileError, match="at most 2 tensors"):
            read_checkpoint(saved(safe(header, b"")))


def test_reads_the_packaged_weights():
    got = read_checkpoint(find("efficientnet-lite0"))
    assert got["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert got["_fc.weight"].shape == (1000, 1280)
    assert sum(a.size for n, a in got.items() if "running" not in n and "num_batches" not in n) == 4_652_008


def test_nothing_is_imported_by_reading(make, saved, monkeypatch):
    monkeypatch.setattr("builtins.__import__", _no_imports(__import__))
    read_checkpoint(saved(make.zipped({"w": make.tensor()}, {"0": SIX})))


def _no_imports(real):
    def only_known(name, *rest):
        if name.split(".")[0] in ("torch", "collections"):
            raise AssertionError(name)
        return real(name, *rest)

    return only_known


def test_limits_are_the_documented_ones():
    text = Path(inert.__file__).parents[3].joinpath("docs/assets.md").read_text()
    for limit in (f"{inert.MOST_OPCODES:,}", f"{inert.MOST_PICKLE_BYTES >> 20} MB"):
        assert limit in text
