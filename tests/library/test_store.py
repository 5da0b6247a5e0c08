"""The store's contract: what goes in comes out, filters mean what they say, and nothing half-done is seen."""

import hashlib
import os

import numpy as np
import pytest

from lightmeter.errors import (
    InvalidValueError,
    LibraryDamagedError,
    LibraryNotFoundError,
    LibraryReadOnlyError,
    LibraryVersionError,
    UnknownNameError,
)
from lightmeter.library.contents import Tag
from lightmeter.library.filters import Where, fold
from lightmeter.library.store import open_library
from lightmeter.types import Item, Words


def item(number, **facts):
    return Item(hashlib.sha256(b"%d" % number).hexdigest(), **{"kind": "image", "size_bytes": 100 + number, **facts})


def put(library, number, path=None, **facts):
    with library.transaction():
        key = library.add_content(item(number, **facts))
        return key, library.add_path(path or f"/photos/{number}.jpg", key, size_bytes=100 + number, mtime_ns=number)


def rows(*numbers, dim=3):
    return np.array([[number + i / 10 for i in range(dim)] for number in numbers], np.float32)


@pytest.fixture
def library(tmp_path):
    with open_library(tmp_path / "library", create=True) as opened:
        yield opened


class TestOpening:
    def test_names_the_command_that_makes_one(self, tmp_path):
        with pytest.raises(LibraryNotFoundError, match="lightmeter index FOLDER"):
            open_library(tmp_path / "none")

    def test_writes_only_when_asked(self, tmp_path):
        open_library(tmp_path, create=True).close()
        with open_library(tmp_path) as reader, pytest.raises(LibraryReadOnlyError, match="write=True"):
            reader.add_content(item(1))

    def test_refuses_another_sqlite_file(self, tmp_path):
        import sqlite3

        connection = sqlite3.connect(tmp_path / "library.sqlite")
        connection.execute("CREATE TABLE other (x)")
        connection.close()
        with pytest.raises(LibraryNotFoundError, match="another SQLite file"):
            open_library(tmp_path)

    def test_refuses_a_newer_version(self, tmp_path):
        with open_library(tmp_path, create=True) as library:
            library.connection.execute("PRAGMA user_version = 99")
        with pytest.raises(LibraryVersionError, match="install a newer one"):
            open_library(tmp_path)

    def test_is_durable_by_its_settings(self, library):
        settings = {
            name: library.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
        assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

    def test_says_which_shard_is_torn_and_how_to_repair_it(self, tmp_path):
        with open_library(tmp_path, create=True) as library:
            key, _ = put(library, 1)
            library.append(library.series("toy", "item", 3), np.array([key]), rows(1))
        shard = next((tmp_path / "shards").glob("*/*.shard"))
        os.truncate(shard, 100)
        with pytest.raises(LibraryDamagedError, match="lightmeter fsck --repair") as caught:
            open_library(tmp_path)
        assert caught.value.exit_code == 4


class TestItems:
    def test_are_known_by_their_content(self, library):
        key, first = put(library, 1, "/a.jpg")
        again, second = put(library, 1, "/b.jpg")
        assert (key, len(library.items())) == (again, 1)
        assert first != second
        assert library.items()[0].paths == ("/a.jpg", "/b.jpg")
        assert [each.id for each in library.duplicates()] == [item(1).id]

    def test_keep_paths_that_are_no_text(self, library):
        put(library, 1, b"/\xff\n'.jpg")
        assert os.fsencode(library.items()[0].paths[0]) == b"/\xff\n'.jpg"
        assert library.known_path(b"/\xff\n'.jpg").size_bytes == 101

    def test_of_a_renamed_file_keep_features(self, library):
        key, path = put(library, 1, "/old.jpg")
        series = library.series("toy", "item", 3)
        library.append(series, np.array([key]), rows(1))
        put(library, 1, "/new.jpg")
        library.mark_missing([path])
        assert not len(library.missing(series))
        assert library.items(Where(missing=True)).keys.tolist() == [key]

    def test_without_a_path_are_removed_and_come_back(self, library):
        key, path = put(library, 1, "/a.jpg")
        library.set_words(path, [Words("old")])
        library.set_tags([Tag(path, "mine", None, "hand"), Tag(path, "guess", 0.5, "toy")])
        put(library, 2, "/a.jpg")  # another content stands there now
        assert [each.id for each in library.items()] == [item(2).id]
        assert library.words_of([path]) == {}
        assert [tag.tag for tag in library.tags_of([path])[path]] == ["mine"]
        assert put(library, 1, "/c.jpg")[0] == key
        assert len(library.items()) == 2

    def test_view_is_lazy_sliced_and_immutable(self, library):
        keys = [put(library, number)[0] for number in range(5)]
        view = library.items()
        assert view[1:3].keys.tolist() == keys[1:3]
        assert [each.size_bytes for each in view[np.array([4, 0])]] == [104, 100]
        with pytest.raises(ValueError, match="read-only"):
            view.keys[0] = 9

    def test_go_out_as_numpy_and_arrow(self, library):
        put(library, 1, b"/\xff.jpg")
        put(library, 2, kind="video", duration_s=2.5, width=4, height=3)
        found = library.items().to_numpy()
        assert found["kind"].tolist() == ["image", "video"]
        assert found["duration_s"][1] == 2.5
        assert np.isnan(found["duration_s"][0])
        table = library.items().to_arrow()
        assert table.column("paths").to_pylist() == [["/\ufffd.jpg"], ["/photos/2.jpg"]]
        assert library.items(Where(kind="sound")).to_arrow().num_rows == 0

    def test_must_have_a_sha256(self, library):
        with pytest.raises(InvalidValueError, match="sha256"):
            library.add_content(Item("abc", "image", 1))

    def test_are_counted(self, library):
        key, _ = put(library, 1)
        put(library, 2, state="damaged", reason="cut")
        put(library, 3, kind="sound", duration_s=1.0)
        library.set_error("/x", stage="s", code="empty", detail="no bytes")
        library.remove([key])
        counts = library.counts()
        assert (counts.items, counts.paths, counts.removed, counts.size_bytes) == (2, 2, 1, 205)
        assert (dict(counts.kinds), dict(counts.reasons), dict(counts.errors)) == (
            {"image": 1, "sound": 1},
            {"cut": 1},
            {"empty": 1},
        )


class TestWhere:
    @pytest.fixture
    def filled(self, library):
        with library.transaction():
            for number, (kind, taken, title) in enumerate(
                [
                    ("image", "2023-12-31T23:59:59", "A cat's paw"),
                    ("video", "2024-05-01", "Dog, New York"),
                    ("sound", None, "Zoë"),
                ]
            ):
                key = library.add_content(
                    item(number, kind=kind, duration_s=None if kind == "image" else number * 10.0), taken_at=taken
                )
                path = library.add_path(f"/p/{kind}/{number}.bin", key, size_bytes=1, mtime_ns=1)
                library.set_words(path, [Words(title, ("food-bowl",) if number else ())])
                library.set_tags([Tag(path, kind, 0.5, "toy")])
        return library

    @pytest.mark.parametrize(
        ("where", "wanted"),
        [
            (Where(), [0, 1, 2]),
            (Where(kind="video"), [1]),
            (Where(state="damaged"), []),
            (Where(tags=("sound",)), [2]),
            (Where(tags=("sound", "image")), []),
            (Where(words=("CAT",)), [0]),
            (Where(words=("ca",)), []),
            (Where(words=("new york",)), [1]),
            (Where(words=("york food",)), []),
            (Where(words=("zoë",)), [2]),
            (Where(words=("food bowl",), kind="sound"), [2]),
            (Where(after="2024"), [1]),
            (Where(before="2024"), [0]),
            (Where(before="2024-05"), [0]),
            (Where(after="2023-12-31 23:59"), [0, 1]),
            (Where(after="2023-12-31T23:59:59.5"), [1]),
            (Where(before="2023-12-31 23:59:59.5"), [0]),
            (Where(min_bytes=101, max_bytes=102), [1]),
            (Where(min_duration_s=15), [2]),
            (Where(max_duration_s=15), [1]),
            (Where(path_glob="/p/*/1.bin"), [1]),
            (Where(path_glob="image/*"), [0]),
            (Where(path_glob="p"), []),
            (Where(missing=False), [0, 1, 2]),
        ],
    )
    def test_keeps_what_it_says(self, filled, where, wanted):
        assert [each.size_bytes - 100 for each in filled.items(where)] == wanted

    def test_asks_all_of_one_path(self, library):
        key, first = put(library, 1, "/a.jpg")
        _, second = put(library, 1, "/b.jpg")
        library.set_tags([Tag(first, "x", 1.0, "toy"), Tag(second, "y", 1.0, "toy")])
        assert not len(library.items(Where(tags=("x", "y"))))
        assert library.owners("path", Where(tags=("y",))).tolist() == [second]
        assert library.owners("item", Where(tags=("y",))).tolist() == [key]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"kind": "movie"},
            {"state": "fine"},
            {"tags": "cat"},
            {"after": "May"},
            {"after": ""},
            {"after": "2024-99-99"},
            {"before": "2023-02-29"},
            {"after": "0000"},
            {"before": "2024-13"},
            {"after": "2024-05-01T25:00"},
            {"after": "2024-05-01T10:00+02:00"},
            {"after": "2024-05-01T10:00:00Z"},
            {"after": "٢٠٢٤"},
        ],
    )
    def test_refuses_what_cannot_be(self, wrong):
        with pytest.raises(InvalidValueError, match="must be"):
            Where(**wrong)

    def test_words_are_folded_by_hand(self):
        assert fold("Cat-Food, Zoë") == " cat food zoë "
        assert fold("!!") == " "


