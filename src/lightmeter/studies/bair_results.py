"""How the study `bair` is shown and kept: tables, the aims with their verdicts, a record, and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.heads.segmenting.cells import FIRST_MEASURE, paired_intervals, pooled_scores
from lightmeter.meter.record import Record, write_results
from lightmeter.metrics.bootstrap import Interval
from lightmeter.report.text import table
from lightmeter.studies.bair import ROUNDS, BairResult, Outcome
from lightmeter.studies.bair_rows import AIMS, GRID, LABELS, LOSSES, SEED, SHIFT, TABLE, TASKS
from lightmeter.studies.bair_targets import Verdict, verdicts
from lightmeter.studies.declared import Scale
from lightmeter.studies.published import published

NOTES: dict[Scale, tuple[str, ...]] = {
    "smoke": ("flat moving shapes, nets of some thousand weights, a few steps: no quality here means anything",),
    "cpu": (
        "simulated Sawyer arm, not BAIR: a score here ranks encoders, it predicts none on real pictures",
        "VideoGPT's nets are small ones that the study pretrains: windows of 8 frames, codes of 4 × 4 × 4 pixels, "
        "tokens of 2 × 16 × 16 where the published are 4 × 32 × 32",
        "heads have the proportions of the seed's, not their widths",
    ),
    "paper": (),
}
_ALWAYS = (
    "scenes are whole: none is in two of train, valid and test; thresholds are found on valid, on no more frames than "
    "are learnt from",
    "rates and steps are the same for all rows of a head and tuned on nothing; rates of losses × optimisers are chosen "
    "on valid",
    "future codes, own, and image codes, own: same net, steps, tokens and loss, taught by clips and by single frames",
)
_COLUMNS = {"objects": "objects IoU", "moving": "moving IoU", "depth": "depth AbsRel", "flow": "flow EPE px"}


def interval(result: BairResult, outcome: Outcome) -> Interval:
    """Of an outcome's first measure, over scenes, all its seeds together."""
    groups = result.whole.parts[outcome.row.on].groups
    made = paired_intervals([outcome.results], groups, rounds=ROUNDS[result.asked.scale])[0][0]
    return made[FIRST_MEASURE.get(outcome.row.task, "iou")]


# -- for people -----------------------------------------------------------------------------------------------------


def bair_text(result: BairResult) -> str:
    """Every block as a table, what was not run and why, the aims, notes and the price of the whole."""
    asked, parts = result.asked, result.whole.parts
    height, width = parts["test"].frames.masks.shape[1:]
    lines = [f"bair ({asked.scale}, seed {asked.seed}): {_question()}", result.whole.said]
    lines += ["", "Aims", table([_verdict_line(each) for each in verdicts(result)], width=64)]
    lines += ["", *_seed_lines(result)]
    lines += ["", "Losses × optimisers, IoU, rate in brackets; one seed", _two_ways(result, LOSSES, rates=True)]
    lines += ["", "Encoders × heads, IoU; one seed", _two_ways(result, GRID)]
    lines += [
        "",
        f"Label efficiency, IoU, frames mirrored and moved; {_seeds(result, LABELS)}",
        _two_ways(result, LABELS),
    ]
    lines += ["", "Other tasks: masks by FC + conv, depth and flow by a linear layer a cell; one seed", _tasks(result)]
    lines += ["", f"Other scenes: IoU on test and on the shifted family; {_seeds(result, SHIFT)}"]
    lines += [_two_ways(result, SHIFT), "", *_diagnostic_lines(result), ""]
    lines += _not_run(result)
    lines += [f"note: {each}" for each in (*NOTES[asked.scale], *_ALWAYS, *result.notes)]
    lines += [f"published: {each}" for each in published(TABLE).notes]
    lines += [
        f"IoU: micro, at {height} × {width}, all seeds of a row together · from-to: 95 % interval over test scenes",
        _price(result),
    ]
    return "\n".join(lines)


def _question() -> str:
    from lightmeter.studies.bair import BAIR

    return BAIR.question


def _seeds(result: BairResult, block: str) -> str:
    """How many seeds a block's rows had, by column where columns differ."""
    columns: dict[int, list[str]] = {}
    for each in result.of(block):
        columns.setdefault(each.row.seeds, []).append(each.row.column)
    if len(columns) == 1:
        return "one seed" if 1 in columns else f"{next(iter(columns))} seeds"
    told = {count: ", ".join(dict.fromkeys(names)) for count, names in sorted(columns.items())}
    return "seeds: " + "; ".join(f"{count} of {names}" for count, names in told.items())


