"""How the study `distill` is shown and kept: accuracies with prices, differences with intervals, aims, a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmeter.assets.files import write_whole
from lightmeter.condense.attempts import compared_hits
from lightmeter.condense.scoring import label_robust
from lightmeter.meter.record import Record, hash_of, write_results
from lightmeter.metrics.bootstrap import Interval
from lightmeter.report.text import table
from lightmeter.studies.distill import DISTILL, DistillResult
from lightmeter.studies.distill_presets import PRESETS
from lightmeter.studies.distill_rows import (
    AIMS,
    METHODS,
    NOT_RUN,
    RANDOM,
    SETTINGS,
    SOFT,
    STUDENTS,
    Aim,
    Block,
)
from lightmeter.studies.distill_running import Figures
from lightmeter.studies.published import Cell, published

_NOTES = (
    "accuracy is that of the last step, mean ± deviation over seeds of the student; the best on test, as papers quote "
    "it, is in the JSON under that name",
    "what selects, draws or cuts is done anew for each seed, from 50 a class on once; DM, SRe2L, IDC and Minimax "
    "criteria make one set, which every student learns: their intervals hold no chance in making",
    "intervals: 95 %, over test pictures and seeds, both drawn anew each round",
    "set s: CPU-seconds to make one set with all that had to be learnt for it (teacher, diffusion model), each time in "
    "full; fit s: of one student with its test",
)
_SMOKE = "a few steps of tiny networks: no quality here means anything"
_QUICK = "`quick` is our own protocol of a few hundred steps: to be compared with no published number"


# -- figures --------------------------------------------------------------------------------------------------------


def against(result: DistillResult, one: Figures, other: Figures) -> Interval:
    """Accuracy of one less that of another, as a share."""
    assert one.hits is not None, "a row that ran has hits"
    assert other.hits is not None, "a row that ran has hits"
    made = compared_hits([other.hits, one.hits], seed=result.asked.seed)[1][1]
    assert made is not None, "the second of two has a difference"
    return made


def baseline(result: DistillResult, one: Figures, label: str = RANDOM) -> Figures | None:
    """The row of random pictures that differs from a row in nothing else; None where there is none that ran."""
    alike = ("block", "data", "per_class", "protocol", "student", "seeds")
    wanted = [getattr(one.row, name) for name in alike]
    rows = (each for each in result.figures if [getattr(each.row, name) for name in alike] == wanted)
    return next((each for each in rows if each.row.label == label and each.ran), None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an aim: `met`, `missed`, `not shown` (the interval holds the bound) or `not run`."""

    aim: Aim
    verdict: str
    interval: Interval | None = None

    def as_json(self) -> dict[str, Any]:
        """By name, in points."""
        made = {
            "aim": self.aim.says, "data": self.aim.data, "rows": [self.aim.row, self.aim.other],
            "per_class": self.aim.per_class, "least": self.aim.least, "verdict": self.verdict,
        }  # fmt: skip
        if self.interval is None:
            return made
        return made | {name: 100 * getattr(self.interval, name) for name in ("value", "low", "high")}


def verdicts(result: DistillResult) -> list[Verdict]:
    """Every aim with what became of it."""
    return [_verdict(result, aim) for aim in AIMS]


def _verdict(result: DistillResult, aim: Aim) -> Verdict:
    wanted = (METHODS, aim.data, aim.per_class)
    rows = {
        each.row.label: each
        for each in result.figures
        if (each.row.block, each.row.data, each.row.per_class) == wanted and each.ran
    }
    if aim.row not in rows or aim.other not in rows:
        return Verdict(aim, "not run")
    found = against(result, rows[aim.row], rows[aim.other])
    return Verdict(aim, judged(found, aim.least / 100), found)


def judged(found: Interval, least: float) -> str:
    """`met` or `missed` where the interval is clear of the bound, else `not shown`."""
    return "met" if found.low > least else "missed" if found.high < least else "not shown"


# -- for people -----------------------------------------------------------------------------------------------------


