"""`lightmeter evaluate` beyond one line: in depth, several models, engines, rated segments; nothing is ignored."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_commands import rows, run

from lightmeter.heads.answering import load_answering
from lightmeter.heads.classifier import Classifier
from lightmeter.heads.examples import Block
from lightmeter.heads.training import fit_net
from lightmeter.library import comparing, evaluating
from lightmeter.library.example_set import open_set
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.scoring import COUNTS
from lightmeter.metrics import FullScores, VideoScores, by_frequency, paired_difference, thresholds_for
from lightmeter.parts import build
from lightmeter.types import Labels

FAST = ("--training", "adam/lr=0.03,batch=40,epochs=3")
BLOCKS = [Block("visual", "features", 12), Block("audio", "features", 4)]
NAMES = tuple(f"c{at}" for at in range(8))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A tenth of the rounds."""
    for module in (evaluating, comparing):
        monkeypatch.setattr(module, "rounds_for", lambda items: 100)


def shard(seed, items, *, rated=False):
    """Items whose labels show in their features; a fifth of them lack sound, two have nothing."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(8, 16))
    truth = rng.random((items, 8)) < np.linspace(0.5, 0.05, 8)
    looked = rng.random(truth.shape) < 0.5
    values = (truth @ centres + 0.3 * rng.normal(size=(items, 16))).astype(np.float32)
    present = np.stack([np.ones(items, bool), rng.random(items) < 0.8], axis=1)
    present[:2] = False
    present |= rated  # what is absent makes equal scores
    values *= np.repeat(present, (12, 4), axis=1)
    lists = [np.flatnonzero(row).tolist() for row in (truth & looked if rated else truth)]
    pairs = Labels.of([np.flatnonzero(row).tolist() for row in looked], 8)
    ids = [f"s{at}:0" for at in range(items)]
    blocks = {"visual": values[:, :12], "audio": values[:, 12:]}
    return ShardRows(ids, blocks, Labels.of(lists, 8), present, rated=pairs if rated else None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """train, test; two models of 8 classes: `good` reads all, `poor` sound alone; `other` knows other labels."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_set(folder / "train", BLOCKS, NAMES, [shard(0, 200)])
    write_set(folder / "test", BLOCKS, NAMES, [shard(1, 60), shard(2, 60)])
    write_set(folder / "rated", BLOCKS, NAMES, [shard(3, 90, rated=True)])
    for name, more in (("good", ("--head", "label-ridge")), ("poor", ("--head", "moe", *FAST, "--blocks", "audio"))):
        code, _, err = run("fit", folder / "train", "--out", folder / name, *more, "-q")
        assert code == 0, err
    return folder


def scores_of(folder, data):
    model = load_answering(folder)
    return model.scores(model.view(open_set(data)).batch(np.arange(len(open_set(data)))))


# -- in depth ---------------------------------------------------------------------------------------------------------


