"""Mask heads: the seed's sizes to the weight, every stride, what each cannot read, its price."""

from __future__ import annotations

import pytest
import torch

from lightmeter.encoders.dense import FeatureSet
from lightmeter.errors import InvalidValueError, SpecError
from lightmeter.heads.segmenting.dual import LinearDual
from lightmeter.heads.segmenting.protocol import MaskHead, mask_head
from lightmeter.heads.segmenting.segmenter import head_macs
from lightmeter.heads.segmenting.table import MASK_HEADS
from lightmeter.nets.mask_heads import Standardised
from lightmeter.nets.segment_net import SegmentNet
from lightmeter.parts import build

RESNET = {"conditioner": FeatureSet("conditioner", 240, 4)}
TOKENS = {"tokens": FeatureSet("tokens", 4, 2)}
HEADS = [
    "linear-patch", "linear-global", "light-conv", "light-conv/fc=cell", "fc-conv/first=12,last=6", "fc-conv/fc=flat",
    "attention-conv/heads=2", "attention-conv/heads=2,residual=true,width=8", "deep-conv/width=8,blocks=2",
    "deep-conv/width=8,blocks=1,residual=false", "mask-unet/base=4,levels=1", "mask-unet/base=4,levels=2,fc=flat",
    "mask-unet/base=8,levels=1,fc=cell,norm=group", "multi-scale/width=8,blocks=2",
    "multi-scale/width=8,blocks=1,dilated=false", "multi-scale/width=8,blocks=1,stride=24",
]  # fmt: skip


def net_of(spec, inputs, size=(64, 64)):
    with torch.device("meta"):
        return mask_head(spec).net(inputs, *size)


def weights(net):
    return sum(each.numel() for each in net.parameters())


def test_all_in_the_table_are_built():
    for name in MASK_HEADS:
        made = build(name, "mask-head")
        assert isinstance(made, MaskHead)
        assert build(made.spec) == made


