"""gc, compaction, fsck and migration: space comes back, damage is found and set aside, versions move all or nothing."""

import hashlib
import os
import sqlite3

import numpy as np
import pytest

from lightmeter.errors import LibraryDamagedError, LibraryVersionError
from lightmeter.library import gc, schema
from lightmeter.library.fsck import fsck
from lightmeter.library.migrate import migrate
from lightmeter.library.shards import check_shard, open_shard
from lightmeter.library.store import open_library
from lightmeter.types import Item

DIM = 4


def fill(library, first, count):
    with library.transaction():
        series = library.series("toy", "item", DIM)
        keys = []
        for number in range(first, first + count):
            key = library.add_content(Item(hashlib.sha256(b"%d" % number).hexdigest(), "image", number))
            library.add_path(f"/{number}", key, size_bytes=number, mtime_ns=0)
            keys.append(key)
        library.append(series, np.array(keys), vectors(first, count))
    return keys


def vectors(first, count):
    return np.repeat(np.arange(first, first + count, dtype=np.float32), DIM).reshape(count, DIM)


def shards(library):
    return sorted(library.folder.glob("shards/*/*"))


@pytest.fixture
def library(tmp_path):
    with open_library(tmp_path / "library", create=True) as opened:
        yield opened


def test_small_shards_are_merged_while_a_run_goes_on(library, monkeypatch):
    monkeypatch.setattr(gc, "MANY_SMALL", 8)
    for batch in range(50):
        fill(library, batch * 2, 2)
    assert library.catalogue.value("SELECT count(*) FROM shards") < 8
    assert len(shards(library)) < 16  # replaced files go at the next merge
    np.testing.assert_array_equal(np.sort(library.features("toy").vectors[:, 0]), np.arange(100))
    assert fsck(library.folder).problems == ()


