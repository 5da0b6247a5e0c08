"""The keyword decoder and the chain: worked slowly, sizes as published, every weight taught."""

from __future__ import annotations

import frame_nets_reference as slow
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightmeter.heads.examples import Block
from lightmeter.parts import build

BLOCKS = [Block("visual", "features", 5), Block("keywords", "features", 7)]
VALUES = {
    name: torch.randn(4, dim, generator=torch.Generator().manual_seed(dim))
    for name, dim in (("visual", 5), ("keywords", 7))
}
THERE = torch.tensor([[True, True], [True, False], [False, True], [False, False]])


def made(spec, blocks=BLOCKS, classes=6, seed=0):
    torch.manual_seed(seed)
    return build(spec, "head").net(blocks, classes)


def joined(row):
    return np.concatenate([VALUES[name][row].double().numpy() * bool(THERE[row, at]) for at, name in enumerate(VALUES)])


def test_the_published_decoder_has_12_8_million_weights_that_start_near_nothing():
    net = made("keyword-mlp", [Block("keywords", "features", 1024)], 4716)
    assert sum(each.numel() for each in net.parameters()) == 1024 * 1025 + 1025 * 2048 + 2049 * 4716 == 12_811_884
    assert net.macs == 1024 * 1024 + 1024 * 2048 + 2048 * 4716
    for layer in net.layers:
        assert abs(float(layer.weight.detach().mean()) - 0.001) < 1e-4
        assert abs(float(layer.weight.detach().std()) - 0.02) < 1e-4
        assert not layer.bias.any()


def test_the_decoder_is_three_products():
    net = made("keyword-mlp/widths=[9,8]").eval()
    with torch.no_grad():
        scores, hidden = net(VALUES, THERE, None), net.hidden(VALUES, THERE, None)
    for row in range(4):
        x = joined(row)
        for layer in net.layers[:-1]:
            x = np.maximum(slow.array(layer.weight) @ x + slow.array(layer.bias), 0)
        np.testing.assert_allclose(hidden[row].numpy(), x, rtol=1e-4, atol=1e-6)
        want = slow.sigmoid(slow.array(net.layers[-1].weight) @ x + slow.array(net.layers[-1].bias))
        np.testing.assert_allclose(scores[row].numpy(), want, rtol=1e-5)


def test_the_decoder_leaves_a_fifth_out_in_training():
    net = made("keyword-mlp/widths=[400]")
    with torch.no_grad():
        net.layers[0].bias.fill_(1)
        hidden = net.hidden(VALUES, THERE, None)
    assert 0.15 < float((hidden == 0).float().mean()) < 0.25
    torch.testing.assert_close(hidden[3][hidden[3] > 0], torch.full_like(hidden[3][hidden[3] > 0], 1.25))


def test_the_chain_hands_on_what_it_believes():
    net = made("chain/experts=2,links=2,cells=4").eval()
    with torch.no_grad():
        stages, hidden = net.stages(VALUES, THERE, None), net.hidden(VALUES, THERE, None)
        assert torch.equal(net(VALUES, THERE, None), stages[-1])
    assert [each.shape for each in stages] == [(4, 6)] * 3
    for row in range(4):
        x = slow.unit(joined(row))
        for at, mixture in enumerate(net.mixtures):
            believed = slow.mixture(mixture, x)
            np.testing.assert_allclose(stages[at][row].numpy(), believed, rtol=1e-4, atol=1e-6)
            if at < 2:
                cells = np.maximum(slow.array(net.beliefs[at].weight) @ believed + slow.array(net.beliefs[at].bias), 0)
                x = np.concatenate([x, slow.unit(cells)])
        np.testing.assert_allclose(hidden[row].numpy(), x, rtol=1e-4, atol=1e-5)


def test_every_weight_is_taught():
    for spec in (
        "keyword-mlp/widths=[9,8]",
        "chain/experts=2,links=2,cells=4",
        "chain/links=1,cells=4,missing=learned",
    ):
        net = made(spec)
        net(VALUES, THERE, None).log().sum().neg().backward()
        for name, weight in net.named_parameters():
            assert weight.grad is not None, (spec, name)
            assert weight.grad.isfinite().all(), (spec, name)
            assert weight.grad.any(), (spec, name)


def test_macs_are_torchs():
    for spec in ("keyword-mlp/widths=[9,8]", "chain/experts=2,links=2,cells=4"):
        net = made(spec).eval()
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            net({name: each[:1] for name, each in VALUES.items()}, THERE[:1], None)
        assert counted.get_total_flops() == 2 * net.macs, spec


def test_same_seed_same_bits():
    for spec in ("keyword-mlp/widths=[9,8]", "chain/links=1,cells=4"):
        first, again, other = (made(spec, seed=seed).eval()(VALUES, THERE, None) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
