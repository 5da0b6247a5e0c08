"""`lightmeter fit`, `predict` and `evaluate` as a user types them: on sets, on a library, on tables of labels."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil

import numpy as np
import pytest
from media_folder import COLOURS, gallery
from test_commands import QUICK, rows, run

from lightmeter.heads.examples import Block
from lightmeter.library.example_set import open_set
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.labelled import open_examples
from lightmeter.types import Labels

FAST = ("--training", "adam/lr=0.03,batch=40,epochs=8")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """OUT/train and OUT/test, generated: 160 and 40 videos of 20 classes."""
    folder = tmp_path_factory.mktemp("data")
    assert run("yt8m", "generate", folder, "--videos", 200, "--classes", 20, "-q")[0] == 0
    return folder


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    code, out, err = run("fit", data / "train", "--out", folder, *FAST)
    assert code == 0, err
    assert out.startswith(f"{folder}: moe/experts=2,normalise=whole,missing=zero of visual, audio → 20 classes")
    assert "GAP" in err
    assert "CPU" in out
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Pictures of four colours, three of each, indexed by their colours."""
    folder = tmp_path_factory.mktemp("library")
    media = gallery(folder / "media")
    assert run("index", media, "--library", folder / "l", *QUICK)[0] == 0
    return folder


def test_the_vertical_slice(data, model):
    code, out, _ = run("evaluate", model, data / "test", "--json", "-q")
    (found,) = rows(out)
    assert code == 0
    assert found["schema"] == "lightmeter.evaluate/1"
    assert found["gap_worst"] <= found["gap"] <= found["gap_best"]
    assert found["gap"] > 0.4
    assert 0 < found["hit_at_1"] <= 1
    assert found["videos"] == 40
    assert {"perr", "map", "labels", "examples_per_s"} <= set(found)
    assert {"cpu_s", "wall_s", "peak_bytes"} <= set(found["cost"])
    assert found["model"]["macs"] == 5 * 20 * 1152
    assert found["model"]["size_bytes"] == 4 * (5 * 20 * 1152 + 2 * 20)
    text = run("evaluate", model, data / "test")[1]
    assert f"GAP {found['gap']:.4f}" in text
    assert "MMAC" in text or "kMAC" in text


