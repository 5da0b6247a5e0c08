"""Exports stand whole or not at all; what goes out comes in again; what strangers made is held to its limits."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_encoders import TOYS

from lightmeter.encoders.table import ENCODERS
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library.contents import Tag
from lightmeter.library.exchange import export, import_
from lightmeter.library.filters import Where
from lightmeter.library.store import open_library
from lightmeter.library.unpack import ArchiveLimits, members
from lightmeter.types import Item, Words

pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    for name, place in TOYS.items():
        monkeypatch.setitem(ENCODERS, name, place)


def state(library):
    """All that an export carries, without keys."""
    catalogue = library.catalogue
    paths = {path.key: path for path in library.known_paths()}
    ids = dict(catalogue.rows("SELECT key, id FROM items"))
    words, tags = library.words_of(list(paths)), library.tags_of(list(paths))
    features = {}
    for series in library.all_series():
        found = library.features(series)
        name = ids.get if series.owner == "item" else lambda key: paths[key].path
        rows = [
            (name(o), *np.nan_to_num(t, nan=-1).reshape(1).tolist(), *v.tolist())
            for v, o, t in zip(found.vectors, found.owners.tolist(), found.times_s, strict=True)
        ]
        features[series.spec, series.owner, series.dim] = (
            sorted(rows),
            sorted(name(k) for k in library.missing(series).tolist()),
        )
    columns = "id, kind, size_bytes, state, reason, duration_s, width, height, taken_at"
    return {
        "items": sorted(catalogue.rows(f"SELECT {columns} FROM items WHERE NOT removed")),
        "paths": sorted((p.path, ids[p.item], p.size_bytes, p.mtime_ns, p.missing) for p in paths.values()),
        "words": {paths[key].path: value for key, value in words.items()},
        "tags": {paths[key].path: [(t.tag, t.score, t.source) for t in value] for key, value in tags.items()},
        "features": features,
    }


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
PATHS = st.binary(min_size=1, max_size=6).filter(lambda raw: b"\0" not in raw).map(lambda raw: b"/" + raw)
CONTENT = st.fixed_dictionaries(
    {
        "number": st.integers(0, 5),
        "paths": st.lists(PATHS, max_size=2, unique=True),
        "kind": st.sampled_from(["image", "video", "sound"]),
        "state": st.sampled_from(["ok", "damaged"]),
        "duration_s": st.none() | st.floats(0, 1e4),
        "taken_at": st.none() | st.just("2024-05-01T10:00:00"),
        "words": st.lists(st.builds(Words, TEXT, st.tuples(TEXT), st.sampled_from(["name", "sidecar"])), max_size=2),
        "tags": st.dictionaries(TEXT.filter(bool), st.none() | st.floats(0, 1), max_size=2),
        "rows": st.none() | st.integers(0, 3),
    }
)


def fill(library, contents):
    with library.transaction():
        series, written = library.series("toy/size=1", "item", 2), library.series("toy-words", "path", 3)
        for content in contents:
            facts = {name: content[name] for name in ("kind", "state", "duration_s")}
            item_id = hashlib.sha256(b"%d" % content["number"]).hexdigest()
            key = library.add_content(
                Item(item_id, size_bytes=content["number"], **facts), taken_at=content["taken_at"]
            )
            for path in content["paths"]:
                place = library.add_path(path, key, size_bytes=content["number"], mtime_ns=7)
                library.set_words(place, content["words"])
                library.set_tags([Tag(place, tag, score, "toy") for tag, score in content["tags"].items()])
                library.append(written, np.array([place]), np.ones((1, 3)) * len(path), replace=True)
            if content["rows"] == 0 and key in library.missing(series):
                library.mark_empty(series, [key])
            elif content["rows"]:
                times = np.array([0.5, np.nan, 2.0][: content["rows"]])
                vectors = np.arange(content["rows"] * 2).reshape(-1, 2) + content["number"]
                library.append(series, np.full(content["rows"], key), vectors, times, replace=True)


@settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(contents=st.lists(CONTENT, max_size=5))
def test_parquet_comes_back_as_it_went(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("exchange")
    with open_library(folder / "a", create=True) as first, open_library(folder / "b", create=True) as second:
        fill(first, contents)
        told = export(first, folder / "out")
        import_(second, folder / "out")
        before = state(second)
        assert before == state(first)
        assert told.items == len(before["items"])
        assert import_(second, folder / "out").items == 0  # a second time changes nothing
        assert state(second) == before


@pytest.fixture
def library(tmp_path):
    """Three files, one at two paths, with words and labels."""
    with open_library(tmp_path / "library", create=True) as opened, opened.transaction():
        series = opened.series("toy", "item", 2)
        for number, name in enumerate(["a.jpg", "b.JPG", "c"]):
            content = b"content %d" % number
            key = opened.add_content(Item(hashlib.sha256(content).hexdigest(), "image", len(content)))
            for place in (tmp_path / name, tmp_path / f"twin-{name}")[: 2 if number == 0 else 1]:
                place.write_bytes(content)
                path = opened.add_path(place, key, size_bytes=len(content), mtime_ns=5)
                opened.set_words(path, [Words(f"title {number}", (name,))])
                opened.set_tags([Tag(path, f"tag{number}", None, "hand")])
            opened.append(series, np.array([key, key]), np.full((2, 2), number))
        yield opened


def test_rows_of_one_owner_are_not_split_over_batches(library, tmp_path, monkeypatch):
    monkeypatch.setattr("lightmeter.library.tables.ROWS", 3)
    export(library, tmp_path / "out")
    with open_library(tmp_path / "copy", create=True) as copy:
        assert import_(copy, tmp_path / "out").rows == 6
        assert state(copy)["features"] == state(library)["features"]


def test_only_what_fits_goes_out(library, tmp_path):
    told = export(library, tmp_path / "out", where=Where(tags=("tag1",)))
    assert (told.items, told.paths, told.rows) == (1, 1, 2)


def test_export_that_fails_leaves_nothing(library, tmp_path, monkeypatch):
    monkeypatch.setattr("lightmeter.library.tables._feature_batches", lambda *_: 1 / 0)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError):
        export(library, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_export_deletes_what_a_killed_one_left_and_nothing_else(library, tmp_path):
    for name in (".out.1234.partial", ".other.1234.partial"):
        (tmp_path / name).mkdir()
    export(library, tmp_path / "out")
    assert not (tmp_path / ".out.1234.partial").exists()
    assert (tmp_path / ".other.1234.partial").exists()
    with pytest.raises(InvalidValueError, match="which exists"):
        export(library, tmp_path / "out")


def test_webdataset_comes_back_with_its_media(library, tmp_path):
    told = export(library, tmp_path / "out", "webdataset")
    assert (told.items, told.paths, told.skipped) == (3, 4, ())
    with open_library(tmp_path / "copy", create=True) as copy:
        assert import_(copy, tmp_path / "out", "webdataset", into=tmp_path / "media").items == 3
        assert [item.id for item in copy.items()] == [item.id for item in library.items()]
        for item in copy.items():
            assert hashlib.sha256(Path(item.paths[0]).read_bytes()).hexdigest() == item.id
        assert len(copy.items(Where(tags=("tag0",), words=("title 0",)))) == 1
        assert import_(copy, tmp_path / "out", "webdataset", into=tmp_path / "media").items == 0


def test_file_that_changed_is_not_passed_off_as_the_item(library, tmp_path):
    (tmp_path / "b.JPG").write_bytes(b"other")
    for form in ("webdataset", "imagefolder"):
        told = export(library, tmp_path / form, form)
        assert told.items == 2
        assert "none of its 1 paths holds its content now" in told.skipped[0]


@pytest.mark.parametrize("link", [False, True])
def test_imagefolder_comes_back_with_its_media(library, tmp_path, link):
    export(library, tmp_path / "out", "imagefolder", link=link)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert [(tmp_path / "out" / line["file_name"]).suffix for line in lines] == [".jpg", ".jpg", ".bin"]
    assert lines[1]["tags"] == ["tag1"]
    assert ((tmp_path / "out" / lines[1]["file_name"]).stat().st_nlink == 2) == link
    with open_library(tmp_path / "copy", create=True) as copy:
        assert import_(copy, tmp_path / "out", "imagefolder").items == 3
        assert len(copy.items(Where(tags=("tag2",)))) == 1


@pytest.mark.parametrize(
    "name", ["../a.jpg", "media/../../a.jpg", "/etc/passwd", "media/link", "media/.hidden", "media/none.jpg"]
)
def test_imagefolder_reads_nothing_outside(library, tmp_path, name):
    export(library, tmp_path / "out", "imagefolder")
    (tmp_path / "out" / "media" / "link").symlink_to(tmp_path / "a.jpg")
    listing = tmp_path / "out" / "metadata.jsonl"
    line = json.loads(listing.read_text().splitlines()[0]) | {"file_name": name}
    listing.write_text(json.dumps(line) + "\nnonsense\n[]\n")
    with open_library(tmp_path / "copy", create=True) as copy:
        told = import_(copy, tmp_path / "out", "imagefolder")
        assert (told.items, len(told.skipped)) == (0, 3)
        assert "media/NAME" in told.skipped[0]


def tar_of(path, *entries, mode="w"):
    with tarfile.open(path, mode) as archive:
        for entry in entries:
            info, content = (tarfile.TarInfo(entry), b"x") if isinstance(entry, str) else entry
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


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


def test_content_that_is_not_what_its_json_says_is_not_kept(library, tmp_path):
    export(library, tmp_path / "out", "webdataset")
    shard = next((tmp_path / "out").iterdir())
    with tarfile.open(shard) as archive:
        entries = [(m, archive.extractfile(m).read()) for m in archive]
    entries[0] = (entries[0][0], b"X" + entries[0][1][1:])
    entries[3] = (entries[3][0], b"{}")
    tar_of(shard, *entries)
    with open_library(tmp_path / "copy", create=True) as copy:
        told = import_(copy, tmp_path / "out", "webdataset", into=tmp_path / "media")
        assert (told.items, len(told.skipped)) == (1, 2)
        assert len(list((tmp_path / "media").iterdir())) == 1


def test_content_without_a_json_is_taken_back(tmp_path):
    (tmp_path / "in").mkdir()
    tar_of(tmp_path / "in" / "x.tar", "a.jpg", "b.jpg", (tarfile.TarInfo("c.json"), b"{}"))
    with open_library(tmp_path / "library", create=True) as library:
        told = import_(library, tmp_path / "in", "webdataset", into=tmp_path / "media")
    assert len(told.skipped) == 3
    assert not list((tmp_path / "media").iterdir())


def test_lance_comes_back_as_it_went(library, tmp_path):
    pytest.importorskip("lance")
    export(library, tmp_path / "out", "lance")
    with open_library(tmp_path / "copy", create=True) as copy:
        import_(copy, tmp_path / "out", "lance")
        assert state(copy) == state(library)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"form": "csv"}, "form must be one of"),
        ({"form": "parquet", "into": "x"}, "into must be None"),
        ({"form": "webdataset"}, "into must be a folder"),
    ],
)
def test_import_says_what_it_needs(library, tmp_path, arguments, told):
    with pytest.raises(InvalidValueError, match=told):
        import_(library, tmp_path, **arguments)


@pytest.mark.parametrize("form", ["parquet", "webdataset", "imagefolder"])
def test_import_of_something_else_is_named(library, tmp_path, form):
    with pytest.raises(InvalidValueError, match="source must be"):
        import_(library, tmp_path, form, into=tmp_path / "m" if form == "webdataset" else None)


def test_parquet_that_is_none_is_named(library, tmp_path):
    (tmp_path / "items.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(InvalidValueError, match="must be a Parquet file"):
        import_(library, tmp_path)