def test_in_depth_is_what_the_metrics_say(made, tmp_path):
    code, out, err = run("evaluate", made / "good", made / "test", "--deep", "--precision", 0.8, "--json", "--out", tmp_path / "o")  # fmt: skip  # noqa: E501
    assert code == 0, err
    first, *classes = rows(out)
    deep, labels = first["deep"], open_set(made / "test").labels
    found = scores_of(made / "good", made / "test")
    full, cut = FullScores(8).update(found, labels).result(), VideoScores(8).update(found, labels)
    assert first["gap"] == pytest.approx(cut.result().gap)
    assert (deep["full"]["map"], deep["full"]["micro"]) == (pytest.approx(full.map), pytest.approx(full.micro))
    assert deep["full"]["videos"] == 120
    learnt = np.bincount(open_set(made / "train").labels.classes, minlength=8)
    assert deep["by_frequency"]["counts_of"] == "training"
    bands = [each.as_json() for each in by_frequency(full.per_class, learnt)]
    assert [each["map"] for each in deep["by_frequency"]["bands"]] == pytest.approx([each["map"] for each in bands])
    for name in ("gap", "hit_at_1", "perr", "map"):
        assert deep["intervals"][name]["low"] < deep["intervals"][name]["value"] == pytest.approx(first[name])
        assert deep["intervals"][name]["value"] < deep["intervals"][name]["high"]
    assert deep["calibration"]["all"]["pairs"] == 120 * 8
    assert 0 < deep["calibration"]["visible"]["pairs"] < 120 * 8
    wanted = thresholds_for(cut, 0.8)
    assert (deep["thresholds"]["precision"], deep["thresholds"]["right"]) == (0.8, int(wanted.right.sum()))
    assert sum(each["right"] for each in classes) == int(wanted.right.sum())
    assert [each["label"] for each in classes] == [NAMES[at] for at in np.argsort(-learnt, kind="stable")]
    assert {each["schema"] for each in classes} == {"lightmeter.evaluate.class/1"}
    patterns = {each["blocks"]: each["videos"] for each in deep["by_blocks"]}
    assert patterns["nothing"] == 4
    assert list(patterns) == ["visual+audio", "visual", "nothing"]
    assert sum(patterns.values()) == 120
    record = json.loads((tmp_path / "o" / "evaluate.json").read_text())
    assert (record["schema"], record["data_hash"]) == ("lightmeter.record/1", open_set(made / "test").fingerprint)
    assert [each["schema"] for each in record["rows"]].count("lightmeter.evaluate.class/1") == 8
    for name in ("frequency.png", "reliability.png"):
        assert (tmp_path / "o" / name).read_bytes()[:4] == b"\x89PNG"


def test_in_depth_for_people_is_short(made):
    code, out, _ = run("evaluate", made / "good", made / "test", "--deep", "-q")
    lines = out.splitlines()
    assert (code, len(lines) <= 25) == (0, True)
    for words in ("GAP", "95 % intervals: GAP", "no cut at 20: mAP", "calibration: error", "precision 0.9", "CPU"):
        assert words in out
    assert any(line.startswith("visual+audio") for line in lines)


def test_without_counts_of_training_those_of_the_data_rank(made, tmp_path):
    classifier = fit_net(build("moe", "head"), open_set(made / "train"), training=build("adam/batch=40", "training"))
    classifier.save(tmp_path / "m")
    assert COUNTS not in Classifier.load(tmp_path / "m").about
    first, *classes = rows(run("evaluate", tmp_path / "m", made / "test", "--deep", "--json", "-q")[1])
    assert (first["lines_left_out"], first["items_left_out"]) == (0, 0)
    assert "items_left_out" not in classes[0]
    assert first["deep"]["by_frequency"]["counts_of"] == "data"
    assert [each["count"] for each in classes] == [each["labels"] for each in classes]


def test_where_all_scores_do_not_fit_items_are_drawn(made):
    from lightmeter.library.evaluating import Depth, evaluate_deep

    model = load_answering(made / "good")
    view = model.view(open_set(made / "test"))
    few, all_of_them = (evaluate_deep(model, view, Depth(most_bytes=most)) for most in (4 * 8 * 50, 1 << 20))
    assert (few.full.videos, all_of_them.full.videos) == (50, 120)
    assert few.scores.result() == all_of_them.scores.result()
    again = evaluate_deep(model, view, Depth(most_bytes=4 * 8 * 50))
    assert again.full.map == few.full.map
    assert evaluate_deep(model, view, Depth(most_bytes=4 * 8 * 50, seed=1)).full.map != few.full.map


# -- several models ---------------------------------------------------------------------------------------------------


