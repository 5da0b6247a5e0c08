"""Archives that strangers made are held to their limits and leave nothing outside."""

import gzip
import os
import tarfile
import tracemalloc

import pytest
from tar_maker import tar_of

from lightmeter.errors import RejectedFileError
from lightmeter.library.exchange import import_
from lightmeter.library.store import open_library
from lightmeter.library.unpack import ArchiveLimits, members


def special(kind, target=""):
    info = tarfile.TarInfo("a.jpg")
    info.type, info.linkname = kind, target
    return info, b""


HOSTILE = {
    "absolute": ["/tmp/x.jpg"], "up": ["../x.jpg"], "up inside": ["a/../../x.jpg"], "folder": ["a/x.jpg"],
    "backslash": ["..\\x"],
    "hidden": [".bashrc"], "option": ["-rf"], "newline": ["a\nb"], "bidi": ["a\u202egpj.exe"], "long": ["x" * 300],
    "twice": ["a.jpg", "a.jpg"],
    "symlink": [special(tarfile.SYMTYPE, "/etc/passwd")], "hard link": [special(tarfile.LNKTYPE, "/etc/passwd")],
    "device": [special(tarfile.CHRTYPE)], "pipe": [special(tarfile.FIFOTYPE)], "directory": [special(tarfile.DIRTYPE)],
    "sparse": [special(tarfile.GNUTYPE_SPARSE)],
}  # fmt: skip


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archive_is_refused_and_leaves_nothing_outside(tmp_path, entries):
    source = tmp_path / "in"
    source.mkdir()
    tar_of(source / "x.tar", *entries)
    with open_library(tmp_path / "library", create=True) as library, pytest.raises(RejectedFileError, match="archive-"):
        import_(library, source, "webdataset", into=tmp_path / "media")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "library", "media"]
    assert not [path for path in (tmp_path / "media").iterdir() if path.is_symlink()]


def test_archive_that_unpacks_without_end_is_refused(tmp_path):
    path = tar_of(tmp_path / "x.tar.gz", (tarfile.TarInfo("a.bin"), bytes(30 << 20)), mode="w:gz")
    assert path.stat().st_size * 100 < 30 << 20
    with pytest.raises(RejectedFileError, match="archive-ratio"):
        list(members(path))


def test_archive_is_held_to_its_limits(tmp_path):
    path = tar_of(tmp_path / "x.tar", "a.json", "b.bin", "c.bin")
    for limits, code in (
        (ArchiveLimits(members=2), "members"),
        (ArchiveLimits(json_bytes=0), "size"),
        (ArchiveLimits(member_bytes=0), "size"),
    ):
        with pytest.raises(RejectedFileError, match=code):
            [content.read(9000) for _, _, content in members(path, limits)]


def test_cut_archive_is_named(tmp_path):
    path = tar_of(tmp_path / "x.tar", (tarfile.TarInfo("a.bin"), bytes(5000)))
    os.truncate(path, 3000)
    with pytest.raises(RejectedFileError, match="archive-damaged"):
        [content.read(9000) for _, _, content in members(path)]


def header(kind, size):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT) + bytes(-(-size // 512) * 512)


@pytest.mark.parametrize(
    ("count", "size"), [(1, 64 << 20), (60, 1_000_000), (3000, 0)], ids=["one", "chained", "endless chain"]
)
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_archive_cannot_ask_for_the_memory(tmp_path, kind, count, size):
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(count):
            file.write(header(kind, size))
    tracemalloc.start()
    try:
        with pytest.raises(RejectedFileError, match="archive-(header|damaged)"):
            list(members(path))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_headers_count_as_what_an_archive_unpacks_to(tmp_path):
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for number in range(60):
            file.write(header(tarfile.XHDTYPE, 900_000))
            file.write(tarfile.TarInfo(f"{number}").tobuf())
    with pytest.raises(RejectedFileError, match="archive-ratio"):
        list(members(path))
