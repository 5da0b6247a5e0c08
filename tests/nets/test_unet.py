import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightmeter.errors import InvalidValueError
from lightmeter.nets.unet import UNet, UNetPlan


def test_ronneberger_weights_by_hand():
    # two 3² convolutions a size, down and up; a 2² up-convolution between sizes; 1² at the end
    widths, weights, before = (64, 128, 256, 512, 1024), 0, 3
    for wide in widths:
        weights += 9 * wide * (before + wide) + 2 * wide
        before = wide
    for wide in widths[:-1]:
        weights += 4 * 2 * wide * wide + wide + 9 * wide * (2 * wide + wide) + 2 * wide
    weights += 64 + 1
    with torch.device("meta"):
        net = UNet(UNetPlan())
    assert sum(each.numel() for each in net.parameters()) == weights == 31_031_745


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize("levels", [0, 1, 3])
def test_shapes_maps_and_work(norm, levels):
    plan = UNetPlan(inputs=4, outputs=2, base=8, levels=levels, norm=norm)
    net, pictures = UNet(plan).eval(), torch.rand(2, 4, 16, 24)
    with torch.no_grad():
        assert net(pictures).shape == (2, 2, 16, 24)
        maps = net.maps(pictures)
    assert [tuple(each.shape[1:]) for each in maps] == [
        (wide, 16 >> level, 24 >> level) for level, wide in enumerate(plan.widths)
    ]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        UNet(plan)(torch.zeros(1, 4, 16, 24))
    assert counter.get_total_flops() // 2 == plan.macs(16, 24)


def test_without_outputs_the_answer_is_the_finest_map():
    net, pictures = UNet(UNetPlan(outputs=0, base=8, levels=1)), torch.rand(1, 3, 8, 8)
    assert torch.equal(net(pictures), net.maps(pictures)[0])


def test_a_skip_carries_what_pooling_loses():
    # checkerboards of one and the other phase are equal after pooling; only the way across can tell them apart
    torch.manual_seed(0)
    net = UNet(UNetPlan(inputs=1, base=8, levels=2)).eval()
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).float()[None, None]
    with torch.no_grad():
        assert float((net(board) - net(1 - board))[..., 3:5, 3:5].abs().max()) > 1e-3


def test_what_does_not_fit_is_refused():
    net = UNet(UNetPlan(base=8, levels=2))
    with pytest.raises(InvalidValueError, match=r"multiples of 4, got \[10, 8\]"):
        net(torch.zeros(1, 3, 10, 8))
    with pytest.raises(InvalidValueError, match=r"\[B, 3, H, W\], got \[1, 1, 8, 8\]"):
        net(torch.zeros(1, 1, 8, 8))
    with pytest.raises(InvalidValueError, match="multiple of 8"):
        UNetPlan(base=12, norm="group")
    with pytest.raises(InvalidValueError, match="none, batch, group"):
        UNetPlan(norm="layer")