def test_several_models_are_compared_on_the_same_items(made, tmp_path):
    code, out, err = run("evaluate", made / "poor", made / "good", made / "test", "--json", "--at-least", 0.6, "--price", "macs", "--out", tmp_path / "o")  # fmt: skip  # noqa: E501
    assert code == 0, err
    poor, good = rows(out)
    assert (poor["path"], good["path"]) == (str(made / "poor"), str(made / "good"))
    one, other = (
        VideoScores(8).update(scores_of(made / name, made / "test"), open_set(made / "test").labels)
        for name in ("good", "poor")
    )
    wanted = paired_difference(one, other, rounds=100)["gap"]
    got = good["less_the_first"]["gap"]
    assert (got["value"], got["low"], got["high"]) == pytest.approx((wanted.value, wanted.low, wanted.high))
    assert got["clear"]
    assert poor["less_the_first"] == {}
    assert (good["chosen"], poor["chosen"]) == (True, False)
    assert good["frontier"]
    assert good["cost_an_item"]["macs"] == good["model"]["macs"] == 8 * 16
    assert 0 < good["cost_an_item"]["cpu_s"] < 0.1
    assert good["rounds"] == 3
    assert (tmp_path / "o" / "frontier.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_and_the_model_to_take(made):
    code, out, _ = run("evaluate", made / "good", made / "poor", made / "test", "--within", 1e9, "--price", "size_bytes", "-q")  # fmt: skip  # noqa: E501
    head, *lines = out.splitlines()
    assert code == 0
    assert head.split()[:2] == ["model", "GAP"]
    assert lines[0].startswith(str(made / "good"))
    assert f"to take: {made / 'good'}: GAP" in lines[-1]
    code, out, err = run("evaluate", made / "good", made / "poor", made / "test", "--at-least", 0.9999, "-q")
    assert (code, "at_least must be" in err, str(made / "poor") in out) == (1, True, True)
    assert run("evaluate", made / "good", made / "test", "--at-least", 0.5, "-q")[0] == 0


def test_labels_in_another_order_are_the_same_labels(made, tmp_path):
    whole = shard(0, 200)
    turned = Labels.of([sorted(7 - at for at in whole.labels.take(np.array([row])).classes) for row in range(200)], 8)
    write_set(tmp_path / "train", BLOCKS, NAMES[::-1], [ShardRows(whole.ids, whole.values, turned, whole.present)])
    assert run("fit", tmp_path / "train", "--out", tmp_path / "m", "--head", "label-ridge", "-q")[0] == 0
    one, other = rows(run("evaluate", made / "good", tmp_path / "m", made / "test", "--json", "-q")[1])
    assert one["items_left_out"] == other["items_left_out"] == 0
    assert other["gap"] == pytest.approx(one["gap"], abs=1e-4)
    assert not other["less_the_first"]["gap"]["clear"]
    write_set(tmp_path / "few", BLOCKS, NAMES[:1], [ShardRows(["a"], {b.name: np.ones((1, b.dim), np.float32) for b in BLOCKS}, Labels.of([[0]], 1))])  # fmt: skip  # noqa: E501
    assert run("fit", tmp_path / "few", "--out", tmp_path / "n", *FAST, "-q")[0] == 0
    code, _, err = run("evaluate", made / "good", tmp_path / "n", made / "test", "-q")
    assert (code, "must know the same labels to be compared" in err) == (1, True)


# -- engines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["inline", "local/workers=2", pytest.param("ray/workers=2", marks=pytest.mark.slow)])
def test_engines_give_the_same_scores(made, engine):
    if engine.startswith("ray"):
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    asked = ("evaluate", made / "good", made / "test", "--without", "audio", "--json", "-q")
    (here,), (there,) = rows(run(*asked)[1]), rows(run(*asked, "--engine", engine)[1])
    names = ("gap", "gap_best", "gap_worst", "hit_at_1", "perr", "map", "videos", "labels")
    assert {name: here[name] for name in names} == {name: there[name] for name in names}


# -- rated segments ---------------------------------------------------------------------------------------------------


def map_by_hand(found, data):
    """Mean average precision of the rated pairs, pair by pair."""
    labels, rated = data.labels, data.rated
    precisions = []
    for each in range(8):
        pairs = []
        for row in range(len(data)):
            own, looked = (some.take(np.array([row])).classes.tolist() for some in (labels, rated))
            if each in looked:
                pairs.append((found[row, each], each in own))
        pairs.sort(key=lambda pair: -pair[0])
        hits = [at for at, (_, right) in enumerate(pairs, 1) if right]
        if hits:
            precisions.append(np.mean([(number + 1) / at for number, at in enumerate(hits)]))
    return np.mean(precisions)


def test_only_rated_pairs_of_segments_count(made):
    data = open_set(made / "rated")
    for more in ((), ("--engine", "inline")):
        (got,) = rows(run("evaluate", made / "poor", made / "rated", "--json", "-q", *more)[1])
        assert got["schema"] == "lightmeter.evaluate.segments/1"
        assert got["map"] == pytest.approx(map_by_hand(scores_of(made / "poor", made / "rated"), data), abs=1e-9)
        assert (got["segments"], got["rated"]) == (90, len(data.rated.classes))
    code, out, _ = run("evaluate", made / "poor", made / "good", made / "rated", "-q")
    assert (code, out.split()[1]) == (0, "MAP")
    code, _, err = run("evaluate", made / "good", made / "rated", "--deep", "-q")
    assert (code, "leave --deep out" in err) == (1, True)
    assert run("evaluate", made / "good", made / "rated", "--top", 5, "-q")[0] == 2


def test_what_nobody_rated_is_not_learnt(made, tmp_path):
    """Labels of unrated pairs are noise to a network that masks them: it learns the same bits."""
    whole = shard(3, 90, rated=True)
    looked = whole.rated.dense()
    looked[:, 5] = False
    rated = Labels.of([np.flatnonzero(row).tolist() for row in looked], 8)
    labels = Labels.of([np.flatnonzero(row).tolist() for row in whole.labels.dense() & rated.dense()], 8)
    write_set(tmp_path / "s", BLOCKS, NAMES, [ShardRows(whole.ids, whole.values, labels, whole.present, rated=rated)])
    training = build("adam/lr=0.03,batch=30,epochs=2,l2=0,clip_by=off,precision=float32", "training")
    learnt = fit_net(build("moe", "head"), open_set(tmp_path / "s"), training=training, seed=0)
    longer = fit_net(
        build("moe", "head"), open_set(tmp_path / "s"), seed=0,
        training=build("adam/lr=0.03,batch=30,epochs=9,l2=0,clip_by=off,precision=float32", "training"),
    )  # fmt: skip
    view = learnt.view(open_set(tmp_path / "s")).batch(np.arange(90))
    one, other = learnt.scores(view), longer.scores(view)
    np.testing.assert_array_equal(one[:, 5], other[:, 5])
    assert np.abs(one[:, 0] - other[:, 0]).max() > 0.01


def test_what_cannot_learn_from_rated_segments_says_so(made, tmp_path):
    code, _, err = run("fit", made / "rated", "--out", tmp_path / "m", "--head", "label-ridge", "-q")
    assert (code, "a closed form must know all classes" in err) == (1, True)
    code, _, err = run("fit", made / "rated", "--out", tmp_path / "m", "--training", "adam/loss=logit-adjusted", "-q")
    assert (code, "take loss=bce" in err) == (1, True)
    votes = ("ensemble", made / "good", "--by", "forest-votes", "--data", made / "rated", "--out", tmp_path / "f")
    assert run(*votes, "-q")[0] == 2
    code, out, _ = run("fit", made / "rated", "--out", tmp_path / "n", *FAST, "--dev", 0.2, "-q")
    assert (code, "of 18 kept from learning: MAP" in out) == (0, True)


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--precision", 0.5), "is for --deep"),
        (("--seed", 1), "is for --deep"),
        (("--certainty", 0.9), "is for --deep or several MODELS"),
        (("--deep", "--at-least", 0.5), "is of one MODEL"),
        (("--engine", "inline", "--deep"), "does not go with --engine"),
        (("--engine", "inline", "--price", "macs"), "is of one MODEL"),
        (("--engine", "inline", "--labels", __file__), "does not go with --engine"),
    ],
)
def test_what_would_be_ignored_is_refused(made, more, words):
    code, _, err = run("evaluate", made / "good", made / "test", *more, "-q")
    assert (code, words in err) == (2, True), err


def test_a_model_twice_is_refused(made):
    code, _, err = run("evaluate", made / "good", made / "good", made / "test", "-q")
    assert (code, "one twice" in err) == (2, True)