def test_predictions_as_lines_json_and_kaggles_table(data, model, tmp_path):
    lines = run("predict", model, data / "test", "--top", 3, "-q")[1].splitlines()
    assert len(lines) == 40
    found = rows(run("predict", model, data / "test", "--top", 3, "--json", "-q")[1])
    assert [each["id"] for each in found] == list(open_set(data / "test").ids)
    scores = [label["score"] for label in found[0]["labels"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert lines[0] == f"{found[0]['id']}: " + ", ".join(f"{e['label']} {e['score']:.3f}" for e in found[0]["labels"])
    run("predict", model, data / "test", "--csv", tmp_path / "answers.csv", "-q")
    code, out, _ = run("yt8m", "evaluate", tmp_path / "answers.csv", data / "test", "--json", "-q")
    direct = rows(run("evaluate", model, data / "test", "--json", "-q")[1])[0]
    assert rows(out)[0]["hit_at_1"] == direct["hit_at_1"]
    assert rows(out)[0]["gap"] == pytest.approx(direct["gap"], abs=1e-3)


def test_the_same_again_is_found_and_another_is_refused(data, model):
    before = (model / "model.json").read_bytes()
    assert "learnt from 160 examples before" in run("fit", data / "train", "--out", model, *FAST, "-q")[1]
    code, _, err = run("fit", data / "train", "--out", model, *FAST, "--seed", 5, "-q")
    assert code == 1
    assert "whose seed is 0, not 5" in err
    assert "--anew" in err
    assert (model / "model.json").read_bytes() == before


def test_a_share_is_kept_from_learning_and_scored(data, tmp_path):
    code, out, _ = run("fit", data / "train", "--out", tmp_path / "m", *FAST, "--dev", 0.25, "--json", "-q")
    (found,) = rows(out)
    assert code == 0
    assert (found["examples"], found["dev"]["videos"]) == (120, 40)
    assert 0 < found["dev"]["gap"] < 1
    assert found["dev"]["cost"]["cpu_s"] > 0
    assert sorted(each.name for each in (tmp_path / "m").iterdir()) == ["model.json", "model.safetensors"]


def test_classes_a_few_at_a_time_and_on_an_engine_are_one_model(data, tmp_path):
    training = ("--training", "adam/lr=0.03,batch=40,epochs=2,clip_by=class,precision=float32")
    gaps = []
    for at, more in enumerate([(), ("--class-shard", 7), ("--class-shard", 7, "--engine", "inline")]):
        code, _, err = run("fit", data / "train", "--out", tmp_path / str(at), *training, *more, "-q")
        assert code == 0, err
        gaps.append(rows(run("evaluate", tmp_path / str(at), data / "test", "--json", "-q")[1])[0]["gap"])
    assert gaps[1] == gaps[2] == pytest.approx(gaps[0], abs=1e-6)
    code, _, err = run("fit", data / "train", "--out", tmp_path / "x", "--class-shard", 7, "-q")
    assert code == 1
    assert "clip_by=class" in err


def test_a_student_of_a_model(data, model, tmp_path):
    training = ("--training", "adam/lr=0.03,batch=40,epochs=4,distil=0.8")
    code, _, err = run("fit", data / "train", "--out", tmp_path / "m", *training, "--teacher", model, "-q")
    assert code == 0, err
    about = json.loads((tmp_path / "m" / "model.json").read_text())["about"]
    assert len(about["taught_by"]) == 64
    code, _, err = run("fit", data / "train", "--out", tmp_path / "n", *training, "-q")
    assert "teacher go together" in err


def test_blocks_that_lack_are_told_and_can_be_left_out(data, tmp_path):
    code, _, _ = run("fit", data / "train", "--out", tmp_path / "m", *FAST, "--blocks", "visual", "-q")
    assert code == 0
    assert rows(run("evaluate", tmp_path / "m", data / "test", "--json", "-q")[1])[0]["model"]["blocks"] == ["visual"]
    write_set(
        tmp_path / "bare", [Block("audio", "features", 128)], open_set(data / "test").label_names,
        [ShardRows(["a"], {"audio": np.zeros((1, 128), np.float32)}, Labels.of([[0]], 20))],
    )  # fmt: skip
    code, _, err = run("evaluate", tmp_path / "m", tmp_path / "bare", "-q")
    assert (code, "got no visual" in err) == (1, True)
    code, _, err = run("fit", data / "train", "--out", tmp_path / "n", "--blocks", "visaul", "-q")
    assert "did you mean 'visual'" in err


def test_answers_without_a_block(data, model):
    gaps = [
        rows(run("evaluate", model, data / "test", "--json", "-q", *more)[1])[0]["gap"]
        for more in ((), ("--without", "audio"), ("--without", "visual"))
    ]
    assert gaps[0] > gaps[2]
    assert run("evaluate", model, data / "test", "--without", "title", "-q")[0] == 1


# -- libraries --------------------------------------------------------------------------------------------------------


def test_a_library_and_a_table_of_labels(library, tmp_path):
    table = library / "labels.csv"
    lines = [f"media/{colour}-{at}.png,{colour};picture" for colour in COLOURS for at in range(2)]
    table.write_text("\n".join(["path,labels", *lines, "media/none.png,x"]) + "\n")
    fast = ("--training", "adam/lr=0.05,batch=8,epochs=60")
    code, out, err = run("fit", library / "l", "--labels", table, "--out", tmp_path / "m", *fast)
    assert code == 0, err
    assert "of color-histogram → 5 classes, learnt from 8 examples" in out
    assert "of nothing here, left out: 1, as 'media/none.png'" in err
    assert "items without a label, left out: 4 of 12" in err
    answers = rows(run("predict", tmp_path / "m", library / "l", "--top", 2, "--json", "-q")[1])
    assert len(answers) == 12
    for answer in answers:
        assert {each["label"] for each in answer["labels"]} == {answer["path"].split("/")[-1].split("-")[0], "picture"}
    held = library / "held.csv"
    held.write_text("".join(f"media/{colour}-2.png,{colour};picture\n" for colour in COLOURS))
    (found,) = rows(run("evaluate", tmp_path / "m", library / "l", "--labels", held, "--json", "-q")[1])
    assert (found["videos"], found["gap"], found["items_left_out"], found["lines_left_out"]) == (4, 1, 8, 0)
    held.write_text("media/red-2.png,crimson\n")
    code, _, err = run("evaluate", tmp_path / "m", library / "l", "--labels", held, "-q")
    assert (code, "known to the model, got 'crimson'" in err) == (1, True)


def test_a_library_and_its_tags(library, tmp_path):
    code, _, err = run("fit", library / "l", "--out", tmp_path / "m", "-q")
    assert (code, "lightmeter tag --set" in err) == (1, True)
    copy = tmp_path / "copy"
    shutil.copytree(library / "l", copy)
    for colour in ("red", "blue"):
        files = [library / "media" / f"{colour}-{at}.png" for at in range(3)]
        assert run("tag", "--set", colour, *files, "--library", copy)[0] == 0
    examples = open_examples(copy).examples
    assert (len(examples), examples.label_names) == (6, ("blue", "red"))
    code, out, _ = run("fit", copy, "--out", tmp_path / "m", "--training", "adam/lr=0.05,batch=6,epochs=40", "-q")
    assert (code, "2 classes" in out) == (0, True)
    assert rows(run("evaluate", tmp_path / "m", copy, "--json", "-q")[1])[0]["hit_at_1"] == 1


def test_rows_of_an_item_are_averaged(library):
    from lightmeter.library.store import open_library

    examples = open_examples(library / "l", labelled=False).examples
    with open_library(library / "l") as opened:
        features = opened.features(opened.all_series()[0])
        np.testing.assert_allclose(examples.batch(np.arange(12)).values["color-histogram"], features.vectors, atol=1e-6)


def test_what_was_learnt_is_an_encoder(library, tmp_path):
    table = library / "all.csv"
    table.write_text("".join(f"media/{colour}-{at}.png,{colour}\n" for colour in COLOURS for at in range(3)))
    head = ("--head", "keyword-mlp/widths=[6],normalise=whole", "--training", "adam/lr=0.05,batch=12,epochs=30")
    code, _, err = run("fit", library / "l", "--labels", table, "--out", tmp_path / "m", *head, "-q")
    assert code == 0, err
    encoder = f"learnt/model='{tmp_path / 'm'}'"
    index = ("index", library / "media", "--library", tmp_path / "l", "--encoder", encoder, "--words", "")
    code, _, err = run(*index, "--engine", "inline", "-q")
    assert code == 0, err
    code, out, _ = run("search", library / "media" / "red-0.png", "--library", tmp_path / "l", "--json", "-q")
    assert code == 0
    names = [each["path"].split("/")[-1].split("-")[0] for each in rows(out)[:2]]
    assert names == ["red", "red"]


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_what_is_no_data_is_told(data, tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "train00.tfrecord").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    convert = f"`lightmeter yt8m convert {tmp_path / 'records'} OUT`"
    cases = (
        (tmp_path / "records", convert),
        (tmp_path, convert),
        (data, "a folder of sets"),
        (tmp_path / "empty", "index"),
    )
    for folder, words in cases:
        code, _, err = run("fit", folder, "--out", tmp_path / "m", "-q")
        assert (code, words in err) == (1, True), err


@pytest.mark.parametrize("name", ["a.tfrecord", "a.tfrecords", "a.tfrecord.gz", "plain", "packed.gz"])
def test_tfrecords_are_converted_as_the_sentence_says(model, tmp_path, name):
    made = ("yt8m", "generate", tmp_path / "r", "--videos", 12, "--classes", 20, "--format", "tfrecord", "-q")
    assert run(*made)[0] == 0
    (tmp_path / "some files").mkdir()
    place = tmp_path / "some files" / name
    whole = (tmp_path / "r" / "train" / "train00000.tfrecord").read_bytes()
    place.write_bytes(gzip.compress(whole) if name.endswith(".gz") else whole)
    for verb in (("fit",), ("predict", model), ("evaluate", model)):
        out = ("--out", tmp_path / "m") if verb == ("fit",) else ()
        code, _, err = run(*verb, place, *out, "-q")
        assert (code, "got TFRecords" in err) == (1, True), err
        said = shlex.split(re.search("`lightmeter (.*) OUT`", err).group(1))
        assert said == ["yt8m", "convert", str(place)]
    assert run(*said, tmp_path / "set", "--classes", 20, "-q")[0] == 0
    assert len(open_set(tmp_path / "set")) > 0


def test_data_and_model_in_the_wrong_order(data, model):
    code, _, err = run("evaluate", data / "test", model, "-q")
    assert (code, "DATA comes last" in err or "models stand before DATA" in err) == (1, True), err
    code, _, err = run("predict", data / "test", data / "test", "-q")
    assert (code, "models stand before DATA" in err) == (1, True), err


def test_few_steps_are_told_with_a_training_that_has_enough(data, tmp_path):
    code, _, err = run("fit", data / "train", "--out", tmp_path / "a", "--training", "adam/l2=0.001")
    assert code == 0
    assert "160 examples in batches of 160, 5 times, are 5 steps, too few" in err
    spec = re.search(r"try --training (\S+)", err).group(1)
    assert spec == "adam/batch=64,epochs=120,l2=0.001"
    code, out, err = run("fit", data / "train", "--out", tmp_path / "b", "--training", spec, "--json")
    assert (code, "too few" in err) == (0, False), err
    gaps = [
        rows(run("evaluate", tmp_path / name, data / "test", "--json", "-q")[1])[0]["gap"] for name in ("a", "b")
    ]  # fmt: skip
    assert gaps[1] > gaps[0] + 0.02
    assert "too few" not in run("fit", data / "train", "--out", tmp_path / "c", "-q")[2]


def test_classes_that_dev_takes_whole_are_told(tmp_path):
    labels = Labels.of([[at % 2] for at in range(38)] + [[2], [3]], 5)
    part = ShardRows([str(at) for at in range(40)], {"v": np.eye(40, 4, dtype=np.float16)}, labels)
    write_set(tmp_path / "set", [Block("v", "features", 4)], tuple("abcde"), [part])
    code, out, err = run(
        "fit",
        tmp_path / "set",
        "--out",
        tmp_path / "m",
        "--training",
        "adam/epochs=1",
        "--dev",
        0.9,
        "--json",
    )
    (found,) = rows(out)
    counts = json.loads((tmp_path / "m" / "model.json").read_text())["about"]["label_counts"]
    lost = [name for name, count in zip("abcd", counts[:4], strict=True) if not count]  # nobody ever had e
    assert lost
    assert found["classes_lost"] == len(lost)
    assert f"--dev keeps all examples of {len(lost)} of 5 classes from learning ({', '.join(lost)})" in err


def test_a_closed_form_has_no_line_of_progress(data, tmp_path):
    fit = ("fit", data / "train", "--out", tmp_path / "m", "--head", "label-ridge")
    for _ in range(2):
        code, _, err = run(*fit)
        assert (code, err) == (0, "")


def test_what_differs_from_the_model_that_stands_there_is_named(data, tmp_path):
    fit = ("fit", data / "train", "--out", tmp_path / "m", "-q", "--training")
    assert run(*fit, "adam/epochs=2,batch=40")[0] == 0
    code, _, err = run(*fit, "adam/epochs=2,batch=40,l2=0.001,loss=(bce/reduce=mean)")
    assert code == 1
    assert "training/l2 is 1e-08, not 0.001, and training/loss is (bce/epsilon=1e-05,reduce=sum), not (bce/" in err
    assert "batch" not in err


def test_a_size_that_no_format_reaches_is_refused_before_learning(data, tmp_path):
    fit = ("fit", data / "train", "--out", tmp_path / "m", *FAST, "--most-size")
    code, _, err = run(*fit, "1kB")
    least = int(re.search(r"must be (\d+) bytes or more", err).group(1))
    assert (code, "loss" in err, (tmp_path / "m").exists()) == (1, False, False), err
    assert run(*fit, str(least - 1), "-q")[0] == 1
    code, out, err = run(*fit, str(least), "-q", "--json")
    assert (code, rows(out)[0]["size_bytes"]) == (0, least), err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--training", "adam/loss=focal"), "no loss called 'focal': there is asymmetric, bce, logit-adjusted"),
        (("--training", "adam/loss=asymetric"), "no loss called 'asymetric': did you mean 'asymmetric'?"),
        (("--training", "adam/loss=(moe/experts=2)"), "no loss called 'moe'"),
        (("--training", "adam/epochs=0"), "must be 1 or more, got batch=1024, epochs=0, decay_every=4000000"),
        (("--seed", -1), "must be a whole number from 0 on, got -1"),
        (("--training", "adam/distil=0.5"), "distil=0.5 without one: give a --teacher too"),
    ],
)
def test_what_cannot_be_is_told_plainly(data, tmp_path, options, said):
    code, _, err = run("fit", data / "train", "--out", tmp_path / "m", *options, "-q")
    assert code in (1, 2)
    assert said in err


