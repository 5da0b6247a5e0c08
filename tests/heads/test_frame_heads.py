"""Recipes of nets: spelled back, refused with a way out, sizes as published, work as torch counts it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightmeter.errors import InvalidValueError, SpecError
from lightmeter.heads.examples import Block
from lightmeter.heads.table import HEADS
from lightmeter.parts import build

NETS = ["dbof", "lstm", "netvlad", "nextvlad", "attention", "keyword-mlp", "text-cnn", "chain"]
FRAMES = NETS[:5]
YT8M = (Block("visual", "frames", 1024), Block("audio", "frames", 128))
KEYWORDS = Block("keywords", "features", 1024)
PUBLISHED = {
    "frames": YT8M,
    "tokens": (Block("title", "tokens", 40),),
    "features": (Block("visual", "features", 1024), Block("audio", "features", 128)),
}
KINDS = {
    "frames": (Block("visual", "frames", 6), Block("audio", "frames", 3)),
    "features": (Block("visual", "features", 6), Block("title", "features", 3)),
    "tokens": (Block("title", "tokens", 8),),
}
SMALL = {
    "dbof": "dbof/clusters=12,hidden=7,frames=4", "lstm": "lstm/cells=5,layers=3",
    "netvlad": "netvlad/clusters=4,hidden=6", "nextvlad": "nextvlad/clusters=4,hidden=16,groups=4",
    "attention": "attention/queries=2,inner=5,hidden=8",
    "keyword-mlp": "keyword-mlp/widths=[5]", "text-cnn": "text-cnn/vectors=9,dim=4,widths=2,filters=3,hidden=5",
    "chain": "chain/links=1,cells=3",
}  # fmt: skip


def weights(net):
    return sum(each.numel() for each in net.parameters() if each.requires_grad)


@pytest.mark.parametrize("name", NETS)
class TestEveryRecipe:
    def test_is_spelled_back(self, name):
        assert name in HEADS
        for spec in (name, SMALL[name]):
            recipe = build(spec, "head")
            assert build(recipe.spec, "head") == recipe

    def test_makes_a_net_of_what_it_takes(self, name):
        recipe = build(SMALL[name], "head")
        net = recipe.net(KINDS[recipe.takes[0]], 4)
        assert isinstance(net, torch.nn.Module)
        assert net.macs > 0
        assert callable(net.hidden)

    def test_refuses_other_blocks_and_says_how_to_choose(self, name):
        recipe = build(SMALL[name], "head")
        for kind, blocks in KINDS.items():
            if kind != recipe.takes[0]:
                with pytest.raises(
                    InvalidValueError, match=f"{name} must read .*, got {blocks[0].name} \\({kind}\\).*: "
                ):
                    recipe.net(blocks, 4)
        with pytest.raises(InvalidValueError, match="got none"):
            recipe.net((), 4)


@pytest.mark.parametrize(
    "spec",
    [
        "dbof/clusters=0", "dbof/frames=0", "lstm/layers=0", "netvlad/experts=0", "nextvlad/groups=0",
        "nextvlad/dropout=1.0", "attention/queries=0", "keyword-mlp/widths=[]", "keyword-mlp/widths=[0]",
        "keyword-mlp/dropout=-0.1",
        "text-cnn/vectors=0", "text-cnn/widths=0", "text-cnn/dropout=1.5", "chain/links=0", "chain/cells=0",
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_are_refused(spec):
    with pytest.raises(InvalidValueError, match="must be"):
        build(spec, "head")


def test_words_that_are_no_choice_are_refused():
    for spec in ("text-cnn/padding=same", "chain/normalise=rows", "keyword-mlp/missing=mean"):
        with pytest.raises(SpecError, match="must be one of"):
            build(spec, "head")


def test_text_and_frames_do_not_mix_and_features_do():
    with pytest.raises(InvalidValueError, match="dbof must read frames or features, got title.*--blocks visual,audio"):
        build("dbof", "head").net((*KINDS["frames"], *KINDS["tokens"]), 4)
    with pytest.raises(InvalidValueError, match="must read one block of frames or more, got visual .*: add one to --b"):
        build("dbof", "head").net(KINDS["features"], 4)
    with pytest.raises(InvalidValueError, match="text-cnn must read one block of tokens, got title, title"):
        build("text-cnn", "head").net(KINDS["tokens"] * 2, 4)
    net = build(SMALL["dbof"], "head").net((*KINDS["features"][1:], *KINDS["frames"]), 4)
    assert net.moe.dim == 7 + 3


@pytest.mark.parametrize("name", FRAMES)
def test_macs_are_torchs(name):
    net = build(SMALL[name], "head").net((*KINDS["frames"], KINDS["features"][1]), 4).eval()
    for frames in (1, 9):
        values = {"visual": torch.randn(1, frames, 6), "audio": torch.randn(1, frames, 3), "title": torch.randn(1, 3)}
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            net(values, torch.ones(1, 3, dtype=torch.bool), torch.tensor([frames]))
            if name == "lstm":  # torch's counter does not see into its LSTM
                cell_by_cell(net.pool.lstm, frames)
        assert counted.get_total_flops() == 2 * net.macs_of(frames)
    assert net.macs == net.macs_of(300)


def cell_by_cell(lstm, frames):
    """The same products step by step, which it does see."""
    state = torch.randn(1, lstm.hidden_size)
    for layer in range(lstm.num_layers):
        inputs = torch.randn(1, lstm.input_size if layer == 0 else lstm.hidden_size)
        for _ in range(frames):
            inputs @ getattr(lstm, f"weight_ih_l{layer}").T + state @ getattr(lstm, f"weight_hh_l{layer}").T


def test_dbof_a_has_42_million_weights():
    with torch.device("meta"):
        net = build("dbof", "head").net(YT8M, 4716)
    norms = 2 * (1152 + 8192 + 1024)
    assert weights(net) == 1152 * 8192 + 8192 * 1024 + norms + 4716 * (1024 * 5 + 2)
    assert round(weights(net) / 1e6) == 42
    assert net.macs == 30 * 1152 * 8192 + 8192 * 1024 + 4716 * 1024 * 5


def test_lstm_a_has_41_million_weights():
    with torch.device("meta"):
        net = build("lstm/frames=none", "head").net(YT8M, 4716)
    assert weights(net) == 4096 * (1152 + 1024 + 1) + 4096 * (1024 + 1024 + 1) + 4716 * (1024 * 5 + 2)
    assert round(weights(net) / 1e6) == 41


def rows_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "nets.md").read_text("utf-8")
    return re.findall(r"^\| `([^`]+)` \|[^|]+\| ([0-9.]+) \| ([0-9.]+) \|", page, re.MULTILINE)


@pytest.mark.parametrize(("spec", "millions", "macs"), rows_of_the_page())
def test_the_page_says_what_nets_weigh_and_do(spec, millions, macs):
    head = build(spec, "head")
    with torch.device("meta"):
        net = head.net((KEYWORDS,) if spec == "keyword-mlp" else PUBLISHED[head.takes[0]], 4716)
    own = sum(
        each.numel() for name, each in net.named_parameters() if each.requires_grad and not name.startswith("words.")
    )
    assert f"{own / 1e6:.1f}" == millions
    assert f"{net.macs / 1e6:.1f}" == macs


def test_the_page_has_every_net():
    assert {spec.partition("/")[0] for spec, _, _ in rows_of_the_page()} == set(NETS)


def test_a_state_goes_into_another_net():
    for name in NETS:
        recipe = build(SMALL[name], "head")
        blocks = KINDS[recipe.takes[0]]
        first, second = recipe.net(blocks, 4), recipe.net(blocks, 4)
        second.load_state_dict(first.state_dict())
        assert all(
            torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
        )
