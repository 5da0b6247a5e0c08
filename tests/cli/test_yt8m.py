"""`lightmeter yt8m`: from generated records to a set, to other forms, and to a score."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lightmeter.cli.main import cli
from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block
from lightmeter.library.example_set import open_set
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.labelled import open_examples
from lightmeter.library.yt8m.kaggle import write_answers
from lightmeter.types import Labels


def run(*arguments, code=0):
    done = CliRunner().invoke(cli, ["yt8m", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def rows(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def data(tmp_path):
    run("generate", tmp_path / "data", "--videos", 50, "--classes", 20, "--quiet")
    return tmp_path / "data"


def test_generate_says_what_it_made_and_what_it_is_for(tmp_path):
    done = run("generate", tmp_path / "out", "--videos", 50, "--classes", 20, "--json")
    train, test = rows(done)
    assert (train["schema"], train["part"], train["videos"], test["videos"]) == (
        "lightmeter.yt8m.generate/1",
        "train",
        40,
        10,
    )
    assert "load and regression tests only" in done.stderr
    assert len(open_set(tmp_path / "out" / "train")) == 40
    assert run("generate", tmp_path / "out", "--videos", 50, "--classes", 20, "--json", "--quiet").stderr == ""


def test_generate_frames_as_records_and_convert_them(tmp_path):
    run(
        "generate", tmp_path / "raw", "--videos", 20, "--classes", 20, "--level", "frame", "--max-frames", 4,
        "--format", "tfrecord", "-q",
    )  # fmt: skip
    raw = tmp_path / "raw" / "train"
    done = run("convert", raw, tmp_path / "set", "--json", "--quantised-by", "floor")
    assert [(row["items"], row["left_out"]) for row in rows(done)] == [(16, {})]
    assert f"classes 20, named by {raw / 'vocabulary.csv'}" in done.stderr
    assert f"`lightmeter yt8m words {tmp_path / 'set'} --out SET2`" in done.stderr
    assert (tmp_path / "set" / "words.jsonl").read_bytes() == (raw / "words.jsonl").read_bytes()
    made = open_set(tmp_path / "set")
    assert f"0,{made.label_names[0]}" in (raw / "vocabulary.csv").read_text().splitlines()
    assert len(made.label_names) == 20
    assert [block.kind for block in made.blocks] == ["frames", "frames"]
    run("convert", tmp_path / "set", tmp_path / "back", "--to", "tfrecord", "--gzip", "--id-key", "video_id", "-q")
    names = ["00000.tfrecord.gz", "records.json", "vocabulary.csv", "words.jsonl"]
    assert [path.name for path in sorted((tmp_path / "back").iterdir())] == names


def test_convert_tells_what_it_left_out(tmp_path, data):
    run("convert", data / "train", tmp_path / "raw", "--to", "tfrecord", "-q")
    path = tmp_path / "raw" / "00000.tfrecord"
    path.write_bytes(path.read_bytes()[:-1])
    done = run("convert", tmp_path / "raw", tmp_path / "set", "--classes", 20, code=3)
    assert "items 39; left out: 1 truncated" in done.stderr
    assert json.loads((tmp_path / "set" / "quarantine.jsonl").read_text())["code"] == "truncated"
    again = run("convert", tmp_path / "raw", tmp_path / "set", "--classes", 20, "--json", code=3)
    assert rows(again)[0]["left_out"] == {"truncated": 1}


def test_parquet(tmp_path, data):
    pytest.importorskip("pyarrow")
    done = run("convert", data / "test", tmp_path / "a.parquet", "--to", "parquet")
    assert f"they stay in {data / 'test' / 'words.jsonl'}" in done.stderr
    run("convert", tmp_path / "a.parquet", tmp_path / "back", "-q")
    assert open_set(tmp_path / "back").fingerprint == open_set(data / "test").fingerprint


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{data}/train", "{out}"], "say what to write"),
        (["{data}/train", "{out}", "--to", "parquet", "--gzip"], "--gzip is for --to tfrecord"),
        (["{data}/train", "{out}", "--to", "parquet", "--classes", "20"], "--classes is for TFRecords"),
        (["{data}/train/words.jsonl", "{out}", "--to", "parquet"], "is for one set"),
        (["{data}/train/words.jsonl", "{out}", "--gzip"], "--gzip is for --to tfrecord"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, data, arguments, said):
    filled = [each.format(data=data, out=tmp_path / "out") for each in arguments]
    assert said in run("convert", *filled, code=2).output


@pytest.mark.parametrize(
    ("level", "arguments", "said"),
    [
        ("video", ["--max-frames", "3"], "--max-frames is for records of frames"),
        ("frame", ["--store", "uint8"], "--store is for records of whole videos"),
    ],
)
def test_options_for_another_level_are_refused(tmp_path, level, arguments, said):
    small = ["--videos", 4, "--classes", 5, "--max-frames", 2, "-q"]
    run("generate", tmp_path / "gt", *small, "--format", "tfrecord", "--level", level)
    with pytest.raises(InvalidValueError, match=said):
        run("convert", tmp_path / "gt" / "train", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def wide_set(folder, level, sound=True):
    """Three videos of 1,280 and 384 numbers."""
    chance = np.random.default_rng(0)
    dims = {"visual": 1280, "audio": 384} if sound else {"visual": 1280}
    blocks = [
        Block(name, "features" if level == "video" else "frames", dim, f"of {name}") for name, dim in dims.items()
    ]
    lengths = np.array([2, 1, 3]) if level == "frame" else None
    values = {
        name: chance.normal(size=(3, dim)).astype(np.float32)
        if lengths is None
        else chance.integers(0, 256, (6, dim), np.uint8)
        for name, dim in dims.items()
    }
    rows = ShardRows(list("abc"), values, Labels.of([[0], [1], [0, 1]], 2), lengths=lengths)
    return write_set(folder, blocks, ["cat", "dog"], [rows])


@pytest.mark.parametrize("level", ["video", "frame"])
def test_a_set_of_any_width_goes_to_records_and_back(tmp_path, level):
    made = wide_set(tmp_path / "set", level)
    run("convert", tmp_path / "set", tmp_path / "raw", "--to", "tfrecord", "-q")
    done = run("convert", tmp_path / "raw", tmp_path / "back")
    assert f"visual of 1280, audio of 384, says {tmp_path / 'raw' / 'records.json'}" in done.stderr
    back = open_set(tmp_path / "back")
    assert (back.blocks, back.fingerprint) == (made.blocks, made.fingerprint)


def test_widths_beside_records_are_held_to_what_they_may_be(tmp_path):
    wide_set(tmp_path / "set", "video", sound=False)
    run("convert", tmp_path / "set", tmp_path / "raw", "--to", "tfrecord", "-q")
    run("convert", tmp_path / "raw", tmp_path / "back", "-q")
    back = open_set(tmp_path / "back")
    assert [(each.name, each.dim) for each in back.blocks] == [("visual", 1280), ("audio", 128)]
    assert back.present.tolist() == [[True, False]] * 3
    told = tmp_path / "raw" / "records.json"
    said = json.loads(told.read_text())
    for wrong in (
        "[",
        "{}",
        {**said, "blocks": [{"name": "visual", "dim": 0, "made_by": ""}]},
        {**said, "schema": "x"},
    ):
        told.write_text(wrong if isinstance(wrong, str) else json.dumps(wrong))
        with pytest.raises(ValueError, match=r"records\.json must"):
            run("convert", tmp_path / "raw", tmp_path / "again", "-q")
    told.write_text(json.dumps({**said, "blocks": [{"name": "visual", "dim": 12, "made_by": ""}]}))
    wide_set(tmp_path / "set2", "video")
    run("convert", tmp_path / "set2", tmp_path / "raw2", "--to", "tfrecord", "-q")
    with pytest.raises(InvalidValueError, match="records must be of the same blocks, got .* which differ"):
        run("convert", tmp_path / "raw", tmp_path / "raw2", tmp_path / "again", "-q")


def test_a_table_is_written_over_nothing_but_a_table(tmp_path, data):
    pytest.importorskip("pyarrow")
    for _ in range(2):
        run("convert", data / "test", tmp_path / "a.parquet", "--to", "parquet", "-q")
    (tmp_path / "notes.txt").write_text("mine")
    for name in ("notes.txt", "data"):
        with pytest.raises(InvalidValueError, match="OUT must be new or a Parquet file, got"):
            run("convert", data / "test", tmp_path / name, "--to", "parquet", "-q")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_empty_set_is_called_so(tmp_path):
    write_set(tmp_path / "none", [Block("visual", "features", 2)], ["a"], [])
    with pytest.raises(InvalidValueError, match="DATA must hold items, got .*none, a set without any"):
        open_examples(tmp_path / "none", labelled=False)


def test_evaluate(tmp_path, data):
    made = open_set(data / "test")
    dense = made.labels.dense()
    order = np.argsort(~dense, axis=1, kind="stable")[:, :20]
    write_answers(tmp_path / "a.csv", [(made.ids[:], np.take_along_axis(dense, order, 1) * 0.5 + 0.1, order)])
    (found,) = rows(run("evaluate", tmp_path / "a.csv", data / "test", "--json"))
    assert (found["schema"], found["gap"], found["hit_at_1"], found["missing"]) == (
        "lightmeter.yt8m.evaluate/1",
        1,
        1,
        0,
    )
    assert found["cost"]["wall_s"] >= 0
    with (tmp_path / "a.csv").open("a") as file:
        file.write("nobody,0 0.5\nbad\n")
    done = run("evaluate", tmp_path / "a.csv", data / "test", code=3)
    assert "GAP@20 1.00000" in done.stdout
    assert "line 13: pairs" in done.stderr
    assert run("evaluate", tmp_path / "a.csv", data / "test", "-q", code=3).stderr == ""