class TestTags:
    def test_set_by_hand_are_not_overwritten(self, library):
        _, path = put(library, 1)
        library.set_tags([Tag(path, "cat", 0.4, "toy")])
        library.set_tags([Tag(path, "cat", None, "hand")])
        library.set_tags([Tag(path, "cat", 0.9, "toy")])
        assert library.tags_of([path])[path] == (Tag(path, "cat", None, "hand"),)
        assert library.unset_tags([path], source="toy") == 0
        assert library.unset_tags([path], tag="cat") == 1
        assert library.tags_of([path]) == {}

    def test_stand_by_hand_first_then_by_score(self, library):
        _, path = put(library, 1)
        library.set_tags([Tag(path, "b", 0.1, "t"), Tag(path, "a", 0.9, "t"), Tag(path, "c", None, "hand")])
        assert [tag.tag for tag in library.tags_of([path])[path]] == ["c", "a", "b"]
        assert library.tag_counts() == {"a": 1, "b": 1, "c": 1}


class TestFeatures:
    def test_come_back_with_owners_and_times(self, library):
        keys = [put(library, number)[0] for number in range(3)]
        series = library.series("toy", "item", 3)
        library.append(series, np.array([keys[0], keys[0], keys[1]]), rows(0, 0.5, 1), np.array([0.0, 1.0, np.nan]))
        library.append(series, np.array([keys[2]]), rows(2))
        found = library.features("toy")
        np.testing.assert_array_equal(found.vectors, rows(0, 0.5, 1, 2))
        assert found.owners.tolist() == [keys[0], keys[0], keys[1], keys[2]]
        np.testing.assert_array_equal(found.times_s, [0, 1, np.nan, np.nan])
        np.testing.assert_array_equal(found.take([3, 0, 3]), rows(2, 0, 2))
        assert found.vectors.dtype == np.float32
        assert [len(block.owners) for block in found.blocks()] == [3, 1]

    def test_of_one_shard_are_not_copied(self, library):
        key, _ = put(library, 1)
        library.append(library.series("toy", "item", 3), np.array([key]), rows(1))
        assert library.features("toy").vectors.base is not None
        assert not library.features("toy").vectors.flags.writeable

    def test_follow_the_filter_and_hide_the_removed(self, library):
        keys = [put(library, number)[0] for number in range(4)]
        library.append(library.series("toy", "item", 3), np.array(keys), rows(0, 1, 2, 3))
        library.remove([keys[2]])
        assert library.features("toy", Where(min_bytes=101)).owners.tolist() == [keys[1], keys[3]]
        np.testing.assert_array_equal(library.features("toy", Where(min_bytes=101)).take([1]), rows(3))
        np.testing.assert_array_equal(library.features("toy").vectors, rows(0, 1, 3))

    def test_are_missing_until_appended_or_marked_empty(self, library):
        keys = [put(library, number)[0] for number in range(3)]
        series = library.series("toy", "item", 3)
        library.append(series, np.array(keys[:1]), rows(0))
        library.mark_empty(series, keys[1:2])
        assert library.missing("toy").tolist() == keys[2:]
        assert library.having(series, keys) == set(keys[:2])
        library.forget_features(series)
        assert library.missing("toy").tolist() == keys
        assert not len(library.features("toy"))

    def test_are_replaced_only_when_asked(self, library):
        key, _ = put(library, 1)
        series = library.series("toy", "item", 3)
        library.append(series, np.array([key]), rows(1))
        with pytest.raises(InvalidValueError, match="replace=True"):
            library.append(series, np.array([key]), rows(2))
        library.append(series, np.array([key]), rows(2), replace=True)
        np.testing.assert_array_equal(library.features("toy").vectors, rows(2))
        library.gc()
        np.testing.assert_array_equal(library.features("toy").vectors, rows(2))

    def test_of_a_path_go_with_it(self, library):
        _, first = put(library, 1, "/a.jpg")
        _, second = put(library, 2, "/b.jpg")
        series = library.series("words", "path", 3)
        library.append(series, np.array([first, second]), rows(1, 2))
        library.forget_paths([first])
        assert library.features("words").owners.tolist() == [second]
        put(library, 3, "/b.jpg")
        assert library.missing("words").tolist() == [second]

    @pytest.mark.parametrize(
        ("owners", "vectors", "told"),
        [
            ([1], np.zeros((1, 4)), "vectors must be"),
            ([1, 2], np.zeros((1, 3)), "owners must be"),
            ([1.0], np.zeros((1, 3)), "whole numbers"),
            ([99], np.zeros((1, 3)), "got 99: add the content first"),
            ([1, 2, 1], np.zeros((3, 3)), "sort the rows"),
            ([1], np.full((1, 3), np.nan), "finite"),
        ],
    )
    def test_must_make_sense(self, library, owners, vectors, told):
        put(library, 1), put(library, 2)
        series = library.series("toy", "item", 3)
        with pytest.raises(InvalidValueError, match=told):
            library.append(series, np.array(owners), vectors)
        assert not list((library.folder / "shards").glob("*/*"))

    def test_have_one_width(self, library):
        library.series("toy", "item", 3)
        with pytest.raises(InvalidValueError, match="dim of toy must be 3"):
            library.series("toy", "item", 4)
        with pytest.raises(UnknownNameError, match="did you mean 'toy'"):
            library.features("toyy")

    def test_of_a_failed_transaction_are_not_there(self, library):
        key, _ = put(library, 1)
        series = library.series("toy", "item", 3)

        def fail():
            with library.transaction():
                library.append(series, np.array([key]), rows(1))
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert not len(library.features("toy"))
        assert library.missing("toy").tolist() == [key]

    def test_work_inside_a_transaction_of_the_caller(self, library):
        key, _ = put(library, 1)
        series = library.series("toy", "item", 3)
        library.connection.execute("BEGIN IMMEDIATE")
        library.append(series, np.array([key]), rows(1))
        assert library.connection.in_transaction
        library.connection.execute("ROLLBACK")
        assert not len(library.features("toy"))


