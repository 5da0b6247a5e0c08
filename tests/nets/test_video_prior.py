import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightmeter.errors import InvalidValueError
from lightmeter.nets.frame_resnet import FrameResNetPlan
from lightmeter.nets.masked_decoding import masked_loss
from lightmeter.nets.prior_cache import Choice, tempered
from lightmeter.nets.sparse_attention import blocks_of, sparse_mask, strided_blocks
from lightmeter.nets.video_prior import LateNorm, PriorPlan, VideoPrior

CONDITIONER = FrameResNetPlan(dim=12, base=4, layers=(1, 1, 1, 1))


def tiny(attention="full", *, grid=(2, 4, 4), conditioner=CONDITIONER, layers=2):
    plan = PriorPlan(grid, 8, 6, 24, layers, 2, attention, conditioner, (1, 8, 8))
    torch.manual_seed(0)
    net = VideoPrior(plan).eval()
    torch.nn.init.normal_(net.fc_out.weight, std=0.5)
    return net


def vectors_for(net, batch=2):
    return torch.randn((batch, *net.plan.grid, net.plan.dim), generator=torch.Generator().manual_seed(1))


def frames_for(net, batch=2):
    return torch.rand((batch, 3, *net.plan.frames), generator=torch.Generator().manual_seed(2)) - 0.5


# -- the sparse mask ------------------------------------------------------------------------------------------------


def test_the_grid_of_blocks():
    assert blocks_of((4, 32, 32)) == (4, 32)
    assert blocks_of((4, 8, 8)) == (4, 2)
    assert blocks_of((4, 16, 16)) == (4, 8)
    assert blocks_of((4, 2, 4, 4), block=8) == (4, 2, 2)
    with pytest.raises(InvalidValueError, match="blocks of 32 tokens"):
        blocks_of((3, 5, 7))


def test_blocks_by_hand():
    # two blocks at each of four times; block 6 is the first of time 3: it sees two before it and the first of each time
    seen = strided_blocks((4, 4, 4), block=8, local=2)
    assert seen[6].nonzero()[:, 0].tolist() == [0, 2, 4, 5, 6]
    assert seen[7].nonzero()[:, 0].tolist() == [1, 3, 5, 6, 7]
    assert seen[0].nonzero()[:, 0].tolist() == [0]


def test_the_mask_is_causal_and_local():
    mask = sparse_mask((4, 4, 4), block=8, local=2)
    seen = mask == 0
    assert torch.equal(seen, seen.tril())
    assert set(mask.unique().tolist()) == {-math.inf, 0.0}
    assert bool(seen.diagonal().all())
    assert seen[50].nonzero()[:, 0].tolist() == [*range(8), *range(16, 24), *range(32, 48), 48, 49, 50]


