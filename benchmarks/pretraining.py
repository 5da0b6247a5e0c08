"""What does pretraining cost a step on one core, and does every predictor overfit a single sequence?

Run: python benchmarks/pretraining.py
Default sizes on flat moving shapes, 8 frames of 64 x 64, codes 2 x 16 x 16; CPU seconds of one thread. The sequence is
learnt by itself, until its likeliest codes are its own: curves in overfit.png.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.encoders.pretraining.running import PretrainRun, pretrain
from lightmeter.encoders.pretraining.sampling import load_sampler
from lightmeter.encoders.pretraining.tokenizer import Tokenizer
from lightmeter.encoders.pretraining.windows import Footage
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.meter.record import Record, write_results
from lightmeter.parts import build
from lightmeter.report.plots import curves_png

SEED = 0
BATCH = 8
COUNTED = 3
"""Steps of which the CPU time is taken, after one that is not."""
ONE = "batch=1,mirror=false,reverse=false,weight_decay=0.0,warm_up=0.1"
LEARNT = {
    "vqvae": f"vqvae/steps=120,hiddens=32,dim=32,codes=128,lr=0.01,least_use=0.0,{ONE}",
    "prior": f"prior/steps=220,lr=0.005,dropout=0.0,base=16,{ONE}",
    "future": f"future/steps=60,lr=0.003,base=16,{ONE}",
}


def step_row(name: str, footage: Footage, tokens: Tokenizer | None, folder: Path) -> dict[str, Any]:
    """CPU seconds of a step of 8 windows, at default sizes."""
    recipe = build(f"{name}/steps={COUNTED + 1},batch={BATCH}")
    ticks: list[float] = []
    task = recipe.task(footage, seed=SEED, tokens=tokens)
    weights = sum(each.numel() for each in task.net.parameters())
    plain = type(task).loss

    def timed(self: Any, step: int) -> Any:
        ticks.append(time.process_time())
        return plain(self, step)

    type(task).loss = timed
    pretrain(recipe, footage, folder, PretrainRun(tokens, seed=SEED, report=False))
    type(task).loss = plain
    step_s = (ticks[-1] - ticks[1]) / (len(ticks) - 2)
    made = {
        "candidate": f"{name}: a step of {BATCH} windows",
        "weights": weights,
        "macs": task.macs,
        "cpu_s": round(step_s, 3),
    }
    print(made, flush=True)
    return made


def draw_row(name: str, model: Path, clips: Any) -> dict[str, Any]:
    """CPU seconds of a window drawn, four at once."""
    sampler = load_sampler(model)
    start = time.process_time()
    sampler.clips(clips[:4, 0])
    made = {"candidate": f"{name}: a window drawn", "cpu_s": round((time.process_time() - start) / 4, 3)}
    print(made, flush=True)
    return made


def overfit_rows(folder: Path, picture: Path) -> list[dict[str, Any]]:
    """One sequence, learnt by heart."""
    clips = moving_shapes(1, frames=8, size=64, seed=3)
    footage, curves, rows = Footage.of(clips), {}, []
    pretrain(build(LEARNT["vqvae"]), footage, folder / "vqvae", PretrainRun(report=False))
    tokens = Tokenizer.load(folder / "vqvae")
    codes = tokens.codes(clips.frames)
    for name in ("prior", "future"):
        made = pretrain(build(LEARNT[name]), footage, folder / name, PretrainRun(tokens, report=False))
        learnt = made.curve.learnt
        curves[name] = ([row["step"] for row in learnt], [row["nats"] for row in learnt])
        drawn = load_sampler(folder / name, temperature=0.0).clips(clips.frames[:, 0])
        own = bool(np.array_equal(drawn, tokens.pictures(codes, clips.frames[:, 0])))
        rows.append(
            {
                "candidate": f"{name}: one sequence by heart", "steps": len(learnt), "first_nats": learnt[0]["nats"],
                "last_nats": learnt[-1]["nats"], "draws_itself": own, "cpu_s": made.about["cost"]["cpu_s"],
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    curves_png(curves, picture, x_label="step", y_label="nats a code", title="One sequence by heart", y_log=True)
    return rows


def main(out: str = "docs/results/pretraining.json") -> None:
    """Measure and write the record, and the curves beside it."""
    clips = moving_shapes(12, frames=10, size=64, seed=SEED)
    footage = Footage.of(clips)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = [step_row("vqvae", footage, None, folder / "a")]
        tokens = Tokenizer.load(folder / "a")
        rows += [step_row(name, footage, tokens, folder / name) for name in ("prior", "future")]
        rows += [draw_row(name, folder / name, clips.frames) for name in ("prior", "future")]
        rows += overfit_rows(folder / "one", Path(out).with_name("pretraining-overfit.png"))
    question = "What does pretraining cost a step on one core, and does every predictor overfit a single sequence?"
    notes = {"batch": BATCH, "counted": COUNTED, "unit": "8 frames of 64 x 64, 2 x 16 x 16 codes", "learnt": LEARNT}
    print(write_results(out, Record("pretraining", question, rows, seed=SEED, notes=notes)))


if __name__ == "__main__":
    main(*sys.argv[1:])
