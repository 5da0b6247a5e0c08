"""Every frame-level net is the slow one of the reference, item for item, and blind to batch and padding."""

from __future__ import annotations

import frame_nets_reference as slow
import numpy as np
import pytest
import torch
from frame_batches import BLOCKS, batch, only, settled

from lightmeter.nets.context_gating import ContextGating
from lightmeter.nets.nextvlad import GroupedVlad
from lightmeter.parts import build

SPECS = {
    "dbof/clusters=12,hidden=7,experts=2,frames=4": lambda pool, x, there: slow.dbof(pool, x),
    "dbof/clusters=12,hidden=7,experts=3,frames=none": lambda pool, x, there: slow.dbof(pool, x),
    "lstm/cells=5,layers=2,experts=2": lambda pool, x, there: slow.lstm(pool, x),
    "lstm/cells=4,layers=3,experts=1,frames=6": lambda pool, x, there: slow.lstm(pool, x),
    "netvlad/clusters=4,hidden=6": slow.netvlad,
    "netvlad/clusters=4,hidden=6,centres=false,gated=false,frames=5": slow.netvlad,
    "nextvlad/clusters=4,hidden=16,groups=4": slow.nextvlad,
    "attention/queries=2,inner=5,hidden=8": slow.attention,
}
CLASSES = 5


def made(spec, seed=0, blocks=BLOCKS):
    torch.manual_seed(seed)
    return build(spec, "head").net(blocks, CLASSES)


@pytest.mark.parametrize("spec", SPECS)
class TestEveryFrameNet:
    def test_is_the_slow_one(self, spec):
        net = settled(made(spec))
        values, present, lengths = batch((5, 3, 0, 4))
        present[1, 1] = present[3, 2] = False
        with torch.no_grad():
            got, hidden = net(values, present, lengths), net.hidden(values, present, lengths)
        for row, count in enumerate(lengths.tolist()):
            there = present[row].numpy()
            raw = np.concatenate(
                [values[name][row, :count].numpy() * there[at] for at, name in enumerate(("visual", "audio"))], 1
            ) + np.float32(0)  # what is absent is zeros, not the -0 of a negative number times 0: the draw sees bits
            places = range(count) if net.sample is None else slow.draw(raw, net.sample) if count else ()
            frames = [slow.unit(raw[place].astype(np.float64)) for place in places]
            title = slow.unit(values["title"][row].double().numpy() * there[2])
            want = np.concatenate([SPECS[spec](net.pool, frames, there[:2]), title])
            np.testing.assert_allclose(hidden[row].numpy(), want, rtol=1e-4, atol=1e-5)
            scores = slow.mixture(net.moe, want)
            np.testing.assert_allclose(
                got[row].numpy(), slow.gating(net.gate, scores) if net.gate else scores, rtol=1e-4, atol=1e-6
            )

    def test_is_blind_to_its_batch_and_to_padding(self, spec):
        net = settled(made(spec))
        values, present, lengths = batch((5, 2, 9), frames=12)
        with torch.no_grad():
            whole = net(values, present, lengths)
            for row in range(3):
                torch.testing.assert_close(
                    net(*only(values, present, lengths, row))[0], whole[row], rtol=1e-5, atol=1e-6
                )

    def test_does_not_see_what_is_absent(self, spec):
        net = settled(made(spec))
        values, present, lengths = batch()
        present[:, 1] = False
        with torch.no_grad():
            without = net(values, present, lengths)
            torch.testing.assert_close(net({**values, "audio": values["audio"] * 9}, present, lengths), without)
            present[:, 1] = True
            assert not torch.allclose(net(values, present, lengths), without, atol=1e-6)

    def test_gives_probabilities(self, spec):
        net = settled(made(spec))
        with torch.no_grad():
            scores = net(*batch())
        assert scores.dtype == torch.float32
        assert scores.shape == (3, CLASSES)
        assert 0 <= scores.min() <= scores.max() <= 1

    def test_teaches_every_weight(self, spec):
        net = made(spec)
        values, present, lengths = batch((6, 5, 7, 4), seed=1)
        scores = net(values, present, lengths)
        (torch.log(scores[:, ::2] + 1e-5).sum() + torch.log(1 - scores[:, 1::2] + 1e-5).sum()).neg().backward()
        for name, weight in net.named_parameters():
            if weight.requires_grad:
                assert weight.grad is not None, name
                assert weight.grad.isfinite().all(), name
                assert weight.grad.any(), name

    def test_same_seed_same_bits(self, spec):
        torch.manual_seed(4)
        first = made(spec, seed=2)(*batch())
        again = made(spec, seed=2)(*batch())
        assert torch.equal(first, again)
        assert not torch.equal(made(spec, seed=3)(*batch()), first)

    def test_trains_on_a_batch_of_one_and_on_none(self, spec):
        net = made(spec)
        for lengths in ((3,), (0,), (0, 0)):
            assert net(*batch(lengths)).isfinite().all()

    def test_learns_by_narrow_products_too(self, spec):
        net = made(spec)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = net(*batch((6, 5, 7, 4)))
        assert scores.dtype == torch.float32
        torch.testing.assert_close(scores, made(spec)(*batch((6, 5, 7, 4))), rtol=0, atol=0.5)
        scores.sum().backward()
        assert all(each.grad.isfinite().all() for each in net.parameters() if each.requires_grad)

    def test_learns(self, spec):
        net = made(spec)
        values, present, lengths = batch((4,) * 24, seed=7)
        wanted = (torch.arange(24)[:, None] % CLASSES == torch.arange(CLASSES)).float()
        values["visual"] += 2 * torch.nn.functional.pad(wanted, (0, 1))[:, None]
        teacher = torch.optim.Adam(net.parameters(), 0.02)
        losses = []
        for _ in range(30):
            loss = torch.nn.functional.binary_cross_entropy(net(values, present, lengths).clamp(1e-6, 1 - 1e-6), wanted)
            teacher.zero_grad()
            loss.backward()
            teacher.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.6 * losses[0]


