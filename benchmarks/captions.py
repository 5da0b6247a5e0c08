"""How many pictures a second does the rule-based captioner describe, how many captions are unlike? Fashion-MNIST.

Run: lightmeter assets add fashion-mnist; python benchmarks/captions.py
Models are not measured here: tiny ones with random weights, as the tests have them, say nothing about real ones.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.finding import find
from lightmeter.assets.table import asset_called
from lightmeter.encoders.captioning.attributes import Attributes
from lightmeter.encoders.captioning.folder import caption_folder
from lightmeter.encoders.captioning.metadata import read_metadata
from lightmeter.media.write import write_image
from lightmeter.meter.record import Record, hash_of, write_results
from lightmeter.studies.idx import read_idx
from lightmeter.types import Array, Image

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
COUNT, FILES, REPEATS = 20_000, 2_000, 5


def clothes() -> tuple[Array, list[str]]:
    """Pictures padded to uint8 [20000, 32, 32, 1], and what each shows."""
    folder = find("fashion-mnist", check=True)
    images = np.pad(read_idx(folder / "train-images-idx3-ubyte.gz")[:COUNT], ((0, 0), (2, 2), (2, 2)))[..., None]
    labels = read_idx(folder / "train-labels-idx1-ubyte.gz")[:COUNT]
    return images, [CLASSES[label] for label in labels.tolist()]


def tinted(images: Array) -> Array:
    """The same with a colour each, drawn by seed: uint8 [N, H, W, 3]."""
    tints = np.random.default_rng(0).integers(40, 256, (len(images), 1, 1, 3))
    return (images * tints // 255).astype(np.uint8)


def row(name: str, captions: Callable[[], list[str]], repeats: int = REPEATS) -> dict[str, Any]:
    """Median of repeats, after one that does not count where there are several."""
    taken: list[tuple[float, float]] = []
    told: list[str] = []
    for at in range(repeats + (repeats > 1)):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        told = captions()
        if at or repeats == 1:
            taken.append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
    wall_s, cpu_s = np.median(taken, axis=0).tolist()
    return {
        "pictures": name, "count": len(told), "unlike": len(set(told)), "wall_s": round(wall_s, 3),
        "cpu_s": round(cpu_s, 3), "captions_a_cpu_s": round(len(told) / cpu_s), "repeats": repeats,
    }  # fmt: skip


def in_files(images: Array, classes: list[str]) -> dict[str, Any]:
    """A folder of PNGs through the executor with its default workers; the CPU-seconds are theirs too."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        for name in set(classes):
            (folder / name).mkdir(parents=True)
        for at, (pixels, name) in enumerate(zip(images, classes, strict=True)):
            write_image(Image(np.repeat(pixels, 3, axis=-1)), folder / name / f"{at}.png")
        ended = caption_folder(folder, Attributes(), Path(place) / "work")
        told = read_metadata(Path(place) / "work").values()
    return {
        "pictures": "28 x 28 in 32 x 32, grey, a PNG each, by caption_folder", "count": ended.done,
        "unlike": len(set(told)), "wall_s": round(ended.wall_s, 3), "cpu_s": round(ended.cost_s, 3),
        "captions_a_cpu_s": round(ended.done / ended.cost_s), "repeats": 1,
    }  # fmt: skip


def main(out: str = "docs/results") -> None:
    """Measure and write `captions.json`."""
    images, classes = clothes()
    coloured, names = tinted(images), [""] * COUNT
    recipe = Attributes()
    rows = [
        row("32 x 32, grey, in memory", lambda: recipe.caption(images, classes, names)),
        row("32 x 32, colour, in memory", lambda: recipe.caption(coloured, classes, names)),
        in_files(images[:FILES], classes[:FILES]),
    ]
    notes = {
        "data": f"Fashion-MNIST, first {COUNT} of train; colour: tinted by seed 0",
        "licence": asset_called("fashion-mnist").licence, "captioner": recipe.spec,
        "files": f"the first {FILES}; the workers' start is in the time",
    }  # fmt: skip
    question = "How many pictures a second does `attributes` caption, and how many captions are unlike?"
    record = Record("captions", question, rows, data_hash=hash_of(images), seed=0, notes=notes)
    sys.stdout.write(f"{write_results(Path(out) / 'captions.json', record)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
