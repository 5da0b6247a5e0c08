"""Losses of masks: by hand, their best values, pixels that are not judged, slopes that go the right way."""

from __future__ import annotations

import math

import pytest
import torch

from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.losses import MaskBce, MaskBceDice, MaskDice, MaskJaccard, MaskWeightedBce
from lightmeter.heads.segmenting.table import MASK_LOSSES
from lightmeter.parts import build

LOSSES = [MaskBce(), MaskWeightedBce(), MaskDice(), MaskDice(over="picture"), MaskJaccard(), MaskBceDice(share=0.3)]


def case():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, generator=generator)
    truth = (torch.rand(3, 4, 5, generator=generator) < 0.3).float()
    judged = (torch.rand(3, 4, 5, generator=generator) < 0.8).float()
    return logits, truth, judged


def test_all_in_the_table_are_built():
    for name in MASK_LOSSES:
        made = build(name, "mask-loss")
        assert build(made.spec) == made


@pytest.mark.parametrize("loss", LOSSES, ids=lambda each: each.spec)
class TestEveryLoss:
    def test_does_not_see_what_is_not_judged(self, loss):
        logits, truth, judged = case()
        other = torch.where(judged > 0, logits, 9.0), torch.where(judged > 0, truth, 1 - truth), judged
        assert loss.ready_mask(0.3)(*other) == loss.ready_mask(0.3)(logits, truth, judged)

    def test_is_almost_nothing_for_the_right_answer_and_more_for_any_other(self, loss):
        _, truth, judged = case()
        ready = loss.ready_mask(0.3)
        right = ready((truth * 2 - 1) * 20, truth, judged)
        assert 0 <= float(right) < 1e-6
        assert ready((truth * 2 - 1) * -20, truth, judged) > 0.5

    def test_falls_along_its_slope(self, loss):
        logits, truth, judged = case()
        logits.requires_grad_()
        before = loss.ready_mask(0.3)(logits, truth, judged)
        before.backward()
        assert loss.ready_mask(0.3)((logits - 0.1 * logits.grad).detach(), truth, judged) < before
        assert (logits.grad[judged == 0] == 0).all()

    def test_survives_a_batch_without_a_mask_or_a_judged_pixel(self, loss):
        logits, truth, judged = case()
        assert torch.isfinite(loss.ready_mask(0.0)(logits, torch.zeros_like(truth), judged))
        assert torch.isfinite(loss.ready_mask(0.3)(logits, truth, torch.zeros_like(judged)))


def test_by_hand():
    logits = torch.tensor([[[0.0, math.log(3)]]])  # p = 1/2, 3/4
    truth, judged = torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, 2)
    assert float(MaskBce().ready_mask(0.5)(logits, truth, judged)) == pytest.approx((math.log(2) + math.log(4)) / 2)
    weighted = MaskWeightedBce(positive=3.0).ready_mask(0.5)(logits, truth, judged)
    assert float(weighted) == pytest.approx((3 * math.log(2) + math.log(4)) / 2)
    assert float(MaskDice(smooth=1.0).ready_mask(0.5)(logits, truth, judged)) == pytest.approx(1 - 2 / 3.25)
    assert float(MaskJaccard(smooth=1.0).ready_mask(0.5)(logits, truth, judged)) == pytest.approx(1 - 1.5 / 2.75)


def test_weights_come_from_the_training_set():
    logits, truth, judged = case()
    own = MaskWeightedBce().ready_mask(0.2)(logits, truth, judged)
    assert own == MaskWeightedBce(positive=4.0).ready_mask(0.5)(logits, truth, judged)
    assert MaskWeightedBce().ready_mask(0.5)(logits, truth, judged) == MaskBce().ready_mask(0.5)(logits, truth, judged)


def test_over_pictures_each_counts_the_same():
    logits, truth, judged = case()
    each = [MaskDice().ready_mask(0.3)(logits[at : at + 1], truth[at : at + 1], judged[at : at + 1]) for at in range(3)]
    pictures = MaskDice(over="picture").ready_mask(0.3)(logits, truth, judged)
    assert float(pictures) == pytest.approx(float(sum(each)) / 3)


def test_refusals():
    for wrong in ("mask-dice/smooth=0", "mask-weighted-bce/positive=-1", "mask-bce-dice/share=2"):
        with pytest.raises(InvalidValueError, match="must be"):
            build(wrong)
