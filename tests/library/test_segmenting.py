"""Fitting on the user's frames: candidates, the choice, going on, folders that are not ours; files in, masks out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lightmeter.encoders.dense_cache import FeatureCache
from lightmeter.encoders.dense_pixels import Pixels
from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.losses import MaskBce, MaskDice
from lightmeter.heads.segmenting.segmenter import Segmenter
from lightmeter.heads.segmenting.sweep import Sweep
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.library.segmenting import Listener, SegmentOptions, fit_masks, shortest, sweep_of
from lightmeter.media.clip_set import labelled_frames, split_by_group
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.parts import build

FEW = MaskTraining(steps=5, batch=8)
ONE = SegmentOptions(("pixels/patch=2",), ("linear-patch",), FEW)
TWO = replace(ONE, heads=("linear-patch", "deep-conv/width=4,blocks=1,first=4,last=4"))


@pytest.fixture(scope="module")
def frames():
    return labelled_frames(moving_shapes(16, frames=2, size=16, seed=0), seed=0)


@pytest.fixture(scope="module")
def fitted(frames, tmp_path_factory):
    out = tmp_path_factory.mktemp("fitted") / "model"
    return fit_masks(frames, out, ONE), out


def test_a_model_is_kept_and_found_again(frames, fitted):
    made, out = fitted
    assert (made.frames + made.held_out, made.again) == (16, False)
    assert sorted(each.name for each in out.iterdir()) == ["model.json", "model.safetensors"]
    again = fit_masks(frames, out, ONE)
    assert (again.again, again.frames, again.held_out) == (True, made.frames, made.held_out)
    clips, at = frames.clips[:3], frames.at[:3]
    assert (again.segmenter.predict_logits(clips, at) == made.segmenter.predict_logits(clips, at)).all()


def test_validation_is_of_other_scenes_and_has_its_price(fitted):
    made, _ = fitted
    kept = made.chosen
    assert kept.iou.low <= kept.iou.value <= kept.iou.high
    assert kept.trial.quality == kept.iou.value == pytest.approx(made.segmenter.about["calibrated"]["iou"])
    assert kept.trial.cost.cpu_s > 0
    assert kept.trial.cost.macs == made.segmenter.macs
    assert kept.trial.cost.size_bytes == made.segmenter.size_bytes


def test_other_options_do_not_replace_it_unasked(frames, fitted):
    made, out = fitted
    before = (out / "model.json").read_bytes()
    with pytest.raises(InvalidValueError, match="got another segmenter: take another folder, or begin anew"):
        fit_masks(frames, out, replace(ONE, seed=1))
    assert (out / "model.json").read_bytes() == before


def test_anew_replaces_it(frames, tmp_path):
    fit_masks(frames, tmp_path / "m", ONE)
    made = fit_masks(frames, tmp_path / "m", replace(ONE, seed=1, anew=True))
    assert not made.again
    assert Segmenter.load(tmp_path / "m").about["seed"] == 1


def stopped(frames, out, options):
    """A run that is stopped when it has learnt its first candidate."""

    def stop(number, *_):
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_masks(frames, out, options, listener=Listener(stop))


def steps_of(frames, out, options):
    """Steps that a run takes itself, by candidate, and what it makes."""
    steps = []
    made = fit_masks(frames, out, options, listener=Listener(
        lambda *_: steps.append(0), lambda told: steps.append(steps.pop() + told.step - told.began)
    ))  # fmt: skip
    return steps, made


@pytest.mark.parametrize("anew", [True, False])
def test_a_run_that_was_begun_anew_goes_on(frames, tmp_path, anew):
    """A kill loses nothing, though another model stands there, and is replaced by the whole run only."""
    out, options = tmp_path / "m", replace(TWO, seed=3, anew=True)
    fit_masks(frames, out, ONE)
    before = (out / "model.json").read_bytes()
    stopped(frames, out, options)
    assert (out / "model.json").read_bytes() == before
    steps, made = steps_of(frames, out, replace(options, anew=anew))
    assert steps == [0, FEW.steps]
    assert not made.again
    assert made.segmenter.about["seed"] == Segmenter.load(out).about["seed"] == 3
    whole = fit_masks(frames, tmp_path / "n", replace(options, anew=False)).candidates
    for one, other in zip(made.candidates, whole, strict=True):
        assert one.trial.quality == other.trial.quality
    assert sorted(each.name for each in out.iterdir()) == ["model.json", "model.safetensors"]
    assert steps_of(frames, out, options)[0] == [FEW.steps] * 2, "a run that is whole is begun anew"


def test_anew_removes_what_is_of_another_request(frames, tmp_path):
    sweep = Sweep({"lr": [0.01]})
    stopped(frames, tmp_path / "m", replace(TWO, sweep=sweep))
    assert (tmp_path / "m" / "sweep" / "001").is_dir()
    other = replace(TWO, training=replace(FEW, lr=0.5))
    with pytest.raises(InvalidValueError, match="start --anew"):
        fit_masks(frames, tmp_path / "m", other)
    steps, _ = steps_of(frames, tmp_path / "m", replace(other, anew=True))
    assert steps == [FEW.steps] * 2
    assert sorted(each.name for each in (tmp_path / "m").iterdir()) == ["model.json", "model.safetensors"]


def test_a_note_that_says_nothing_is_of_no_run(frames, tmp_path):
    for text in ("", "[]", '{"request": 5}', "[" * 5000):
        (tmp_path / "m" / "training").mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / "training" / "request.json").write_text(text)
        assert steps_of(frames, tmp_path / "m", replace(ONE, anew=True))[0] == [FEW.steps]


def test_frames_without_a_mask_are_refused_before_anything_is_learnt(frames, tmp_path, monkeypatch):
    monkeypatch.setattr("lightmeter.library.segmenting.prepared", None)  # whoever looks now fails
    held_out = split_by_group(frames.groups, share=ONE.valid, seed=ONE.seed)[1]
    masks = frames.masks.copy()
    masks[held_out] = 255 * (masks[held_out] > 0)
    with pytest.raises(InvalidValueError, match="frames to be held out must have a pixel inside"):
        fit_masks(replace(frames, masks=masks), tmp_path / "m", ONE)
    assert not (tmp_path / "m").exists()


def test_candidates_are_compared_and_the_best_is_kept(frames, tmp_path):
    heard = []
    made = fit_masks(frames, tmp_path / "m", TWO, cache=FeatureCache(tmp_path / "cache"),
                     listener=Listener(lambda *told: heard.append(told)))  # fmt: skip
    assert [told[:2] for told in heard] == [(1, 2), (2, 2)]
    best = max(made.candidates, key=lambda each: each.trial.quality)
    assert made.chosen is best
    assert made.segmenter.head == best.segmenter.head == Segmenter.load(tmp_path / "m").head
    assert best.trial in made.frontier()


def test_the_cheapest_that_is_good_enough(frames, tmp_path):
    made = fit_masks(frames, tmp_path / "m", replace(TWO, at_least=0.0, price="macs"))
    assert made.chosen is min(made.candidates, key=lambda each: each.trial.cost.macs)
    with pytest.raises(InvalidValueError, match="at_least must be .* or less"):
        fit_masks(frames, tmp_path / "n", replace(TWO, at_least=0.999))
    assert not (tmp_path / "n" / "model.json").exists()
    with pytest.raises(InvalidValueError, match="within must be"):
        fit_masks(frames, tmp_path / "o", replace(TWO, within=1.0, price="macs"))


def test_a_sweep_comes_first(frames, tmp_path):
    sweep = Sweep({"lr": [0.01, 0.001], "loss": [MaskDice(), MaskBce()]})
    made = fit_masks(frames, tmp_path / "m", replace(ONE, sweep=sweep))
    lines = [json.loads(line) for line in (tmp_path / "m" / "sweep" / "001" / "trials.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda each: each["iou"])
    assert len(lines) == 4
    assert made.segmenter.about["training"] == best["training"]
    assert fit_masks(frames, tmp_path / "m", replace(ONE, sweep=sweep)).again


def test_sweeps_as_text():
    made = sweep_of(["lr=0.01;0.1", "loss=mask-dice;mask-bce", "width=8;16"], "grid", 4, 0)
    assert made.options == {"lr": [0.01, 0.1], "loss": [MaskDice(), MaskBce()], "width": [8, 16]}
    for wrong in (["lr"], ["=1"], ["lr=1;"], ["lr=1", "lr=2"]):
        with pytest.raises(InvalidValueError, match="must be option=value;value"):
            sweep_of(wrong, "grid", 4, 0)


def test_nothing_held_out_nothing_scored(frames, tmp_path):
    made = fit_masks(frames, tmp_path / "m", replace(ONE, valid=0.0))
    assert (made.held_out, made.chosen.trial, made.segmenter.threshold) == (0, None, 0.0)
    with pytest.raises(InvalidValueError, match="to choose among candidates"):
        replace(TWO, valid=0.0)


def test_one_group_cannot_be_split(frames, tmp_path):
    one = replace(frames, groups=np.zeros(len(frames), np.int64))
    with pytest.raises(InvalidValueError, match="of two groups at least"):
        fit_masks(one, tmp_path / "m", ONE)


@pytest.mark.parametrize("name", ["photo.jpg", "model.json"])
def test_a_folder_of_other_things_is_left_alone(frames, tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InvalidValueError, match="new, empty or hold a segmenter"):
        fit_masks(frames, tmp_path, ONE)
    with pytest.raises(InvalidValueError, match="is a file"):
        fit_masks(frames, tmp_path / name / "m", ONE)


def test_specs_without_what_goes_without_saying():
    for spec in ("pixels", "random/width=8", "mask-training/loss=(mask-dice),lr=0.1", "multi-scale/stride=4"):
        part = build(spec)
        assert build(shortest(part)) == part
        assert len(shortest(part)) <= len(part.spec)
    assert shortest(Pixels(patch=2)) == "pixels/patch=2"