def test_merge_in_a_transaction_that_fails_changes_nothing(library, monkeypatch):
    monkeypatch.setattr(gc, "MANY_SMALL", 4)
    for batch in range(3):
        fill(library, batch * 2, 2)

    def fail():
        with library.transaction():
            fill(library, 6, 2)
            assert library.catalogue.value("SELECT count(*) FROM shards") == 1
            fill(library, 8, 2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    for batch in range(3, 9):  # goes on, and deletes what was replaced only when that is committed
        fill(library, batch * 2, 2)
    np.testing.assert_array_equal(np.sort(library.features("toy").vectors[:, 0]), np.arange(18))
    assert fsck(library.folder).problems == ()


def test_compact_leaves_one_shard_and_every_row(library):
    keys = [key for batch in range(5) for key in fill(library, batch * 3, 3)]
    before = library.features("toy")
    library.compact()
    assert len(shards(library)) == 1
    after = library.features("toy")
    assert after.owners.tolist() == keys
    np.testing.assert_array_equal(after.vectors, vectors(0, 15))
    np.testing.assert_array_equal(before.vectors, vectors(0, 15))  # a snapshot outlives the files it maps


def test_gc_forgets_the_removed_and_frees_their_space(library):
    keys = fill(library, 0, 2000)
    library.remove(keys[:1500])
    freed = library.gc()
    assert (freed.items, freed.rows) == (1500, 1500)
    assert freed.size_bytes > 1500 * DIM * 4
    np.testing.assert_array_equal(library.features("toy").vectors, vectors(1500, 500))
    assert library.counts().removed == 0
    assert library.gc().rows == 0
    assert fsck(library.folder).problems == ()
    new = fill(library, 5000, 1)
    assert new[0] > max(keys)  # a key is never used twice


def test_gc_of_everything_leaves_no_shard(library):
    library.remove(fill(library, 0, 3))
    library.gc()
    assert not shards(library)
    assert not len(library.features("toy"))


def test_open_sweeps_what_a_killed_writer_left(tmp_path):
    with open_library(tmp_path, create=True) as library:
        fill(library, 0, 3)
    (tmp_path / "shards" / "1" / "dead.shard").write_bytes(b"x")
    (tmp_path / "shards" / "1" / "dead.shard.tmp").write_bytes(b"x")
    assert fsck(tmp_path).orphans == 2
    with open_library(tmp_path):
        assert fsck(tmp_path).orphans == 2  # a reader touches nothing
    with open_library(tmp_path, write=True) as library:
        assert len(shards(library)) == 1


# -- fsck -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["header", "vectors", "owners", "end"])
def test_fsck_finds_one_flipped_bit_and_sets_the_shard_aside(tmp_path, where):
    with open_library(tmp_path, create=True) as library:
        lost = fill(library, 0, 3)
        fill(library, 3, 2)
        path = shards(library)[0]
        lost = library.catalogue.keys(
            "SELECT owner FROM features f JOIN shards s ON s.id = shard WHERE name = ?", (path.name,)
        ).tolist()
    block = open_shard(path)
    size = path.stat().st_size
    at = {
        "header": 40,
        "end": None,
        "vectors": size - 64 * 2 - block.vectors.nbytes,
        "owners": size - 64 - len(lost) * 8,
    }[where]
    data = bytearray(path.read_bytes())
    if at is None:
        del data[-1:]
    else:
        at = at if where == "header" else next(i for i in range(max(at - 64, 0), size) if data[i])
        data[at] ^= 1
    path.write_bytes(data)
    health = fsck(tmp_path)
    assert [problem.place for problem in health.problems] == ["shard"]
    assert "toy" in health.problems[0].detail
    assert not health.repaired
    repaired = fsck(tmp_path, repair=True)
    assert (repaired.repaired, repaired.lost) == (True, len(lost))
    with open_library(tmp_path, write=True) as library:
        assert sorted(library.missing("toy").tolist()) == sorted(lost)
        assert [p.suffix for p in shards(library)].count(".bad") == 1
        assert len(library.features("toy")) == 5 - len(lost)
        library.gc()
        assert not [p for p in shards(library) if p.suffix == ".bad"]
    assert fsck(tmp_path).problems == ()


def test_fsck_finds_a_shard_swapped_for_another(tmp_path):
    with open_library(tmp_path, create=True) as library:
        fill(library, 0, 3), fill(library, 3, 3)
        first, second = shards(library)
    first.write_bytes(second.read_bytes())
    assert "not the one that was registered" in fsck(tmp_path).problems[0].detail


def test_fsck_finds_rows_that_are_not_registered(tmp_path):
    with open_library(tmp_path, create=True) as library:
        keys = fill(library, 0, 3)
        library.connection.execute("DELETE FROM features WHERE owner = ?", (keys[1],))
    assert "other owners" in fsck(tmp_path).problems[0].detail
    assert fsck(tmp_path, repair=True).repaired


def test_fsck_finds_features_of_nobody(tmp_path):
    with open_library(tmp_path, create=True) as library:
        fill(library, 0, 3)
        library.connection.execute("INSERT INTO features VALUES (1, 77, NULL, 0, 0)")
    assert "1 owners of features" in fsck(tmp_path).problems[0].detail
    assert fsck(tmp_path, repair=True).repaired
    assert fsck(tmp_path).problems == ()


def test_fsck_rebuilds_a_catalogue_from_the_pages_that_read(tmp_path):
    with open_library(tmp_path, create=True) as library:
        fill(library, 0, 3000)
        page = library.catalogue.value("PRAGMA page_size")
        leaves = "SELECT pageno FROM dbstat WHERE name = 'items' AND pagetype = 'leaf' ORDER BY pageno"
        try:
            leaf = library.connection.execute(leaves).fetchall()[5][0]
        except sqlite3.OperationalError:
            leaf = library.catalogue.value("SELECT rootpage FROM sqlite_schema WHERE name = 'paths'")
    with (tmp_path / "library.sqlite").open("r+b") as file:
        file.seek((leaf - 1) * page)
        file.write(b"\xff" * page)
    assert {problem.place for problem in fsck(tmp_path).problems} == {"catalogue"}
    health = fsck(tmp_path, repair=True)
    assert health.repaired
    assert (tmp_path / "library.sqlite.damaged").exists()
    assert fsck(tmp_path).problems == ()
    with open_library(tmp_path, write=True) as library:
        left = library.counts()
        assert left.items + left.removed > 2000
        assert len(library.features("toy")) == left.items


def test_empty_catalogue_beside_shards_is_damage_not_a_new_library(tmp_path):
    with open_library(tmp_path, create=True) as library:
        fill(library, 0, 3)
    os.truncate(tmp_path / "library.sqlite", 0)
    with pytest.raises(LibraryDamagedError, match="fsck --repair"):
        open_library(tmp_path, create=True)
    with pytest.raises(LibraryDamagedError, match="index again"):
        fsck(tmp_path, repair=True)


@pytest.mark.parametrize("size_bytes", [0, 1, 15, 16, 200])
def test_shard_cut_to_almost_nothing_is_named(tmp_path, size_bytes):
    with open_library(tmp_path, create=True) as library:
        fill(library, 0, 3)
        path = shards(library)[0]
    os.truncate(path, size_bytes)
    assert "not a sound shard" in check_shard(path)


@pytest.mark.parametrize(
    "head",
    [b"LMSHARD1" + b"\xff" * 8, b"LMSHARD1" + b"\2" + b"\0" * 7 + b"[]", b"LMSHARD1" + b"\2" + b"\0" * 7 + b"{}"],
)
def test_shard_with_a_lying_header_is_named(tmp_path, head):
    path = tmp_path / "x.shard"
    path.write_bytes(head.ljust(256, b"\0"))
    assert "not a sound shard" in check_shard(path)


# -- versions -------------------------------------------------------------------------------------------------------


def add_column(connection):
    connection.execute("ALTER TABLE items ADD COLUMN stars INTEGER NOT NULL DEFAULT 3")


def test_migration_backs_up_and_moves_all_or_nothing(tmp_path, monkeypatch):
    with open_library(tmp_path, create=True) as library:
        fill(library, 0, 3)
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    now = schema.VERSION

    def half(connection):
        add_column(connection)
        raise sqlite3.OperationalError("out of luck")

    monkeypatch.setattr(schema, "STEPS", {now - 1: half})
    with pytest.raises(sqlite3.OperationalError, match="out of luck"):
        open_library(tmp_path, write=True)
    connection = sqlite3.connect(tmp_path / "library.sqlite")
    assert connection.execute("PRAGMA user_version").fetchone() == (now - 1,)
    assert "stars" not in [row[1] for row in connection.execute("PRAGMA table_info(items)")]
    connection.close()

    monkeypatch.setattr(schema, "STEPS", {now - 1: add_column})
    with pytest.raises(LibraryVersionError, match="open it once for writing"):
        open_library(tmp_path)
    with open_library(tmp_path, write=True) as library:
        assert library.catalogue.value("SELECT sum(stars) FROM items") == 9
        assert library.catalogue.value("PRAGMA user_version") == now
        assert len(library.features("toy")) == 3
    backup = sqlite3.connect(tmp_path / f"library.sqlite.bak-v{now - 1}")
    assert backup.execute("SELECT count(*) FROM items").fetchone() == (3,)
    assert backup.execute("PRAGMA user_version").fetchone() == (now - 1,)
    backup.close()


def test_migration_without_a_step_leaves_the_library(library):
    with pytest.raises(LibraryVersionError, match="no step leads on from 1"):
        migrate(library.catalogue, {}, 3)
    assert library.catalogue.value("PRAGMA user_version") == schema.VERSION
