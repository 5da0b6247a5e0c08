"""How near does training a mixture of experts come to its matrix products alone, and does reading keep up?

    python benchmarks/multimodaling/training.py [docs/results/multimodal-training.json]

MoE-2 on 1,152 dimensions and 4,716 classes, batches of 1,024, one thread: the straightforward torch of the starter's
formula (a softmax over the last axis, Adam as it comes), ours (`heads.learner`), and the two products of a step alone,
whole and tile by tile. Each variant runs in a process of its own, so that its peak of memory is its own; rounds are
interleaved, CPU seconds are medians. Losses of both ways are compared step by step. Made-up data: speed only.
Then MoE-32 on 6,272 dimensions, one shard of 500 classes of 4,716, for its memory; and reading, as `fit` reads a set.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.heads.examples import Block
from lightmeter.meter.record import Record, write_results
from lightmeter.report.text import table

SEED, ROUNDS, STEPS, WARM = 0, 3, 4, 1
BATCH, DIM, CLASSES = 1024, 1152, 4716
QUESTION = "How near does training a mixture of experts come to its matrix products alone?"


def batches(dim: int, rows: int, count: int) -> list:
    """Unit rows and some 3.4 labels each, the first classes common, as tensors."""
    import torch

    drawn = np.random.default_rng(SEED)
    made = []
    for _ in range(count):
        x = drawn.standard_normal((rows, dim), np.float32)
        y = drawn.random((rows, CLASSES)) < np.minimum(1, 3.4 / (np.arange(CLASSES) + 4) / 7)
        made.append((torch.nn.functional.normalize(torch.from_numpy(x)), torch.from_numpy(y.astype(np.float32))))
    return made


def timed(step: Callable, data: list) -> dict:
    """CPU seconds a step after the warm-up, and what each step returned."""
    took, got = [], []
    for at, each in enumerate(data):
        start_s = time.thread_time()
        got.append(step(at, *each))
        took.append(time.thread_time() - start_s)
    return {"step_cpu_s": float(np.median(took[WARM:])), "losses": got}


def learner(training: Any, *, experts: int = 2, dim: int = DIM, span: tuple[int, int] = (0, CLASSES)) -> Any:
    import torch

    from lightmeter.heads.learner import Learner
    from lightmeter.heads.moe import Moe

    torch.manual_seed(SEED)
    net = Moe(experts).part([Block("x", "features", dim)], *span, CLASSES)
    loss = training.loss.ready(np.full(span[1] - span[0], 0.5))
    return Learner(net, training, loss, precision=PRECISION, seed=SEED)


def stepping(made: Any, x: Any, y: Any, at: int) -> float:
    import torch

    from lightmeter.heads.feeding import Inputs

    return made.step(at, Inputs({"x": x}, torch.ones(len(x), 1, dtype=torch.bool), None, y, None))[0]


def ours() -> dict:
    from lightmeter.heads.training import Adam

    made = learner(Adam(clip_by="off", l2=0.0))
    return timed(lambda at, x, y: stepping(made, x, y, at), batches(DIM, BATCH, WARM + STEPS))


def ours_as_the_starter() -> dict:
    """With clipping and l2, as the recipe's defaults have it."""
    from lightmeter.heads.training import Adam

    made = learner(Adam())
    return timed(lambda at, x, y: stepping(made, x, y, at), batches(DIM, BATCH, WARM + STEPS))


def straightforward() -> dict:
    import torch

    sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "reference"))
    from moe_reference import NaiveMoe, starter_loss

    from lightmeter.heads.training import Adam

    net = NaiveMoe(DIM, CLASSES, 2).take(learner(Adam()).net.moe)
    adam = torch.optim.Adam(net.parameters(), lr=0.01)

    def step(_: int, x: Any, y: Any) -> float:
        adam.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=PRECISION == "bfloat16"):
            p = net(x)
        loss = starter_loss(p.float(), y)
        loss.backward()
        adam.step()
        return float(loss)

    return timed(step, batches(DIM, BATCH, WARM + STEPS))


