"""Pictures of the study `bair`: masks beside what is true, label efficiency, pretraining, futures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.encoders.pretraining.curve import Curve
from lightmeter.encoders.pretraining.running import CURVE, STRIP
from lightmeter.media.rle import Rle
from lightmeter.report.plots import curves_png
from lightmeter.report.sheet import Tile, contact_sheet
from lightmeter.studies.bair import BairResult, Outcome
from lightmeter.studies.bair_results import interval
from lightmeter.studies.bair_rows import AIMS, BEST, BEST_PIXELS, BEST_TUNED, LABELS, SEED, UNET
from lightmeter.types import Array

FOUND, MISSED, WRONG = (70, 160, 90), (60, 95, 190), (200, 60, 50)
"""Colours of an overlay: rightly found, not found, wrongly found."""
_SHOWN_ROWS = (BEST, BEST_TUNED, UNET, BEST_PIXELS)
_FRAMES = 6
_SEED_ROW = 8


def pictures(result: BairResult, out: Path, stem: str) -> list[Path]:
    """All of them, those first that show masks; what there is nothing to draw of is left out."""
    files = [*_masks(result, out / f"{stem}-masks.png"), *_labels(result, out / f"{stem}-labels.png")]
    files += _pretraining(result, out / f"{stem}-pretraining.png")
    for name, folder in result.folders.items():
        if name != "vqvae" and (folder / STRIP).is_file():
            files.append(write_whole(out / f"{stem}-future-{name}.png", (folder / STRIP).read_bytes()))
    return files


# -- masks ----------------------------------------------------------------------------------------------------------


def overlay(frame: Array, found: Array, true: Array) -> Array:
    """A frame uint8 [H, W, 3] on which masks are laid: green is right, blue is missed, red is wrong; uint8 [H, W, 3].

    found: [H, W] of 0 and 1 · true: the same, or 255 where nobody judges, which stays as it is
    """
    made = frame.astype(np.float32)
    places = (
        ((found == 1) & (true == 1), FOUND),
        ((found == 0) & (true == 1), MISSED),
        ((found == 1) & (true == 0), WRONG),
    )
    for where, colour in places:
        made[where] = 0.4 * made[where] + 0.6 * np.array(colour, np.float32)
    return made.round().astype(np.uint8)


def _masks(result: BairResult, path: Path) -> list[Path]:
    rows = [each for each in result.of(AIMS) if each.row.label in _SHOWN_ROWS and each.ran]
    rows += [each for each in result.of(SEED) if each.ran and each.row.printed and "Unfrozen" in each.row.printed]
    rows = [each for each in rows if each.results[0].shown]
    if not rows:
        return []
    test = result.whole.parts["test"]
    frames, true = test.frames.frames, test.answer("robot")
    tiles: list[Tile] = []
    chosen = [row for row, _ in rows[0].results[0].shown[:_FRAMES]]
    for at in chosen:
        tiles.append((frames[at], test.frames.names[at]))
        tiles.append((_black(true[at] == 1), "true mask"))
        tiles += [(overlay(frames[at], found, true[at]), name) for name, found in _found(rows, at, true.shape[1:])]
    title = "bair: green is right, blue is missed, red is wrong"
    return [contact_sheet(tiles, path, columns=2 + len(rows), tile=128, title=title)]


def _found(rows: Sequence[Outcome], at: int, shape: Sequence[int]) -> list[tuple[str, Array]]:
    made = []
    for each in rows:
        texts = dict(each.results[0].shown)
        name = "the seed's row 8" if each.row.block == SEED else each.row.label
        made.append((name, Rle.from_text(shape[0], shape[1], texts[at]).mask()))
    return made


def _black(inside: Array) -> Array:
    picture: Array = np.repeat((inside * np.uint8(255))[..., None], 3, axis=-1)
    return picture


# -- curves ---------------------------------------------------------------------------------------------------------


def _labels(result: BairResult, path: Path) -> list[Path]:
    """IoU over labels with its interval; all labels last."""
    every = len(result.whole.parts["train"])
    curves, bands = {}, {}
    for label in dict.fromkeys(each.row.label for each in result.of(LABELS)):
        own = [each for each in result.of(LABELS) if each.row.label == label and each.ran]
        points = [(each.row.labels or every, each) for each in own]
        if len(points) < 2:
            continue
        found = [interval(result, each) for _, each in points]
        curves[label] = [float(count) for count, _ in points], [each.value for each in found]
        bands[label] = [each.low for each in found], [each.high for each in found]
    if not curves:
        return []
    curves_png(
        curves, path, x_label="labelled frames", y_label="IoU, 95 % interval", title="Label efficiency", bands=bands
    )
    return [path]


def _pretraining(result: BairResult, path: Path) -> list[Path]:
    curves = {}
    for name, folder in result.folders.items():
        if (folder / CURVE).is_file():
            curve = Curve(1)
            curve.read(folder / CURVE)
            rows = [row for row in curve.learnt if row["loss"] > 0]
            curves[name] = [row["step"] for row in rows], [row["loss"] for row in rows]
    if not curves:
        return []
    curves_png(curves, path, x_label="step", y_label="loss", title="Pretraining", y_log=True)
    return [path]
