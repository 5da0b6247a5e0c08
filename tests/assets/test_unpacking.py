"""Archives: good ones give what is wanted, hostile ones give nothing outside, and no bombs."""

import contextlib
import gzip
import io
import lzma
import random
import stat
import tarfile
import zipfile

import pytest

from lightmeter.assets.unpacking import UnpackLimits, unpack
from lightmeter.errors import LightmeterError, RejectedFileError, UnsafeFileError

GOOD = {"pkg/data/a.bin": b"alpha", "pkg/data/deep/b.bin": b"beta", "pkg/__init__.py": b"raise", "LICENSE": b"free"}


def tar_of(files, members=()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for member in members:
            tar.addfile(member)
    return out.getvalue()


def wheel(files, members=()) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for member in members:
            info = zipfile.ZipInfo(member.name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, member.linkname)
    return out.getvalue()


def tgz(files, members=()) -> bytes:
    return gzip.compress(tar_of(files, members))


def deb(files, members=(), *, name=b"data.tar.xz", pack=lzma.compress) -> bytes:
    def ar(member, data):
        return (
            member.ljust(16)
            + b"0           0     0     100644  "
            + str(len(data)).encode().ljust(10)
            + b"`\n"
            + data
            + b"\n" * (len(data) % 2)
        )

    return (
        b"!<arch>\n"
        + ar(b"debian-binary", b"2.0\n")
        + ar(b"control.tar.xz", b"odd")
        + ar(name, pack(tar_of(files, members)))
    )


KINDS = {".whl": wheel, ".tgz": tgz, ".deb": deb}


@pytest.fixture(params=KINDS)
def unpacked(request, tmp_path):
    """Pack files into an archive of one kind, unpack what is wanted, give the folder."""

    def run(files, members=(), *, wanted="pkg/data", limits=None, data=None):
        archive = tmp_path / f"archive{request.param}"
        archive.write_bytes(KINDS[request.param](files, members) if data is None else data)
        unpack(archive, tmp_path / "into", wanted, limits=limits)
        return tmp_path / "into"

    run.kind, run.pack, run.root = request.param, KINDS[request.param], tmp_path
    return run


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_gives_what_is_wanted_and_the_licences(unpacked):
    assert everything(unpacked(GOOD)) == {name: data for name, data in GOOD.items() if not name.endswith(".py")}


def test_gives_one_file(unpacked):
    assert set(everything(unpacked(GOOD, wanted="pkg/data/a.bin"))) == {"pkg/data/a.bin", "LICENSE"}


def test_names_of_folders_are_whole(unpacked):
    assert "pkg/database" not in everything(unpacked({**GOOD, "pkg/database": b"x"}))


def test_nothing_is_executable(unpacked):
    for path in unpacked(GOOD).rglob("*"):
        assert path.is_dir() or not path.stat().st_mode & 0o111


def test_what_is_missing_is_said(unpacked):
    with pytest.raises(RejectedFileError, match="does not hold pkg/data"):
        unpacked({"other": b"x"})


@pytest.mark.parametrize(
    "name", ["../evil", "pkg/data/../../../evil", "/tmp/evil-lightmeter", "pkg/data/..", "..\\evil"]
)
def test_names_that_climb_refuse_the_archive(unpacked, name):
    with pytest.raises(UnsafeFileError, match=r"outside of its folder"):
        unpacked({name: b"x", **GOOD})
    outside = [path for path in unpacked.root.rglob("*") if path.is_file() and path.parent == unpacked.root]
    assert [path.name for path in outside] == [f"archive{unpacked.kind}"]


def linked(kind, name="pkg/data/link", target="../../../etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE], ids=repr)
def test_links_and_devices_refuse_the_archive(unpacked, kind):
    for member in (linked(kind), linked(kind, name="elsewhere")):
        with pytest.raises(UnsafeFileError, match="link or device"):
            unpacked({"z": b"1"}, [member])


def test_two_entries_of_one_name_are_refused(unpacked):
    first, second = "pkg/data/a.bin", "pkg/data/./a.bin"
    with pytest.raises(UnsafeFileError, match="one name"):
        unpacked({first: b"1", second: b"2"})


def test_a_file_that_is_a_folder_is_refused(unpacked):
    with pytest.raises(UnsafeFileError, match="one name"):
        unpacked({"pkg/data/a": b"1", "pkg/data/a/b": b"2"})


def test_bombs_are_refused(unpacked):
    limits = UnpackLimits(ratio=10, free_bytes=1 << 20)
    with pytest.raises(UnsafeFileError, match="bomb"):
        unpacked({"pkg/data/zeros": bytes(8 << 20)}, limits=limits)
    assert sum(len(data) for data in everything(unpacked.root / "into").values()) <= 2 << 20


def test_many_small_entries_are_refused(unpacked):
    with pytest.raises(UnsafeFileError, match="more than 10 entries"):
        unpacked({f"pkg/data/{i}": b"" for i in range(11)}, limits=UnpackLimits(entries=10))


def test_a_large_total_is_refused(unpacked):
    noise = random.Random(0).randbytes(1 << 16)
    with pytest.raises(UnsafeFileError, match="bomb"):
        unpacked({f"pkg/data/{i}": noise for i in range(10)}, limits=UnpackLimits(total_bytes=5 << 16))


def test_cut_archives_are_refused(unpacked):
    whole = unpacked.pack(GOOD)
    for length in range(0, len(whole) - 64, 7):
        with pytest.raises(LightmeterError):
            unpacked({}, data=whole[:length])
        assert not (unpacked.root / "into" / ".tar").exists()
        _clear(unpacked.root / "into")


def test_mutants_are_refused_or_stay_inside(unpacked):
    whole, dice = unpacked.pack(GOOD), random.Random(0)
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 5)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with contextlib.suppress(LightmeterError):
            unpacked({}, data=bytes(data))
        assert {path.name for path in unpacked.root.iterdir()} <= {f"archive{unpacked.kind}", "into"}
        _clear(unpacked.root / "into")


def _clear(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_tar_header_cannot_ask_for_the_memory(tmp_path):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 64 << 20
    data = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(64 << 20))
    (tmp_path / "a.tgz").write_bytes(data)
    with pytest.raises(UnsafeFileError, match="header must be at most"):
        unpack(tmp_path / "a.tgz", tmp_path / "into", "x", limits=UnpackLimits(ratio=1e6))


def test_an_xz_dictionary_cannot_ask_for_the_memory(tmp_path):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}]
    data = deb(GOOD, pack=lambda tar: lzma.compress(tar, filters=filters))
    (tmp_path / "a.deb").write_bytes(data)
    with pytest.raises(RejectedFileError, match="broken-archive"):
        unpack(tmp_path / "a.deb", tmp_path / "into", "pkg/data", limits=UnpackLimits(decoder_bytes=32 << 20))


def test_other_debs_and_other_files(tmp_path):
    (tmp_path / "a.deb").write_bytes(deb(GOOD, name=b"data.tar.gz", pack=gzip.compress))
    unpack(tmp_path / "a.deb", tmp_path / "into", "pkg/data")
    assert (tmp_path / "into" / "pkg" / "data" / "a.bin").exists()
    (tmp_path / "b.deb").write_bytes(deb(GOOD, name=b"data.tar.zst"))
    with pytest.raises(RejectedFileError, match=r"got data\.tar\.zst"):
        unpack(tmp_path / "b.deb", tmp_path / "b", "pkg/data")
    (tmp_path / "c.rpm").write_bytes(b"x")
    with pytest.raises(RejectedFileError, match=r"\.whl, \.tgz or \.deb"):
        unpack(tmp_path / "c.rpm", tmp_path / "c", "pkg/data")
