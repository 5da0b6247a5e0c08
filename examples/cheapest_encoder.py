"""Which encoder is the cheapest that still tells these pictures apart? python examples/cheapest_encoder.py FOLDER

Quality: how often the crop of a picture finds the picture it was cut from. The frontier is drawn to frontier.png.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from lightmeter.encoders.protocol import ImageEncoder, unit_rows
from lightmeter.media.images import read_image
from lightmeter.media.sniff import is_media_name
from lightmeter.meter.trials import choose, run_trials
from lightmeter.parts import build
from lightmeter.report.plots import frontier_png
from lightmeter.types import Image


def crops_found(encoder: ImageEncoder, pictures: list[Image], crops: list[Image]) -> float:
    """Share of crops whose nearest picture is their own."""
    likeness = unit_rows(encoder.encode(crops)) @ unit_rows(encoder.encode(pictures)).T
    return float(np.mean(likeness.argmax(axis=1) == np.arange(len(pictures))))


def crop(image: Image) -> Image:
    height, width = image.pixels.shape[:2]
    return Image(np.ascontiguousarray(image.pixels[: height * 2 // 3, : width * 2 // 3]))


def main(folder: Path) -> None:
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and is_media_name(file)]
    pictures = [read_image(file, short_side=292).value for file in files]
    crops = [crop(picture) for picture in pictures]
    encoders = [build(spec) for spec in ("color-histogram", "efficientnet-lite/size=0", "efficientnet-lite/size=2")]
    calls = {encoder.spec: partial(crops_found, encoder, pictures, crops) for encoder in encoders}
    trials = run_trials(calls, {"crops found": float}, repeats=3)
    for trial in trials:
        print(f"{trial.quality:.3f}  {trial.cost.text()}  {trial.candidate}")
    best = max(trial.quality for trial in trials)
    print("cheapest within 0.05 of the best:", choose(trials, at_least=best - 0.05).candidate)
    frontier_png(trials, "frontier.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