def products(tile: int) -> dict:
    """Logits and the weights' slopes: x Wᵀ and zᵀ x."""
    import torch

    kind = torch.bfloat16 if PRECISION == "bfloat16" else torch.float32
    weights = torch.randn(5 * CLASSES, DIM).to(kind)

    def step(_: int, x: Any, __: Any) -> None:
        x = x.to(kind)
        for own in weights.split(tile):
            z = x @ own.T
            z.T @ x

    return timed(step, batches(DIM, BATCH, WARM + STEPS))


def a_shard_of_moe_32() -> dict:
    from lightmeter.heads.training import Adam

    made = learner(Adam(clip_by="class"), experts=32, dim=6272, span=(0, 500))
    return timed(lambda at, x, y: stepping(made, x, y[:, :500].contiguous(), at), batches(6272, 512, 2))


def reading() -> dict:
    """Batches of a set on disk with float16 features, in the order of training, as tensors."""
    from lightmeter.engines.order import Order
    from lightmeter.heads.feeding import Feed
    from lightmeter.library.example_set import open_set
    from lightmeter.library.yt8m.generate import Wanted, generate
    from lightmeter.library.yt8m.world import Statistics

    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), Wanted(20_000, Statistics(CLASSES), seed=SEED))
        examples = open_set(Path(folder) / "train")
        feed = Feed(examples, Order(len(examples), BATCH, 2, SEED), 0, CLASSES)
        return timed(lambda at: feed.batch(at) and None, [()] * feed.order.steps)


VARIANTS: dict[str, Callable[[], dict]] = {
    "products alone, whole": lambda: products(5 * CLASSES),
    "products alone, tiles": lambda: products(128),
    "straightforward": straightforward,
    "ours": ours,
    "ours, clip and l2": ours_as_the_starter,
}
ONCE: dict[str, Callable[[], dict]] = {
    "MoE-32 on 6,272, a shard of 500 classes, batch 512": a_shard_of_moe_32,
    "reading a set": reading,
}


def in_child(name: str) -> dict:
    done = subprocess.run([sys.executable, __file__, "--variant", name], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main(out: str | None) -> None:
    found: dict[str, list[dict]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name in VARIANTS:
            found[name].append(in_child(name))
    rows = []
    losses = np.array(found["straightforward"][0]["losses"])
    least = np.median([each["step_cpu_s"] for each in found["products alone, whole"]])
    naive = np.median([each["step_cpu_s"] for each in found["straightforward"]])
    for name, each in found.items():
        step_s = float(np.median([one["step_cpu_s"] for one in each]))
        row = {
            "variant": name, "step_cpu_s": step_s, "examples_per_cpu_s": BATCH / step_s,
            "of_products": float(least / step_s), "times_straightforward": float(naive / step_s),
            "peak_bytes": max(one["peak_bytes"] for one in each), "precision": each[0]["precision"],
        }  # fmt: skip
        if name == "ours":
            row["losses_apart"] = float(np.abs(np.array(each[0]["losses"]) / losses - 1).max())
        rows.append(row)
    speed = next(row["examples_per_cpu_s"] for row in rows if row["variant"] == "ours")
    for name in ONCE:
        one = in_child(name)
        rows.append({"variant": name, **{key: one[key] for key in ("step_cpu_s", "peak_bytes", "precision")}})
        if name == "reading a set":
            rows[-1] |= {"examples_per_cpu_s": BATCH / one["step_cpu_s"]}
            rows[-1] |= {"times_what_ours_learns": BATCH / one["step_cpu_s"] / speed}
    keys = list(dict.fromkeys(key for row in rows for key in row))
    print(table([{key: row.get(key, "–") for key in keys} for row in rows]))
    if out:
        notes = {"rounds": ROUNDS, "steps": STEPS, "batch": BATCH, "dim": DIM, "classes": CLASSES, "data": "made up"}
        write_results(Path(out), Record("multimodal-training", QUESTION, rows, seed=SEED, notes=notes))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--variant"]:
        import torch

        from lightmeter.heads.learner import measured_precision

        torch.set_num_threads(1)
        PRECISION = measured_precision()
        result = {**VARIANTS, **ONCE}[sys.argv[2]]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**result, "peak_bytes": peak, "precision": PRECISION}))
    else:
        main(*(sys.argv[1:] or [None]))
