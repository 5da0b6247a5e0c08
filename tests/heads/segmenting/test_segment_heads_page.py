"""The page of segment heads runs as it stands, and its numbers of weights are the nets'."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from lightmeter.encoders.dense import FeatureSet
from lightmeter.heads.segmenting.dual import LinearDual
from lightmeter.heads.segmenting.protocol import mask_head

PAGE = (Path(__file__).parents[3] / "docs" / "segment-heads.md").read_text("utf-8")


def test_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block, "segment-heads.md", "exec"), left)  # our own page
    assert left["mask"].shape == (32, 32)
    assert left["masks"].shape == (2, 32, 32)
    assert (left["quality"].height, left["quality"].pictures) == (32, len(left["valid"]))
    assert left["gain"].low <= left["gain"].value <= left["gain"].high
    assert left["best_training"].startswith("mask-training/")
    assert sorted(each.name for each in (tmp_path / "arm-masks").iterdir()) == ["model.json", "model.safetensors"]


RESNET, TOKENS, PIXELS = (
    {"a": FeatureSet("a", 240, 4)}, {"a": FeatureSet("a", 4, 2)}, {"a": FeatureSet("a", 3, 1)},
)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "spec", "inputs"),
    [
        ("`linear-patch`", "linear-patch", RESNET),
        ("`linear-global`", "linear-global", TOKENS),
        ("`light-conv`", "light-conv", TOKENS),
        ("`mask-unet/fc=flat,base=32`", "mask-unet/fc=flat,base=32", TOKENS),
        ("`fc-conv`", "fc-conv", RESNET),
        ("`attention-conv`", "attention-conv", RESNET),
        ("`deep-conv`", "deep-conv", RESNET),
        ("`mask-unet` on `pixels/patch=1`", "mask-unet", PIXELS),
    ],
)
def test_weights(row, spec, inputs):
    with torch.device("meta"):
        count = sum(each.numel() for each in mask_head(spec).net(inputs, 64, 64).parameters())
    assert _told(row) == (f"{count:,}" if count < 10_000 else f"{count / 1e6:.{1 if count > 1e6 else 2}f} M")


def test_weights_of_the_dual_form():
    with torch.device("meta"):
        net = LinearDual().net_of(RESNET, 64, 64, torch.empty(250, 61440))
    assert _told("`linear-dual`") == f"{sum(each.numel() for each in net.parameters()) / 1e6:.1f} M"


def _told(row):
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {row} |")]
    return line.split("|")[-2].strip()
