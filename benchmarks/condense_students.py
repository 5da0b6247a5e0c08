"""What a student of the `quick` protocol costs: torch's pooling of whole batches, in parts, and ours.

Run: lightmeter assets add fashion-mnist; python benchmarks/condense_students.py
Ten random pictures a class of Fashion-MNIST at 32 x 32, 200 steps of 64, the same seed for all. They differ in the
order of sums alone, so that accuracies should agree within chance.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from torch import Tensor
from torch.nn import functional

from lightmeter.assets.finding import find
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.scoring import learning
from lightmeter.condense.scoring.learning import Lesson
from lightmeter.condense.scoring.presets import Quick
from lightmeter.condense.scoring.scores import knows
from lightmeter.condense.scoring.teacher import fit_teacher
from lightmeter.meter.bench import Bench, bench_rows, run_bench
from lightmeter.meter.cost import measure
from lightmeter.meter.record import write_results
from lightmeter.nets import student_conv
from lightmeter.parts import build
from lightmeter.report.text import table
from lightmeter.studies.idx import read_idx

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SEED = 0
PER_CLASS, TESTED = 10, 2000
STUDENTS = (
    "conv-net/depth=3,width=32", "conv-net/depth=3,width=128", "resnet-ap/depth=10", "resnet/depth=18,norm=instance",
    "resnet/depth=18,norm=batch",
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """A small set, and pictures to test on."""

    small: ImageSet
    test: ImageSet


def clothes() -> Data:
    """Ten training pictures a class and 2,000 test pictures, drawn by seed, with two rows of black around."""
    folder, made = find("fashion-mnist"), []
    for which in ("train", "t10k"):
        pictures = read_idx(folder / f"{which}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{which}-labels-idx1-ubyte.gz").astype(np.int64)
        rng = np.random.default_rng(SEED)
        per_class = PER_CLASS if which == "train" else TESTED // 10
        some = np.concatenate([rng.choice(np.flatnonzero(labels == at), per_class, replace=False) for at in range(10)])
        wide = np.pad(pictures[some], ((0, 0), (2, 2), (2, 2)))[..., None]
        made.append(ImageSet.of(wide, labels[some], [str(at) for at in range(10)]))
    return Data(*made)


def learnt(data: Data) -> Any:
    """The student that the protocol makes of the small set."""
    preset = Quick()
    net = build(preset.students[0], "student").net(1, 10, data.small.size, seed=SEED)
    course = preset.course(len(data.small), PER_CLASS, 10)
    Lesson(net, preset, course, data.small, seed=SEED).learn(lambda done: None)
    return net


def by_torch(x: Tensor) -> Tensor:
    """Relu and average pooling as torch has them."""
    return functional.avg_pool2d(functional.relu(x), 2)


@contextlib.contextmanager
def changed(*, pooling: bool, whole: bool) -> Iterator[None]:
    """Torch's pooling in the place of ours, batches whole."""
    with contextlib.ExitStack() as stack:
        if pooling:
            stack.enter_context(mock.patch.object(student_conv, "relu_halved", by_torch))
        if whole:
            stack.enter_context(mock.patch.object(learning, "_CACHE_BYTES", 1 << 30))
        yield


def variant(*, pooling: bool, whole: bool) -> Callable[[Data], Any]:
    """One way to learn."""

    def call(data: Data) -> Any:
        with changed(pooling=pooling, whole=whole):
            return learnt(data)

    return call


BENCH = Bench(
    id="condense-students",
    question="What does a student of the quick protocol cost with torch's pooling, in parts, and with ours?",
    data=clothes,
    variants={
        "torch's pooling, whole batches": variant(pooling=True, whole=True),
        "torch's pooling, in parts": variant(pooling=True, whole=False),
        "our pooling, whole batches": variant(pooling=False, whole=True),
        "our pooling, in parts": variant(pooling=False, whole=False),
    },
    quality={"accuracy": lambda net, data: round(float(knows(net, data.test).mean()), 4)},
    seed=SEED,
)


def prices() -> dict[str, dict[str, float]]:
    """A step of 64 pictures of 32 x 32 in colour, of students of all protocols: CPU-seconds, the least of three."""
    rng = np.random.default_rng(SEED)
    labels = np.repeat(np.arange(10), 10)
    colours = ImageSet.of(rng.integers(0, 256, (100, 32, 32, 3), dtype=np.uint8), labels, [str(at) for at in range(10)])
    made = {}
    for spec in STUDENTS:
        net = build(spec, "student").net(3, 10, colours.size, seed=SEED)
        preset = Quick()
        lesson = Lesson(net, preset, preset.course(len(colours), 10, 10), colours, seed=SEED)
        taken_s = []
        for step in range(4):
            start_s = time.process_time()
            lesson.step(step)
            taken_s.append(time.process_time() - start_s)
        made[spec] = {"macs": net.macs, "step_cpu_s": round(min(taken_s[1:]), 4)}
    return made


def teaching() -> dict[str, float]:
    """A teacher of 6,000 pictures of clothes with the defaults: its price, and what it knows of the test pictures."""
    folder = find("fashion-mnist")
    pictures = read_idx(folder / "train-images-idx3-ubyte.gz")[:6000]
    labels = read_idx(folder / "train-labels-idx1-ubyte.gz")[:6000].astype(np.int64)
    wide = np.pad(pictures, ((0, 0), (2, 2), (2, 2)))[..., None]
    with measure() as meter:
        teacher = fit_teacher(ImageSet.of(wide, labels, [str(at) for at in range(10)]), seed=SEED)
    return {"accuracy": round(float(knows(teacher.net(), clothes().test).mean()), 4), **meter.cost.as_json()}


if __name__ == "__main__":
    record = run_bench(BENCH, repeats=3, hash_data=False)
    record = replace(record, notes={**record.notes, "students": prices(), "teacher": teaching()})
    write_results(RESULTS / f"{BENCH.id}.json", record)
    print(BENCH.question)
    print(table(bench_rows(record)))
    print(record.notes["students"], record.notes["teacher"], sep="\n")
