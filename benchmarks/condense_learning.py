"""What is gained where pictures are cut together or learnt, beside random ones, and for how many CPU-seconds?

    python benchmarks/condense_learning.py [docs/results/condense-learning.json]

scikit-learn's digits enlarged to 16 x 16: 1,297 to condense, 500 to score on; 1 and 10 pictures a class, a set and a
student of each of three seeds (protocol `quick`, hard labels, last step). CPU-seconds are of one set; the teacher that
RDED asks is learnt before. Methods have their defaults, which are short schedules.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np

from lightmeter.condense.attempts import as_learnt
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.scoring import score
from lightmeter.condense.workbench import Workbench
from lightmeter.meter.cost import measure
from lightmeter.meter.record import Record, write_results
from lightmeter.parts import build
from lightmeter.report.text import table
from lightmeter.studies.distill_data import digits

PROTOCOL, SEEDS = "quick/flip=false", (0, 1, 2)
METHODS = ("random-rows", "herding", "rded", "dm", "idc", "idc/factor=2", "sre2l")


def row_of(bench: Workbench, test: ImageSet, method: str, per_class: int) -> dict:
    """Accuracy over seeds, in percent, and the price of a set."""
    shares, prices_s, cost = [], [], None
    for seed in SEEDS:
        with measure() as meter:
            small = build(method, "condenser").condense(bench, per_class, seed=seed)
        learnt = as_learnt(small)
        made = ImageSet.of(learnt.images, learnt.labels, test.classes)
        shares.append(100 * float(score(made, test, PROTOCOL, seeds=(seed,)).last.mean()))
        prices_s.append(meter.cost.cpu_s)
        cost = meter.cost
    assert cost is not None
    return {
        "method": method, "per_class": per_class, "accuracy": round(float(np.mean(shares)), 1),
        "deviation": round(float(np.std(shares, ddof=1)), 1), "cpu_s": round(float(np.mean(prices_s)), 1),
        "spec": build(method, "condenser").spec, "cost": cost.as_json(),
    }  # fmt: skip


def main(out: Path) -> None:
    data, rows = digits(0), []
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench(data.learn, Path(folder), seed=0)
        bench.features("teacher")
        for per_class in (1, 10):
            for method in METHODS:
                rows.append(row_of(bench, data.test, method, per_class))
                print({name: value for name, value in rows[-1].items() if name not in ("spec", "cost")}, flush=True)
    print(table(rows, ["method", "per_class", "accuracy", "deviation", "cpu_s"]))
    notes = {"protocol": PROTOCOL, "seeds": list(SEEDS), "data": data.said, "load": os.getloadavg()[0]}
    question = "What is gained where pictures are cut together or learnt, and for how many CPU-seconds?"
    print(
        write_results(out, Record("condense-learning", question, rows, seed=0, data_hash=data.data_hash, notes=notes))
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/condense-learning.json"))
