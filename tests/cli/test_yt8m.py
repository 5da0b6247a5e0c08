"""`lightmeter yt8m`: from generated records to a set, to other forms, and to a score."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lightmeter.cli.main import cli
from lightmeter.library.example_set import open_set
from lightmeter.library.yt8m.kaggle import write_answers


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
    names = ["00000.tfrecord.gz", "vocabulary.csv", "words.jsonl"]
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