def distill_text(result: DistillResult) -> str:
    """Every block as a table, what was not run and why, aims, notes and the price of the whole."""
    asked = result.asked
    lines = [f"distill ({asked.scale}, {asked.seeds_said}): {DISTILL.question}"]
    for name, whole in result.sets.items():
        rows = [each for each in result.figures if (each.row.block, each.row.data) == (METHODS, name)]
        full = result.full.get(name)
        lines += ["", whole.said, f"a network that learnt all of it knows {100 * full:.1f} %" if full else ""]
        for student in dict.fromkeys(each.row.student for each in rows):
            own = [each for each in rows if each.row.student == student]
            lines += [f"{_judge(own[0])}; pictures a class:", table(_by_budget(own), width=48), ""]
            lines += ["less random, points", table(_differences(result, own), width=48), ""]
    lines += _more(result)
    for name, why in NOT_RUN.items():
        lines.append(f"not run: {name}: {why}")
    lines += [
        f"not run: {each.row.label} × {each.row.per_class}: {each.why}" for each in result.figures if not each.ran
    ]
    lines += ["", "Aims", table([_verdict_line(each) for each in verdicts(result)], width=88), ""]
    lines += [f"note: {each}" for each in _notes(result)]
    lines += [*_published_lines(result), f"the whole took {result.cost.text()}"]
    return "\n".join(lines)


def _judge(one: Figures) -> str:
    row = one.row
    return f"{row.protocol}{f', {row.student}' if row.student else ''}, {row.seeds} students a row"


def _by_budget(rows: Sequence[Figures]) -> list[dict[str, Any]]:
    made: dict[str, dict[str, Any]] = {}
    for each in rows:
        line = made.setdefault(each.row.label, {"method": each.row.label})
        line[f"{each.row.per_class}"] = _accuracy(each)
        if each.ran:
            assert each.price is not None, "a row that ran has a price"
            assert each.learning is not None, "a row that ran has a price"
            line[f"set s, {each.row.per_class}"] = f"{each.price.cpu_s:.3g}"
            line[f"fit s, {each.row.per_class}"] = f"{each.learning.cpu_s:.3g}"
    return list(made.values())


def _accuracy(one: Figures) -> str:
    if one.hits is None:
        return "not run"
    own = 100 * one.hits.mean(axis=1)
    return f"{own.mean():.1f} ± {own.std(ddof=1):.1f}" if len(own) > 1 else f"{own.mean():.1f}"


def _differences(result: DistillResult, rows: Sequence[Figures]) -> list[dict[str, Any]]:
    made: dict[str, dict[str, Any]] = {}
    for each in rows:
        base = baseline(result, each)
        if not each.ran or base is None or base is each:
            continue
        line = made.setdefault(each.row.label, {"method": each.row.label})
        found = against(result, each, base)
        line[f"{each.row.per_class}"] = f"{100 * found.value:+.1f}"
        line[f"{each.row.per_class} from-to"] = f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
    return list(made.values())


def _more(result: DistillResult) -> list[str]:
    """The blocks beside methods: settings, students, soft labels."""
    lines: list[str] = []
    titles: dict[Block, str] = {
        SETTINGS: "One setting of `prototypes, drawn` changed at a time",
        STUDENTS: "Other networks learn the same sets",
        SOFT: "Labels of a teacher in place of the classes (SRe2L: its own)",
    }
    for block, title in titles.items():
        rows = [each for each in result.figures if each.row.block == block]
        if rows:
            lines += [
                f"{title}: {rows[0].row.data}, {rows[0].row.per_class} a class",
                table(_listed(rows), width=48),
                "",
            ]
    return lines


def _listed(rows: Sequence[Figures]) -> list[dict[str, Any]]:
    several = len({(each.row.protocol, each.row.student) for each in rows}) > 1
    made = []
    for each in rows:
        line = {"method": each.row.label} | ({"student": each.row.student} if several else {})
        line |= {"accuracy": _accuracy(each), "seeds": f"{each.row.seeds}"}
        if each.price is not None:
            line["set s"] = f"{each.price.cpu_s:.3g}"
        made.append(line)
    return made


def _verdict_line(verdict: Verdict) -> dict[str, Any]:
    found = verdict.interval
    return {
        "aim": verdict.aim.says,
        "points": "" if found is None else f"{100 * found.value:+.1f}",
        "from-to": "" if found is None else f"{100 * found.low:+.1f} to {100 * found.high:+.1f}",
        "at least": f"{verdict.aim.least:+g}",
        "verdict": verdict.verdict,
    }


def _notes(result: DistillResult) -> list[str]:
    scale = result.asked.scale
    return [*([_SMOKE] if scale == "smoke" else []), *([_QUICK] if scale != "paper" else []), *_NOTES]


def _published_lines(result: DistillResult) -> list[str]:
    """The seed's tables of the sets that were run; without its data no figure of ours stands beside them."""
    names = [name for each in result.sets for name in (PRESETS[each].tables if each in PRESETS else ())]
    return [line for name in names for line in _published_table(name)]


