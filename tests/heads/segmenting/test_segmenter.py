"""Segmenters: saved and loaded to the bit, pictures of other sizes, videos, files that somebody forged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightmeter.encoders.dense_pixels import Pixels
from lightmeter.encoders.dense_random import RandomWeights
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.segmenting.dual import LinearDual
from lightmeter.heads.segmenting.fitting import fit_segmenter
from lightmeter.heads.segmenting.protocol import mask_head
from lightmeter.heads.segmenting.segmenter import Segmenter
from lightmeter.heads.segmenting.training import MaskTraining

SMALL = RandomWeights(width=4, maps=("down4",))
QUICK = mask_head("deep-conv/width=8,blocks=1,first=8,last=8")
FEW = MaskTraining(steps=4, batch=8)
TUNED = MaskTraining(steps=4, batch=8, fine_tune=0.5)


@pytest.fixture(scope="module")
def fitted(train, valid):
    return fit_segmenter(Pixels(patch=2), mask_head("multi-scale/width=16,blocks=1"), train, valid,
                         training=MaskTraining(steps=60, batch=8, lr=0.01))  # fmt: skip


@pytest.mark.parametrize(
    ("head", "training"),
    [
        (QUICK, FEW),
        (QUICK, TUNED),
        (LinearDual(), FEW),
        (mask_head("linear-patch"), MaskTraining(steps=2, standardise=False)),
    ],
    ids=["frozen", "tuned", "dual", "plain"],
)
def test_saved_and_loaded_to_the_bit(train, valid, tmp_path, head, training):
    made = fit_segmenter(SMALL, head, train, valid, training=training)
    made.save(tmp_path)
    again = Segmenter.load(tmp_path)
    assert (again.threshold, again.encoder, again.head, again.about) == (made.threshold, SMALL, head, dict(made.about))
    np.testing.assert_array_equal(
        again.predict_logits(valid.clips, valid.at), made.predict_logits(valid.clips, valid.at)
    )
    assert again.size_bytes == made.size_bytes
    assert again.macs == made.macs > SMALL.macs(16, 16)
    kept = {each.name for each in tmp_path.iterdir()}
    assert kept == {"model.safetensors", "model.json"}
    assert made.about["calibrated"]["threshold"] == made.threshold


def test_a_picture_of_any_size_gets_a_mask_of_its_size(fitted, valid):
    frame, mask = valid.frames[0], valid.masks[0]
    own = fitted.predict(frame)
    assert own.dtype == np.uint8
    assert set(np.unique(own)) <= {0, 1}
    large = frame.repeat(5, axis=0).repeat(4, axis=1)
    found = fitted.predict(large)
    assert found.shape == (80, 64)
    true = mask.repeat(5, axis=0).repeat(4, axis=1)
    assert (found & true).sum() / (found | true).sum() > 0.6
    assert fitted.predict(frame[:7, :9]).shape == (7, 9)


def test_a_video_is_its_frames(fitted, valid):
    video = np.concatenate([valid.frames, valid.frames[:7]])
    masks = fitted.predict_video(video)
    assert masks.shape == (19, 16, 16)
    for at in (0, 11, 16, 18):
        np.testing.assert_array_equal(masks[at], fitted.predict(video[at]))
    assert fitted.predict_video(video[:0]).shape == (0, 16, 16)


def test_frames_are_seen_with_their_neighbours_where_the_encoder_sees_several(train):
    """Twice the colour a step further: an encoder of three frames must answer for the frame it is asked for."""
    import dataclasses

    several = dataclasses.replace(train, clips=train.clips.repeat(5, axis=1), at=train.at + 2)
    encoder = Pixels(patch=2, frames=3, clip="real", pool="concat")
    made = fit_segmenter(encoder, mask_head("linear-patch"), several, training=FEW)
    video = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    masks = made.predict_video(video)
    for at, start in ((0, 0), (1, 0), (9, 8), (19, 17)):
        wanted = made.predict_clips(video[None, start : start + 3], np.array([at - start]))[0]
        np.testing.assert_array_equal(masks[at], wanted)
    with pytest.raises(InvalidValueError, match="clip=real needs clips of .*, got 1"):
        made.predict(video[0])


@pytest.mark.parametrize("training", [FEW, TUNED], ids=["frozen", "tuned"])
def test_the_module_is_the_segmenter(train, valid, training):
    import torch

    from lightmeter.heads.segmenting.learning import unit_clips

    made = fit_segmenter(SMALL, QUICK, train, training=training)
    with torch.no_grad():
        logits = made.module()(unit_clips(valid.clips)).numpy()
    np.testing.assert_allclose(logits, made.predict_logits(valid.clips, valid.at), rtol=1e-4, atol=1e-4)


class TestForged:
    @pytest.fixture
    def folder(self, train, tmp_path):
        fit_segmenter(SMALL, LinearDual(), train, training=FEW).save(tmp_path)
        return tmp_path

    def forge(self, folder, **changes):
        path = folder / "model.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"schema": "other/1"}, "must say lightmeter.segmenter/1"),
            ({"threshold": None}, "threshold of a segmenter"),
            ({"threshold": float("nan")}, "threshold of a segmenter"),
            ({"height": 0}, "height of a model must be a whole number"),
            ({"height": 1 << 40}, "at most 16384"),
            ({"height": 32}, "must be of its recipe"),
            ({"spec": "ridge"}, "must name its parts"),
            ({"spec": "linear-patch"}, "must hold"),
            ({"spec": "mask-unet/base=512,levels=6"}, "must hold"),
            ({"encoder": "no-such"}, "must name its parts"),
            ({"encoder": "random/width=5"}, "the encoder must be the one"),
            ({"tuned": "yes"}, "tuned and standardised"),
            ({"about": []}, "about of a segmenter"),
        ],
    )
    def test_is_refused(self, folder, changes, sentence):
        self.forge(folder, **changes)
        with pytest.raises(RejectedFileError, match=sentence):
            Segmenter.load(folder)

    def test_arrays_of_another_shape_are_refused(self, folder):
        from lightmeter.assets.saving import load_model, save_model

        arrays, about = load_model(folder)
        save_model(folder, {**arrays, "head.readout.bias": np.zeros(7, np.float32)}, about)
        with pytest.raises(RejectedFileError, match=r"head.readout.bias of a model must be float32 \[256\]"):
            Segmenter.load(folder)


def test_refuses_what_is_no_picture(fitted):
    with pytest.raises(InvalidValueError, match="frame must be"):
        fitted.predict(np.zeros((16, 16), np.uint8))
    with pytest.raises(InvalidValueError, match="clips must be uint8"):
        fitted.predict_logits(np.zeros((1, 1, 16, 16, 3), np.float32), np.zeros(1, np.int64))
