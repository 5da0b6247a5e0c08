"""A library folder that a stranger made touches nothing outside itself, and is refused or repaired, never believed."""

import hashlib
import json
import sqlite3

import numpy as np
import pytest

from lightmeter.errors import LibraryDamagedError
from lightmeter.library.fsck import fsck
from lightmeter.library.shards import check_shard
from lightmeter.library.store import open_library
from lightmeter.types import Item


@pytest.fixture
def folder(tmp_path):
    """A library with a shard of two rows, and beside it another one's."""
    for name in ("library", "victim"):
        with open_library(tmp_path / name, create=True) as library, library.transaction():
            series = library.series("toy", "item", 4)
            for number in range(2):
                key = library.add_content(Item(hashlib.sha256(b"%d" % number).hexdigest(), "image", number))
                library.add_path(f"/{number}", key, size_bytes=number, mtime_ns=0)
                library.append(series, np.array([key]), np.full((1, 4), number))
    return tmp_path / "library"


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.shard*")}


def run(folder, *statements):
    connection = sqlite3.connect(folder / "library.sqlite")
    with connection:
        for each in statements:
            connection.execute(each)
    connection.close()


def refused_then_repaired(folder, told):
    for write in (False, True):
        with pytest.raises(LibraryDamagedError, match=told):
            open_library(folder, write=write)
    assert fsck(folder).problems
    assert fsck(folder, repair=True).repaired
    assert fsck(folder).problems == ()
    with open_library(folder, write=True) as library:
        library.features("toy")
        return library.counts().items


@pytest.mark.parametrize("place", ["shards/77", "shards/1", "shards"])
def test_linked_folder_of_shards_is_refused_and_left_alone(folder, place):
    victim = folder.parent / "victim"
    before = files(victim)
    if (folder / place).exists():
        (folder / place).rename(folder / "old")
    (folder / place).symlink_to(victim / place if place != "shards/77" else victim / "shards" / "1")
    assert refused_then_repaired(folder, "is a link") == 2
    assert files(victim) == before


def test_linked_shard_is_refused_and_left_alone(folder):
    mine = sorted((folder / "shards" / "1").iterdir())[0]
    theirs = folder.parent / "kept.shard"
    mine.rename(theirs)
    mine.symlink_to(theirs)
    before = theirs.read_bytes()
    assert "symbolic links" in check_shard(mine)
    assert refused_then_repaired(folder, "is a link or no plain file") == 2
    assert theirs.read_bytes() == before
    assert not mine.is_symlink()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE shards SET name = '../../../victim/shards/1/{}' WHERE id = 1",
        "UPDATE shards SET name = '.shard' WHERE id = 1",
        "UPDATE shards SET name = x'00' WHERE id = 1",
    ],
)
def test_manifest_that_names_another_place_is_refused_and_repaired(folder, sql):
    victim = folder.parent / "victim"
    before = files(victim)
    run(folder, sql.format(min(before).name))
    assert refused_then_repaired(folder, "no name of a shard") == 2
    assert files(victim) == before


VIEW = (
    "CREATE VIEW calibrations AS WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n) "
    "SELECT i AS series, 'null' AS name, '{}' AS value, '' AS version, 0 AS at FROM n WHERE i < 0"
)


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["DROP TABLE calibrations", VIEW], "holds the view 'calibrations'"),
        (["DROP TABLE calibrations"], "has no table calibrations"),
        (["DROP TABLE calibrations", "CREATE TABLE x (a)", "CREATE INDEX calibrations ON x (a)"], "the table 'x'"),
        (["CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM items; END"], "holds the trigger 't'"),
        (["CREATE VIEW engine_x AS SELECT 1"], "holds the view 'engine_x'"),
        (["CREATE VIRTUAL TABLE engine_x USING fts5(a)"], "holds the table 'engine_x'"),
        (
            [
                "DROP TABLE calibrations",
                VIEW,
                "PRAGMA writable_schema = ON",
                "UPDATE sqlite_schema SET type = 'table' WHERE name = 'calibrations'",
            ],
            "is damaged .*calibrations",
        ),
    ],
)
def test_what_no_library_has_is_refused_and_repaired(folder, statements, told):
    run(folder, *statements)
    assert refused_then_repaired(folder, told) == 2


def test_schema_is_not_trusted_with_functions(folder):
    for write in (False, True):
        with open_library(folder, write=write) as library:
            assert library.catalogue.value("PRAGMA trusted_schema") == 0


def test_ledger_of_runs_is_no_stranger(folder):
    run(folder, "CREATE TABLE IF NOT EXISTS engine_x (a UNIQUE)", "CREATE INDEX engine_y ON engine_x (a)", "ANALYZE")
    with open_library(folder, write=True) as library:
        assert library.counts().items == 2


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 2**80},
        {"rows": "x"},
        {"dim": 2**70, "rows": 0},
        {"columns": {"vectors": 1, "owners": 2, "times_s": 3}},
        {"columns": []},
    ],
)
def test_shard_whose_header_says_the_impossible_is_named(folder, change):
    path = next((folder / "shards" / "1").iterdir())
    data = path.read_bytes()
    length = int.from_bytes(data[8:16], "little")
    text = json.dumps(json.loads(data[16 : 16 + length]) | change).encode()
    path.write_bytes(data[:8] + len(text).to_bytes(8, "little") + text.ljust(1024, b"\0"))
    assert "not a sound shard" in check_shard(path)


def test_shard_with_rows_of_another_length_is_named(folder):
    with open_library(folder, write=True) as library:
        library.connection.execute("UPDATE series SET dim = 3")
    with open_library(folder) as library, pytest.raises(LibraryDamagedError, match="4 numbers and 3 were registered"):
        library.features("toy")
