from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightmeter.errors import InvalidValueError
from lightmeter.nets.future_codes import FutureCodes, FutureCodesPlan
from lightmeter.nets.masked_decoding import decode_masked, drawn_hidden, masked_loss

TINY = {"grid": (2, 4, 4), "codes": 8, "width": 24, "layers": 1, "heads": 2, "base": 8, "levels": 1}
KINDS = [
    {"stride": 4},
    {"stride": 2, "attention": "axial"},
    {"stride": 4, "condition": "cross"},
    {"stride": 8, "layers": 0, "norm": "batch"},
    {"stride": 4, "condition": "cross", "attention": "axial", "norm": "none"},
]


@pytest.fixture(params=KINDS, ids=lambda kind: ",".join(f"{name}={value}" for name, value in kind.items()))
def plan(request):
    return FutureCodesPlan(**{**TINY, **request.param})


def frames_for(plan, batch=2):
    return torch.rand((batch, 3, *plan.size), generator=torch.Generator().manual_seed(0)) - 0.5


def codes_for(plan, batch=2):
    return torch.randint(0, plan.codes, (batch, *plan.grid), generator=torch.Generator().manual_seed(1))


def test_shapes_maps_and_gradients(plan):
    torch.manual_seed(0)
    net, frames, codes = FutureCodes(plan), frames_for(plan), codes_for(plan)
    maps = net.maps(frames)
    height, width = plan.size
    assert {s: tuple(each.shape[1:]) for s, each in maps.items()} == {
        s: (channels, height // s, width // s) for s, channels in plan.strides.items()
    }
    hidden = drawn_hidden(2, plan.grid)
    logits = net(frames, codes, hidden)
    assert logits.shape == (2, *plan.grid, plan.codes)
    masked_loss(logits, codes, hidden).backward()
    assert all(each.grad is not None for each in net.parameters())


def test_the_plan_predicts_its_work(plan):
    with torch.device("meta"):
        net, frames = FutureCodes(plan), torch.zeros(1, 3, *plan.size)
        with FlopCounterMode(display=False) as whole:
            net(frames)
        with FlopCounterMode(display=False) as frame:
            net.maps(frames)
    assert whole.get_total_flops() // 2 == plan.macs()
    assert frame.get_total_flops() // 2 == plan.frame_macs(*plan.size)


def test_all_hidden_is_plain_parallel_prediction(plan):
    net, frames, codes = FutureCodes(plan).eval(), frames_for(plan), codes_for(plan)
    with torch.no_grad():
        plain = net(frames)
        assert torch.equal(net(frames, codes, torch.ones_like(codes, dtype=torch.bool)), plain)
        seen = net.seen(net.maps(frames))
        made = decode_masked(partial(net.logits, seen), 2, plan.grid, steps=1, temperature=0)
        assert torch.equal(made, plain.argmax(-1))


def test_an_item_is_blind_to_its_batch(plan):
    net, frames = FutureCodes(plan).eval(), frames_for(plan)
    with torch.no_grad():
        torch.testing.assert_close(net(frames)[1:], net(frames[1:]), rtol=1e-4, atol=1e-5)


def test_known_codes_are_read_and_hidden_ones_are_not():
    plan = FutureCodesPlan(**TINY)
    net, frames, codes = FutureCodes(plan).eval(), frames_for(plan), codes_for(plan)
    hidden = torch.zeros_like(codes, dtype=torch.bool)
    hidden[:, 0, 0, 0] = True
    other = (codes + 1) % plan.codes
    with torch.no_grad():
        before = net(frames, codes, hidden)
        assert torch.equal(before, net(frames, torch.where(hidden, other, codes), hidden))
        assert float((before - net(frames, torch.where(hidden, codes, other), hidden)).abs().max()) > 1e-4


def test_it_learns_to_tell_two_futures_apart_by_their_frame():
    torch.manual_seed(0)
    plan = FutureCodesPlan(**TINY)
    net, frames, codes = FutureCodes(plan), frames_for(plan), codes_for(plan)
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        loss = masked_loss(net(frames), codes)
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert float(loss.detach()) < 0.1
    assert torch.equal(net.eval()(frames).argmax(-1), codes)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 25}, "multiple of 3 and of 2 heads"),
        ({"stride": 3}, "power of two"),
        ({"stride": 1}, "from 2 on"),
        ({"condition": "film"}, "add, cross"),
        ({"condition": "cross", "layers": 0}, "take 1 or more"),
        ({"grid": (0, 4, 4)}, "1 or more"),
    ],
)
def test_wrong_sizes_are_refused(wrong, said):
    with pytest.raises(InvalidValueError, match=said):
        FutureCodesPlan(**{**TINY, **wrong})


def test_wrong_inputs_are_refused():
    plan = FutureCodesPlan(**TINY)
    net, frames, codes = FutureCodes(plan), frames_for(plan), codes_for(plan)
    with pytest.raises(
        InvalidValueError, match=r"codes and hidden must be \[2, 2, 4, 4\], got \[2, 2, 4, 4\] and None"
    ):
        net(frames, codes)
    with pytest.raises(InvalidValueError, match=r"\(16, 16\) pixels"):
        net(torch.zeros(1, 3, 32, 32))
    with pytest.raises(InvalidValueError, match=r"\[B, 3, H, W\]"):
        net(torch.zeros(1, 16, 16, 3))