def _published_table(name: str) -> list[str]:
    printed = published(name)
    rows = [{"row": row, **{c: printed.cell(row, c).printed for c in printed.columns}} for row in printed.rows]
    notes = [f"published: {each}" for each in printed.notes]
    return [f"published, seed {printed.seed}, {printed.place}: {printed.title}", table(rows, width=48), *notes, ""]


# -- for programs ---------------------------------------------------------------------------------------------------


def distill_json(result: DistillResult) -> list[dict[str, Any]]:
    """One object a row, then one an aim."""
    return [*(_json_row(result, each) for each in result.figures), *(each.as_json() for each in verdicts(result))]


def _json_row(result: DistillResult, one: Figures) -> dict[str, Any]:
    row = one.row
    told: dict[str, Any] = {
        "block": row.block, "data": row.data, "row": row.label, "method": row.method, "per_class": row.per_class,
        "protocol": row.protocol, "student": row.student, "sets": row.sets, "model": row.model,
        "state": "run" if one.ran else "not run", "why": one.why, "published": _published_json(one),
    }  # fmt: skip
    if one.hits is None or one.best is None or one.price is None or one.learning is None:
        return told
    base = baseline(result, one)
    less = None if base is None or base is one else against(result, one, base)
    own = one.hits.mean(axis=1)
    return told | {
        "accuracy": [float(each) for each in own], "mean": float(own.mean()),
        "best_on_test": [float(each) for each in one.best],
        "less_random": None if less is None else {"value": less.value, "low": less.low, "high": less.high},
        "robust": _robust(result, one, base), "set_cost": one.price.as_json(), "student_cost": one.learning.as_json(),
        "notes": list(one.small.notes) if one.small else [],
    }  # fmt: skip


def _robust(result: DistillResult, one: Figures, base: Figures | None) -> dict[str, float] | None:
    """DD-Ranking's scores, of rows with hard labels; the full accuracy is the teacher's."""
    full = result.full.get(one.row.data)
    if one.hits is None or base is None or base.hits is None or full is None or one.row.block != METHODS:
        return None
    mine, theirs = float(one.hits.mean()), float(base.hits.mean())
    made = label_robust(full, mine, mine, theirs)
    return {"HLR": made.hlr, "IOR": made.ior, "LRS": made.lrs}


def _published_json(one: Figures) -> dict[str, Any] | None:
    cell = published_cell(one)
    if cell is None:
        return None
    return {"row": cell.row, "column": cell.column, "printed": cell.printed, "value": cell.value,
            "plus_minus": cell.plus_minus, "seed": cell.seed, "place": cell.place}  # fmt: skip


_NETWORKS = {"conv-net": "ConvNet-6", "resnet-ap": "ResNetAP-10", "resnet": "ResNet-18"}
_COLUMNS = {RANDOM: "Random", "herding": "Herding"}


def published_cell(one: Figures) -> Cell | None:
    """The seed's cell of the same set, budget, network and method; None where it prints none."""
    row = one.row
    if row.block != METHODS or row.data not in PRESETS:
        return None
    network = _NETWORKS.get(row.student.partition("/")[0], "")
    column = _COLUMNS.get(row.label, row.label)
    for name in PRESETS[row.data].tables:
        printed = published(name)
        for label in (f"{row.per_class} images a class, {network}", f"{row.per_class} images a class"):
            if label in printed.rows and column in printed.columns:
                return printed.cell(label, column)
    return None


def distill_record(result: DistillResult) -> Record:
    """The record: rows, aims, what the sets are, and the price of the whole."""
    sets = {
        name: {"said": each.said, "source": each.source, "licence": each.licence, "sha256": each.data_hash}
        for name, each in result.sets.items()
    }
    notes = {
        "scale": result.asked.scale, "sets": sets, "full": dict(result.full), "notes": _notes(result),
        "not_run": NOT_RUN, "cost": result.cost.as_json(),
    }  # fmt: skip
    return Record(
        f"study-distill-{result.asked.scale}", DISTILL.question, distill_json(result),
        data_hash=hash_of([each.data_hash for each in result.sets.values()]), seed=result.asked.seed, notes=notes,
    )  # fmt: skip


def write_distill(result: DistillResult, out: Path) -> list[Path]:
    """Write table, record and pictures into a folder, each file whole; returns them.

    study-distill-SCALE.txt and .json; for each set `…-SET-curves.png` (accuracy over pictures a class) and
    `…-SET-pictures.png` (a few classes of each method's set).
    """
    from lightmeter.studies.distill_pictures import pictures

    record = distill_record(result)
    files = [
        write_whole(out / f"{record.id}.txt", distill_text(result) + "\n"),
        write_results(out / f"{record.id}.json", record),
    ]
    return [*files, *pictures(result, out, record.id)]
