"""A labelled folder shrunk to a few pictures a class: three ways to choose them, what each keeps, what each costs.

    python examples/condense.py [FOLDER OUT]

FOLDER holds a folder of pictures a class; without it, handwritten digits of scikit-learn are written to `digits` in the
folder you are in and condensed into `digits-small`. OUT must be new; its report.html says the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from lightmeter.condense.answering import CondenseOptions
from lightmeter.condense.condensing import condense
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.reading import open_image_folder
from lightmeter.condense.scoring import score
from lightmeter.condense.splitting import parted
from lightmeter.condense.workbench import Workbench
from lightmeter.errors import LightmeterError
from lightmeter.meter.trials import Frontier, Trial
from lightmeter.parts import build

METHODS = ("random-rows", "k-medoid/features=pixels", "centroid")
PROTOCOL, PER_CLASS = "quick/steps=200,flip=false", 1


def digits(folder: Path) -> Path:
    from sklearn.datasets import load_digits

    found = load_digits(n_class=5)
    for number, (pixels, label) in enumerate(zip(found.images[:250], found.target, strict=False)):
        place = folder / str(label) / f"{number:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype("uint8")).save(place)
    return folder


def main(folder: Path, out: Path) -> None:
    work = out.with_name(f"{out.name}-work")
    opened = open_image_folder(folder, work=work, tell=print)
    split = parted(opened.images, work, share=0.4, seed=0)  # nothing sees what is held out
    bench = Workbench(split.learn, work)
    trials = []
    for spec in METHODS:
        accuracies = []
        for seed in range(3):  # drawn and learnt anew: at one picture a class luck weighs much
            with bench.priced() as price:
                small = build(spec, "condenser").condense(bench, PER_CLASS, seed=seed)
            kept = ImageSet.of(small.images, small.labels, split.learn.classes)
            scored = score(kept, split.held, PROTOCOL, seeds=(seed,))
            accuracies.append(float(scored.last[0]))
        trials.append(Trial(spec.partition("/")[0], sum(accuracies) / 3, price.cost, "accuracy"))
        told = ", ".join(f"{each:.3f}" for each in accuracies)
        print(
            f"{len(small)} of {len(split.learn)} pictures by {trials[-1].text()} ({told}), learnt"
            f" in {scored.cost.text()}"
        )
    print("on the frontier:", ", ".join(trial.candidate for trial in Frontier(trials).points))

    options = CondenseOptions(PER_CLASS, METHODS[-1], protocol=PROTOCOL, teacher_steps=60)
    produced = condense(folder, out, options)  # all of it in one call, files and page included
    print(f"look at {produced.out / 'report.html'}")


USAGE = "usage: python examples/condense.py [FOLDER OUT] (a folder of pictures a class, and a new folder)"

if __name__ == "__main__":
    if len(sys.argv) not in (1, 3) or any(each.startswith("-") for each in sys.argv[1:]):
        raise SystemExit(USAGE)
    try:
        if len(sys.argv) == 3:
            main(Path(sys.argv[1]), Path(sys.argv[2]))
        else:
            main(digits(Path("digits")), Path("digits-small"))
    except LightmeterError as error:
        raise SystemExit(str(error)) from None