def test_rated_segments_as_the_challenge_took_them(tmp_path):
    chance = np.random.default_rng(0)
    hits = chance.random((60, 3)) < 0.4
    rows_ = np.concatenate([hits + chance.normal(size=(60, 3)) / 4, chance.normal(size=(60, 1))], axis=1)
    rated = Labels.of([[0, 1, 2]] * 60, 3)
    labels = Labels.of([np.flatnonzero(each).tolist() for each in hits], 3)
    ids = [f"v{at // 3}:{5 * (at % 3)}" for at in range(60)]
    part = ShardRows(ids, {"visual": rows_.astype(np.float16)}, labels, rated=rated)
    write_set(tmp_path / "set", [Block("visual", "features", 4)], ("a", "b", "c"), [part])
    training = ("--training", "adam/lr=0.05,batch=20,epochs=40")
    assert run("fit", tmp_path / "set", "--out", tmp_path / "m", *training, "-q")[0] == 0
    predict = ("predict", tmp_path / "m", tmp_path / "set", "--csv", tmp_path / "s.csv")
    code, out, err = run(*predict, "-q")
    assert (code, "3 lines, one a class, of 60 segments" in out) == (0, True), err
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "Class,Segments"
    assert sorted(lines[1].removeprefix("0,").split()) == sorted(ids)
    direct = rows(run("evaluate", tmp_path / "m", tmp_path / "set", "--json", "-q")[1])[0]
    listed = rows(run("yt8m", "evaluate", tmp_path / "s.csv", tmp_path / "set", "--json", "-q")[1])[0]
    assert listed["map"] == pytest.approx(direct["map"], abs=1e-9)
    code, _, err = run(*predict, "--top", 3)
    assert (code, "--top is for videos" in err) == (2, True)


