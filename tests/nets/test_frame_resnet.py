import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightmeter.errors import InvalidValueError
from lightmeter.nets.frame_resnet import FrameResNet, FrameResNetPlan

PLAN = FrameResNetPlan(stride=4, dim=12, layers=(1, 2, 1, 1), base=8)


def frames(count, size=16, batch=2):
    return torch.rand((batch, 3, count, size, size), generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_collapsed_net_gives_the_same_for_one_frame(stride):
    torch.manual_seed(0)
    net = FrameResNet(FrameResNetPlan(stride=stride, dim=12, layers=(1, 2, 1, 1), base=8))
    flat = net.collapsed()
    with torch.no_grad():
        wanted, made = net(frames(1)), flat(frames(1))
    assert made.shape == (2, 1, 16 // stride, 16 // stride, 12)
    assert wanted.std() > 0.1
    assert float((made - wanted).abs().max()) <= 1e-5
    assert sum(each.numel() for each in flat.parameters()) < 0.4 * sum(each.numel() for each in net.parameters())
    assert list(flat.state_dict()) == list(net.state_dict())


def test_collapsing_twice_changes_nothing():
    flat = FrameResNet(PLAN).collapsed()
    again = flat.collapsed().state_dict()
    assert all(torch.equal(each, again[name]) for name, each in flat.state_dict().items())


@pytest.mark.parametrize("base", [pytest.param(each, marks=pytest.mark.slow if each < 4 else ()) for each in (1, 3, 4)])
def test_narrow_nets_have_gradients(base):
    """In a child: oneDNN would end the process with a corrupt heap (channels-last arrays of fewer than 8 channels)."""
    text = (
        "import torch\n"
        "from lightmeter.nets.frame_resnet import FrameResNet, FrameResNetPlan\n"
        "torch.manual_seed(0)\n"
        f"net = FrameResNet(FrameResNetPlan(stride=4, dim=12, layers=(1, 2, 1, 1), base={base})).collapsed()\n"
        "net(torch.rand(2, 3, 1, 32, 32) - 0.5).square().mean().backward()\n"
        "assert all(each.grad.isfinite().all() for each in net.parameters())\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-400:]


@pytest.mark.slow
def test_the_published_size_collapses_exactly():
    torch.manual_seed(0)
    net, frame = FrameResNet(FrameResNetPlan()), frames(1, 64, 1)
    with torch.no_grad():
        wanted, made = net(frame), net.collapsed()(frame)
        assert float((made - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())
        net, frame = net.double(), frame.double()
        assert float((net(frame) - net.collapsed()(frame)).abs().max()) <= 1e-12


def test_frames_before_and_after_matter_only_in_3d():
    net, clip = FrameResNet(PLAN), frames(3)
    with torch.no_grad():
        alone = net(clip[:, :, 1:2])[:, 0]
        among = net(clip)[:, 1]
    assert float((alone - among).abs().max()) > 1e-3
    with pytest.raises(InvalidValueError, match="takes 1 frame, got 3"):
        net.collapsed()(clip)


def test_stages_are_what_the_plan_says():
    for net in (FrameResNet(PLAN), FrameResNet(PLAN).collapsed()):
        with torch.no_grad():
            made = net.stages(frames(1))
        sizes = [(each.shape[1], 16 // each.shape[3]) for each in made]
        assert sizes == list(zip(PLAN.widths, PLAN.strides, strict=True)) == [(8, 1), (16, 2), (32, 4), (12, 4)]
        assert torch.equal(made[-1].movedim(1, -1), net(frames(1)))


@pytest.mark.parametrize(("flat", "count"), [(False, 1), (False, 2), (True, 1)])
def test_the_plan_predicts_its_work(flat, count):
    with torch.device("meta"):
        net, clip = FrameResNet(PLAN, flat=flat), torch.zeros(1, 3, count, 16, 32)
        with FlopCounterMode(display=False) as counter:
            net(clip)
    assert counter.get_total_flops() // 2 == PLAN.macs(16, 32, count, flat=flat)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidValueError, match=r"multiples of 4, got \[18, 16\]"):
        FrameResNet(PLAN)(torch.zeros(1, 3, 1, 18, 16))
    with pytest.raises(InvalidValueError, match=r"\[B, 3, T, H, W\]"):
        FrameResNet(PLAN)(torch.zeros(1, 3, 16, 16))
    with pytest.raises(InvalidValueError, match="1, 2, 4 or 8, got 3"):
        FrameResNetPlan(stride=3)