def _verdict_line(verdict: Verdict) -> dict[str, Any]:
    target, found = verdict.target, verdict.interval
    return {
        "aim": target.says + ("" if target.asked else " (not an aim of the issue)"),
        "IoU": "" if found is None else f"{found.value:+.3f}" if target.other else f"{found.value:.3f}",
        "from-to": "" if found is None else f"{found.low:.3f} to {found.high:.3f}",
        "at least": f"{target.least:+.2f}" if target.other else f"{target.least:.2f}",
        "verdict": verdict.verdict + (f": {verdict.why}" if verdict.why else ""),
    }


def _seed_lines(result: BairResult) -> list[str]:
    printed = published(TABLE)
    rows = [_shown(result, each) for each in (*result.of(SEED), *result.of(AIMS))]
    return [f"{printed.place}: {printed.title}", table(rows, width=64)]


def _shown(result: BairResult, outcome: Outcome) -> dict[str, Any]:
    """One line. Numbers are text, so that `not run` may stand among them."""
    row = outcome.row
    told: dict[str, Any] = {"row": row.label, "encoder": row.encoder, "of": row.role}
    cell = published(TABLE).cell(row.printed, "IoU").printed if row.printed else ""
    if not outcome.ran:
        return told | {"IoU": "not run", "published": cell}
    found, by_seed = interval(result, outcome), [each.iou for each in outcome.results]
    mean = {name: float(np.mean([each.quality[name] for each in outcome.results])) for name in _MORE}
    costs = [each.cost for each in outcome.results if each.cost]
    return told | {
        "IoU": f"{found.value:.3f}",
        "from-to": f"{found.low:.3f}-{found.high:.3f}",
        "seeds": f"{len(by_seed)}",
        "by seed": f"{min(by_seed):.3f}-{max(by_seed):.3f}" if len(by_seed) > 1 else "",
        **{name: f"{mean[key]:.3f}" for key, name in _MORE.items()},
        "published": cell,
        "head weights": f"{costs[0].head_parameters:,}",
        "fit s": f"{np.mean([each.train_cpu_s for each in costs]):.3g}",
        "ms": f"{np.mean([each.ms for each in costs]):.3g}",
    }


_MORE = {"image_iou": "image IoU", "boundary_f": "edge F"}


def _two_ways(result: BairResult, block: str, *, rates: bool = False) -> str:
    """Rows by label, columns by column: IoU."""
    made: dict[str, dict[str, Any]] = {}
    for each in result.of(block):
        line = made.setdefault(each.row.label, {"row": each.row.label})
        line[each.row.column] = _iou(each) + (f" ({_rate(each.row.training)})" if rates and each.ran else "")
    return table(list(made.values()), width=48)


def _iou(outcome: Outcome) -> str:
    return f"{pooled(outcome):.3f}" if outcome.ran else "not run"


def pooled(outcome: Outcome) -> float:
    """An outcome's first measure, over the pixels of all seeds together."""
    quality: Any = pooled_scores(outcome.results).result()
    return float(getattr(quality, FIRST_MEASURE.get(outcome.row.task, "iou")))


def _rate(training: str) -> str:
    from lightmeter.parts import parse

    return f"{parse(training).options['lr']:g}"


def _tasks(result: BairResult) -> str:
    made: dict[str, dict[str, Any]] = {}
    for each in result.of(TASKS):
        made.setdefault(each.row.label, {"encoder": each.row.label})[_COLUMNS[each.row.task]] = _iou(each)
    return table(list(made.values()), width=48)


def _diagnostic_lines(result: BairResult) -> list[str]:
    """Effective ranks of maps, use of codes and what the frame tells, of every net that was pretrained."""
    ranks = table([{"map": name, "effective rank": f"{value:.1f}"} for name, value in result.ranks.items()], width=48)
    lines = ["Effective rank of the maps on the test frames", ranks, "", "Nets that were pretrained here"]
    rows = []
    for name, told in result.nets.items():
        found = told["diagnostics"]
        codes, gap = found.get("codes", {}), found.get("conditioning", {})
        rows.append(
            {
                "net": name,
                "CPU min": f"{told['cost']['cpu_s'] / 60:.1f}",
                "codes used": f"{codes['used']:.0f} of {codes['count']:.0f}" if codes else "",
                "perplexity": f"{codes['perplexity']:.1f}" if codes else "",
                **{f"nats, {kind} frame": f"{gap[f'{kind}_nats']:.2f}" if gap else ""
                   for kind in ("right", "wrong", "blank")},
            }
        )  # fmt: skip
    return [*lines, table(rows) if rows else "none"]