def test_a_closed_form_learns_without_steps(data, tmp_path):
    head = ("--head", "label-ridge", "--dev", 0.25)
    code, out, err = run("fit", data / "train", "--out", tmp_path / "m", *head, "-q")
    assert code == 0, err
    assert "label-ridge/l2=1.0" in out
    assert rows(run("evaluate", tmp_path / "m", data / "test", "--json", "-q")[1])[0]["gap"] > 0.4
    assert "before" in run("fit", data / "train", "--out", tmp_path / "m", *head, "-q")[1]
    code, _, err = run("fit", data / "train", "--out", tmp_path / "n", *head, "--training", "adam", "-q")
    assert (code, "--training does not go with label-ridge" in err) == (2, True)


def test_what_goes_together_is_told(data, tmp_path):
    code, _, err = run("fit", data / "train", "--out", tmp_path / "m", "--engine", "inline")
    assert (code, "--class-shard" in err) == (2, True)
    code, _, err = run("fit", data / "train", "--out", tmp_path / "m", "--head", "knn", "-q")
    assert (code, "for several labels" in err) == (1, True)
    code, _, err = run("fit", data / "train", "--out", tmp_path / "m", "--head", "dbof", "-q")
    assert (code, "must read frames or features" in err or "frames" in err) == (1, True)
    code, _, err = run("predict", tmp_path, data / "test")
    assert code == 1


