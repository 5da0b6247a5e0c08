"""Sweeps: what is tried, the log, going on after a stop, halving, the frontier."""

from __future__ import annotations

import csv
import json

import pytest

from lightmeter.encoders.dense_pixels import Pixels
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.segmenting import sweep as sweeping
from lightmeter.heads.segmenting.losses import MaskBce, MaskDice
from lightmeter.heads.segmenting.prepared import prepared
from lightmeter.heads.segmenting.protocol import mask_head
from lightmeter.heads.segmenting.sweep import Sweep, run_sweep
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.parts import build

HEAD = mask_head("deep-conv/width=4,blocks=1,first=4,last=4")
FEW = MaskTraining(steps=6, batch=8)
GRID = Sweep({"lr": [0.01], "loss": [MaskDice(), MaskBce()], "width": [4, 8]})
WIDE = {"lr": [0.01, 1e-6], "loss": [MaskDice(), MaskBce()], "width": [4, 8]}


@pytest.fixture(scope="module")
def sets(train, valid):
    return prepared(Pixels(patch=2), train), prepared(Pixels(patch=2), valid)


def test_a_grid_is_everything_and_draws_are_some_of_it():
    assert len(Sweep(WIDE).choices()) == 8
    assert Sweep(WIDE).choices()[0] == {"lr": 0.01, "loss": MaskDice(), "width": 4}
    drawn = Sweep(WIDE, how="random", draws=5).choices()
    assert len(drawn) == 5
    assert all(each in Sweep(WIDE).choices() for each in drawn)
    assert drawn == Sweep(WIDE, how="random", draws=5).choices()
    assert drawn != Sweep(WIDE, how="random", draws=5, seed=1).choices()


def test_every_trial_is_logged_with_its_cost(sets, tmp_path):
    heard = []
    made = run_sweep(*sets, HEAD, GRID, training=FEW, folder=tmp_path, tell=lambda *told: heard.append(told))
    assert [(number, total) for _, number, total in heard] == [(at, 4) for at in range(1, 5)]
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert {build(line["head"]).width for line in lines} == {4, 8}
    assert {build(line["training"]).loss for line in lines} == {MaskDice(), MaskBce()}
    assert all(line["cost"]["cpu_s"] > 0 and line["cost"]["size_bytes"] > 0 for line in lines)
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert len(rows) == 4
    assert {row["head.width"] for row in rows} == {"4", "8"}
    assert {row["lr"] for row in rows} == {"0.01"}
    assert max(float(row["iou"]) for row in rows) == made.trials[0].quality
    assert made.trials[0].quality >= made.trials[-1].quality
    assert made.best == (build(made.best[0]).spec, build(made.best[1]).spec)
    assert all(each in made.trials for each in made.frontier.points)
    assert made.frontier.points[-1].quality == made.trials[0].quality


def test_a_stopped_sweep_goes_on(sets, tmp_path, monkeypatch):
    whole = run_sweep(*sets, HEAD, GRID, training=FEW)
    fits, count = sweeping.fit_prepared, []

    def counted(*arguments, **options):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return fits(*arguments, **options)

    monkeypatch.setattr(sweeping, "fit_prepared", counted)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(*sets, HEAD, GRID, training=FEW, folder=tmp_path)
    log = tmp_path / "trials.jsonl"
    log.write_text(log.read_text() + '{"head": "cut o')
    again = run_sweep(*sets, HEAD, GRID, training=FEW, folder=tmp_path)
    assert len(count) == 3 + 2, "two were there"
    assert sorted((t.candidate, t.quality) for t in again.trials) == sorted(
        (t.candidate, t.quality) for t in whole.trials
    )
    assert len(log.read_text().splitlines()) == 4
    run_sweep(*sets, HEAD, GRID, training=FEW, folder=tmp_path)
    assert len(count) == 5


def test_halving_gives_the_best_more_steps(sets):
    some = Sweep({"lr": [1e-7, 1e-6, 0.02, 1e-5]}, how="halving", draws=4, eta=2)
    assert some.rungs(24) == [(4, 6), (2, 12), (1, 24)]
    made = run_sweep(*sets, HEAD, some, training=MaskTraining(steps=24, batch=8))
    steps = [build(trial.candidate.rpartition(" ")[2]).steps for trial in made.all_trials]
    assert steps == [6] * 4 + [12] * 2 + [24]
    assert len(made.trials) == 1
    assert build(made.best[1]).steps == 24
    firsts = sorted(made.all_trials[:4], key=lambda trial: -trial.quality)[:2]
    assert {build(t.candidate.rpartition(" ")[2]).lr for t in firsts} == {
        build(t.candidate.rpartition(" ")[2]).lr for t in made.all_trials[4:6]
    }


def test_seeds_are_averaged(sets):
    one, two, both = (run_sweep(*sets, HEAD, Sweep({"lr": [0.01]}, seeds=seeds), training=FEW).trials[0]
                      for seeds in ((1,), (2,), (1, 2)))  # fmt: skip
    assert both.quality == pytest.approx((one.quality + two.quality) / 2)
    assert both.others["iou_least"] == min(one.quality, two.quality)


def test_refusals(sets, train, tmp_path):
    with pytest.raises(InvalidValueError, match="options must be of deep-conv or of its training, got depth"):
        run_sweep(*sets, HEAD, Sweep({"depth": [1]}), training=FEW)
    for wrong in ({"lr": [0.01, "abc"]}, {"steps": [2.5]}):
        with pytest.raises(InvalidValueError, match=r"lr must|kind|steps"):
            run_sweep(*sets, HEAD, Sweep(wrong), training=FEW)
    with pytest.raises(InvalidValueError, match="how must be grid, random or halving"):
        Sweep({"lr": [1]}, how="best")
    with pytest.raises(InvalidValueError, match="options must name one at least"):
        Sweep({"lr": []})
    with pytest.raises(InvalidValueError, match="eta 2 or more"):
        Sweep({"lr": [1]}, eta=1)
    run_sweep(*sets, HEAD, Sweep({"lr": [0.01]}), training=FEW, folder=tmp_path)
    others = prepared(Pixels(patch=4), train), sets[1]
    with pytest.raises(InvalidValueError, match="must be of these frames and this encoder"):
        run_sweep(*others, HEAD, Sweep({"lr": [0.01]}), training=FEW, folder=tmp_path)
    (tmp_path / "trials.jsonl").write_text("{}\n")
    with pytest.raises(RejectedFileError, match="line 1 of .* must be a trial"):
        run_sweep(*sets, HEAD, Sweep({"lr": [0.01]}), training=FEW, folder=tmp_path)
