"""Several labels a video from sight, sound and words: three classifiers, their quality, their price, the cheapest.

    python examples/classify.py [SET]

SET holds `train` and `test`, as `lightmeter yt8m convert`, `extract` or `generate` make them; without one, a small set
is generated, on which quality means nothing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from lightmeter.errors import LightmeterError
from lightmeter.heads.net_head import net_head
from lightmeter.heads.training import fit_net
from lightmeter.library.example_set import open_set
from lightmeter.library.yt8m.generate import Wanted, generate
from lightmeter.library.yt8m.world import Statistics
from lightmeter.meter.cost import measure
from lightmeter.meter.trials import Frontier, Trial, choose
from lightmeter.metrics.bootstrap import bootstrap
from lightmeter.metrics.ranking import VideoScores
from lightmeter.parts import build

HEADS = ("moe/experts=1", "moe/experts=4", "chain/links=1,cells=32")


def main(folder: Path) -> None:
    train, test = open_set(folder / "train"), open_set(folder / "test")
    training = build("adam/lr=0.02,batch=128,epochs=8", "training")
    trials = []
    for head in HEADS:
        model = fit_net(net_head(head), train, training=training, seed=0)
        seen = model.view(test)
        batch = seen.batch(np.arange(len(seen)))
        with measure() as meter:
            scores = model.scores(batch)
        found = VideoScores(model.classes).update(scores, test.labels)
        gap = bootstrap(found, rounds=100)["gap"]
        price = meter.cost.shared_by(len(seen))
        trials.append(Trial(head, gap.value, price, "GAP"))
        print(
            f"{head}: GAP {gap.value:.3f} ({gap.low:.3f} to {gap.high:.3f}), Hit@1 {found.result().hit_at_1:.3f}, "
            f"{1e3 * price.cpu_s:.3f} CPU-ms a video, {model.size_bytes / 1e6:.1f} MB, {model.macs / 1e6:.2f} MMAC"
        )
    bar = max(trial.quality for trial in trials) - 0.02
    print("on the frontier:", ", ".join(trial.candidate for trial in Frontier(trials).points))
    print(f"cheapest with GAP {bar:.3f}:", choose(trials, at_least=bar).candidate)


USAGE = "usage: python examples/classify.py [SET] (SET holds the sets train and test; without one, a set is generated)"

if __name__ == "__main__":
    if len(sys.argv) > 2 or any(each.startswith("-") for each in sys.argv[1:]):
        raise SystemExit(USAGE)
    if len(sys.argv) == 2:
        try:
            main(Path(sys.argv[1]))
        except LightmeterError as error:
            raise SystemExit(str(error)) from None
    else:
        with tempfile.TemporaryDirectory() as place:
            generate(Path(place), Wanted(videos=1000, statistics=Statistics(classes=50)))
            main(Path(place))
