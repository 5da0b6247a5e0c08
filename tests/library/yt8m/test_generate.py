"""The generator hits the statistics that it is asked for, and draws every shard from a seed of its own."""

import json
import re

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.library.example_set import open_set
from lightmeter.library.yt8m.convert import Conversion, convert, read_label_names
from lightmeter.library.yt8m.generate import Wanted, generate, measured, shard_rows
from lightmeter.library.yt8m.records import Schema
from lightmeter.library.yt8m.world import Statistics, make_world, vocabulary

SMALL = Wanted(300, Statistics(60), shard_videos=100)


@pytest.mark.parametrize(
    ("classes", "labels", "share", "wanted"),
    [
        (3862, None, None, (3.0, 0.4)),
        (4716, None, None, (3.4, 0.4)),
        (3862, None, 0.29, (3.0, 0.29)),
        (500, 2.0, 0.55, (2.0, 0.55)),
        (1000, 6.0, 0.2, (6.0, 0.2)),
        (3862, 1.0, 0.3, (1.0, 0.3)),
    ],
)
def test_statistics_are_those_asked_for(classes, labels, share, wanted):
    world = make_world(Statistics(classes, labels, share), seed=0)
    found = measured(world.draw_labels(20_000, np.random.default_rng(1)))
    assert found["labels_per_video"] == pytest.approx(wanted[0], rel=0.02)
    assert found["top_share"] == pytest.approx(wanted[1], abs=0.01)


@pytest.mark.parametrize("classes", [2, 3, 11, 40])
def test_few_classes(classes):
    world = make_world(Statistics(classes), seed=0)
    labels = world.draw_labels(2000, np.random.default_rng(1))
    assert measured(labels)["labels_per_video"] == pytest.approx(Statistics(classes).labels, rel=0.05)
    assert (np.diff(labels.offsets) > 0).all(), "every video has a label"


def test_children_bring_their_parents():
    world = make_world(Statistics(400), seed=0)
    dense = world.draw_labels(5000, np.random.default_rng(1)).dense()
    child = int(np.flatnonzero(world.parents >= 0)[0])
    parent = int(world.parents[child])
    with_child = dense[dense[:, child]]
    assert with_child[:, parent].mean() > 2 * dense[:, parent].mean()


def test_words_are_as_often_there_as_in_table_1():
    world = make_world(Statistics(100), seed=0)
    rng = np.random.default_rng(1)
    labels = world.draw_labels(4000, rng)
    lines = world.draw_words([str(at) for at in range(4000)], labels, rng)
    assert np.mean(["keywords" in each for each in lines]) == pytest.approx(0.66, abs=0.02)
    assert np.mean(["title" in each for each in lines]) == pytest.approx(0.79, abs=0.02)
    assert np.mean(["title" in each and "keywords" in each for each in lines]) == pytest.approx(0.633, abs=0.02)
    assert np.mean([len(each["keywords"]) for each in lines if "keywords" in each]) == pytest.approx(8.23, abs=0.2)
    own = [
        set(world.words[labels.classes[a:b]].ravel().tolist())
        for a, b in zip(labels.offsets, labels.offsets[1:], strict=False)
    ]
    places = {word: at for at, word in enumerate(vocabulary())}
    shares = [
        np.mean([places[w] in mine for w in each["keywords"]])
        for each, mine in zip(lines, own, strict=True)
        if "keywords" in each
    ]
    assert np.mean(shares) == pytest.approx(0.45, abs=0.03)


def test_features_say_something_of_the_classes():
    world = make_world(Statistics(20), seed=0)
    rng = np.random.default_rng(1)
    labels = world.draw_labels(600, rng)
    visual, audio = world.features(world.latents(labels), rng)
    assert (visual.shape, audio.shape) == ((600, 1024), (600, 128))
    assert np.abs(visual).max() < 1

    def margin(rows):
        means = [rows[labels.dense()[:, each]].mean(axis=0) for each in range(2)]
        only = labels.dense()[:, 0] ^ labels.dense()[:, 1]
        nearer = ((rows[only] - means[0]) ** 2).sum(1) < ((rows[only] - means[1]) ** 2).sum(1)
        return np.mean(nearer == labels.dense()[only, 0])

    assert margin(visual) > margin(audio) > 0.5, "sight says more than sound"


def test_label_names_are_words_each_once():
    names = make_world(Statistics(4716), seed=0).label_names
    assert len(set(names)) == 4716
    assert all(each[0].isupper() for each in names)


