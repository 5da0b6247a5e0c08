"""Parquet out and in: the same set, also for other readers; tables of strangers are held to what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.examples import Block
from lightmeter.library.example_layout import Stored
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.yt8m import parquet
from lightmeter.library.yt8m.parquet import read_parquet, write_parquet
from lightmeter.types import Labels

arrow = pytest.importorskip("pyarrow")
tables = pytest.importorskip("pyarrow.parquet")

BLOCKS = [
    Block("visual", "features", 3),
    Stored(Block("audio", "features", 2), "uint8", 4 / 255, -2.0),
    Block("title", "tokens", 2),
]


def rows(count=9):
    rng = np.random.default_rng(0)
    values = {
        "visual": rng.standard_normal((count, 3)),
        "audio": rng.integers(0, 256, (count, 2), dtype=np.uint8),
        "title": rng.integers(0, 9, (count, 2)),
    }
    labels = Labels.of([rng.integers(0, 4, 2).tolist() for _ in range(count)], 4)
    return ShardRows([f"é{at}" for at in range(count)], values, labels, rng.random((count, 3)) < 0.7)


@pytest.fixture
def made(tmp_path):
    return write_set(tmp_path / "set", BLOCKS, list("ABCD"), [rows()], about={"x": 1})


def test_it_goes_round(tmp_path, made, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS", 4)
    done = []
    write_parquet(made, tmp_path / "a.parquet", progress=done.append)
    assert done == [4, 4, 1]
    back = read_parquet(tmp_path / "a.parquet", tmp_path / "back")
    assert (back.blocks, back.label_names, list(back.ids)) == (made.blocks, made.label_names, list(made.ids))
    assert back.manifest.blocks == made.manifest.blocks
    a, b = made.batch(np.arange(9)), back.batch(np.arange(9))
    assert np.array_equal(a.present, b.present)
    assert np.array_equal(a.labels.dense(), b.labels.dense())
    assert all(np.array_equal(a.values[name], b.values[name]) for name in a.values)


def test_others_read_it(tmp_path, made):
    write_parquet(made, tmp_path / "a.parquet")
    found = tables.read_table(tmp_path / "a.parquet").to_pylist()
    batch = made.batch(np.arange(9))
    for at, row in enumerate(found):
        assert row["id"] == made.ids[at]
        assert row["labels"] == np.flatnonzero(batch.labels.dense()[at]).tolist()
        wanted = batch.values["visual"][at].tolist() if batch.present[at, 0] else None
        assert row["block.visual"] == wanted


def test_without_labels(tmp_path):
    made = write_set(tmp_path / "set", BLOCKS, list("ABCD"), [replace(rows(), labels=None)])
    write_parquet(made, tmp_path / "a.parquet")
    assert read_parquet(tmp_path / "a.parquet", tmp_path / "back").labels is None


def test_frames_do_not_fit(tmp_path):
    values = {"visual": np.zeros((2, 3), np.uint8)}
    shard = ShardRows(["a"], values, lengths=np.array([2]))
    made = write_set(tmp_path / "set", [Block("visual", "frames", 3)], ["A"], [shard])
    with pytest.raises(InvalidValueError, match="frames"):
        write_parquet(made, tmp_path / "a.parquet")


def changed(tmp_path, made, change, metadata=None):
    """The same table with some columns changed."""
    write_parquet(made, tmp_path / "a.parquet")
    table = tables.read_table(tmp_path / "a.parquet")
    for name, column in change.items():
        at = table.column_names.index(name)
        table = table.remove_column(at) if column is None else table.set_column(at, name, column)
    about = table.schema.metadata
    tables.write_table(table.replace_schema_metadata(metadata(about) if metadata else about), tmp_path / "b.parquet")
    return tmp_path / "b.parquet"


def lists(values, kind, size):
    return arrow.array(values, arrow.list_(kind, size))


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"labels": None},
        {"block.visual": None},
        {"id": arrow.array(["a\0"] * 9)},
        {"id": arrow.array(["x" * 200] * 9)},
        {"id": arrow.array([None] * 9, arrow.string())},
        {"labels": arrow.array([[7]] * 9, arrow.list_(arrow.int32()))},
        {"labels": arrow.array([[None]] * 9, arrow.list_(arrow.int32()))},
        {"block.visual": lists([[1.0, 2.0]] * 9, arrow.float32(), 2)},
        {"block.visual": lists([[1.0, None, 2.0]] * 9, arrow.float32(), 3)},
        {"block.visual": lists([[1.0, float("nan"), 2.0]] * 9, arrow.float32(), 3)},
        {"block.visual": arrow.array(["x"] * 9)},
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path, made, change):
    with pytest.raises(RejectedFileError):
        read_parquet(changed(tmp_path, made, change), tmp_path / "back")


@pytest.mark.parametrize(
    "said", [b"", b"{", b"[]", json.dumps({"label_names": ["A"], "blocks": [{"name": "../x"}], "about": {}}).encode()]
)
def test_metadata_that_do_not_fit_are_refused(tmp_path, made, said):
    path = changed(tmp_path, made, {}, lambda about: {b"lightmeter.example-set": said})
    with pytest.raises(RejectedFileError):
        read_parquet(path, tmp_path / "back")


def test_what_is_no_table_is_refused(tmp_path, made):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(RejectedFileError):
        read_parquet(tmp_path / "a.parquet", tmp_path / "back")