def test_foreign_folders_are_not_written_into(data, library, tmp_path):
    (tmp_path / "videos" / "training").mkdir(parents=True)
    (tmp_path / "videos" / "training" / "a.mp4").write_bytes(b"mine")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "model.json").write_text('{"format": "layers-model"}')
    for out in (data / "train", library / "l", library / "media", tmp_path / "videos", tmp_path / "web"):
        before = sorted(each.name for each in out.iterdir())
        code, _, err = run("fit", data / "train", "--out", out, *FAST, "--anew", "-q")
        assert (code, "new, empty or hold a model" in err) == (1, True), err
        assert sorted(each.name for each in out.iterdir()) == before
    assert (tmp_path / "videos" / "training" / "a.mp4").read_bytes() == b"mine"
    code, _, err = run("fit", data / "train", "--out", tmp_path / "web" / "model.json" / "m", "-q")
    assert (code, "is a file" in err) == (1, True), err


def test_begun_and_empty_folders_are_written_into(tmp_path):
    from lightmeter.library.fitting import check_out

    for place in ("empty", "begun/training/step-00000-000000003", "shards/training/shard-00001", "m/members/0"):
        (tmp_path / place).mkdir(parents=True)
        check_out(tmp_path / place.split("/")[0])
    check_out(tmp_path / "new" / "newer")


