"""What torchrun starts: python -m torch.distributed.run … together_script.py HEAD OUT FOLDER"""

import sys
from pathlib import Path

import numpy as np

from lightmeter.heads.distributed import fit_net_together
from lightmeter.heads.examples import ArrayExamples, Block
from lightmeter.heads.net_head import net_head
from lightmeter.heads.training import Adam
from lightmeter.types import Labels

TRAINING = Adam(lr=0.01, batch=16, epochs=3, precision="float32")


def examples(kind="frames"):
    """64 items of 3 to 9 frames and 5 classes that can be learnt."""
    rng = np.random.default_rng(0)
    lists = [[at % 5, (at // 5) % 5] for at in range(64)]
    centres = rng.normal(size=(5, 12)).astype(np.float32)
    rows = [centres[each].sum(axis=0) + rng.normal(size=(rng.integers(3, 10), 12)).astype(np.float32) for each in lists]
    values = {"visual": rows if kind == "frames" else np.stack([each.mean(axis=0) for each in rows])}
    names = [f"c{at}" for at in range(5)]
    ids = [f"v{at}" for at in range(64)]
    return ArrayExamples((Block("visual", kind, 12),), values, ids, names, Labels.of(lists, 5))


def main():
    import torch

    spec, out, folder = sys.argv[1:4]
    head = net_head(spec)
    made = fit_net_together(head, examples(head.takes[0]), training=TRAINING, seed=1, folder=Path(folder))
    made.save(Path(out) / str(torch.distributed.get_rank()))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