def _not_run(result: BairResult) -> list[str]:
    """Why, each reason once with how many rows it is of."""
    reasons: dict[str, list[str]] = {}
    for each in result.outcomes:
        if not each.ran:
            reasons.setdefault(each.why, []).append(f"{each.row.block}: {each.row.label}")
    return [
        f"not run: {rows[0]}{f' and {len(rows) - 1} rows more' if len(rows) > 1 else ''}: {why}"
        for why, rows in reasons.items()
    ]


def _price(result: BairResult) -> str:
    nets_s, heads_s = prices(result)
    return (
        f"this call took {result.cost.text()}; what it stands on: {nets_s / 60:.1f} CPU-minutes of pretraining, "
        f"{heads_s / 60:.1f} of heads that learn, their rates' trials with them; simulation and maps come on top"
    )


def prices(result: BairResult) -> tuple[float, float]:
    """CPU-seconds of pretraining and of heads that learn, whenever they ran; a cell of several blocks counts once."""
    cells = {
        (each.cell, one.row.on): each.cost.train_cpu_s for one in result.outcomes for each in one.results if each.cost
    }
    nets_s = sum(float(each["cost"]["cpu_s"]) for each in result.nets.values())
    return nets_s, sum(cells.values()) + result.sweeps_s


# -- for programs ---------------------------------------------------------------------------------------------------


def bair_json(result: BairResult) -> list[dict[str, Any]]:
    """One object a row, then one an aim."""
    return [*(_json_row(result, each) for each in result.outcomes), *(each.as_json() for each in verdicts(result))]


def _json_row(result: BairResult, outcome: Outcome) -> dict[str, Any]:
    row = outcome.row
    told = {
        "block": row.block, "row": row.label, "column": row.column, "role": row.role, "encoder": row.encoder,
        "head": row.head, "training": row.training, "labels": row.labels, "task": row.task, "control": row.control,
        "on": row.on, "state": "run" if outcome.ran else "not run", "why": outcome.why,
        "published": _cell_json(row.printed),
    }  # fmt: skip
    if not outcome.ran:
        return told
    found = interval(result, outcome)
    return told | {
        "spec": outcome.results[0].cell.encoder,
        "value": _finite(found.value), "low": _finite(found.low), "high": _finite(found.high), "rounds": found.rounds,
        "frames": outcome.results[0].frames,
        "seeds": [
            {"seed": each.cell.seed, "quality": dict(each.quality),
             "cost": None if each.cost is None else _cost_json(each.cost)}
            for each in outcome.results
        ],
    }  # fmt: skip


def _cost_json(cost: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(cost)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell_json(row: str) -> dict[str, Any] | None:
    if not row:
        return None
    printed = published(TABLE)
    cell = printed.cell(row, "IoU")
    return {"table": TABLE, "row": row, "seed": printed.seed, "place": printed.place, "printed": cell.printed,
            "value": cell.value}  # fmt: skip


def bair_record(result: BairResult) -> Record:
    """The record: rows, aims, nets, ranks, and what the set is."""
    nets_s, heads_s = prices(result)
    whole = result.whole
    notes = {
        "scale": result.asked.scale, "set": whole.said, "licence": whole.licence, "nets": result.nets,
        "effective_rank": dict(result.ranks), "notes": [*NOTES[result.asked.scale], *_ALWAYS, *result.notes],
        "pretraining_cpu_s": nets_s, "heads_cpu_s": heads_s, "cost": result.cost.as_json(),
    }  # fmt: skip
    return Record(
        f"study-bair-{result.asked.scale}", _question(), bair_json(result), data_hash=whole.data_hash,
        seed=result.asked.seed, notes=notes,
    )  # fmt: skip


def write_bair(result: BairResult, out: Path) -> list[Path]:
    """Write table, record and pictures into a folder, each file whole; returns them.

    study-bair-SCALE.txt and .json; `…-masks.png`: frames, true masks and what rows find; `…-labels.png`: IoU over how
    many labels; `…-pretraining.png`: losses by step; `…-future-NET.png`: what came and what a net drew from its first
    frame.
    """
    from lightmeter.studies.bair_pictures import pictures

    record = bair_record(result)
    files: Sequence[Path] = [
        write_whole(out / f"{record.id}.txt", bair_text(result) + "\n"),
        write_results(out / f"{record.id}.json", record),
    ]
    return [*files, *pictures(result, out, record.id)]
