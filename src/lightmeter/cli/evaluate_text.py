"""What `lightmeter evaluate` says: lines for people, rows for programs, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmeter.cli.fit import quality_text

if TYPE_CHECKING:
    from lightmeter.errors import InvalidValueError
    from lightmeter.library.comparing import Comparison, Row
    from lightmeter.library.evaluating import DeepQuality
    from lightmeter.meter.cost import Cost
    from lightmeter.metrics.ranking import VideoQuality
    from lightmeter.metrics.segments import SegmentQuality

_MOST_PATTERNS = 8


@dataclass(frozen=True, slots=True)
class Told:
    """lines: for stdout · rows: by schema, for `--json` · notes: for stderr · pictures: each writes into a folder

    error: what is raised once all was said
    """

    lines: Sequence[str]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    notes: Sequence[str] = ()
    pictures: Sequence[Callable[[Path], object]] = ()
    error: InvalidValueError | None = None


def one_told(
    model: Path, quality: VideoQuality | SegmentQuality, top: int, more: Mapping[str, Any], cost: Cost
) -> Told:  # fmt: skip
    """One model in two lines. more: `cost`, `examples_per_s`, `model`, as JSON has them"""
    from lightmeter.meter.units import bytes_text, count_text
    from lightmeter.metrics.segments import SegmentQuality

    said = more["model"]
    price = (
        f"{said['head']}: {bytes_text(said['size_bytes'])} · {count_text(said['macs'])}MAC an item · "
        f"{more['examples_per_s']:,.0f} items/s · {cost.text()}"
    )
    if isinstance(quality, SegmentQuality):
        first = f"{quality_text(quality)} · {quality.segments} segments, {quality.labels} labels"
        return Told([first, price], {"evaluate.segments/1": [{"path": model, **quality.as_json(), **more}]})
    first = f"{quality_text(quality)} · {quality.videos} items, {quality.labels} labels"
    tied = f"{quality.tied_cuts} items have equal scores where their answers are cut off"
    row = {"path": model, **quality.as_json(), "top": top, **more}
    return Told([first, price], {"evaluate/1": [row]}, [tied] if quality.tied_cuts else [])


# -- in depth ---------------------------------------------------------------------------------------------------------


def deep_told(told: Told, deep: DeepQuality) -> Told:
    """The same model in depth."""
    row = dict(told.rows["evaluate/1"][0]) | {"deep": deep.as_json()}
    lines = [*told.lines, "", *_deep_lines(deep), "", *_bands(deep), "", *_patterns(deep)]
    rows = {"evaluate/1": [row], "evaluate.class/1": list(deep.classes())}
    return replace(told, lines=lines, rows=rows, pictures=[deep.draw])


def _deep_lines(deep: DeepQuality) -> list[str]:
    from lightmeter.library.evaluating import VISIBLE

    share = f"{100 * deep.asked.certainty:g} %"
    names = {"gap": "GAP", "hit_at_1": "Hit@1", "perr": "PERR", "map": "mAP"}
    intervals = " · ".join(f"{names[name]} {each.low:.4f}–{each.high:.4f}" for name, each in deep.intervals.items())
    full, f1 = deep.full, deep.f1
    drawn = "" if full.videos == len(deep.scores) else f", of {full.videos} items, drawn: more would not fit"
    return [
        f"{share} intervals: {intervals}",
        f"no cut at {deep.asked.top}: mAP {full.map:.4f} · micro AP {full.micro:.4f}{drawn}",
        f"calibration: error {deep.calibration.ece():.4g}, Brier {deep.calibration.brier():.4g}; of scores from "
        f"{VISIBLE:g} on: error {deep.visible.ece():.4g}, Brier {deep.visible.brier():.4g}",
        f"a threshold a class, chosen on these items, {deep.thresholds.text(deep.asked.precision)} · F1 "
        f"micro {f1.micro:.4f}, macro {f1.macro:.4f}",
    ]


def _bands(deep: DeepQuality) -> list[str]:
    from lightmeter.report.text import table

    where = "where it was learnt" if deep.counts_of == "training" else "here"
    rows = [
        {
            "classes": f"{each.first}–{each.last}", f"labels {where}": f"{each.most}–{each.least}", "mAP": each.map,
            "low": _number(each.low), "high": _number(each.high),
        }
        for each in deep.bands
    ]  # fmt: skip
    return ["mAP without a cut by how common classes are", table(rows)]


def _patterns(deep: DeepQuality) -> list[str]:
    from lightmeter.report.text import table

    rows = [
        {
            "items with": name, "items": each.videos, "GAP": _number(each.gap), "Hit@1": _number(each.hit_at_1),
            "PERR": _number(each.perr), "mAP": _number(each.map),
        }
        for name, each in deep.patterns.items()
    ]  # fmt: skip
    left = len(rows) - _MOST_PATTERNS
    return [table(rows[:_MOST_PATTERNS]), *([f"… and {left} other patterns: --json has them"] if left > 0 else [])]


def _number(value: float) -> float | None:
    return None if value != value else value


# -- several models ---------------------------------------------------------------------------------------------------


def compared_told(
    found: Comparison, said: Sequence[Mapping[str, Any]], items: int, cost: Cost, asked: Mapping[str, Any]
) -> Told:
    """A table of models, the frontier among them, and the one to take."""
    from lightmeter.errors import InvalidValueError
    from lightmeter.report.text import bytes_text, table

    chosen, error = None, None
    if asked["at_least"] is not None or asked["within"] is not None:
        try:
            chosen = found.chosen(at_least=asked["at_least"], within=asked["within"])
        except InvalidValueError as none_good:
            error = none_good
    frontier = found.frontier
    rows = [
        {
            "path": row.trial.candidate, **row.as_json(), "frontier": row.trial in frontier,
            "chosen": row.trial is chosen, "price": found.price, "model": model,
        }
        for row, model in zip(found.rows, said, strict=True)
    ]  # fmt: skip
    name = found.rows[0].trial.quality_name
    kept = ", ".join(trial.candidate for trial in frontier.points)
    lines = [
        table([_line(row, row.trial in frontier) for row in found.rows]),
        f"{items} items · nothing beats in {name} and {found.price}: {kept} · all of this: {cost.text()}",
        *([f"to take: {chosen.text()} an item · {bytes_text(chosen.cost.size_bytes or 0)} of model"] if chosen else []),
    ]
    return Told(
        lines, {"evaluate/1" if name == "GAP" else "evaluate.segments/1": rows},
        pictures=[partial(_draw_frontier, found)], error=error,
    )  # fmt: skip


def _draw_frontier(found: Comparison, folder: Path) -> None:
    from lightmeter.report.plots import frontier_png

    frontier_png(
        found.trials, folder / "frontier.png", price=found.price, title="Quality over the price of an item"
        if found.price != "size_bytes" else "Quality over the size of the model",
    )  # fmt: skip


def _line(row: Row, best: bool) -> dict[str, Any]:
    """One model in the table; the difference is to the first."""
    from lightmeter.meter.cost import cpu_text
    from lightmeter.meter.units import bytes_text, count_text
    from lightmeter.metrics.ranking import VideoQuality

    trial = row.trial
    made: dict[str, Any] = {"model": trial.candidate, trial.quality_name: f"{trial.quality:.4f}"}
    if isinstance(row.quality, VideoQuality):
        own, other = row.intervals["gap"], row.differences.get("gap")
        made["interval"] = f"{own.low:.4f}–{own.high:.4f}"
        made["less the first"] = (
            None if other is None else f"{other.value:+.4f} ({other.low:+.4f} to {other.high:+.4f})"
        )  # fmt: skip
        made |= {"Hit@1": f"{row.quality.hit_at_1:.4f}", "mAP": f"{row.quality.map:.4f}"}
    return made | {
        "an item": cpu_text(trial.cost.cpu_s), "MACs": count_text(trial.cost.macs or 0),
        "size": bytes_text(trial.cost.size_bytes or 0), "frontier": "yes" if best else None,
    }  # fmt: skip
