"""Fitting: a toy is learnt, the same seed gives the same bits, a killed run ends as if nothing had happened."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lightmeter.encoders.dense_cache import FeatureCache
from lightmeter.encoders.dense_pixels import Pixels
from lightmeter.encoders.dense_random import RandomWeights
from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.dual import LinearDual, dual_ridge
from lightmeter.heads.segmenting.fitting import Run, fit_prepared, fit_segmenter, score_prepared
from lightmeter.heads.segmenting.prepared import Changes, changed_frames, prepared
from lightmeter.heads.segmenting.protocol import mask_head
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.parts import build

FROZEN = MaskTraining(steps=12, batch=8)
TUNED = MaskTraining(steps=6, batch=4, fine_tune=0.3, flip=True, shift_px=2)
SMALL = RandomWeights(width=4, maps=("down4",))
QUICK = mask_head("deep-conv/width=8,blocks=1,first=8,last=8")


def same(one, other):
    assert set(one.arrays) == set(other.arrays)
    return all(np.array_equal(each, other.arrays[name]) for name, each in one.arrays.items())


@pytest.mark.parametrize(
    ("spec", "least"), [("linear-patch", 0.6), ("deep-conv/width=16,blocks=1,first=8,last=8", 0.85),
                        ("multi-scale/width=16,blocks=2", 0.85)],
)  # fmt: skip
def test_a_toy_is_learnt(train, valid, spec, least):
    training = MaskTraining(steps=80, batch=12, lr=0.01)
    made = fit_segmenter(Pixels(patch=2), mask_head(spec), train, valid, training=training)
    assert made.scores(valid).result().iou > least


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_same_seed_same_bits_and_every_optimiser_learns(train, optimiser):
    training = dataclasses.replace(FROZEN, optimiser=optimiser, steps=20, lr=0.5 if optimiser == "sgd" else 0.01)
    told = []
    one, other = (
        fit_segmenter(SMALL, QUICK, train, training=training, seed=3, run=Run(tell=told.append)) for _ in range(2)
    )
    assert same(one, other)
    assert not same(one, fit_segmenter(SMALL, QUICK, train, training=training, seed=4))
    assert (told[-1].step, told[-1].steps, told[-1].began) == (20, 20, 0)
    first = score_prepared(fit_segmenter(SMALL, QUICK, train, training=dataclasses.replace(training, lr=1e-9), seed=3),
                           prepared(SMALL, train))  # fmt: skip
    assert score_prepared(one, prepared(SMALL, train)).best_threshold()[1] > first.best_threshold()[1]


class KilledError(Exception):
    """The process dies here."""


@pytest.mark.parametrize(
    ("training", "head"),
    [(FROZEN, QUICK), (FROZEN, LinearDual()), (dataclasses.replace(FROZEN, optimiser="sgd"), QUICK), (TUNED, QUICK)],
    ids=["frozen", "dual", "sgd", "tuned"],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(train, tmp_path, monkeypatch, training, head):
    from lightmeter.heads.segmenting.learning import MaskLearner

    whole = fit_segmenter(SMALL, head, train, training=training)
    run, learns = Run(folder=tmp_path, checkpoint_s=0), MaskLearner.step
    monkeypatch.setattr("lightmeter.engines.checkpoints.Checkpoints.due", property(lambda self: True))
    stepped = []

    def dying(self, number):
        stepped.append(number)
        if len(stepped) == 4:
            raise KilledError
        return learns(self, number)

    monkeypatch.setattr(MaskLearner, "step", dying)
    with pytest.raises(KilledError):
        fit_segmenter(SMALL, head, train, training=training, run=run)
    assert same(fit_segmenter(SMALL, head, train, training=training, run=run), whole)
    assert stepped == [0, 1, 2, 3, *range(3, training.steps)], "only the step in flight is done again"
    count = len(stepped)
    assert same(fit_segmenter(SMALL, head, train, training=training, run=run), whole)
    assert len(stepped) == count, "a finished run is read"
    with pytest.raises(InvalidValueError, match="got one whose seed is 0, not 1"):
        fit_segmenter(SMALL, head, train, training=training, seed=1, run=run)


def test_fine_tuning_moves_the_encoder_and_helps(train, valid):
    frozen = fit_segmenter(SMALL, QUICK, train, training=MaskTraining(steps=40, batch=8, lr=0.01))
    tuned = fit_segmenter(SMALL, QUICK, train, training=MaskTraining(steps=40, batch=8, lr=0.01, fine_tune=1.0))
    own = {name.removeprefix("encoder."): each for name, each in tuned.arrays.items() if name.startswith("encoder.")}
    fresh = {name: each.numpy() for name, each in SMALL.net().state_dict().items()}
    assert set(own) == set(fresh)
    assert any(not np.array_equal(own[name], fresh[name]) for name in fresh)
    assert not any(name.startswith("encoder.") for name in frozen.arrays)
    scores = [each.scores(train).best_threshold()[1] for each in (frozen, tuned)]
    assert scores[1] > scores[0]
    slow = fit_segmenter(SMALL, QUICK, train, training=MaskTraining(steps=4, batch=8, fine_tune=1e-6))
    assert all(np.allclose(slow.arrays[f"encoder.{name}"], each, atol=1e-6) for name, each in fresh.items())


def test_the_threshold_is_found_on_validation(train, valid):
    made = fit_segmenter(Pixels(patch=2), mask_head("linear-patch"), train, valid, training=FROZEN)
    scores = dataclasses.replace(made, threshold=0.0).scores(valid)
    assert (made.threshold, made.about["calibrated"]["iou"]) == scores.best_threshold()
    assert made.scores(valid).result().iou == made.about["calibrated"]["iou"] >= scores.result().iou
    alone = fit_segmenter(Pixels(patch=2), mask_head("linear-patch"), train, training=FROZEN)
    assert alone.threshold == 0
    assert same(made, alone)


class TestPrepared:
    def test_fits_as_fit_segmenter_does(self, train, valid):
        own, other = prepared(SMALL, train), prepared(SMALL, valid)
        made, again = (
            fit_segmenter(SMALL, QUICK, train, valid, training=FROZEN),
            fit_prepared(own, QUICK, other, training=FROZEN),
        )
        assert same(made, again)
        assert made.threshold == again.threshold
        assert score_prepared(made, other).result() == made.scores(valid).result()

    def test_some_rows_are_as_a_set_of_their_own(self, train):
        rows = np.array([5, 1, 8])
        whole, few = prepared(SMALL, train).take(rows), prepared(SMALL, train.take(rows))
        np.testing.assert_array_equal(whole.features["down4"], few.features["down4"])
        assert same(fit_prepared(whole, QUICK, training=FROZEN), fit_prepared(few, QUICK, training=FROZEN))

    def test_features_are_made_once_with_a_cache(self, train, tmp_path, monkeypatch):
        cache = FeatureCache(tmp_path)
        first = prepared(SMALL, train, cache=cache)
        np.testing.assert_array_equal(first.features["down4"], prepared(SMALL, train).features["down4"])
        monkeypatch.setattr(RandomWeights, "features", lambda *arguments: pytest.fail("made again"))
        again = prepared(SMALL, train, cache=cache)
        np.testing.assert_array_equal(first.features["down4"], again.features["down4"])
        made = fit_segmenter(SMALL, QUICK, train, training=FROZEN, run=Run(cache=cache))
        monkeypatch.undo()
        assert same(made, fit_segmenter(SMALL, QUICK, train, training=FROZEN))
        assert len(list(tmp_path.iterdir())) == 1
        prepared(SMALL, train, cache=cache, changes=Changes(flip=True, copies=2))
        assert len(list(tmp_path.iterdir())) == 2, "a changed copy is another request, the first is there"

    def test_copies_are_changed_frames(self, train):
        training = MaskTraining(steps=4, batch=8, flip=True, shift_px=3, copies=3)
        own = prepared(Pixels(patch=2), train, changes=Changes.of(training, 0))
        assert len(own) == 3 * len(train)
        np.testing.assert_array_equal(own.masks[: len(train)], train.masks)
        assert (own.masks[len(train) :] == 255).any()
        few = own.take(np.array([2, 0]))
        np.testing.assert_array_equal(few.features["pixels"][3], own.features["pixels"][len(train)])
        fit_prepared(own, mask_head("linear-patch"), training=training)
        with pytest.raises(InvalidValueError, match="features must be of the training's copies"):
            fit_prepared(prepared(Pixels(patch=2), train), mask_head("linear-patch"), training=training)

    def test_changes_move_frames_and_masks_alike(self):
        frame = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4, 1).repeat(3, axis=4)
        mask = (frame[:, 0, :, :, 0] > 5).astype(np.uint8)
        clips, masks = changed_frames(frame, mask, np.array([[1, 1, -1]]))
        assert clips[0, 0, :, :, 0].tolist() == [[2, 1, 0, 0], [2, 1, 0, 0], [6, 5, 4, 4]]
        assert masks[0].tolist() == [[255] * 4, [0, 0, 0, 255], [1, 0, 0, 255]]

    def test_frames_of_another_size_are_brought_to_the_encoders(self, train):
        odd = dataclasses.replace(train, clips=train.clips[:, :, :13, :11], masks=train.masks[:, :13, :11])
        own = prepared(SMALL, odd)
        assert (own.height, own.width) == (16, 16)
        assert own.masks.shape == (24, 16, 16)
        made = fit_prepared(own, QUICK, own, training=FROZEN)
        scores = score_prepared(made, own).result()
        assert (scores.height, scores.width) == (13, 11), "scored at the size of the masks"
        assert scores == made.scores(odd).result()


class TestDual:
    def test_is_the_linear_layer(self, train, valid):
        made = fit_segmenter(SMALL, LinearDual(), train, training=MaskTraining(steps=30, batch=8, lr=0.3))
        net = made._net
        features = {"down4": np.ascontiguousarray(SMALL.features(valid.clips, valid.at)["down4"])}
        import torch

        flat = net.standard({"down4": torch.from_numpy(features["down4"])})["down4"].flatten(1)
        primal = flat @ net.head.primal().T + net.head.readout.bias
        np.testing.assert_allclose(
            made.logits_of(features, 16, 16).reshape(12, -1), primal.detach().numpy(), rtol=1e-3, atol=1e-4
        )
        assert made.head_parameters == 24 * 256 + 256

    def test_gradient_descent_on_the_weights_stays_in_the_span(self):
        """W ← W − η·Xᵀ·G from zero is A ← A − η·D·G: the primal run in a basis of training rows."""
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(6, 40)), rng.random((6, 3)) < 0.5
        weights, dual = np.zeros((40, 3)), np.zeros((6, 3))
        for _ in range(20):
            slope = 1 / (1 + np.exp(-x @ weights)) - y
            other = 1 / (1 + np.exp(-(x @ x.T / 40) @ dual)) - y
            weights -= 0.05 * x.T @ slope
            dual -= 0.05 * 40 * other
        np.testing.assert_allclose(x.T @ dual / 40, weights, rtol=1e-9)

    def test_ridge_equals_the_primal(self):
        rng = np.random.default_rng(1)
        x, y = rng.normal(2, 1, (10, 30)), rng.normal(size=(10, 4))
        dual, bias = dual_ridge(x, y, 0.1)
        centred = x - x.mean(axis=0)
        primal = np.linalg.solve(centred.T @ centred + 0.1 * 30 * np.eye(30), centred.T @ (y - y.mean(axis=0)))
        fresh = rng.normal(2, 1, (5, 30))
        np.testing.assert_allclose(
            fresh @ x.T / 30 @ dual + bias, (fresh - x.mean(axis=0)) @ primal + y.mean(axis=0), rtol=1e-8
        )

    def test_its_seconds_do_not_grow_with_the_layer(self, train):
        """240 · 16 · 16 features to 64 × 64: 252 M weights, here as inner products of 24 rows."""
        import time

        import torch

        from lightmeter.encoders.dense import FeatureSet

        start_s = time.process_time()
        net = LinearDual().net_of({"a": FeatureSet("a", 240, 4)}, 64, 64, torch.randn(24, 61440))
        kernel = net.basis({"a": torch.randn(24, 240, 16, 16)})
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(20):
            net.readout(kernel).square().mean().backward()
            optimizer.step()
        assert time.process_time() - start_s < 3


def test_refusals(train, valid):
    with pytest.raises(InvalidValueError, match="must not share a scene"):
        fit_segmenter(SMALL, QUICK, train, train)
    empty = dataclasses.replace(train, masks=np.zeros_like(train.masks))
    with pytest.raises(InvalidValueError, match="there is nothing to learn"):
        fit_segmenter(SMALL, QUICK, empty)
    with pytest.raises(InvalidValueError, match="must be one at least"):
        fit_segmenter(SMALL, QUICK, train.take(np.zeros(0, np.int64)))
    with pytest.raises(InvalidValueError, match="linear-dual must have a frozen encoder"):
        fit_segmenter(SMALL, LinearDual(), train, training=TUNED)
    with pytest.raises(InvalidValueError, match="loss must stay finite, got nan at step"):
        fit_segmenter(SMALL, QUICK, train, training=MaskTraining(steps=9, lr=1e30, clip=0, optimiser="sgd", warm_up=0))
    for wrong in ("lr=0", "steps=0", "warm_up=1.0", "flip=true", "copies=2", "copies=2,flip=true,fine_tune=0.1"):
        with pytest.raises(InvalidValueError, match="must be|go together"):
            build(f"mask-training/{wrong}")
    assert build(TUNED.spec) == TUNED
    with pytest.raises(InvalidValueError, match=r"features must be of the segmenter's encoder"):
        score_prepared(fit_segmenter(SMALL, QUICK, train, training=FROZEN), prepared(Pixels(), valid))