def test_a_teacher_of_other_features_is_told(tmp_path):
    """Blocks of the same name: frames for one, means of them for the other."""
    chance = np.random.default_rng(0)
    labels = Labels.of([[at % 2] for at in range(8)], 2)
    ids = [str(at) for at in range(8)]
    frames = chance.integers(0, 256, (24, 4)).astype(np.uint8)
    means = frames.reshape(8, 3, 4).mean(axis=1).astype(np.float16)
    for kind, values, lengths in (("frames", frames, np.full(8, 3)), ("features", means, None)):
        part = ShardRows(ids, {"visual": values}, labels, lengths=lengths)
        write_set(tmp_path / kind, [Block("visual", kind, 4)], ("a", "b"), [part])
    heads = {"frames": "attention", "features": "moe/experts=2"}
    for kind, head in heads.items():
        fit = ("fit", tmp_path / kind, "--head", head, "--out", tmp_path / f"{kind}-m", "-q")
        code, _, err = run(*fit, "--training", "adam/epochs=1,batch=8")
        assert code == 0, err
    for own, other in (("frames", "features"), ("features", "frames")):
        code, _, err = run(
            "fit", tmp_path / own, "--head", heads[own], "--training", "adam/epochs=1,batch=8,distil=0.5",
            "--teacher", tmp_path / f"{other}-m", "--out", tmp_path / "student", "-q",
        )  # fmt: skip
        assert (code, f"visual must be {other} of 4" in err, f"got {own} of 4" in err) == (1, True, True), err
        assert not (tmp_path / "student").exists()


def test_a_table_of_nothing_here_is_told(data, library, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("no/a.png,x\nno/b.png,y\n")
    for folder in (library / "l", data / "train"):
        code, _, err = run("fit", folder, "--labels", table, "--out", tmp_path / "m", "-q")
        assert (code, f"got none in {table} (lines 2)" in err, "as 'no/a.png'" in err) == (1, True, True), err


def test_what_a_table_leaves_out_of_a_set_is_told(data, tmp_path):
    table = tmp_path / "labels.csv"
    ids = open_set(data / "train").ids
    table.write_text("".join(f"{name},{'ab'[at % 2]}\n" for at, name in enumerate([*ids[:40], "nobody"])))
    fit = ("fit", data / "train", "--labels", table, "--out", tmp_path / "m", *FAST, "--json")
    code, out, err = run(*fit)
    (found,) = rows(out)
    assert (code, "items without a label, left out: 120 of 160" in err) == (0, True), err
    assert (found["examples"], found["items_left_out"], found["lines_left_out"]) == (40, 120, 1)


def test_a_table_of_answers_needs_its_folder(data, model, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("none", "file"):
        code, _, err = run("predict", model, data / "test", "--csv", tmp_path / folder / "x.csv", "-q")
        assert (code, "a folder that is there" in err) == (2, True), err
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