def test_the_published_mask_hides_most():
    blocks = strided_blocks((4, 32, 32))
    assert blocks.shape == (128, 128)
    # of row r at time t: the four before it and itself, and one more for each earlier time that they do not reach
    wanted = sum(min(row, 4) + 1 + row // 32 - (row // 32 if row < 4 else 0) for row in range(128))
    assert int(blocks.sum()) == wanted


# -- the prior ------------------------------------------------------------------------------------------------------


def test_late_norm_by_hand():
    norm, x = LateNorm(2), torch.tensor([[1.0, 3.0], [5.0, 5.0]])
    torch.testing.assert_close(norm(x), torch.tensor([[-1.00001, 1.00001], [0.0, 0.0]]), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("attention", "grid"), [("full", (2, 4, 4)), ("sparse", (4, 4, 8))])
def test_no_cell_sees_itself_or_what_comes_later(attention, grid):
    net = tiny(attention, grid=grid, layers=1)
    vectors, frames = vectors_for(net, 1), frames_for(net, 1)
    at, tokens = net.plan.tokens // 2, net.plan.tokens
    changed = vectors.flatten(1, 3).clone()
    changed[:, at:] += 1.0
    with torch.no_grad():
        before = net(vectors, frames).view(tokens, -1)
        after = net(changed.view(vectors.shape), frames).view(tokens, -1)
    assert torch.equal(before[: at + 1], after[: at + 1])
    assert float((before[at + 1] - after[at + 1]).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("attention", "grid", "conditioner"),
    [("full", (2, 4, 4), CONDITIONER), ("full", (2, 4, 4), None), ("sparse", (3, 8, 8), CONDITIONER)],
)
def test_sampling_with_a_cache_is_sampling_without(attention, grid, conditioner):
    net = tiny(attention, grid=grid, conditioner=conditioner, layers=1 if attention == "sparse" else 2)
    table = torch.randn((8, 6), generator=torch.Generator().manual_seed(5))
    seen = 2 if conditioner is None else net.seen(frames_for(net))

    def drawn(cached):
        choose = Choice(temperature=0.8, top_k=5, generator=torch.Generator().manual_seed(7))
        return net.sample(table, seen, choose=choose, cached=cached)

    made = drawn(cached=True)
    assert made.shape == (2, *grid)
    assert made.unique().numel() > 3
    assert torch.equal(made, drawn(cached=False))


def test_the_frame_matters():
    net = tiny()
    with torch.no_grad():
        one, other = net(vectors_for(net), frames_for(net)), net(vectors_for(net), -frames_for(net))
    assert float((one - other).abs().max()) > 1e-3


def test_a_fresh_prior_knows_nothing():
    plan = tiny().plan
    net, codes = VideoPrior(plan).eval(), torch.zeros((1, *plan.grid), dtype=torch.long)
    loss = masked_loss(net(vectors_for(net, 1), frames_for(net, 1)), codes)
    assert float(loss.detach()) == pytest.approx(math.log(8))


def test_hidden_states_lead_to_the_logits():
    net = tiny()
    vectors, seen = vectors_for(net), net.seen(frames_for(net))
    with torch.no_grad():
        found = net.hidden(vectors, seen, (0, 1, 2))
        assert {layer: tuple(each.shape) for layer, each in found.items()} == dict.fromkeys((0, 1, 2), (2, 2, 4, 4, 24))
        assert torch.equal(net.fc_out(net.norm(found[2])), net.logits(vectors, seen))
        assert torch.equal(net.attn_stack.attn_nets[0](found[0].flatten(1, 3), seen, None), found[1].flatten(1, 3))
        assert torch.equal(found[1], net.hidden(vectors, seen, (1,))[1])


def test_training_drops_out_and_evaluation_does_not():
    net = tiny().train()
    vectors, frames = vectors_for(net), frames_for(net)
    with torch.no_grad():
        assert not torch.equal(net(vectors, frames), net(vectors, frames))
        net.eval()
        assert torch.equal(net(vectors, frames), net(vectors, frames))
    with pytest.raises(InvalidValueError, match=r"call \.eval\(\) first"):
        net.train().sample(torch.zeros(8, 6), net.seen(frames), choose=Choice())


@pytest.mark.parametrize("conditioner", [CONDITIONER, None], ids=["frame", "alone"])
def test_the_plan_predicts_its_work(conditioner):
    plan = PriorPlan((2, 4, 4), 8, 6, 24, 2, 2, "full", conditioner, (1, 8, 8))
    with torch.device("meta"):
        net = VideoPrior(plan).eval()
        frames = torch.zeros(1, 3, 1, 8, 8) if conditioner else None
        with FlopCounterMode(display=False) as counter:
            net(torch.zeros(1, 2, 4, 4, 6), frames)
    assert counter.get_total_flops() // 2 == plan.macs()


def test_choices():
    logits = torch.tensor([[0.0, 3.0, 2.9, -5.0]]).expand(4000, 4)
    assert Choice(temperature=0)(logits).unique().tolist() == [1]
    two = Choice(top_k=2, generator=torch.Generator().manual_seed(0))(logits)
    assert two.unique().tolist() == [1, 2]
    assert float((two == 1).float().mean()) == pytest.approx(1 / (1 + math.exp(-0.1)), abs=0.03)
    cold = Choice(temperature=0.01, generator=torch.Generator().manual_seed(0))(logits)
    assert float((cold == 1).float().mean()) > 0.999
    for temperature in (1e-7, 1e-40, 1e-300):
        frozen = Choice(temperature=temperature, generator=torch.Generator().manual_seed(0))
        assert frozen(10 * logits).unique().tolist() == [1], "colder than float32 can divide by"
    with pytest.raises(InvalidValueError, match="0 or more"):
        Choice(temperature=-1.0)


def test_a_temperature_divides_the_logits():
    logits = torch.tensor([[1.0, 2.0, -4.0], [7.0, 7.0, 7.0]])
    torch.testing.assert_close(tempered(logits, 0.5).softmax(-1), (logits / 0.5).softmax(-1))
    cold = tempered(logits, 1e-40).softmax(-1)
    torch.testing.assert_close(cold, torch.tensor([[0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"grid": (64, 64, 64)}, "at most 16,384"),
        ({"width": 32}, "multiple of 3"),
        ({"attention": "axial"}, "full or sparse"),
        ({"grid": (3, 5, 7)}, "blocks of 32"),
        ({"frames": (1, 63, 64)}, "multiples of 4"),
        ({"dropout": 1.0}, "below 1"),
        ({"conditioner": FrameResNetPlan(dim=10)}, "conditioner's dim"),
    ],
)
def test_wrong_sizes_are_refused(wrong, said):
    with pytest.raises(InvalidValueError, match=said):
        PriorPlan(**wrong)


def test_wrong_inputs_are_refused():
    net, alone = tiny(), tiny(conditioner=None)
    with pytest.raises(InvalidValueError, match=r"frames must be \[B, 3, 1, 8, 8\], got none"):
        net(vectors_for(net))
    with pytest.raises(InvalidValueError, match="give no frames"):
        alone(vectors_for(alone), frames_for(alone))
    with pytest.raises(InvalidValueError, match="vectors must be"):
        alone(vectors_for(alone)[..., :5])
    with pytest.raises(InvalidValueError, match="or a count"):
        net.sample(torch.zeros(8, 6), 2, choose=Choice())
    with pytest.raises(InvalidValueError, match="layers must be 0 to 2"):
        net.hidden(vectors_for(net), None, (3,))
