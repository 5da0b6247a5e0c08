"""Fitting on the user's frames: candidates, the choice, going on, folders that are not ours; files in, masks out."""

from __future__ import annotations

import json
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from lightmeter.encoders.dense_cache import FeatureCache
from lightmeter.encoders.dense_pixels import Pixels
from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.losses import MaskBce, MaskDice
from lightmeter.heads.segmenting.segmenter import Segmenter
from lightmeter.heads.segmenting.sweep import Sweep
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.library.segment_files import media_files, predict_files, video_masks
from lightmeter.library.segmenting import Listener, SegmentOptions, fit_masks, shortest, sweep_of
from lightmeter.media.clip_set import labelled_frames
from lightmeter.media.labelled_clips import open_labelled
from lightmeter.media.mask_json import read_masks
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.media.write import write_frames, write_image
from lightmeter.parts import build
from lightmeter.types import Image

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


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("media")
    clips = moving_shapes(2, frames=20, size=32, seed=9)
    write_image(Image(clips.frames[0, 0]), place / "garden" / "one.png")
    write_frames(clips.frames[1], place / "street.mp4", fps=10, crf=0)
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    (place / "notes.txt").write_text("hello")
    (place / ".hidden.png").write_bytes(b"")
    return place


def test_a_folder_of_files(fitted, folder, tmp_path):
    files = media_files([folder])
    assert [name for _, name in files] == ["broken.png", "garden/one.png", "street.mp4"]
    counted, heard = [], []
    made = predict_files(fitted[0].segmenter, files, tmp_path / "out", tell=heard.append, frame=counted.append)
    assert [bool(each.failed) for each in made] == [True, False, False]
    assert heard == made
    assert sum(counted) == 21
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["garden/one.mask.png", "garden/one.overlay.png", "masks.json", "street.overlay.mp4"]
    with Pillow.open(tmp_path / "out" / "garden" / "one.mask.png") as picture:
        drawn = np.asarray(picture)
    assert (drawn == 255 * made[1].entries[0].mask.mask()).all()
    assert made[1].share == pytest.approx((drawn > 0).mean())


def test_masks_of_predict_are_read_by_fit(fitted, folder, tmp_path):
    files = [each for each in media_files([folder]) if each[1] != "broken.png"]
    made = predict_files(fitted[0].segmenter, files, tmp_path)
    entries = read_masks(tmp_path / "masks.json")
    assert len(entries) == 21
    assert [each.time_s for each in entries[1:4]] == [0.0, 0.1, 0.2]
    labelled = open_labelled(folder, tmp_path / "masks.json").value
    assert len(labelled) == 21
    assert (labelled.masks[0] == made[0].entries[0].values()).all()
    assert (labelled.masks[1:] == np.stack([each.values() for each in made[1].entries])).all()


def test_overlay_video_is_h264_of_the_same_frames(fitted, folder, tmp_path):
    predict_files(fitted[0].segmenter, [(folder / "street.mp4", "street.mp4")], tmp_path)
    with av.open(str(tmp_path / "street.overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 32, 32)
        assert float(stream.average_rate) == 10
        assert len(list(container.decode(video=0))) == 20


@pytest.mark.parametrize(("window", "count"), [(1, 40), (3, 45), (4, 2), (5, 70)])
def test_a_video_as_it_comes_is_the_video_at_once(frames, window, count, tmp_path):
    encoder = f"pixels/patch=2,frames={window},clip=real,pool=concat"
    clips = moving_shapes(6, frames=5, size=16, seed=1)
    made = fit_masks(labelled_frames(clips, seed=0), tmp_path / "m", replace(ONE, encoders=(encoder,))).segmenter
    video = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    if count < window:
        with pytest.raises(InvalidValueError, match="needs clips of 4 frames"):
            list(video_masks(made, enumerate(video)))
        return
    found = list(video_masks(made, ((float(at), frame) for at, frame in enumerate(video))))
    assert [time_s for time_s, _, _ in found] == list(range(count))
    assert (np.stack([frame for _, frame, _ in found]) == video).all()
    assert (np.stack([mask for _, _, mask in found]) == made.predict_video(video)).all()


def test_a_video_that_breaks_leaves_nothing(fitted, folder, tmp_path):
    whole = (folder / "street.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 8])
    (made,) = predict_files(fitted[0].segmenter, [(tmp_path / "cut.mp4", "cut.mp4")], tmp_path / "out")
    assert made.failed
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.*"))


def test_files_that_would_share_an_output(folder, tmp_path):
    (tmp_path / "a.png").write_bytes((folder / "garden" / "one.png").read_bytes())
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InvalidValueError, match="must differ in more than their ending"):
        media_files([tmp_path])
    with pytest.raises(InvalidValueError, match="must differ"):
        media_files([tmp_path / "a.png", tmp_path / "a.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidValueError, match="must hold a picture or a video"):
        media_files([tmp_path / "empty"])


def test_names_are_below_what_holds_them_all(folder):
    assert [name for _, name in media_files([folder / "garden" / "one.png"])] == ["one.png"]
    assert [name for _, name in media_files([folder / "garden" / "one.png", folder / "street.mp4"])] == [
        "garden/one.png", "street.mp4",
    ]  # fmt: skip
