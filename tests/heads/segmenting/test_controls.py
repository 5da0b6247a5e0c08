"""Controls: an answer without a look, noise, shuffled masks; linear probes for depth and flow."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from lightmeter.encoders.dense import FeatureSet
from lightmeter.encoders.dense_pixels import Pixels
from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.controls import mean_mask, noise_images, shuffled_masks
from lightmeter.heads.segmenting.fitting import fit_segmenter
from lightmeter.heads.segmenting.patch_ridge import fit_patch_ridge
from lightmeter.heads.segmenting.protocol import mask_head
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.metrics.dense_errors import DepthScores


def test_the_mean_mask_by_hand(train):
    masks = np.zeros((4, 16, 16), np.uint8)
    masks[:3, 0, 0] = 1
    masks[1:, 0, 1] = 255
    few = dataclasses.replace(train.take(np.arange(4)), masks=masks)
    logits = mean_mask(few).logits
    assert logits[0, 0] == pytest.approx(np.log(3.5 / 1.5))
    assert logits[0, 1] == pytest.approx(np.log(0.5 / 1.5)), "one frame judges it"
    assert logits[5, 5] == pytest.approx(np.log(0.5 / 4.5))
    assert (mean_mask(few).macs, mean_mask(few).size_bytes) == (0, 1024)


def test_the_mean_mask_answers_every_picture_alike(train, valid):
    control = mean_mask(train)
    logits = control.predict_logits(valid.clips, valid.at)
    assert (logits == logits[:1]).all()
    assert control.predict_logits(np.zeros((2, 1, 5, 9, 3), np.uint8), np.zeros(2, np.int64)).shape == (2, 5, 9)
    found = control.calibrated(control.scores(valid))
    assert found.scores(valid).result().iou == control.scores(valid).best_threshold()[1]
    with pytest.raises(InvalidValueError, match="one frame at least"):
        mean_mask(train.take(np.zeros(0, np.int64)))


def test_noise_keeps_masks_and_nothing_of_the_frames(train):
    made = noise_images(train, seed=0)
    np.testing.assert_array_equal(made.masks, train.masks)
    np.testing.assert_array_equal(made.clips, noise_images(train, seed=0).clips)
    assert (made.clips != noise_images(train, seed=1).clips).mean() > 0.99
    assert abs(float(made.clips.mean()) - 127.5) < 1
    assert abs(np.corrcoef(made.clips.mean(axis=(1, 4)).ravel(), train.masks.ravel())[0, 1]) < 0.05


def test_no_frame_keeps_the_mask_of_its_scene(train):
    masks = np.zeros_like(train.masks)
    masks.reshape(24, -1)[np.arange(24), np.arange(24)] = 1  # no two alike
    train = dataclasses.replace(train, masks=masks)
    for seed in range(5):
        made = shuffled_masks(train, seed=seed)
        by_mask = {mask.tobytes(): group for mask, group in zip(train.masks, train.groups, strict=True)}
        taken = [by_mask[mask.tobytes()] for mask in made.masks]
        assert sorted(taken) == sorted(train.groups)
        assert not (np.array(taken) == train.groups).any()
        np.testing.assert_array_equal(made.clips, train.clips)
    with pytest.raises(InvalidValueError, match="among two frames or more"):
        shuffled_masks(train.take(np.array([0])), seed=0)


def test_what_is_learnt_from_noise_or_wrong_masks_is_no_better_than_no_look(train, valid):
    training = MaskTraining(steps=40, batch=12, lr=0.015)
    head = mask_head("deep-conv/width=8,blocks=1,first=8,last=8")

    def iou(own, other):
        made = fit_segmenter(Pixels(patch=2), head, own, training=training)
        return made.scores(other).best_threshold()[1]

    true = iou(train, valid)
    blind = mean_mask(train).scores(valid).best_threshold()[1]
    assert true > 0.7
    assert iou(noise_images(train, seed=1), noise_images(valid, seed=2)) < blind + 0.1
    assert iou(shuffled_masks(train, seed=1), valid) < true - 0.2


class TestPatchRidge:
    INPUTS: ClassVar = {"a": FeatureSet("a", 3, 2), "b": FeatureSet("b", 2, 2)}

    def maps(self, count, seed=0):
        rng = np.random.default_rng(seed)
        return {name: rng.normal(2, 3, (count, each.channels, 4, 5)).astype(np.float32)
                for name, each in self.INPUTS.items()}  # fmt: skip

    def targets(self, maps, kinds):
        """What a linear layer a cell gives, pixel by pixel."""
        weights = np.random.default_rng(9).normal(size=(5, 2, 2, kinds))
        joined = np.concatenate([maps["a"], maps["b"]], axis=1)
        made = np.einsum("nchw,cyxk->nhywxk", joined, weights) + 7
        return made.reshape(len(joined), 8, 10, kinds)

    @pytest.mark.parametrize("kinds", [1, 2])
    def test_finds_what_is_linear(self, kinds):
        maps = self.maps(12)
        wanted = self.targets(maps, kinds)
        wanted = wanted[..., 0] if kinds == 1 else wanted
        made = fit_patch_ridge(self.INPUTS, maps, wanted, l2=1e-9)
        np.testing.assert_allclose(made.predict(maps), wanted, rtol=1e-3, atol=1e-3)
        assert made.weights.shape == (6, 4 * kinds)
        assert made.size_bytes == 8 * (6 * 4 * kinds + 2 * kinds)

    def test_leaves_out_cells_that_are_not_known_and_stays_in_range(self):
        maps = self.maps(12)
        wanted = self.targets(maps, 1)[..., 0]
        holed = wanted.copy()
        holed[3, 2:5, 1] = np.nan
        made = fit_patch_ridge(self.INPUTS, maps, holed, l2=1e-9)
        np.testing.assert_allclose(made.predict(maps)[0], wanted[0], rtol=1e-3, atol=1e-3)
        far = {name: each * 100 for name, each in maps.items()}
        assert made.predict(far).min() >= np.float32(np.nanmin(holed))
        assert made.predict(far).max() <= np.float32(np.nanmax(holed))

    def test_depth_of_it_can_be_scored(self):
        maps = self.maps(6)
        truth = np.abs(self.targets(maps, 1)[..., 0]) + 0.5
        made = fit_patch_ridge(self.INPUTS, maps, truth)
        constant = DepthScores().update(np.full_like(truth, truth.mean()), truth).result()
        assert DepthScores().update(made.predict(maps), truth).result().rmse_m < constant.rmse_m

    def test_refusals(self):
        maps = self.maps(2)
        with pytest.raises(InvalidValueError, match=r"targets must be \[2, 8, 10, K\], got \[2, 8, 8, 1\]"):
            fit_patch_ridge(self.INPUTS, maps, np.zeros((2, 8, 8)))
        with pytest.raises(InvalidValueError, match="l2 must be above 0"):
            fit_patch_ridge(self.INPUTS, maps, np.zeros((2, 8, 10)), l2=0)
        with pytest.raises(InvalidValueError, match="a cell of finite numbers"):
            fit_patch_ridge(self.INPUTS, maps, np.full((2, 8, 10), np.nan))
        with pytest.raises(InvalidValueError, match="maps of one stride"):
            fit_patch_ridge(self.INPUTS | {"b": FeatureSet("b", 2, 4)}, maps, np.zeros((2, 8, 10)))
