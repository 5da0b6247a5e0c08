"""Losses: the starter's to its digits, slopes by differences, the laws of the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from moe_reference import starter_loss

from lightmeter.errors import InvalidValueError
from lightmeter.heads.losses import Asymmetric, CrossEntropy, LogitAdjusted
from lightmeter.parts import build

SHARES = np.array([0.5, 0.1, 0.01])


def drawn(rows=150):
    torch.manual_seed(0)
    return torch.rand(rows, 3), (torch.rand(rows, 3) < 0.3).float()


def slope_of(loss, p, *more):
    p = p.clone().requires_grad_()
    loss(p, *more).backward()
    return p.grad


@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_is_the_starters(soft):
    p, y = drawn()
    y = 0.7 * y + 0.1 if soft else y
    loss = CrossEntropy().ready(SHARES)
    torch.testing.assert_close(loss(p, y, None), starter_loss(p, y))
    torch.testing.assert_close(slope_of(loss, p, y, None), slope_of(lambda q: starter_loss(q, y), p))
    mean = CrossEntropy(reduce="mean").ready(SHARES)
    torch.testing.assert_close(mean(p, y, None) * 3, starter_loss(p, y))


def test_at_the_ends_it_stays_finite():
    p, y = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    loss = CrossEntropy().ready(SHARES)
    assert loss(p, y, None).item() == pytest.approx(-2 * np.log(1e-5) - np.log1p(1e-5), rel=1e-3)
    assert slope_of(loss, p, y, None).isfinite().all()


def test_what_nobody_rated_counts_nothing():
    p, y = drawn(4)
    weights = torch.tensor([[1.0, 0, 1]] * 4)
    for recipe in (CrossEntropy(), Asymmetric(), LogitAdjusted()):
        loss = recipe.ready(SHARES)
        slope = slope_of(loss, p, y, weights)
        assert not slope[:, 1].any()
        assert slope[:, 0].all()
    both = CrossEntropy().ready(SHARES)
    torch.testing.assert_close(both(p, y, weights) + both(p, y, 1 - weights), both(p, y, None))


def test_asymmetric_without_asymmetry_is_cross_entropy():
    p, y = drawn()
    flat = Asymmetric(positive=0, negative=0, margin=0).ready(SHARES)
    torch.testing.assert_close(
        flat(p, y, None), CrossEntropy(epsilon=1e-8).ready(SHARES)(p, y, None), rtol=1e-4, atol=0
    )


def test_asymmetric_by_hand():
    """Of a label at 0.5: (1/2)·ln 2; of another at 0.55 − 0.05: (1/2)²·ln 2; below the margin: 0."""
    loss = Asymmetric(positive=1, negative=2, margin=0.05).ready(SHARES)
    p, y = torch.tensor([[0.5, 0.55, 0.04]]), torch.tensor([[1.0, 0, 0]])
    assert loss(p, y, None).item() == pytest.approx(0.75 * np.log(2), rel=1e-5)
    assert slope_of(loss, p, y, None)[0, 2] == 0


def test_logit_adjustment_is_a_shift_of_logits():
    p, y = drawn()
    shift = torch.from_numpy(np.log(SHARES / (1 - SHARES))).float()
    moved = torch.sigmoid(torch.logit(p) + 0.5 * shift)
    expected = starter_loss(moved, y)
    torch.testing.assert_close(LogitAdjusted(tau=0.5).ready(SHARES)(p, y, None), expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(LogitAdjusted(tau=0).ready(SHARES)(p, y, None), starter_loss(p, y), rtol=1e-5, atol=0)


@pytest.mark.parametrize("loss", [CrossEntropy(), Asymmetric(1, 2, 0.1), LogitAdjusted(0.5)])
def test_it_is_rebuilt_by_its_spec(loss):
    assert build(loss.spec, "loss") == loss
    training = build(f"adam/loss=({loss.spec})", "training")
    assert training.loss == loss
    assert build(training.spec, "training") == training


@pytest.mark.parametrize("call", [lambda: CrossEntropy(0), lambda: Asymmetric(-1), lambda: LogitAdjusted(tau=-1)])
def test_what_is_refused(call):
    with pytest.raises(InvalidValueError):
        call()


@pytest.mark.parametrize("power", [0, 0.3, 0.5, 1, 4])
@pytest.mark.parametrize("margin", [0, 0.05])
def test_asymmetric_slopes_are_finite_where_powers_have_none(power, margin):
    """At p = margin and p = 1 the bases are 0; a slope there is as small as beside it."""
    p, y = torch.tensor([[margin, 1.0, 0.0]] * 2), torch.tensor([[0.0] * 3, [1.0] * 3])
    loss = Asymmetric(power, power, margin).ready(SHARES)
    assert slope_of(loss, p, y, None).isfinite().all()
    assert loss(p, y, None).isfinite()
