"""What do VideoGPT's nets and the predictor of future codes cost on one core?

Run: python benchmarks/video_nets.py
Sizes are the published ones and our small ones; weights are random. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from lightmeter.meter.record import Record, write_results
from lightmeter.nets.frame_resnet import FrameResNet, FrameResNetPlan
from lightmeter.nets.future_codes import FutureCodes, FutureCodesPlan
from lightmeter.nets.masked_decoding import decode_masked, masked_loss
from lightmeter.nets.prior_cache import Choice
from lightmeter.nets.video_prior import PriorPlan, VideoPrior
from lightmeter.nets.vqvae import VqVae, VqVaePlan

SEED = 0
ROUNDS = 3
LONG_S = 1.0
CELLS = 40  # the first of 4,096; sparse attention keeps later ones about as cheap


class _EnoughError(Exception):
    """Ends a sampling early."""


def cpu_s(call: Callable[[], Any]) -> float:
    """CPU seconds of a call: the median of ROUNDS after one that is not counted; of one that takes long, that one."""
    found: list[float] = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
        if found[0] > LONG_S:
            return round(found[0], 4)
    return round(statistics.median(found[1:]), 4)


def row(name: str, net: torch.nn.Module, macs: int | None, call: Callable[[], Any], items: int = 1) -> dict[str, Any]:
    """One candidate, all figures per item."""
    weights = sum(each.numel() for each in net.parameters())
    made = {"candidate": name, "weights": weights, "macs": macs, "cpu_s": round(cpu_s(call) / items, 5), "batch": items}
    print(made, flush=True)
    return made


def vqvae_rows() -> Iterator[dict[str, Any]]:
    """Clips of 16 x 64 x 64."""
    clips = torch.rand(1, 3, 16, 64, 64) - 0.5
    for name, plan in (
        ("published, 4 x 2 x 2", VqVaePlan(downsample=(4, 2, 2))),
        ("small, 4 x 4 x 4", VqVaePlan(64, 1, (4, 4, 4), 64, 512)),
        ("small, 4 x 2 x 2", VqVaePlan(64, 1, (4, 2, 2), 64, 512)),
    ):
        net = VqVae(plan).eval()
        codes = net.encode(clips)
        yield row(f"vqvae {name}: encode", net, plan.encode_macs(16, 64, 64), partial(net.encode, clips))
        yield row(f"vqvae {name}: decode", net, plan.decode_macs(16, 64, 64), partial(net.decode, codes))


def prior_rows() -> Iterator[dict[str, Any]]:
    """The published prior of BAIR: 4,096 cells, sparse attention, one frame."""
    frame = torch.rand(1, 3, 1, 64, 64) - 0.5
    deep = FrameResNet(FrameResNetPlan()).eval()
    flat = deep.collapsed().eval()
    yield row("frame conditioner, 3D", deep, deep.plan.macs(64, 64), partial(deep, frame))
    yield row("frame conditioner, collapsed", flat, deep.plan.macs(64, 64, flat=True), partial(flat, frame))
    net = VideoPrior(PriorPlan()).eval()
    table = torch.randn(2048, 256)
    vectors, seen = table[torch.randint(2048, (1, 4, 32, 32))], net.seen(frame)
    for layer in (8, 4):
        yield row(f"prior, to layer {layer}", net, None, partial(net.hidden, vectors, seen, (layer,)))
    yield row("prior, all logits", net, net.plan.macs(), partial(net, vectors, frame))

    def some() -> None:
        def tell(done: int) -> None:
            if done == CELLS:
                raise _EnoughError

        try:
            net.sample(table, seen, choose=Choice(), tell=tell)
        except _EnoughError:
            return

    yield row("prior, one cell sampled", net, None, some, CELLS)


def future_rows() -> Iterator[dict[str, Any]]:
    """The predictor of future codes: 4 x 16 x 16 codes of a 64 x 64 frame."""
    frames = torch.rand(8, 3, 64, 64) - 0.5
    for name, plan in (
        ("full attention", FutureCodesPlan()),
        ("axial attention", FutureCodesPlan(attention="axial")),
        ("no layers", FutureCodesPlan(layers=0)),
    ):
        net, codes = FutureCodes(plan), torch.randint(plan.codes, (8, *plan.grid))

        def step(net: FutureCodes = net, codes: torch.Tensor = codes) -> None:
            with torch.enable_grad():
                masked_loss(net(frames), codes).backward()

        yield row(f"future codes, {name}: frame only", net, plan.frame_macs(64, 64), partial(net.maps, frames), 8)
        yield row(f"future codes, {name}: predict", net, plan.macs(), partial(net, frames), 8)
        yield row(f"future codes, {name}: train", net, None, step, 8)
        guess = partial(net.logits, net.seen(net.maps(frames)))
        yield row(f"future codes, {name}: 8 steps", net, None, partial(decode_masked, guess, 8, plan.grid), 8)


def main(out: str = "docs/results/video-nets.json") -> None:
    """Measure and write the record."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    with torch.no_grad():
        rows = [*vqvae_rows(), *prior_rows(), *future_rows()]
    notes = {
        "rounds": ROUNDS,
        "unit": "a clip of 16 x 64 x 64, a frame of 64 x 64, or a code cell",
        "weights": "random",
    }
    record = Record("video-nets", "What do the nets of videos cost on one core?", rows, seed=SEED, notes=notes)
    print(write_results(out, record))


if __name__ == "__main__":
    main(*sys.argv[1:])