def test_a_set_is_the_same_again_and_after_a_stop(tmp_path):
    first = generate(tmp_path / "a", SMALL)
    assert (first["train"].videos, first["test"].videos) == (240, 60)

    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "b", SMALL, progress=stop)
    assert (tmp_path / "b" / "train" / "00000.json").is_file()
    generate(tmp_path / "b", SMALL)
    for part in ("train", "test"):
        a, b = (open_set(tmp_path / each / part) for each in "ab")
        assert a.fingerprint == b.fingerprint
        assert (tmp_path / "a" / part / "words.jsonl").read_bytes() == (
            tmp_path / "b" / part / "words.jsonl"
        ).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "a" / "train" / "words.jsonl").read_text().splitlines()]
    assert [each["id"] for each in lines] == list(open_set(tmp_path / "a" / "train").ids)
    assert "load and regression" in open_set(tmp_path / "a" / "train").manifest.about["note"]


def test_shards_do_not_hang_on_each_other():
    world = make_world(SMALL.statistics, SMALL.seed)
    again = shard_rows(world, SMALL, "train", 1)
    assert np.array_equal(again.values["visual"], shard_rows(world, SMALL, "train", 1).values["visual"])
    other = shard_rows(world, SMALL, "test", 0)
    assert not np.array_equal(again.values["visual"][:60], other.values["visual"])


@pytest.mark.parametrize("level", ["video", "frame"])
def test_records_hold_what_the_set_holds(tmp_path, level):
    wanted = Wanted(60, Statistics(20), level, most_frames=5)
    generate(tmp_path / "set", wanted)
    made = generate(tmp_path / "records", wanted, form="tfrecord")
    folder = tmp_path / "records" / "train"
    names = read_label_names(folder / "vocabulary.csv", 20)
    how = Conversion(schema=Schema(20), label_names=names, rounding="floor")
    done = convert([folder], tmp_path / "back", how)
    there = open_set(tmp_path / "set" / "train")
    assert done.left_out == {}
    assert (list(done.examples.ids), done.examples.label_names) == (list(there.ids), there.label_names)
    a, b = (each.batch(np.arange(len(there))) for each in (done.examples, there))
    assert all(np.array_equal(a.values[name], b.values[name]) for name in b.values)
    assert np.array_equal(a.labels.dense(), b.labels.dense())
    assert made["train"].statistics == measured(there.labels)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    generate(tmp_path / "records", wanted, form="tfrecord")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InvalidValueError, match="otherwise"):
        generate(tmp_path / "records", Wanted(60, Statistics(21), level, most_frames=5), form="tfrecord")


@pytest.mark.parametrize(
    "values",
    [{"classes": 1}, {"labels_per_video": 0.5}, {"labels_per_video": 3000.0}, {"top_share": 0.001}, {"top_share": 1.0}],
)
def test_statistics_that_cannot_be_are_refused(values):
    with pytest.raises(InvalidValueError):
        make_world(Statistics(**{"classes": 3862, **values}), seed=0)


@pytest.mark.parametrize(("classes", "labels"), [(30, None), (11, None), (1000, 20.0), (150, 50.0)])
def test_refusals_name_what_can_be_had(classes, labels):
    with pytest.raises(InvalidValueError, match=" must be ") as refused:
        make_world(Statistics(classes, labels, 0.005), seed=0)
    name, least, most = re.match(r"(\w+) must be ([0-9.]+) to ([0-9.]+) with", str(refused.value)).groups()
    if name == "labels_per_video":  # then of these the share
        assert labels > float(most)
        with pytest.raises(InvalidValueError, match="top_share must be") as refused:
            make_world(Statistics(classes, float(most), 0.005), seed=0)
        labels = float(most)
        least, most = re.match(r"top_share must be ([0-9.]+) to ([0-9.]+) with", str(refused.value)).groups()
    for end in (least, most):
        world = make_world(Statistics(classes, labels, float(end)), seed=0)
        found = measured(world.draw_labels(4000, np.random.default_rng(1)))
        assert found["top_share"] == pytest.approx(float(end), abs=0.02)
        assert found["labels_per_video"] == pytest.approx(world.statistics.labels, rel=0.04)


def test_ten_classes_have_all_labels():
    with pytest.raises(InvalidValueError, match="top_share must be left out with 10 classes, got 0.4"):
        Statistics(10, top_share=0.4)
    with pytest.raises(InvalidValueError, match=r"labels_per_video must be 1 to 2\.0 with 5 classes, got 3\.0"):
        Statistics(5, 3.0)


def test_what_cannot_be_wanted():
    for values in ({"videos": 1}, {"test_share": 0.0}, {"most_frames": 0}, {"seed": -1}):
        with pytest.raises(InvalidValueError):
            Wanted(**values)
    assert Wanted(2, test_share=0.01).count("test") == 1
