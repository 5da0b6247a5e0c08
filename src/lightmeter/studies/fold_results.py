"""How a study on folds is shown and kept: a table for each published table, a record, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.meter.record import Record, hash_of, write_results
from lightmeter.meter.trials import Trial
from lightmeter.metrics.bootstrap import MEASURES
from lightmeter.metrics.frequency import moving_average
from lightmeter.report.plots import bars_png, curves_png, frontier_png
from lightmeter.report.text import table
from lightmeter.studies.folds import FoldOutcome, FoldSection, FoldStudyResult
from lightmeter.studies.published import published

COLUMNS = {"gap": "GAP", "hit_at_1": "Hit@1", "perr": "PERR", "map": "mAP"}
"""Our measures, and the columns of the seed that hold them."""
WINDOW = 9
"""Classes that figure 5 averages over, of the few that a small set has."""


# -- for people -----------------------------------------------------------------------------------------------------


def fold_text(result: FoldStudyResult) -> str:
    """All sets as tables, one for each published table, then the rows beyond them, then the differences in pairs."""
    study, asked = result.study, result.asked
    lines = [f"{study.name} ({asked.scale}, {asked.seeds_said}): {study.question}"]
    for section in result.sections:
        lines += ["", section.title, section.whole.said if section.whole else f"not run: {section.why}"]
        if section.whole:
            lines += [" · ".join(f"{name} {value:,.4g}" for name, value in section.whole.counts.items())]
        for name, said in study.tables.items():
            lines += ["", *_published_lines(section, name, said)]
        beyond = [each for each in section.outcomes if not each.row.published]
        lines += ["", "Beyond the seed", table([_shown(each) for each in beyond], width=48)]
        lines += [f"not run: {each.row.label}: {each.why}" for each in section.outcomes if each.quality is None]
        lines += ["", *_difference_lines(section)]
    lines += ["", *(f"note: {note}" for note in study.notes)]
    lines += [
        _seeds_line(len(asked.every_seed)),
        "from-to: 95 % interval of GAP, variants of an item drawn together · fit s: CPU-seconds to learn one fold",
        "ms: CPU to answer one item, features given · published cells are of other data and another machine",
        f"the whole took {result.cost.text()}",
    ]
    return "\n".join(lines)


def _seeds_line(seeds: int) -> str:
    """What the figures say of chance in learning."""
    if seeds == 1:
        return "one seed: every row learnt once a fold; intervals are over items, not over what chance does to learning"
    return (
        f"{seeds} seeds: every row learnt so often on each fold; figures are means over seeds, by seed: lowest and "
        "highest GAP; intervals and differences are over items and seeds, both drawn anew each round"
    )


def _published_lines(section: FoldSection, name: str, said: str) -> list[str]:
    printed = published(name)
    rows = []
    for label in printed.rows:
        ours = [each for each in section.outcomes if (name, label) in each.row.published]
        cells = {f"published {column}": printed.cell(label, column).printed for column in printed.columns}
        if not ours:
            rows.append({"printed as": "", "row": label, "of": "seed", "GAP %": "no part of ours"} | cells)
        rows += [{"printed as": label if label != each.row.label else "", **_shown(each)} | cells for each in ours]
    if not any(row.get("printed as") for row in rows):
        rows = [{key: value for key, value in row.items() if key != "printed as"} for row in rows]
    return [f"{printed.place}: {printed.title}", *([said] if said else []), table(rows, width=48)]


def _shown(outcome: FoldOutcome) -> dict[str, Any]:
    """One line of a table. Numbers are text, so that `not run` may stand among them."""
    row: dict[str, Any] = {"row": outcome.row.label, "of": outcome.row.role}
    if outcome.quality is None or outcome.fit is None or outcome.ask is None:
        return row | {"GAP %": "not run"}
    gap = outcome.intervals["gap"]
    shown = {f"{COLUMNS[name]} %": f"{100 * getattr(outcome.quality, name):5.2f}" for name in MEASURES}
    first = {"GAP %": shown.pop("GAP %"), "from-to": f"{100 * gap.low:.1f}-{100 * gap.high:.1f}"}
    folds, seeds = len(outcome.by_fold), len(outcome.by_seed)
    if seeds > 1:
        each = [100 * quality.gap for quality in outcome.by_seed]
        first |= {"by seed": f"{min(each):.1f}-{max(each):.1f}"}
    return row | first | shown | {
        "fit s": f"{outcome.fit.cpu_s / folds / seeds:.3g}",
        "ms": f"{1000 * outcome.ask.cpu_s / outcome.quality.videos / seeds:.3g}",
        "kB": None if outcome.size_bytes is None else f"{outcome.size_bytes / 1000:,.0f}",
    }  # fmt: skip


def _difference_lines(section: FoldSection) -> list[str]:
    lines = []
    for (one, other), measures in section.differences.items():
        gap = measures["gap"]
        verdict = "clear" if gap.clear else "not clear"
        lines.append(
            f"{one} less {other}: GAP {100 * gap.value:+.2f} points, {100 * gap.low:+.2f} to {100 * gap.high:+.2f}: "
            f"{verdict}"
        )
    return lines


# -- for programs ---------------------------------------------------------------------------------------------------


def fold_json(result: FoldStudyResult) -> list[dict[str, Any]]:
    """One object a row of a set: quality with intervals, by fold, by seed, price, published cells; or why not run."""
    rows = []
    for section in result.sections:
        rows += [_json_row(section, each) for each in section.outcomes]
        rows += [
            {
                "section": section.title, "difference": [one, other],
                **{name: _interval_json(measures[name]) for name in MEASURES},
            }
            for (one, other), measures in section.differences.items()
        ]  # fmt: skip
    return rows


def _interval_json(interval: Any) -> dict[str, Any]:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "rounds": interval.rounds}


def _json_row(section: FoldSection, outcome: FoldOutcome) -> dict[str, Any]:
    row = {
        "section": section.title, "row": outcome.row.label, "spec": outcome.spec, "role": outcome.row.role,
        "state": "run" if outcome.quality is not None else "not run", "why": outcome.why,
        "published": [_cells_json(name, label) for name, label in outcome.row.published],
    }  # fmt: skip
    if outcome.quality is None or outcome.fit is None or outcome.ask is None:
        return row
    return row | outcome.quality.as_json() | {
        "intervals": {name: _interval_json(each) for name, each in outcome.intervals.items()},
        "by_fold": [each.as_json() for each in outcome.by_fold],
        "by_seed": [each.as_json() for each in outcome.by_seed],
        "fit": outcome.fit.as_json(), "ask": outcome.ask.as_json(), "size_bytes": outcome.size_bytes,
        "macs": outcome.macs,
    }  # fmt: skip


def _cells_json(name: str, label: str) -> dict[str, Any]:
    printed = published(name)
    cells = {column: printed.cell(label, column) for column in printed.columns}
    return {
        "table": name, "row": label, "seed": printed.seed, "place": printed.place,
        "cells": {column: {"printed": each.printed, "value": each.value} for column, each in cells.items()},
    }  # fmt: skip


def fold_record(result: FoldStudyResult) -> Record:
    """The record of a study: its rows, and hash, source and licence of every set."""
    sets = {
        each.title: {
            "name": each.whole.name, "items": each.whole.items, "classes": each.whole.classes,
            "folds": each.whole.folds, "source": each.whole.source, "licence": each.whole.licence,
            "sha256": each.whole.data_hash, "counts": dict(each.whole.counts),
            "by_frequency": frequency_curves(each.outcomes),
        }
        for each in result.sections
        if each.whole is not None
    }  # fmt: skip
    notes: Mapping[str, Any] = {
        "scale": result.asked.scale, "seeds": list(result.asked.every_seed), "sets": sets,
        "notes": list(result.study.notes), "cost": result.cost.as_json(),
    }  # fmt: skip
    return Record(
        f"study-{result.study.name}-{result.asked.scale}", result.study.question, fold_json(result),
        data_hash=hash_of({title: each["sha256"] for title, each in sets.items()}), seed=result.asked.seed, notes=notes,
    )  # fmt: skip


# -- files ----------------------------------------------------------------------------------------------------------


def write_folds(result: FoldStudyResult, out: Path) -> list[Path]:
    """Write table, record and pictures into a folder, each file whole; returns them.

    study-NAME-SCALE.txt and .json; for each set `…-frontier.png` (GAP over CPU-seconds an item), `…-frequency.png`, the
    seed's figure 5: average precision of classes by rank of frequency, and `…-words-TEXT.png`, its figures 2 and 3.
    """
    record = fold_record(result)
    files = [
        write_whole(out / f"{record.id}.txt", fold_text(result) + "\n"),
        write_results(out / f"{record.id}.json", record),
    ]
    for at, section in enumerate(result.sections):
        stem = record.id if len(result.sections) == 1 else f"{record.id}-{at + 1}"
        files += _pictures(section, out, stem, result.study.name)
    return files


def _pictures(section: FoldSection, out: Path, stem: str, name: str) -> list[Path]:
    ran = [each for each in section.outcomes if each.quality is not None]
    files = []
    trials = [_trial(each) for each in ran if each.row.role != "baseline"]
    if trials:
        files.append(out / f"{stem}-frontier.png")
        frontier_png(trials, files[-1], title=f"{name}: {section.title}")
    curves = frequency_curves(ran)
    if curves:
        files.append(out / f"{stem}-frequency.png")
        curves_png(
            {label: (each["rank"], each["mean"]) for label, each in curves.items()}, files[-1],
            title=f"{section.title}: classes by frequency, {WINDOW} averaged",
            x_label="rank of the class, 1 is the commonest", y_label="average precision",
            bands={label: (_drawn(each["low"]), _drawn(each["high"])) for label, each in curves.items()},
        )  # fmt: skip
    if section.whole is not None:
        for text, counts in section.whole.words.items():
            files.append(out / f"{stem}-words-{text}.png")
            bars_png(counts, files[-1], label="how often", title=f"{section.title}: commonest {text}")
    return files


def _drawn(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _trial(outcome: FoldOutcome) -> Trial:
    assert outcome.quality is not None
    assert outcome.ask is not None
    price = outcome.ask.shared_by(outcome.quality.videos * len(outcome.by_seed))
    return Trial(outcome.row.label, outcome.quality.gap, price, "GAP")


FIGURE_5 = ("Visual, Audio", "Keyword, Title", "Visual, Audio, Keyword, Title")
"""The rows of the seed's figure 5."""


def frequency_curves(outcomes: Sequence[FoldOutcome]) -> dict[str, dict[str, list[Any]]]:
    """Figure 5, of each of its rows: rank and count of each class, mean precision there, and its interval's ends."""
    made = {}
    for outcome in outcomes:
        if outcome.row.label in FIGURE_5 and outcome.scores:
            counts = outcome.scores[0].label_counts()
            precisions = np.mean([each.average_precisions() for each in outcome.scores], axis=0)
            curve = moving_average(precisions, counts, window=WINDOW)
            made[outcome.row.label] = {
                name: [None if value != value else value for value in np.asarray(getattr(curve, name)).tolist()]
                for name in ("rank", "count", "mean", "low", "high")
            }
    return made
