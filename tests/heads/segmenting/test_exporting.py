"""ONNX: equal to torch in onnxruntime; encoders that cannot are refused, and nothing is written."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from lightmeter.encoders.dense_pixels import Pixels
from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting import exporting
from lightmeter.heads.segmenting.exporting import export_onnx
from lightmeter.heads.segmenting.fitting import fit_segmenter
from lightmeter.heads.segmenting.protocol import mask_head
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.media.clip_set import labelled_frames
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.parts import build

FEW = MaskTraining(steps=3, batch=8)


def answers(path, frames):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"frames": frames})[0], session.get_modelmeta().custom_metadata_map


@pytest.mark.slow
def test_masks_are_those_of_the_segmenter(train, valid, tmp_path):
    made = fit_segmenter(Pixels(patch=2), mask_head("deep-conv/width=4,blocks=1"), train, valid, training=FEW)
    assert export_onnx(made, tmp_path / "m.onnx") < 1e-4
    frame = valid.frames[0]
    logits, told = answers(tmp_path / "m.onnx", frame[None])
    assert logits.shape == frame.shape[:2]
    assert ((logits > 0) == made.predict(frame)).mean() > 0.99
    np.testing.assert_allclose(
        logits, made.predict_logits(frame[None, None], np.zeros(1, np.int64))[0] - made.threshold, atol=1e-4
    )
    assert told["encoder"] == made.encoder.spec
    assert float(told["threshold"]) == made.threshold


def test_an_encoder_without_a_network(train, tmp_path):
    made = fit_segmenter(Pixels(patch=2), mask_head("linear-patch"), train, training=FEW)
    lite = build("lite-maps", "dense-encoder")
    broken = type(made)(lite, made.head, made.arrays, 0.0, 32, 32)
    with pytest.raises(InvalidValueError, match="ONNX needs an encoder that is a torch network, got lite-maps"):
        export_onnx(broken, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_not_written(train, tmp_path, monkeypatch):
    made = fit_segmenter(Pixels(patch=2), mask_head("linear-patch"), train, training=FEW)
    monkeypatch.setattr(exporting, "_apart", lambda segmenter, data: float("nan"))
    with pytest.raises(InvalidValueError, match="nothing is written"):
        export_onnx(made, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "head", "training"),
    [
        ("random/width=8,maps=[down2,down4,up4]", "multi-scale/width=8,blocks=2", FEW),
        ("random/width=8", "attention-conv/heads=8,residual=true", FEW),
        ("random/width=8", "fc-conv", MaskTraining(steps=3, batch=8, fine_tune=0.1)),
        ("random/width=8,clip=real,frames=3,pool=concat", "linear-patch", FEW),
        ("pixels/patch=1", "mask-unet/base=4,levels=2", FEW),
        ("pixels/patch=4", "linear-dual", FEW),
        ("pixels/patch=4", "light-conv", FEW),
        ("random/width=8", "linear-global", FEW),
    ],
)
def test_every_head(encoder, head, training, tmp_path):
    frames = labelled_frames(moving_shapes(10, frames=3, size=16, seed=0), seed=0)
    made = fit_segmenter(build(encoder, "dense-encoder"), mask_head(head), frames, training=training)
    assert export_onnx(made, tmp_path / "m.onnx") < 1e-3
    assert answers(tmp_path / "m.onnx", np.zeros((made.encoder.frames, 16, 16, 3), np.uint8))[0].shape == (16, 16)
