"""`lightmeter ensemble`, what takes its models, `fit --most-size` and `predict --explain`, as a user types them."""

from __future__ import annotations

import numpy as np
import pytest
from test_commands import rows, run

from lightmeter.heads.answering import load_answering
from lightmeter.heads.examples import Block
from lightmeter.heads.label_ridge import LabelRidge
from lightmeter.library.example_set import open_set
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.explaining import words_of
from lightmeter.types import Labels

FAST = ("--training", "adam/lr=0.03,batch=40,epochs=8")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """OUT/train and OUT/test, generated: 160 and 40 videos of 20 classes."""
    folder = tmp_path_factory.mktemp("data")
    assert run("yt8m", "generate", folder, "--videos", 200, "--classes", 20, "-q")[0] == 0
    return folder


@pytest.fixture(scope="module")
def members(data, tmp_path_factory):
    """A model that sees and one that hears."""
    folder = tmp_path_factory.mktemp("members")
    for block in ("visual", "audio"):
        code, _, err = run("fit", data / "train", "--out", folder / block, "--blocks", block, *FAST, "-q")
        assert code == 0, err
    return folder / "visual", folder / "audio"


def test_two_models_are_one(data, members, tmp_path):
    code, out, err = run("ensemble", *members, "--out", tmp_path / "both", "--json")
    assert code == 0, err
    (made,) = rows(out)
    assert made["schema"] == "lightmeter.ensemble/1"
    assert made["blocks"] == ["visual", "audio"]
    assert (made["lines_left_out"], made["items_left_out"]) == (0, 0)
    assert made["head"].startswith("mean/absent=zero of moe/")
    sizes = [load_answering(each).size_bytes for each in members]
    assert made["size_bytes"] == sum(sizes)
    gaps = {}
    for model in (tmp_path / "both", *members):
        code, out, err = run("evaluate", model, data / "test", "--json", "-q")
        assert code == 0, err
        gaps[model.name] = rows(out)[0]["gap"]
    assert gaps["both"] > gaps["audio"]
    code, out, _ = run("predict", tmp_path / "both", data / "test", "--top", 2, "--json", "-q")
    assert code == 0
    assert all(len(each["labels"]) == 2 for each in rows(out))


def test_a_forest_learns_from_other_data(data, members, tmp_path):
    forest = ("--by", "forest-votes/trees=10,vote=proba")
    code, _, err = run("ensemble", *members, *forest, "--out", tmp_path / "f")
    assert (code, "--data" in err) == (2, True)
    code, out, err = run("ensemble", *members, *forest, "--data", data / "test", "--out", tmp_path / "f", "-q")
    assert code == 0, err
    assert "forest-votes/trees=10" in out
    assert run("evaluate", tmp_path / "f", data / "test", "-q")[0] == 0
    code, _, err = run("ensemble", *members, "--data", data / "test", "--out", tmp_path / "g")
    assert (code, "--data does not go with mean" in err) == (2, True)


def test_a_student_listens_to_an_ensemble(data, members, tmp_path):
    assert run("ensemble", *members, "--out", tmp_path / "both", "-q")[0] == 0
    training = ("--training", "adam/lr=0.03,batch=40,epochs=2,distil=0.5")
    fit = ("fit", data / "train", "--out", tmp_path / "student", *training, "--teacher", tmp_path / "both", "-q")
    code, _, err = run(*fit)
    assert code == 0, err
    assert load_answering(tmp_path / "student").about["taught_by"]
    code, out, _ = run(*fit)
    assert (code, "before" in out) == (0, True)
    assert run("ensemble", *members, "--by", "max", "--out", tmp_path / "both", "--anew", "-q")[0] == 0
    code, _, err = run(*fit)
    assert (code, "taught_by" in err) == (1, True), "another teacher is another run"


def test_nothing_is_overwritten_unasked(members, tmp_path):
    out = tmp_path / "both"
    assert run("ensemble", *members, "--out", out, "-q")[0] == 0
    code, _, err = run("ensemble", *members, "--out", out)
    assert (code, "--anew" in err) == (2, True)
    assert run("ensemble", members[0], "--out", out, "--anew", "-q")[0] == 0
    assert not (out / "members" / "1").exists()
    for own in (out, tmp_path):
        code, _, err = run("ensemble", out, "--out", own, "--anew")
        assert (code, "another folder" in err) == (2, True)


def test_a_foreign_folder_is_left_alone(data, members):
    for anew in ((), ("--anew",)):
        code, _, err = run("ensemble", *members, "--out", data / "test", *anew)
        assert (code, "new, empty or hold a model" in err) == (1, True), err
    assert not (data / "test" / "members").exists()


def test_other_labels_are_refused(members, tmp_path):
    from dataclasses import replace

    other = load_answering(members[0])
    replace(other, label_names=tuple(f"x{at}" for at in range(20))).save(tmp_path / "other")
    code, _, err = run("ensemble", members[0], tmp_path / "other", "--out", tmp_path / "m")
    assert (code, "same labels" in err) == (1, True)


