"""Pictures of the study `distill`: accuracy over budgets, and what the methods made of each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightmeter.condense.attempts import compared_hits
from lightmeter.report.plots import curves_png
from lightmeter.report.sheet import Tile, contact_sheet
from lightmeter.studies.distill import DistillResult
from lightmeter.studies.distill_rows import METHODS
from lightmeter.studies.distill_running import Figures
from lightmeter.types import Array

_SHOWN_BUDGET = 10
_EACH = 10
"""Pictures of a class in a grid."""


def pictures(result: DistillResult, out: Path, stem: str) -> list[Path]:
    """All of them; what there is nothing to draw of is left out."""
    files: list[Path] = []
    for name in result.sets:
        rows = [each for each in result.figures if (each.row.block, each.row.data) == (METHODS, name) and each.ran]
        first = [each for each in rows if each.row.student == rows[0].row.student]
        files += _curves(result, first, out / f"{stem}-{name}-curves.png")
        files += _grids(first, result.sets[name].learn.classes, out / f"{stem}-{name}-pictures.png", name)
    return files


def _curves(result: DistillResult, rows: Sequence[Figures], path: Path) -> list[Path]:
    """Accuracy over pictures a class, with intervals."""
    curves, bands = {}, {}
    for label in dict.fromkeys(each.row.label for each in rows):
        own = [each for each in rows if each.row.label == label and each.hits is not None]
        if len(own) < 2:
            continue
        found = [compared_hits([each.hits], seed=result.asked.seed)[0][0] for each in own if each.hits is not None]
        curves[label] = [float(each.row.per_class) for each in own], [100 * each.value for each in found]
        bands[label] = [100 * each.low for each in found], [100 * each.high for each in found]
    if not curves:
        return []
    curves_png(
        curves, path, x_label="pictures a class", y_label="accuracy, %, 95 % interval",
        title="What a student knows after N pictures a class", bands=bands,
    )  # fmt: skip
    return [path]


def _grids(rows: Sequence[Figures], classes: Sequence[str], path: Path, name: str) -> list[Path]:
    """A grid a method: a line a class, of up to ten classes and as many pictures."""
    budgets = sorted({each.row.per_class for each in rows})
    if not budgets:
        return []
    wanted = _SHOWN_BUDGET if _SHOWN_BUDGET in budgets else budgets[-1]
    shown = [each for each in rows if each.row.per_class == wanted and each.small is not None]
    tiles: list[Tile] = [
        (_grid(each.small.images, each.small.labels, len(classes)), each.row.label) for each in shown if each.small
    ]
    contact_sheet(tiles, path, columns=4, tile=340, title=f"{name}, {wanted} a class, first seed: a line a class")
    return [path]


def _grid(images: Array, labels: Array, classes: int) -> Array:
    """Pictures of up to ten classes as one, uint8 [H, W, 3]."""
    height, width, channels = images.shape[1:]
    lines = []
    for label in range(min(classes, _EACH)):
        own = images[labels == label][:_EACH]
        line = np.zeros((height, _EACH * width, channels), np.uint8)
        for at, each in enumerate(own):
            line[:, at * width : (at + 1) * width] = each
        lines.append(line[:, : min(_EACH, max(1, (labels == label).sum())) * width])
    widest = max(line.shape[1] for line in lines)
    whole = np.zeros((len(lines) * height, widest, channels), np.uint8)
    for at, line in enumerate(lines):
        whole[at * height : (at + 1) * height, : line.shape[1]] = line
    return np.repeat(whole, 3, axis=2) if channels == 1 else whole
