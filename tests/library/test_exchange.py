"""Exports stand whole or not at all; what goes out comes in again; what strangers made is held to its limits."""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tar_maker import tar_of
from toy_encoders import TOYS

from lightmeter.encoders.table import ENCODERS
from lightmeter.errors import InvalidValueError, MissingAssetError
from lightmeter.library import exchange, records
from lightmeter.library.contents import Tag
from lightmeter.library.exchange import export, import_, new_folder
from lightmeter.library.filters import Where
from lightmeter.library.store import open_library
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


# -- what strangers made --------------------------------------------------------------------------------------------


def with_metadata(path, **change):
    """Rewrite a table of features with another name for its series."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    said = {f"lightmeter.{name}".encode(): value for name, value in change.items()}
    parquet.write_table(table.replace_schema_metadata({**table.schema.metadata, **said}), path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"spec": b"zzz/evil=1"}, "no encoder called 'zzz'"),
        ({"spec": b"toy/evil=1"}, "no option 'evil'"),
        ({"spec": b"local"}, "no encoder called 'local'"),
        ({"spec": b"(" * 5000}, "the series must be of an encoder"),
        ({"spec": b"\xff"}, "must name its series"),
        ({"spec": b"toy-words"}, "owner and dim of toy-words must be 'path' and 3"),
        ({"owner": b"path"}, "owner and dim of toy must be 'item' and 2"),
        ({"dim": b"3"}, "owner and dim of toy must be 'item' and 2"),
        ({"dim": b"9" * 5000}, "owner and dim of toy must be 'item' and 2"),
    ],
)
def test_series_that_no_encoder_made_is_left_out_and_named(library, tmp_path, change, told):
    export(library, tmp_path / "out")
    with_metadata(tmp_path / "out" / "features-0.parquet", **change)
    with open_library(tmp_path / "copy", create=True) as copy:
        done = import_(copy, tmp_path / "out")
        assert (done.items, done.rows, len(done.skipped)) == (3, 0, 1)
        assert told in done.skipped[0]
        assert copy.all_series() == []


def test_series_that_no_encoder_made_is_left_out_of_lance_too(library, tmp_path, monkeypatch):
    pytest.importorskip("lance")
    export(library, tmp_path / "out", "lance")
    monkeypatch.delitem(ENCODERS, "toy")
    with open_library(tmp_path / "copy", create=True) as copy:
        assert "no encoder called 'toy'" in import_(copy, tmp_path / "out", "lance").skipped[0]
        assert copy.all_series() == []


def test_table_with_other_columns_is_named(library, tmp_path):
    import pyarrow.parquet as parquet

    export(library, tmp_path / "out")
    for name, told in (("features-0", "vector of features-0.parquet"), ("items", "size_bytes of items.parquet")):
        path = tmp_path / "out" / f"{name}.parquet"
        table = parquet.read_table(path)
        parquet.write_table(table.drop_columns([told.split()[0]]), path)
        with open_library(tmp_path / f"copy-{name}", create=True) as copy:
            try:
                said = import_(copy, tmp_path / "out").skipped[0]
            except InvalidValueError as error:
                said = str(error)
            assert f"{told} must be a column of" in said


def test_text_of_a_table_that_is_no_utf8_is_named(library, tmp_path):
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    export(library, tmp_path / "out")
    path = tmp_path / "out" / "items.parquet"
    table = parquet.read_table(path)
    bad = arrow.array([b"\xff\xfe"] * len(table), arrow.binary()).view(arrow.string())
    parquet.write_table(table.set_column(table.schema.get_field_index("reason"), "reason", bad), path)
    with open_library(tmp_path / "copy", create=True) as copy, pytest.raises(InvalidValueError, match="items.parquet"):
        import_(copy, tmp_path / "out")


@pytest.mark.parametrize("form", ["parquet", "imagefolder"])
def test_import_ends_with_the_measure_of_scores(library, tmp_path, form, monkeypatch):
    measured = []
    monkeypatch.setattr(
        "lightmeter.library.calibrating.calibrate", lambda library: measured.append(len(library.items()))
    )
    export(library, tmp_path / "out", form)
    with open_library(tmp_path / "copy", create=True) as copy:
        import_(copy, tmp_path / "out", form)
    assert measured == [3]


def test_import_says_when_scores_cannot_be_measured(library, tmp_path, monkeypatch):
    def fail(library):
        raise MissingAssetError("no asset")

    monkeypatch.setattr("lightmeter.library.calibrating.calibrate", fail)
    export(library, tmp_path / "out")
    with open_library(tmp_path / "copy", create=True) as copy:
        done = import_(copy, tmp_path / "out")
        assert done.rows == 6
        assert "no asset" in done.skipped[-1]


GOOD = {"source": "sidecar", "title": "t", "keywords": ["k"]}
LIES = {
    "size": {"size_bytes": 2**70}, "negative size": {"size_bytes": -1}, "size as text": {"size_bytes": "1"},
    "size as truth": {"size_bytes": True}, "width": {"width": "wide"}, "negative width": {"width": -5},
    "height": {"height": 2**31}, "duration": {"duration_s": -1.0}, "no number": {"duration_s": float("nan")},
    "endless": {"duration_s": float("inf")}, "kind": {"kind": ["image"]}, "state": {"state": "fine"},
    "reason": {"reason": 5}, "no reason": {"reason": None}, "date": {"taken_at": 2024}, "id": {"id": "zz"},
    "paths": {"paths": 5}, "path": {"paths": [5]}, "words": {"words": "all"}, "word": {"words": [5]},
    "title": {"words": [GOOD | {"title": 5}]}, "keywords": {"words": [GOOD | {"keywords": "k"}]},
    "keyword": {"words": [GOOD | {"keywords": [5]}]}, "half a pair": {"words": [GOOD | {"title": "\ud800"}]},
    "score": {"tags": [{"tag": "t", "score": 2**1100, "source": "s"}]},
    "score as text": {"tags": [{"tag": "t", "score": "1", "source": "s"}]},
    "tag": {"tags": [{"tag": None, "score": 1, "source": "s"}]}, "tags": {"tags": {"tag": 1}},
}  # fmt: skip


@pytest.fixture
def line(tmp_path):
    """A folder with one content and what is true of it."""
    content = b"content"
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "in" / "media").mkdir(parents=True)
    (tmp_path / "in" / "media" / f"{digest}.jpg").write_bytes(content)
    path = {"words": [GOOD], "tags": [{"tag": "t", "score": 2**60, "source": "s"}]}
    about = {"schema": "lightmeter.item/1", "id": digest, "kind": "image", "size_bytes": 7, "state": "ok", "reason": ""}
    facts = dict.fromkeys(("duration_s", "width", "height", "taken_at"))
    return {**about, **facts, "file_name": f"media/{digest}.jpg", "paths": [path]}


def brought(tmp_path, text, form):
    """What an import of one JSON says, and how many items it brought."""
    folder = tmp_path / "in"
    if form == "imagefolder":
        (folder / "metadata.jsonl").write_bytes(text)
    else:
        media = next((folder / "media").iterdir())
        info, about = tarfile.TarInfo(media.name), tarfile.TarInfo(f"{media.stem}.json")
        tar_of(folder / "x.tar", (info, media.read_bytes()), (about, text))
    with open_library(tmp_path / form, create=True) as library:
        done = import_(library, folder, form, into=tmp_path / "media" if form == "webdataset" else None)
        assert len(library.items()) == done.items
    return done


@pytest.mark.parametrize("form", ["imagefolder", "webdataset"])
class TestWhatStrangersSay:
    def test_truth_comes_in(self, tmp_path, line, form):
        assert brought(tmp_path, json.dumps(line).encode(), form).items == 1

    @pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
    def test_lie_is_left_out_and_named(self, tmp_path, line, form, lie):
        path = {**line["paths"][0], **{name: value for name, value in lie.items() if name in ("words", "tags")}}
        done = brought(tmp_path, json.dumps({**line, "paths": [path], **lie}).encode(), form)
        assert (done.items, len(done.skipped)) == (0, 1)
        assert "must be" in done.skipped[0] or "not the one" in done.skipped[0]
        assert len(done.skipped[0]) < 600

    @pytest.mark.parametrize(
        "text",
        [b"[" * 100_000, b"\xff\xfe", b"\xff\xfe{}", b'{"schema": ' + b"9" * 5000 + b"}", b"[]", b"5", b'{"id": 1'],
        ids=["deep", "no text", "half", "long number", "list", "number", "cut"],
    )
    def test_no_record_at_all_is_left_out(self, tmp_path, line, form, text):
        done = brought(tmp_path, text, form)
        assert (done.items, len(done.skipped)) == (0, 1)


@pytest.mark.parametrize("lie", [lie for lie in LIES.values() if "paths" not in lie], ids=str)
def test_parser_is_the_same_for_tables(line, lie):
    with pytest.raises(InvalidValueError, match="must be"):
        records.parsed({**line, "words": [], "tags": [], **lie})


def test_row_of_a_table_that_lies_is_left_out_and_named(library, tmp_path):
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    export(library, tmp_path / "out")
    path = tmp_path / "out" / "items.parquet"
    table = parquet.read_table(path)
    widths = arrow.array([-5, *[None] * (len(table) - 1)], arrow.int64())
    parquet.write_table(table.set_column(table.schema.get_field_index("width"), "width", widths), path)
    with open_library(tmp_path / "copy", create=True) as copy:
        done = import_(copy, tmp_path / "out")
        assert "row 1 of items.parquet: width must be" in done.skipped[0]
        assert done.items == 3  # its other path tells the truth


def test_export_leaves_a_live_one_to_the_same_name_alone(library, tmp_path):
    target = tmp_path / "out"
    code = (
        "import sys, time, pathlib; from lightmeter.library.exchange import new_folder\n"
        "with new_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'x').write_text('x'); print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"in\n"

        def export_too():
            with new_folder(target) as mine:
                (mine / "y").write_text("y")
                assert len(list(tmp_path.glob(".out.*.partial"))) == 2
                other.communicate(b"")
                assert (target / "x").exists()  # the other one ends first

        with pytest.raises(InvalidValueError, match="which exists"):
            export_too()
    assert other.returncode == 0
    assert not list(tmp_path.glob(".out.*.partial"))


def test_export_whose_folder_is_taken_for_a_leftover_before_it_is_locked_begins_again(tmp_path, monkeypatch):
    lock, taken = exchange.try_lock, []

    def late(descriptor):
        if not taken:
            taken.append(next(tmp_path.glob(".out.*.partial")))
            shutil.rmtree(taken[0])
        return lock(descriptor)

    monkeypatch.setattr(exchange, "try_lock", late)
    with new_folder(tmp_path / "out") as folder:
        assert folder != taken[0]
        (folder / "x").write_text("x")
    assert (tmp_path / "out" / "x").exists()
