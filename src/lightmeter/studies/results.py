"""How a study is shown and kept: a table for people, a record for programs, and pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightmeter.assets.files import write_whole
from lightmeter.meter.record import Record, hash_of, write_results
from lightmeter.report.plots import bars_png, curves_png, frontier_png
from lightmeter.report.text import table
from lightmeter.studies.comparison import Beside, Outcome, SectionResult, StudyResult
from lightmeter.studies.published import Cell, published

SCHEMA = "study/1"


def study_text(result: StudyResult) -> str:
    """All sections as tables, with what was not run and why, notes, and the price of the whole."""
    study, asked = result.study, result.asked
    lines = [f"{study.name} ({asked.scale}, seed {asked.seed}): {study.question}"]
    for section in result.sections:
        lines += ["", *_section_lines(section)]
    lines += ["", *(f"note: {note}" for note in study.notes)]
    lines += ["ms: CPU of all threads, a query alone, median of interleaved repeats; from-to: Wilson's 95 % interval"]
    lines += [f"the whole took {result.cost.text()}"]
    return "\n".join(lines)


def _section_lines(section: SectionResult) -> list[str]:
    said = section.gallery.said if section.gallery is not None else f"not run: {section.why}"
    lines = [section.section.title, said]
    beside = section.section.beside
    if beside is not None:
        printed = published(beside.table)
        columns = ", ".join(name for name in (beside.error, beside.time) if name)
        lines += [f"published: seed {printed.seed}, {printed.place}, {columns}; other data, another machine"]
    lines += [table([table_row(outcome, beside) for outcome in section.outcomes], width=44)]
    if section.gallery is not None:
        lines += [f"not run: {each.row.label}: {each.why}" for each in section.outcomes if not each.ran]
        lines += [
            f"{each.row.label}: {each.differs} of the queries timed got another answer alone than in the batch"
            for each in section.outcomes
            if each.differs
        ]
    return lines


def table_row(outcome: Outcome, beside: Beside | None = None) -> dict[str, Any]:
    """One line of the table. Numbers are text, so that `not run` may stand among them."""
    trial, build = outcome.trial, outcome.build
    row: dict[str, Any] = {"row": outcome.row.label, "of": outcome.row.role}
    if trial is None or outcome.right is None or outcome.agreement is None or build is None:
        row |= {"error %": "not run"}
    else:
        low, high = outcome.right.rest.interval()
        row |= {
            "error %": f"{100 * outcome.right.rest.value:5.2f}",
            "from-to": f"{100 * low:.1f}-{100 * high:.1f}",
            "ms": _number(1000 * trial.price("cpu_s")),
            "agree %": f"{100 * outcome.agreement.value:6.2f}",
            "kB read": _number(outcome.told.bytes_read, 1e-3),
            "build s": _number(build.cpu_s),
            "batch/s": _number(outcome.batch_per_s),
            "add ms": _number(outcome.add_ms),
            "remove ms": _number(outcome.remove_ms),
        }
    if beside is not None:
        name = "published accuracy %" if beside.accuracy else "published error %"
        row |= {name: _printed(outcome.published_error), "published ms": _printed(outcome.published_time)}
    return row


def _number(value: float | None, times: float = 1.0) -> str | None:
    if value is None:
        return None
    scaled = value * times
    return f"{scaled:,.0f}" if abs(scaled) >= 1000 else f"{scaled:.3g}"


def _printed(cell: Cell | None) -> str | None:
    return None if cell is None else cell.printed


# -- records --------------------------------------------------------------------------------------------------------


def json_rows(result: StudyResult) -> list[dict[str, Any]]:
    """One object a row of a section: what was measured, or the state `not run` and why; the published cells beside."""
    return [_json_row(section, outcome) for section in result.sections for outcome in section.outcomes]


def _json_row(section: SectionResult, outcome: Outcome) -> dict[str, Any]:
    row = {
        "section": section.section.title, "row": outcome.row.label, "spec": outcome.row.spec, "role": outcome.row.role,
        "state": "run" if outcome.ran else "not run", "why": outcome.why,
        "published": _published_json(section, outcome),
    }  # fmt: skip
    if outcome.trial is None or outcome.right is None or outcome.agreement is None:
        return row
    low, high = outcome.right.rest.interval()
    return row | outcome.trial.as_json() | {
        "error": {"share": outcome.right.rest.value, "low": low, "high": high, "queries": outcome.right.n},
        "agreement": outcome.agreement.value, "bytes_read": outcome.told.bytes_read,
        "survivors": list(outcome.told.survivors), "proven": outcome.told.proven, "size_bytes": outcome.size_bytes,
        "build": None if outcome.build is None else outcome.build.as_json(), "batch_per_cpu_s": outcome.batch_per_s,
        "add_ms": outcome.add_ms, "remove_ms": outcome.remove_ms, "differs": outcome.differs,
        "coverage_risk": None if outcome.curve is None else outcome.curve.rows(40),
    }  # fmt: skip


def _published_json(section: SectionResult, outcome: Outcome) -> dict[str, Any] | None:
    if outcome.published_error is None or section.section.beside is None:
        return None
    name = "accuracy" if section.section.beside.accuracy else "error"
    cells = {name: outcome.published_error, "time": outcome.published_time}
    return {
        "table": section.section.beside.table, "row": outcome.published_error.row,
        "seed": outcome.published_error.seed, "place": outcome.published_error.place,
        **{
            kind: {"column": cell.column, "printed": cell.printed, "unit": cell.unit, "value": cell.value,
                   "plus_minus": cell.plus_minus}
            for kind, cell in cells.items() if cell is not None
        },
    }  # fmt: skip


def study_record(result: StudyResult) -> Record:
    """The record of a study: rows as `json_rows`, with the hash, source and licence of every gallery."""
    galleries = {
        each.section.title: {
            "name": each.gallery.name, "rows": len(each.gallery.x), "dim": each.gallery.x.shape[1],
            "classes": len(each.gallery.classes), "queries": len(each.gallery.asked), "source": each.gallery.source,
            "licence": each.gallery.licence, "sha256": each.gallery.data_hash,
        }
        for each in result.sections
        if each.gallery is not None
    }  # fmt: skip
    notes: Mapping[str, Any] = {
        "scale": result.asked.scale, "galleries": galleries, "notes": list(result.study.notes),
        "cost": result.cost.as_json(),
    }  # fmt: skip
    return Record(
        f"study-{result.study.name}-{result.asked.scale}", result.study.question, json_rows(result),
        data_hash=hash_of({title: each["sha256"] for title, each in galleries.items()}), seed=result.asked.seed,
        notes=notes,
    )  # fmt: skip


# -- files ----------------------------------------------------------------------------------------------------------


def write_study(result: StudyResult, out: Path) -> list[Path]:
    """Write table, record and pictures into a folder, each file whole; returns them.

    NAME-SCALE.txt and .json; for each gallery NAME-SCALE-GALLERY- and: `frontier.png` (accuracy over CPU-seconds a
    query), `risk.png` (what "unknown" buys), `survivors.png` (rows still in the race after each level), the last two
    where a row tells of it.
    """
    stem = f"{result.study.name}-{result.asked.scale}"
    files = [
        write_whole(out / f"{stem}.txt", study_text(result) + "\n"),
        write_results(out / f"{stem}.json", study_record(result)),
    ]
    for section in result.sections:
        files += _pictures(section, out, f"{stem}-{_slug(section.section.title)}")
    return files


def _slug(title: str) -> str:
    """A title as part of a file's name.

    >>> _slug("Caltech-101 (mixture, 1,024)")
    'caltech-101-mixture-1-024'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _pictures(section: SectionResult, out: Path, stem: str) -> list[Path]:
    title, done = section.section.title, [each for each in section.outcomes if each.ran]
    files = []
    if done:
        files.append(out / f"{stem}-frontier.png")
        frontier_png([each.trial for each in done if each.trial is not None], files[-1], title=title)
    curves = {
        each.row.label: (each.curve.coverage.tolist(), each.curve.risk.tolist())
        for each in done
        if each.curve is not None
    }
    if curves:
        files.append(out / f"{stem}-risk.png")
        labels = {"x_label": "share of queries answered", "y_label": "wrong among the answers"}
        curves_png(curves, files[-1], title=title, **labels)
    survivors = {
        f"{each.row.label}, level {level}": rows
        for each in done
        for level, rows in enumerate(each.told.survivors, start=1)
    }
    if survivors:
        files.append(out / f"{stem}-survivors.png")
        bars_png(survivors, files[-1], label="rows still in the race, mean over queries", title=title)
    return files