def test_a_model_is_kept_within_a_size(data, tmp_path):
    fit = ("fit", data / "train", "--out", tmp_path / "m", *FAST, "--dev", 0.2, "--seed", 0)
    code, out, err = run(*fit, "--most-size", "150kB", "-q")
    assert code == 0, err
    assert "kept as" in out
    assert "kept from learning" in out
    small = load_answering(tmp_path / "m")
    assert small.size_bytes <= 150_000 < 4 * (5 * 20 * 1152)
    code, out, _ = run(*fit, "--most-size", "150kB", "--json", "-q")
    (again,) = rows(out)
    assert (code, again["again"], again["shrunk"]["divergence"] > 0) == (0, True, True)
    code, _, err = run(*fit, "-q")
    assert (code, "most_bytes" in err) == (1, True), "another size is another model"
    code, _, err = run(*fit, "--anew", "--most-size", "2kB", "-q")
    assert (code, "budget must be" in err) == (1, True)
    code, _, err = run(*fit, "--head", "label-ridge", "--most-size", "2kB", "--anew")
    assert (code, "--most-size" in err) == (2, True)


# -- reasons ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Two blocks that say label 0 and 1, a ridge on them, and a set to ask: sight says 0, sound says nothing."""
    folder = tmp_path_factory.mktemp("told")
    chance = np.random.default_rng(0)
    blocks = (Block("sight", "features", 2), Block("sound", "features", 2))
    hits = chance.random((60, 2)) < 0.5
    noise = chance.normal(size=(2, 60, 2)).astype(np.float16) / 10
    values = {"sight": noise[0].copy(), "sound": noise[1].copy()}
    values["sight"][:, 0] += hits[:, 0]
    values["sound"][:, 0] += hits[:, 1]
    labels = Labels.of([np.flatnonzero(row) for row in hits], 2)
    part = ShardRows([f"v{at}" for at in range(60)], values, labels)
    write_set(folder / "set", blocks, ("seen", "heard"), [part])
    LabelRidge(normalise="none").fit(open_set(folder / "set")).save(folder / "m")
    return folder, hits


def test_predict_says_why(told):
    folder, hits = told
    code, out, err = run("predict", folder / "m", folder / "set", "--explain", "--json", "-q")
    assert code == 0, err
    found = rows(out)
    assert len(found) == 60
    for row, each in enumerate(found):
        assert len(each["labels"]) == 2
        for answer in each["labels"]:
            block = "sight" if answer["label"] == "seen" else "sound"
            assert answer["exact"]
            assert (answer["blocks"][block] > 0) == hits[row, int(answer["label"] == "heard")]
            assert next(iter(answer["blocks"])) == block, "the strongest stands first"
            logit = answer["base"] + sum(answer["blocks"].values())
            assert 1 / (1 + np.exp(-logit)) == pytest.approx(answer["score"], abs=1e-5)
    code, out, _ = run("predict", folder / "m", folder / "set", "--explain", "--top", 1, "-q")
    assert code == 0
    assert out.count("\n") == 120
    assert out.startswith("v0:\n  ")
    first = found[0]["labels"][0]
    assert f"· average item {first['base']:+.2f}" in out.splitlines()[1]
    code, _, err = run("predict", folder / "m", folder / "set", "--explain", "--csv", folder / "a.csv")
    assert (code, "--csv holds no reasons" in err) == (2, True)


def test_what_is_left_out_is_no_reason(told):
    folder, _ = told
    code, out, _ = run("predict", folder / "m", folder / "set", "--explain", "--without", "sound", "--json", "-q")
    assert code == 0
    assert {name for each in rows(out) for answer in each["labels"] for name in answer["blocks"]} == {"sight"}


def test_seconds_and_words_are_named(tmp_path):
    """A network that hears nothing but the frames' first number and the word "cat"."""
    from lightmeter.encoders.word_tokens import WordTokens
    from lightmeter.heads.examples import ArrayExamples
    from lightmeter.library.explaining import explained

    (tmp_path / "v.txt").write_text("cat 1 0\ndog 0 1\n")
    tokens = WordTokens(vectors=str(tmp_path / "v.txt"))
    blocks = (Block("visual", "frames", 1), Block("title", "tokens", 40, tokens.spec))

    class Ear:
        label_names, classes = ("a", "b"), 2

        def scores(self, batch):
            signs = batch.values["visual"][:, :, 0].sum(axis=1) + (batch.values["title"] == 1).sum(axis=1)
            return (1 / (1 + np.exp(-np.stack([signs, -signs], axis=1)))).astype(np.float32)

    Ear.blocks = blocks
    frames = np.array([[0.0], [2.0], [-1.0], [0.5]], np.float32)
    title = np.zeros((1, 40), np.int32)
    title[0, :3] = [2, 1, 9]
    examples = ArrayExamples(blocks, {"visual": [frames], "title": title}, ["v"], ("a", "b"))
    ((name, (why,)),) = explained(Ear(), examples, 1)
    assert (name, why.label, why.base) == ("v", "a", None)
    assert [each.what for each in why.seconds] == [1, 3]
    assert [each.what for each in why.words["title"]] == ["cat"]
    assert why.text() == "a 0.924: visual +1.50, title +1.00 · seconds 1 (+2.00), 3 (+0.50) · title: cat (+1.00)"
    ((_, (_, other)),) = explained(Ear(), examples, 2)
    assert [each.what for each in other.seconds] == [2]


def test_words_of_nobody_are_numbers():
    assert words_of(Block("title", "tokens", 4)) is None
    assert words_of(Block("title", "tokens", 4, "no-such-encoder")) is None
    assert words_of(Block("title", "tokens", 4, "tokens/vectors='/nowhere'")) is None
