"""What does a simulated clip cost, and what is in it? Each kind of scenes, 64 x 64, 16 frames, one process.

    python benchmarks/simulate.py [--clips 20]

CPU seconds of one process, everything counted: compiling scenes, laying things out, physics, RGB, labels, depth, flow
and the hashes of the set. Scenes of the arm need `pip install 'lightmeter[sim]'` and libosmesa6.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from lightmeter.media.clip_set import ClipSet
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.media.sawyer.clips import Look, sawyer_clips
from lightmeter.media.simulate import label_shares
from lightmeter.meter.cost import measure
from lightmeter.meter.record import Record, write_results

OUT = Path(__file__).parents[1] / "docs" / "results" / "simulate.json"
SEED = 0


def made(scenes: str, count: int) -> ClipSet:
    if scenes == "shapes":
        return moving_shapes(count, seed=SEED)
    return sawyer_clips(count, Look(scenes), seed=SEED)


def row(scenes: str, count: int) -> dict[str, Any]:
    made(scenes, 2)  # imports, meshes and shaders are paid for once
    with measure() as meter:
        clips = made(scenes, count)
    frames = clips.frames.shape[0] * clips.frames.shape[1]
    labels, flow = np.asarray(clips.labels), np.asarray(clips.flow).astype(np.float32)
    things = (labels >= 2) & (labels < 255)
    moves = np.abs(flow).sum(-1) > 0.5
    return {
        "scenes": scenes,
        "clips": count,
        "frames_a_cpu_s": round(frames / meter.cost.cpu_s, 1),
        "bytes_a_clip": sum(np.asarray(getattr(clips, each)).nbytes for each in ("frames", "labels", "depth", "flow"))
        // count,
        "clips_with_a_push": round(float((things & moves).any((1, 2, 3)).mean()), 3),
        **{f"{name}_pixels": round(share, 4) for name, share in label_shares(labels).items()},
        "cost": meter.cost.as_json(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20)
    given = parser.parse_args()
    rows = [row(scenes, given.clips) for scenes in ("shapes", "sawyer", "sawyer-shift")]
    for each in rows:
        print(each)
    write_results(OUT, Record("simulate", "What does a simulated clip cost, and what is in it?", rows, seed=SEED))


if __name__ == "__main__":
    main()
