"""What a grid of probes found: a table with intervals and prices, as JSON, CSV and a page; pictures of predictions."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.heads.segmenting.cells import FIRST_MEASURE, Cell, CellResult, by_row, paired_intervals
from lightmeter.heads.segmenting.probed import MASK_TASKS
from lightmeter.media.rle import Rle
from lightmeter.meter.cost import Cost
from lightmeter.meter.record import Record, write_results
from lightmeter.meter.trials import Frontier, Trial
from lightmeter.report.overlay import overlay
from lightmeter.report.page import Page
from lightmeter.report.plots import curves_png
from lightmeter.report.sheet import contact_sheet

if TYPE_CHECKING:
    from lightmeter.heads.segmenting.probed import Probed
    from lightmeter.metrics.bootstrap import Interval

_SHOWN_ROWS = 12
_TILE = 128
TABLE, RECORD, PAGE, SHEET, CURVES = "probe.csv", "probe.json", "probe.html", "predictions.png", "labels.png"


@dataclass(frozen=True, slots=True, eq=False)
class ProbeRow:
    """One row of the table: a cell's seeds together.

    interval: of what the task is ranked by, over test scenes · less: of it less that of the first row of the same task
    and number of labels, None of that one · seeds: how many; least, most: of the value over them
    """

    cell: Cell
    results: tuple[CellResult, ...]
    interval: Interval
    less: Interval | None
    least: float
    most: float

    @property
    def measure(self) -> str:
        """What `interval` is of: iou, abs_rel or epe_px."""
        return FIRST_MEASURE.get(self.cell.task, "iou")

    def mean(self, name: str) -> float | None:
        """A field of the costs, the mean over the seeds; None where it is not known."""
        values = [getattr(each.cost, name, None) for each in self.results]
        known = [float(each) for each in values if each is not None]
        return float(np.mean(known)) if len(known) == len(values) else None

    def quality(self, name: str) -> float | None:
        """A quality, the mean over the seeds; None where there is none."""
        values = [each.quality.get(name) for each in self.results]
        return None if None in values else float(np.mean([float(each) for each in values if each is not None]))

    def as_json(self) -> dict[str, Any]:
        """Everything that is in the table, by name."""
        cell, first = self.cell, self.results[0]
        row: dict[str, Any] = {
            "task": cell.task, "labels": first.frames, "encoder": cell.encoder, "head": cell.head,
            "control": cell.control, self.measure: _plain(self.interval.value), "low": _plain(self.interval.low),
            "high": _plain(self.interval.high),
            "less_the_first": None if self.less is None else _plain(self.less.value),
            "less_low": None if self.less is None else _plain(self.less.low),
            "less_high": None if self.less is None else _plain(self.less.high),
            "clear": None if self.less is None else self.less.clear,
            "seeds": len(self.results), "least": _plain(self.least), "most": _plain(self.most),
        }  # fmt: skip
        names = ("image_iou", "boundary_f") if cell.task in MASK_TASKS else ("rmse_m", "delta_125", "outliers")
        row |= {name: self.quality(name) for name in names if name in first.quality}
        row |= {name: _whole(self.mean(name)) for name in ("encoder_parameters", "head_parameters", "macs")}
        row |= {name: self.mean(name) for name in ("ms", "train_cpu_s")}
        return {**row, "training": cell.training, "height": first.quality["height"], "width": first.quality["width"]}

    def shown(self) -> dict[str, Any]:
        """As people read it: fewer columns."""
        value, low, high = self.interval.value, self.interval.low, self.interval.high
        return {
            "task": self.cell.task, "labels": self.results[0].frames, "encoder": self.cell.encoder or "–",
            "head": self.cell.head or "–", "control": self.cell.control or None, self.measure: round(value, 4),
            "95 %": f"{low:.3f} to {high:.3f}",
            "to the first": None if self.less is None else _signed(self.less),
            "parameters": _whole(_sum(self.mean("encoder_parameters"), self.mean("head_parameters"))),
            "head's": _whole(self.mean("head_parameters")), "MACs a frame": _whole(self.mean("macs")),
            "CPU-ms a frame": self.mean("ms"), "train CPU-s": self.mean("train_cpu_s"),
        }  # fmt: skip


def _signed(less: Interval) -> str:
    return f"{less.value:+.3f} ({less.low:+.3f} to {less.high:+.3f}){' *' if less.clear else ''}"


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def probe_rows(results: Sequence[CellResult], groups: Any, *, rounds: int = 1000, seed: int = 0) -> list[ProbeRow]:
    """Rows in the order of the cells, each with its interval, and with its difference to the first of its task and
    labels; cells that were refused have none.

    groups: int [N] scenes of the test pictures
    """
    blocks: dict[tuple[str, int], list[list[CellResult]]] = {}
    for cell, seeds in by_row(results).items():
        blocks.setdefault((cell.task, cell.labels), []).append(seeds)
    made = []
    for (task, _), systems in blocks.items():
        name = FIRST_MEASURE.get(task, "iou")
        sure = paired_intervals(systems, groups, rounds=rounds, seed=seed)
        for seeds, (own, less) in zip(systems, sure, strict=True):
            values = [each.value for each in seeds]
            made.append(ProbeRow(seeds[0].cell.row, tuple(seeds), own[name], less.get(name), min(values), max(values)))
    return made


def probe_frontier(rows: Sequence[ProbeRow]) -> Frontier | None:
    """Of the first task and the most labels: what nothing beats on quality and CPU-seconds a frame; errors negated."""
    if not rows:
        return None
    task = rows[0].cell.task
    most = max(row.results[0].frames for row in rows if row.cell.task == task)
    sign = -1.0 if task in FIRST_MEASURE else 1.0
    trials = [
        Trial(
            f"{row.cell.encoder} {row.cell.head}".strip() or row.cell.control, sign * row.interval.value,
            Cost((row.mean("ms") or 0) / 1e3, (row.mean("ms") or 0) / 1e3, 0), quality_name=row.measure,
        )
        for row in rows
        if row.cell.task == task and row.results[0].frames == most and not row.cell.control
        and math.isfinite(row.interval.value)
    ]  # fmt: skip
    return Frontier(trials) if trials else None


# -- files ----------------------------------------------------------------------------------------------------------


def write_probe(
    rows: Sequence[ProbeRow], refused: Sequence[CellResult], test: Probed, out: Path, notes: Mapping[str, Any]
) -> list[Path]:
    """Write probe.json (a record), probe.csv, probe.html, and where there are any, predictions.png and labels.png.

    notes: what was asked, into the record
    """
    written = [_write_csv(rows, out / TABLE)]
    told = [*({**row.as_json()} for row in rows), *(refused_json(each) for each in refused)]
    hashes = {task: test.fingerprint(task) for task in dict.fromkeys(row.cell.task for row in rows)}
    record = Record("segment-probe", "What is in these features?", told, notes={**notes, "test": hashes})
    written.append(write_results(out / RECORD, record))
    sheet = write_predictions(rows, test, out / SHEET)
    curves = write_curves(rows, out / CURVES)
    written += [each for each in (sheet, curves) if each is not None]
    written.append(_page(rows, refused, test, [each for each in (sheet, curves) if each]).write(out / PAGE))
    return written


def refused_json(result: CellResult) -> dict[str, Any]:
    """A cell that could not be run, and why."""
    cell = result.cell
    return {"task": cell.task, "labels": cell.labels, "encoder": cell.encoder, "head": cell.head,
            "control": cell.control, "seed": cell.seed, "refused": result.refused}  # fmt: skip


def _write_csv(rows: Sequence[ProbeRow], path: Path) -> Path:
    found = [row.as_json() for row in rows]
    names = list(dict.fromkeys(name for row in found for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return write_whole(path, text.getvalue())


def write_predictions(rows: Sequence[ProbeRow], test: Probed, path: Path) -> Path | None:
    """A sheet: in the first line true masks over their frames, below it the first seed of each row; None without masks.

    Of the task and the labels that come first.
    """
    of_masks = [row for row in rows if row.results[0].shown and row.cell.task == rows[0].cell.task]
    most = max((row.results[0].frames for row in of_masks), default=0)
    of_masks = [row for row in of_masks if row.results[0].frames == most][:_SHOWN_ROWS]
    if not of_masks:
        return None
    labelled = test.labelled(of_masks[0].cell.task)
    frames, size = labelled.frames, labelled.masks.shape[1:]
    numbers = [number for number, _ in of_masks[0].results[0].shown]
    tiles: list[Any] = [(overlay(frames[at], labelled.masks[at] == 1), f"true: {labelled.names[at]}") for at in numbers]
    for row, name in zip(of_masks, short_names(of_masks), strict=True):
        told = [f"IoU {row.interval.value:.3f}", *name.split(" ")]
        for place, (number, text) in enumerate(row.results[0].shown):
            mask = Rle.from_text(int(size[0]), int(size[1]), text).mask()
            tiles.append((overlay(frames[number], mask), told[place] if place < len(told) else ""))
    title = f"{of_masks[0].cell.task}, unseen scenes: true masks, then what was found"
    return contact_sheet(tiles, path, columns=len(numbers), tile=_TILE, title=title)


def short_names(rows: Sequence[ProbeRow]) -> list[str]:
    """Encoder, head and control without options, where these tell rows apart; with all of them where they do not."""
    whole = [(row.cell.encoder, row.cell.head, row.cell.control) for row in rows]
    short = [tuple(each.partition("/")[0] for each in parts) for parts in whole]
    cells = [(row.cell.labels, row.cell.task, name) for row, name in zip(rows, short, strict=True)]
    chosen = [name if cells.count(cell) == 1 else full for cell, name, full in zip(cells, short, whole, strict=True)]
    return [" ".join(part for part in each if part) for each in chosen]


def write_curves(rows: Sequence[ProbeRow], path: Path) -> Path | None:
    """Quality of the first task over the number of labels, with intervals; None where there is one number only."""
    own = [row for row in rows if row.cell.task == rows[0].cell.task] if rows else []
    curves: dict[str, list[ProbeRow]] = {}
    for row, name in zip(own, short_names(own), strict=True):
        curves.setdefault(name, []).append(row)
    curves = {name: sorted(some, key=lambda row: row.results[0].frames) for name, some in curves.items()}
    if len({row.results[0].frames for row in own}) < 2:
        return None
    lines = {
        name: ([row.results[0].frames for row in some], [row.interval.value for row in some])
        for name, some in curves.items()
    }
    bands = {
        name: ([row.interval.low for row in some], [row.interval.high for row in some])
        for name, some in curves.items()
    }  # fmt: skip
    curves_png(lines, path, x_label="labelled frames", y_label=own[0].measure, title=own[0].cell.task, bands=bands)
    return path


def _page(rows: Sequence[ProbeRow], refused: Sequence[CellResult], test: Probed, pictures: Sequence[Path]) -> Page:
    page = Page("Probes", subtitle=f"{len(test)} test frames of {len(np.unique(test.groups))} unseen scenes")
    page.heading("Table")
    for task in dict.fromkeys(row.cell.task for row in rows):
        page.table([row.shown() for row in rows if row.cell.task == task], caption=task)
    page.text(
        "Intervals are of a bootstrap over the test scenes, differences to the first row of the same task and labels "
        "drawn in pairs; * is where 0 lies outside. IoU is over all pixels of all frames at the true masks' size, "
        "with a threshold from validation frames. Of abs_rel and epe_px less is better.",
        style="note",
    )
    if refused:
        page.heading("Not run")
        page.table([refused_json(each) for each in refused])
    for path in pictures:
        page.heading({SHEET: "Predictions", CURVES: "Labels"}[path.name])
        page.picture(path.read_bytes(), path.stem)
    return page
