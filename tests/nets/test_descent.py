"""Steps of descent: what torch does, and the same bits after a state was taken up again."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.nets.descent import Descent, DescentPlan, rate_at


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))


def loss_of(net, scale=1.0):
    x = torch.arange(24.0).reshape(8, 3) / 24
    return lambda: scale * functional.mse_loss(net(x), x.sum(1, keepdim=True))


def arrays(descent):
    return {name: each.copy() for name, each in descent.state().items()}


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_a_state_that_is_taken_up_goes_on_bit_for_bit(optimiser):
    whole = Descent(small(), DescentPlan(optimiser), seed=3)
    for step in range(6):
        whole.step(step, 0.1, loss_of(whole.net))
    first = Descent(small(), DescentPlan(optimiser), seed=3)
    for step in range(3):
        first.step(step, 0.1, loss_of(first.net))
    kept = arrays(first)
    second = Descent(small(seed=9), DescentPlan(optimiser), seed=3)
    second.restore(kept, 3)
    for step in range(3, 6):
        second.step(step, 0.1, loss_of(second.net))
    assert all(np.array_equal(each, second.state()[name]) for name, each in whole.state().items())
    other = Descent(small(), DescentPlan(optimiser), seed=4)
    for step in range(6):
        other.step(step, 0.1, loss_of(other.net))
    assert not np.array_equal(whole.state()["net.0.weight"], other.state()["net.0.weight"]), "dropout knows the seed"


def test_it_is_adamw_of_torch():
    ours, theirs = small().eval(), small().eval()
    descent = Descent(ours, DescentPlan(weight_decay=0.3, clip=0.0))
    groups = [{"params": [each for each in theirs.parameters() if (each.ndim > 1) == decays], "weight_decay": decay}
              for decays, decay in ((True, 0.3), (False, 0.0))]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=0.05)
    for step in range(5):
        optimizer.zero_grad()
        loss_of(theirs)().backward()
        optimizer.step()
        descent.step(step, 0.05, loss_of(ours))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_share_of_the_rate_and_what_is_frozen():
    net = small()
    net[3].bias.requires_grad_(requires_grad=False)
    before = {name: each.detach().clone() for name, each in net.named_parameters()}
    descent = Descent(net, DescentPlan("sgd", weight_decay=0.0), share=lambda name: float(name.startswith("3.")))
    descent.step(0, 0.5, loss_of(net))
    moved = {name for name, each in net.named_parameters() if not torch.equal(each, before[name])}
    assert moved == {"3.weight"}


def test_the_slope_is_cut():
    net = nn.Linear(3, 1)
    before = net.weight.detach().clone()
    bias = net.bias.detach().clone()
    Descent(net, DescentPlan("sgd", weight_decay=0.0, clip=0.5, momentum=0.0)).step(0, 1.0, loss_of(net, 1e4))
    moved = torch.cat([(net.weight - before).flatten(), net.bias - bias])
    assert float(moved.detach().norm()) == pytest.approx(0.5, rel=1e-4)


def test_what_cannot_be():
    descent = Descent(small(), DescentPlan())
    with pytest.raises(InvalidValueError, match="got nan at step 7"):
        descent.step(7, 0.1, lambda: next(descent.net.parameters()).sum() * float("nan"))
    with pytest.raises(RejectedFileError, match=r"net\.0\.weight"):
        descent.restore({}, 1)
    for wrong in ({"optimiser": "lion"}, {"clip": -1.0}, {"weight_decay": float("inf")}, {"momentum": 1.0}):
        with pytest.raises(InvalidValueError):
            DescentPlan(**wrong)


def test_the_rate_rises_and_falls():
    rates = [rate_at(step, 100, lr=2.0, warm_up=0.1) for step in range(100)]
    assert rates[:2] == pytest.approx([0.2, 0.4])
    assert max(rates) == rates[9] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert all(one > other for one, other in pairwise(rates[10:]))
    assert rate_at(99, 100, lr=2.0, falls=False) == 2.0
