"""The mixture of experts is the starter's, forwards and backwards, however it is cut; joined blocks by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from moe_reference import NaiveMoe, starter_loss

from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block
from lightmeter.heads.moe import Moe
from lightmeter.heads.net_head import NetHead, SeparableHead, check_blocks, net_head
from lightmeter.nets.frames import unit
from lightmeter.nets.joined import Joined
from lightmeter.nets.moe import TILE, MixtureOfExperts
from lightmeter.parts import build

BLOCKS = (Block("visual", "features", 3), Block("audio", "features", 2))


def pair(dim, classes, experts, seed=0):
    torch.manual_seed(seed)
    moe = MixtureOfExperts(dim, classes, experts)
    with torch.no_grad():
        moe.bias.uniform_(-1, 1)
        moe.weight.mul_(5)
    return moe, NaiveMoe(dim, classes, experts).take(moe)


@pytest.mark.parametrize(("classes", "experts"), [(1, 1), (7, 2), (TILE, 2), (TILE + 1, 3), (2 * TILE + 30, 2)])
def test_it_is_the_starters_forwards_and_backwards(classes, experts):
    moe, naive = pair(10, classes, experts)
    x, y = torch.randn(6, 10), (torch.rand(6, classes) < 0.2).float()
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    p, q = moe(mine), naive(theirs)
    torch.testing.assert_close(p, q, atol=1e-6, rtol=0)
    starter_loss(p, y).backward()
    starter_loss(q, y).backward()
    gates = experts + 1
    for slope, other in (
        (moe.weight.grad[:gates].transpose(0, 1).reshape(-1, 10), naive.gates.weight.grad),
        (moe.weight.grad[gates:].transpose(0, 1).reshape(-1, 10), naive.answers.weight.grad),
        (moe.bias.grad.T.reshape(-1), naive.answers.bias.grad),
        (mine.grad, theirs.grad),
    ):
        torch.testing.assert_close(slope, other, atol=2e-6, rtol=1e-5)


def test_by_hand():
    """Gates 0, ln 2 and 0 of x = 1 are 1/4, 1/2, 1/4; experts σ(0) and σ(ln 3) are 1/2 and 3/4."""
    moe = MixtureOfExperts(1, 1, 2)
    with torch.no_grad():
        moe.weight.copy_(torch.tensor([0, np.log(2), 0, 0, 0]).view(5, 1, 1))
        moe.bias.copy_(torch.tensor([[0.0], [np.log(3)]]))
    assert moe(torch.ones(1, 1)).item() == pytest.approx(0.25 * 0.5 + 0.5 * 0.75)


def test_slopes_are_differences():
    moe = MixtureOfExperts(3, 4, 2)
    x = torch.randn(2, 3, requires_grad=True)
    weights = torch.randn(2, 4)
    (moe(x) * weights).sum().backward()
    step = 1e-2
    for at in range(3):
        shift = torch.zeros(1, 3)
        shift[0, at] = step
        with torch.no_grad():
            slope = ((moe(x + shift) - moe(x - shift)) * weights).sum() / (2 * step)
        assert x.grad[:, at].sum().item() == pytest.approx(slope.item(), abs=1e-3)


def test_a_range_of_classes_begins_as_in_the_whole():
    torch.manual_seed(5)
    whole = MixtureOfExperts(6, 9, 2)
    torch.manual_seed(5)
    part = MixtureOfExperts(6, 4, 2, first=3, of=9)
    torch.testing.assert_close(part.weight, whole.weight[:, 3:7], atol=0, rtol=0)


def test_fresh_weights_are_glorots():
    moe = MixtureOfExperts(50, 40, 2)
    gates, experts = (6 / (50 + 40 * 3)) ** 0.5, (6 / (50 + 40 * 2)) ** 0.5
    assert moe.weight[:3].abs().max().item() == pytest.approx(gates, rel=0.01)
    assert moe.weight[3:].abs().max().item() == pytest.approx(experts, rel=0.01)
    assert abs(moe.weight.mean().item()) < 0.01
    assert not moe.bias.any()


def test_bfloat16_is_near_and_answers_in_float32():
    moe, naive = pair(64, 20, 2)
    x = unit(torch.randn(5, 64)).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p = moe(x)
    assert p.dtype == torch.float32
    torch.testing.assert_close(p, naive(x), atol=0.02, rtol=0)
    p.sum().backward()
    assert moe.weight.grad.dtype == x.grad.dtype == torch.float32


def test_it_weighs_what_it_says():
    net = Moe(experts=4).net(BLOCKS, 11)
    assert net.macs == 5 * 11 * 9
    assert sum(each.numel() for each in net.parameters()) == net.macs + 4 * 11


# -- joined blocks ----------------------------------------------------------------------------------------------------

VALUES = {"visual": torch.tensor([[3.0, 0, 0], [1, 2, 2]]), "audio": torch.tensor([[0.0, 4], [5, 5]])}
THERE = torch.tensor([[True, True], [True, False]])


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [
        ("none", [[3, 0, 0, 0, 4], [1, 2, 2, 0, 0]]),
        ("whole", [[0.6, 0, 0, 0, 0.8], [1 / 3, 2 / 3, 2 / 3, 0, 0]]),
        ("block", [[1, 0, 0, 0, 1], [1 / 3, 2 / 3, 2 / 3, 0, 0]]),
    ],
)
def test_blocks_are_joined_and_the_absent_are_zeros(normalise, expected):
    torch.testing.assert_close(Joined(BLOCKS, normalise)(VALUES, THERE), torch.tensor(expected, dtype=torch.float32))


def test_what_stands_for_the_absent_is_learnt():
    joined = Joined(BLOCKS, "none", "learned")
    made = joined(VALUES, THERE)
    torch.testing.assert_close(made[1, 3:], joined.absent[1])
    made.sum().backward()
    assert joined.absent[1].grad.tolist() == [1, 1]
    assert joined.absent[0].grad is None or not joined.absent[0].grad.any()


def test_zeros_stay_zeros():
    assert not unit(torch.zeros(2, 3)).any()


# -- recipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [Moe(), Moe(8, "block", "learned"), Moe(normalise="none")])
def test_it_is_rebuilt_by_its_spec(head):
    assert build(head.spec, "head") == head
    assert isinstance(head, NetHead)
    assert isinstance(head, SeparableHead)
    assert bool(head.separable()) == (head.missing == "learned")


def test_what_is_refused():
    with pytest.raises(InvalidValueError, match="experts must be 1"):
        Moe(experts=0)
    with pytest.raises(InvalidValueError, match="--blocks visual"):
        check_blocks(Moe(), (*BLOCKS[:1], Block("rgb", "frames", 4)))
    with pytest.raises(InvalidValueError, match="there is attention, chain, dbof"):
        net_head("ridge")