@pytest.mark.parametrize("stride", [1, 4, 6])
@pytest.mark.parametrize("spec", HEADS)
def test_every_head_at_every_stride(spec, stride):
    torch.manual_seed(0)
    inputs = {"a": FeatureSet("a", 4, stride), "b": FeatureSet("b", 2, stride)}
    net = mask_head(spec).net(inputs, 24, 48).eval()
    maps = {name: torch.randn(3, each.channels, 24 // stride, 48 // stride) for name, each in inputs.items()}
    with torch.no_grad():
        logits = net(maps)
        alone = net({name: each[1:2] for name, each in maps.items()})
    assert logits.shape == (3, 24, 48)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(alone[0], logits[1], rtol=1e-4, atol=1e-5)  # blind to its batch
    used = net({**maps, "b": maps["b"] + 1})
    assert not torch.equal(used, logits) or "light-conv" in spec, "every map is read"  # its one map may be cut to zero


class TestTheSeedsSizes:
    def test_row_2_the_linear_layer_of_tokens(self):
        assert weights(net_of("linear-global", TOKENS)) == 4096 * 4096 + 4096

    def test_row_3_light_conv(self):
        net = net_of("light-conv", TOKENS)
        assert weights(net) == (4096 * 4096 + 4096) + (4 * 9 + 1) + (1 * 4 + 1)
        shapes = [tuple(each.weight.shape) for each in net.modules() if hasattr(each, "weight")]
        assert shapes == [(4096, 4096), (1, 4, 3, 3), (1, 1, 2, 2)]

    def test_row_4_linear_and_unet(self):
        net = net_of("mask-unet/fc=flat,base=32", TOKENS)
        assert net.before[0].weight.shape == (4096, 4096)
        assert net.unet.plan.widths == (32, 64, 128, 256, 512), "512 channels at 4 x 4"
        assert net.unet.plan.inputs == 1

    def test_row_5_is_252_million_weights_which_are_never_made(self):
        primal = 240 * 16 * 16 * 64 * 64 + 64 * 64
        assert primal == 251_662_336
        with pytest.raises(InvalidValueError, match=r"got 251,658,240: take linear-dual"):
            net_of("linear-global", RESNET)
        with torch.device("meta"):
            dual = LinearDual().net_of(RESNET, 64, 64, torch.empty(250, 240 * 256))
        assert weights(dual) == 250 * 4096 + 4096
        assert dual.primal().numel() + 4096 == primal
        assert weights(net_of("linear-patch", RESNET)) == 241 * 16

    def test_row_6_fc_conv(self):
        net = net_of("fc-conv", RESNET)
        shapes = [tuple(each.weight.shape) for each in net.modules() if hasattr(each, "weight")]
        assert shapes == [(240, 240, 1, 1), (240, 128, 3, 3), (128, 32, 3, 3), (1, 32, 3, 3)]
        with pytest.raises(InvalidValueError, match=r"got 3,774,873,600: take fc=cell"):
            net_of("fc-conv/fc=flat", RESNET)

    def test_row_7_attention(self):
        literal, residual = (net_of(f"attention-conv/residual={each}", RESNET) for each in ("false", "true"))
        attention = 4 * 240 * 240 + 4 * 240
        assert weights(literal) == attention + weights(net_of("fc-conv", RESNET)) - (240 * 240 + 240)
        assert weights(residual) == weights(literal) + 2 * 240
        macs = head_macs(SegmentNet(None, None, literal), {"conditioner": (240, 16, 16)})
        convs = 256 * 9 * 240 * 128 + 1024 * 9 * 128 * 32 + 4096 * 9 * 32
        assert macs == 256 * 4 * 240 * 240 + 2 * 256 * 256 * 240 + convs

    def test_row_9_unet(self):
        assert weights(net_of("mask-unet", {"pixels": FeatureSet("pixels", 3, 1)})) == 31_031_745


def test_attention_is_that_of_torch():
    from lightmeter.nets.mask_heads import CellAttention

    torch.manual_seed(1)
    own, theirs = CellAttention(12, 3, residual=False), torch.nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict({
        "in_proj_weight": own.into.weight, "in_proj_bias": own.into.bias,
        "out_proj.weight": own.out.weight, "out_proj.bias": own.out.bias,
    })  # fmt: skip
    x = torch.randn(2, 12, 4, 5)
    cells = x.flatten(2).transpose(1, 2)
    wanted = theirs(cells, cells, cells)[0].transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(own(x), wanted, rtol=1e-5, atol=1e-6)


def test_multi_scale_stays_under_its_budget():
    inputs = {
        "a": FeatureSet("a", 96, 2), "b": FeatureSet("b", 240, 4), "c": FeatureSet("c", 576, 4),
        "d": FeatureSet("d", 512, 8),
    }  # fmt: skip
    net = net_of("multi-scale", inputs)
    assert weights(net) < 300_000
    width, blocks = 64, 3
    laterals = sum((each.channels + 1) * width for each in inputs.values())
    assert weights(net) == laterals + blocks * (9 * width**2 + 3 * width) + 2 * width + (width + 1) * 4
    maps = {name: torch.empty(1, each.channels, 64 // each.stride, 64 // each.stride, device="meta")
            for name, each in inputs.items()}  # fmt: skip
    assert net(maps).shape == (1, 64, 64)


def test_multi_scale_on_a_coarser_grid_costs_less():
    inputs = {"a": FeatureSet("a", 32, 2), "b": FeatureSet("b", 64, 4), "c": FeatureSet("c", 64, 8)}
    shapes = {name: (each.channels, 64 // each.stride, 64 // each.stride) for name, each in inputs.items()}
    fine, coarse = (head_macs(SegmentNet(None, None, net_of(f"multi-scale/stride={stride}", inputs)), shapes)
                    for stride in (0, 4))  # fmt: skip
    assert fine == head_macs(SegmentNet(None, None, net_of("multi-scale/stride=2", inputs)), shapes)
    assert coarse < 0.3 * fine


def test_linear_patch_puts_each_logit_where_its_pixel_is():
    net = mask_head("linear-patch").net({"a": FeatureSet("a", 1, 2)}, 4, 4)
    with torch.no_grad():
        net.layer.weight.zero_()
        net.layer.bias.copy_(torch.arange(4.0))
        logits = net({"a": torch.zeros(1, 1, 2, 2)})
    assert logits[0].tolist() == [[0, 1, 0, 1], [2, 3, 2, 3]] * 2


def test_standardised_channels_have_mean_0_and_deviation_1():
    import numpy as np

    from lightmeter.heads.segmenting.prepared import channel_moments

    maps = np.random.default_rng(0).normal([[[5.0]], [[-1.0]], [[2.0]]], [[[9.0]], [[0.1]], [[0.0]]], (40, 3, 4, 4))
    standard = Standardised({"a": 3})
    standard.learn("a", *channel_moments(maps.astype(np.float32)))
    made = standard({"a": torch.from_numpy(maps.astype(np.float32))})["a"].double()
    torch.testing.assert_close(made.mean(dim=(0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    assert made[:, :2].std(dim=(0, 2, 3)).tolist() == pytest.approx([1, 1], rel=2e-3)
    assert (made[:, 2] == 0).all(), "a channel that never changes says nothing"


def test_refusals():
    two = {"a": FeatureSet("a", 4, 2), "b": FeatureSet("b", 4, 4)}
    with pytest.raises(InvalidValueError, match=r"must read maps of one stride, got a of stride 2, b of stride 4"):
        net_of("fc-conv", two)
    with pytest.raises(InvalidValueError, match="channels must be a multiple of 8 heads, got 4"):
        net_of("attention-conv", TOKENS)
    with pytest.raises(InvalidValueError, match="stride must be a multiple of that of finer maps, got 3 and 2 of a"):
        net_of("multi-scale/stride=3", two)
    with pytest.raises(InvalidValueError, match="one map at least"):
        net_of("multi-scale", {})
    with pytest.raises(InvalidValueError, match="blocks must be 0 to 64, got 65"):
        build("multi-scale/blocks=65")
    with pytest.raises(SpecError, match="fc must be one of cell, flat"):
        build("fc-conv/fc=round")
    with pytest.raises(InvalidValueError, match="fit it with a frozen encoder"):
        LinearDual().net(TOKENS, 64, 64)


def test_none_may_be_a_word_of_a_choice():
    head = build("mask-unet/fc=none,norm=none", "mask-head")
    assert (head.fc, head.norm) == ("none", "none")
    assert build(head.spec, "mask-head") == head
