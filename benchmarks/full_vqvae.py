"""What does VideoGPT's VQ-VAE at its published size cost on a GPU, and how does it learn in a few minutes?

    python benchmarks/full_vqvae.py [--minutes 5] [--downsample 4,2,2] [--clips FOLDER] [--batch 32]
    python benchmarks/full_vqvae.py --device cpu --steps 2 --out somewhere.json

21.1 M weights: 240 channels, 4 attention blocks a side, 2048 codes of 256 numbers; windows of 16 frames of 64 x 64 of
flat moving shapes, or of --clips, a folder of `segment simulate`. Steps as many as the minutes hold, at the rate of the
first ones; the batch is the largest power of two that fits, up to 32 as in the public code. Without a GPU nothing is
run, unless --device cpu and some --steps are asked for.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from lightmeter.encoders.pretraining.running import PretrainRun, pretrain
from lightmeter.encoders.pretraining.windows import Footage
from lightmeter.media.clip_set import open_clips
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.meter.record import Record, write_results
from lightmeter.parts import build
from lightmeter.report.plots import curves_png

OUT = Path(__file__).parents[1] / "docs" / "results" / "full-vqvae.json"
SEED = 0
CLIPS = 512
MOST = 32
TRIED = 5
"""Steps of which the rate is taken, after one that is not."""
QUESTION = "What does VideoGPT's VQ-VAE at its published size cost on a GPU, and how does it learn in a few minutes?"


def recipe(downsample: str, batch: int, steps: int) -> Any:
    """The published sizes, rate and constant of the error."""
    return build(
        f"vqvae/of=frames,frames=16,hiddens=240,layers=4,downsample=[{downsample}],dim=256,codes=2048,variance=0.06,"
        f"lr=0.0003,weight_decay=0.0,clip=0.0,reverse=false,batch={batch},steps={steps}"
    )


def seconds_a_step(asked: Any, footage: Footage, device: str) -> float | None:
    """By the clock, over a few steps; None where the batch does not fit into the GPU's memory."""
    import torch

    from lightmeter.nets.descent import Descent

    try:
        task = asked.task(footage, seed=SEED, device=device)
        descent = Descent(task.net, asked.descent(), seed=SEED)
        for step in range(TRIED + 1):
            if step == 1:
                torch.cuda.synchronize()
                start_s = time.perf_counter()
            descent.step(step, asked.lr, lambda step=step: task.loss(step)[0])
        torch.cuda.synchronize()
        return (time.perf_counter() - start_s) / TRIED
    except torch.cuda.OutOfMemoryError:
        return None
    finally:
        task = descent = None
        torch.cuda.empty_cache()


def fitted(given: argparse.Namespace, footage: Footage) -> Any:
    """The recipe whose batch fits, and whose steps fill the minutes."""
    batch = given.batch or MOST
    while batch:
        step_s = seconds_a_step(recipe(given.downsample, batch, TRIED + 1), footage, given.device)
        if step_s is not None:
            print(f"batch {batch}: {step_s:.3f} s a step", flush=True)
            return recipe(given.downsample, batch, given.steps or max(1, round(60 * given.minutes / step_s)))
        batch //= 2
    raise SystemExit("not run: no batch fits into the GPU's memory")


def row(asked: Any, footage: Footage, device: str) -> dict[str, Any]:
    """One training, its curve, speed and memory."""
    import torch

    with tempfile.TemporaryDirectory() as place:
        made = pretrain(asked, footage, Path(place), PretrainRun(seed=SEED, device=device, report=False))
    cost, name = made.about["cost"], torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return {
        "candidate": f"{name}, downsample {'x'.join(map(str, asked.downsample))}",
        "weights": sum(each.numel() for each in made.task.net.parameters()),
        "macs": made.task.macs,
        "batch": asked.batch,
        "steps": asked.steps,
        "clips_a_s": round(asked.steps * asked.batch / cost["wall_s"], 2),
        "peak_bytes": cost["peak_bytes"],
        "gpu_peak_bytes": cost.get("gpu_peak_bytes"),
        "figures": made.about["figures"],
        "learnt": made.curve.learnt,
        "held_out": made.curve.scored,
        "cost": cost,
    }


def show(found: dict[str, Any], out: Path) -> None:
    """On the terminal, and the curve beside the record."""
    rows = found["learnt"]
    peak_bytes = found["gpu_peak_bytes"] or found["peak_bytes"]
    for each in rows[:: max(1, len(rows) // 10)]:
        print(f"step {each['step']:.0f}: loss {each['loss']:.4f}, perplexity {each['perplexity']:.0f}")
    print(f"{found['candidate']}: {found['clips_a_s']} clips a second, peak {peak_bytes / 1e9:.2f} GB")
    curves = {"learnt from": rows, "held out": found["held_out"]}
    curves_png(
        {
            name: ([each["step"] for each in made], [each["loss"] for each in made])
            for name, made in curves.items()
            if made
        },
        out.with_suffix(".png"), x_label="step", y_label="loss", title="VQ-VAE, published size", y_log=True,
    )  # fmt: skip


def main() -> None:
    """Train, show, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--downsample", default="4,2,2", choices=["4,2,2", "4,4,4"])
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    import torch

    on_gpu = given.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("not run: no GPU (a few steps without one: --device cpu --steps 2 --out somewhere.json)")
        return
    if not on_gpu and (not given.steps or given.out == OUT):
        parser.error("--device cpu needs --steps and an --out of its own: a few steps there are no result")
    clips = open_clips(given.clips) if given.clips else moving_shapes(CLIPS if on_gpu else 4, size=64, seed=SEED)
    footage = Footage.of(clips, share=0.05 if on_gpu else 0.0)
    asked = fitted(given, footage) if on_gpu else recipe(given.downsample, given.batch or 1, given.steps)
    found = row(asked, footage, given.device)
    show(found, given.out)
    notes = {"recipe": asked.spec, "clips": len(footage.learn), "source": given.clips.name if given.clips else "shapes"}
    print(write_results(given.out, Record("full-vqvae", QUESTION, [found], footage.fingerprint, SEED, notes)))


if __name__ == "__main__":
    main()