def test_only_frames_are_needed():
    net = settled(made("dbof/clusters=8,hidden=4", blocks=BLOCKS[:1]))
    values, present, lengths = batch()
    assert net({"visual": values["visual"]}, present[:, :1], lengths).shape == (3, CLASSES)


def test_blocks_are_found_by_their_place():
    torch.manual_seed(0)
    net = settled(build("attention/queries=1,inner=3,hidden=4", "head").net(BLOCKS[::-1], CLASSES))
    values, present, lengths = batch()
    present[0, 0] = False  # of title, audio, visual: the title
    with torch.no_grad():
        silent = net(values, present, lengths)
        assert torch.equal(net({**values, "title": values["title"] * 3}, present, lengths)[0], silent[0])


def test_torchs_lstm_is_tensorflows_with_one_trained_bias():
    net = made("lstm/cells=3,layers=2")
    for layer in range(2):
        constant, trained = getattr(net.pool.lstm, f"bias_hh_l{layer}"), getattr(net.pool.lstm, f"bias_ih_l{layer}")
        assert constant.tolist() == [0.0] * 3 + [1.0] * 3 + [0.0] * 6
        assert not constant.requires_grad
        assert trained.requires_grad
        assert not trained.any()
    teacher = torch.optim.Adam(net.parameters(), 0.1)
    net(*batch()).sum().backward()
    teacher.step()
    assert net.pool.lstm.bias_hh_l0.tolist() == [0.0] * 3 + [1.0] * 3 + [0.0] * 6


def test_netrvlad_does_not_subtract_centres():
    with_centres, without = made("netvlad/clusters=4,hidden=6"), made("netvlad/clusters=4,hidden=6,centres=false")
    assert without.pool.vlads[0].centres is None
    assert with_centres.pool.vlads[0].centres.shape == (6, 4)
    assert with_centres.pool.vlads[1].centres.shape == (3, 2), "sound has half the clusters"


def test_a_gate_by_hand():
    gate = ContextGating(2).eval()
    with torch.no_grad():
        gate.weight.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    x = torch.tensor([[1.0, 3.0]])
    want = x * torch.sigmoid(torch.tensor([[6.0, 1.0]]) / (1 + 1e-3) ** 0.5)
    torch.testing.assert_close(gate(x), want)
    assert gate.macs == 4


def test_attention_says_where_it_looked():
    from lightmeter.nets.attention_pool import attention_seconds

    net = settled(made("attention/queries=2,inner=5,hidden=8"))
    values, present, lengths = batch((5, 2))
    present[1, 1] = False
    with torch.no_grad():
        looked = attention_seconds(net, values, present, lengths)
    torch.testing.assert_close(looked["visual"].sum(1), torch.ones(2))
    torch.testing.assert_close(looked["audio"].sum(1), torch.tensor([1.0, 0.0]))
    assert not looked["visual"][1, 2:].any()


def test_nextvlad_has_the_weights_of_its_paper():
    # Lin et al. 2018, §3.2: λN(N + G + K(G + (H + 1) / G)) with the hidden layer H
    n, k, h, wide, groups = 24, 6, 10, 48, 8
    pool = GroupedVlad(n, k, expansion=2, groups=groups)
    matrices = sum(each.numel() for each in pool.parameters() if each.ndim > 1)
    assert matrices + pool.width * h == wide * (n + groups + k * (groups + (h + 1) / groups))