class TestNotes:
    def test_calibrations_know_when_they_are_stale(self, library):
        key, _ = put(library, 1)
        series = library.series("toy", "item", 3)
        assert library.calibration(series, "null") is None
        library.set_calibration(series, "null", {"threshold": 0.5})
        assert library.calibration(series, "null") == ({"threshold": 0.5}, True)
        library.append(series, np.array([key]), rows(1))
        assert library.calibration(series, "null") == ({"threshold": 0.5}, False)

    def test_runs_remember_how_they_ended(self, library):
        first = library.begin_run("index", {"folder": "x"})
        second = library.begin_run("tag", {})
        library.end_run(first, {"done": 3})
        assert [(run["id"], run["summary"]) for run in library.runs()] == [(second, None), (first, {"done": 3})]

    def test_errors_are_kept_by_stage_and_cleared(self, library):
        library.set_error("/a\udcff", stage="one", code="empty", detail="first")
        library.set_error("/a\udcff", stage="one", code="cut", detail="second")
        library.set_error("/a\udcff", stage="two", code="cut", detail="third")
        assert [(e.path, e.detail) for e in library.errors()] == [("/a\udcff", "second"), ("/a\udcff", "third")]
        library.clear_errors("/a\udcff", stage="one")
        assert [e.stage for e in library.errors()] == ["two"]
