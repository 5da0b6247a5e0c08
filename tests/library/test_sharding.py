"""Classes learnt shard by shard on an engine, and sets scored in parts: equal to one process."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from lightmeter.engines.inline import Inline
from lightmeter.engines.local import Local
from lightmeter.engines.ray import Ray
from lightmeter.errors import InvalidValueError, WorkerError
from lightmeter.heads.classifier import Classifier
from lightmeter.heads.examples import Block
from lightmeter.heads.moe import Moe
from lightmeter.heads.training import Adam, Plan, fit_net
from lightmeter.library.example_set import open_set
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.sharding import FitShards, ScoreRows, fit_sharded, score_sharded
from lightmeter.metrics.ranking import VideoScores
from lightmeter.types import Labels

TRAINING = Adam(lr=0.05, batch=32, epochs=3, clip_by="class", precision="float32")
HEAD = Moe(experts=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """200 items of two blocks and 11 classes that can be learnt."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data") / "set"
    centres = rng.normal(size=(11, 24))
    lists = [sorted(set(rng.integers(0, 11, rng.integers(1, 4)).tolist())) for _ in range(200)]
    rows = np.stack([centres[each].sum(axis=0) for each in lists]) + rng.normal(size=(200, 24))
    blocks = [Block("visual", "features", 16), Block("audio", "features", 8)]
    shards = [
        ShardRows(
            [f"v{at:03d}" for at in range(first, first + 100)],
            {"visual": rows[first : first + 100, :16], "audio": rows[first : first + 100, 16:]},
            Labels.of(lists[first : first + 100], 11),
        )
        for first in (0, 100)
    ]
    write_set(folder, blocks, [f"c{at}" for at in range(11)], shards)
    return folder


def stage_of(data, folder, **more):
    return FitShards(data, HEAD.spec, TRAINING.spec, 4, folder, seed=3, **more)


def scores_of(classifier, data):
    examples = classifier.view(open_set(data))
    return classifier.scores(examples.batch(np.arange(len(examples))))


def test_shards_on_an_engine_are_the_shards_of_one_process_bit_for_bit(data, tmp_path):
    made = fit_sharded(stage_of(data, tmp_path / "run"), engine=Inline())
    alone = fit_net(HEAD, open_set(data), training=TRAINING, seed=3, plan=Plan(class_shard=4))
    assert [(part.first, part.last) for part in made.parts] == [(0, 4), (4, 8), (8, 11)]
    for mine, theirs in zip(made.parts, alone.parts, strict=True):
        assert mine.arrays.keys() == theirs.arrays.keys()
        for name, array in mine.arrays.items():
            np.testing.assert_array_equal(array, theirs.arrays[name])
    joint = fit_net(HEAD, open_set(data), training=TRAINING, seed=3)
    np.testing.assert_allclose(scores_of(made, data), scores_of(joint, data), atol=1e-5)
    assert np.ptp(scores_of(joint, data)) > 0.5, "something was learnt"


def test_worker_processes_do_the_same_and_what_is_done_stays(data, tmp_path):
    stage = stage_of(data, tmp_path / "run")
    seen = []
    made = fit_sharded(stage, engine=Local(workers=2), events=seen.append)
    assert [event.counts.done for event in seen if event.kind == "batch"] == [1, 2, 3]
    seen.clear()
    again = fit_sharded(stage, engine=Inline(), events=seen.append)
    assert seen[-1].counts.skipped == 3
    np.testing.assert_array_equal(scores_of(made, data), scores_of(again, data))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "done-00000", "done-00001", "done-00002", "run",
    ]  # fmt: skip
    joint = fit_net(HEAD, open_set(data), training=TRAINING, seed=3)
    np.testing.assert_allclose(scores_of(made, data), scores_of(joint, data), atol=1e-5)


def test_some_blocks_only(data, tmp_path):
    made = fit_sharded(stage_of(data, tmp_path / "run", blocks=("audio",)), engine=Inline())
    assert [block.name for block in made.blocks] == ["audio"]


def test_a_run_that_was_stopped_goes_on(data, tmp_path):
    stage, seen = stage_of(data, tmp_path / "run"), []

    def interrupted(event):
        seen.append(event)
        if event.kind == "batch" and event.counts.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_sharded(stage, engine=Inline(), events=interrupted)
    made = fit_sharded(stage, engine=Inline(), events=seen.append)
    assert seen[-1].counts.done == 1
    joint = fit_net(HEAD, open_set(data), training=TRAINING, seed=3)
    np.testing.assert_allclose(scores_of(made, data), scores_of(joint, data), atol=1e-5)


def test_what_cannot_be_cut_is_refused_before_any_work(data, tmp_path):
    wrong = replace(stage_of(data, tmp_path / "run"), training=replace(TRAINING, clip_by="variable").spec)
    with pytest.raises(InvalidValueError, match="take clip_by=class or clip_by=off"):
        fit_sharded(wrong, engine=Inline())
    wrong = replace(stage_of(data, tmp_path / "run"), head=Moe(missing="learned").spec)
    with pytest.raises(InvalidValueError, match="cannot learn a few classes at a time"):
        fit_sharded(wrong, engine=Inline())
    wrong = replace(stage_of(data, tmp_path / "run"), training=replace(TRAINING, distil=0.5).spec)
    with pytest.raises(InvalidValueError, match="have no teacher"):
        fit_sharded(wrong, engine=Inline())


def test_a_shard_that_fails_is_told_with_its_reason(data, tmp_path, monkeypatch):
    from lightmeter.library import sharding

    monkeypatch.setattr(sharding, "fit_net", lambda *args, **more: 1 / 0)
    with pytest.raises(
        WorkerError, match="every shard must be learnt, got 3 of 3 that failed: exception: ZeroDivision"
    ):
        fit_sharded(stage_of(data, tmp_path / "run"), engine=Inline())


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    fit_net(HEAD, open_set(data), training=TRAINING, seed=3).save(folder)
    return folder


@pytest.mark.parametrize("engine", [Inline(), Local(workers=2)], ids=["inline", "local"])
def test_scores_of_parts_are_those_of_the_whole(data, model, tmp_path, engine):
    got = score_sharded(ScoreRows(model, data), tmp_path / "run", engine=engine, rows=37).result()
    classifier = Classifier.load(model)
    whole = VideoScores(11).update(scores_of(classifier, data), open_set(data).labels).result()
    assert got == whole
    assert got.videos == 200
    assert got.gap > 0.5


@pytest.mark.slow
def test_a_cluster_of_two_workers_gives_the_same(data, model, tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    assert "ray" in sys.modules
    made = fit_sharded(stage_of(data, tmp_path / "run"), engine=Ray(workers=2))
    joint = fit_net(HEAD, open_set(data), training=TRAINING, seed=3)
    np.testing.assert_allclose(scores_of(made, data), scores_of(joint, data), atol=1e-5)
    got = score_sharded(ScoreRows(model, data), tmp_path / "scores", engine=Ray(workers=2), rows=37)
    whole = VideoScores(11).update(scores_of(Classifier.load(model), data), open_set(data).labels)
    assert got.result() == whole.result()
