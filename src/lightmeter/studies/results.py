"""How a study is shown and kept: a table for people, a record for programs, and pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from lightmeter.assets.files import write_whole
from lightmeter.meter.record import Record, hash_of, write_results
from lightmeter.report.plots import curves_png, frontier_png
from lightmeter.report.text import table
from lightmeter.studies.comparison import Beside, Outcome, SectionResult, StudyResult
from lightmeter.studies.published import Cell, published

MAJORITY = "majority"


def study_text(result: StudyResult) -> str:
    """All sections as tables, with what was not run and why, notes, and the price of the whole."""
    study, asked = result.study, result.asked
    lines = [f"{study.name} ({asked.scale}, seed {asked.seed}): {study.question}"]
    for section in result.sections:
        lines += ["", *_section_lines(section)]
    lines += ["", *(f"note: {note}" for note in _notes(result))]
    lines += ["ms: CPU of all threads, a query alone, median of interleaved repeats; from-to: Wilson's 95 % interval"]
    lines += [f"the whole took {result.cost.text()}"]
    return "\n".join(lines)


def _notes(result: StudyResult) -> list[str]:
    """The study's notes, those about its own galleries only where these were used."""
    study = result.study
    return [*study.notes, *(study.gallery_notes if result.asked.data is None else ())]


def _section_lines(section: SectionResult) -> list[str]:
    said = section.gallery.said if section.gallery is not None else f"not run: {section.why}"
    lines = [section.section.title, said]
    beside = section.section.beside
    if beside is not None:
        printed = published(beside.table)
        columns = ", ".join(name for name in (beside.error, beside.time) if name)
        lines += [f"published: seed {printed.seed}, {printed.place}, {columns}; other data, another machine"]
    frames = section.gallery.frames if section.gallery is not None else None
    rows = [table_row(outcome, beside, frames=frames) for outcome in section.outcomes]
    told = [name for name in dict.fromkeys(name for row in rows for name in row) if any(row.get(name) for row in rows)]
    lines += [table(rows, told, width=44)]
    if section.gallery is not None:
        lines += [f"not run: {each.row.label}: {each.why}" for each in section.outcomes if not each.ran]
        lines += [
            f"{each.row.label}: {each.differs} of the queries timed got another answer alone than in the batch"
            for each in section.outcomes
            if each.differs
        ]
    return lines


def table_row(outcome: Outcome, beside: Beside | None = None, *, frames: float | None = None) -> dict[str, Any]:
    """One line of the table. Numbers are text, so that `not run` may stand among them.

    frames: of a track, mean; None for single pictures.  Where the seed prints accuracies, ours is one too.
    """
    trial, build, told = outcome.trial, outcome.build, outcome.told
    row: dict[str, Any] = {"row": outcome.row.label, "of": outcome.row.role}
    quality = "accuracy %" if beside is not None and beside.accuracy else "error %"
    if trial is None or outcome.right is None or outcome.agreement is None or build is None:
        row |= {quality: "not run"}
    else:
        share = outcome.right if quality == "accuracy %" else outcome.right.rest
        low, high = share.interval()
        row |= {
            quality: f"{100 * share.value:5.2f}",
            "from-to": f"{100 * low:.1f}-{100 * high:.1f}",
            "ms": _number(1000 * trial.price("cpu_s")),
            "ms/frame": None if frames is None else _number(1000 * trial.price("cpu_s") / frames),
            "frames used": None if frames is None else _number(told.frames or frames),
            "agree %": f"{100 * outcome.agreement.value:6.2f}",
            "kB read": _number(told.bytes_read, 1e-3),
            "measured": _number(told.measured),
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
        "section": section.section.title, "row": outcome.row.label, "spec": outcome.spec or outcome.row.spec,
        "role": outcome.row.role,
        "state": "run" if outcome.ran else "not run", "why": outcome.why,
        "published": _published_json(section, outcome),
    }  # fmt: skip
    if outcome.trial is None or outcome.right is None or outcome.agreement is None:
        return row
    low, high = outcome.right.rest.interval()
    return row | outcome.trial.as_json() | {
        "error": {"share": outcome.right.rest.value, "low": low, "high": high, "queries": outcome.right.n},
        "agreement": outcome.agreement.value, "bytes_read": outcome.told.bytes_read,
        "survivors": list(outcome.told.survivors), "proven": outcome.told.proven, "measured": outcome.told.measured,
        "frames": outcome.told.frames, "size_bytes": outcome.size_bytes,
        "build": None if outcome.build is None else outcome.build.as_json(), "batch_per_cpu_s": outcome.batch_per_s,
        "add_ms": outcome.add_ms, "remove_ms": outcome.remove_ms, "differs": outcome.differs,
        "coverage_risk": None if outcome.curve is None else outcome.curve.rows(25),
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
        "scale": result.asked.scale, "galleries": galleries, "notes": _notes(result),
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

    study-NAME-SCALE.txt and .json; for each gallery study-NAME-SCALE-GALLERY- and: `frontier.png` (accuracy over
    CPU-seconds a query, without the most frequent class, which would squeeze the rest), `risk.png` (what "unknown"
    buys), `survivors.png` (rows still in the race after each level, of rows that narrow it); the last two where a row
    tells of it.
    """
    record = study_record(result)
    stem = record.id
    files = [
        write_whole(out / f"{stem}.txt", study_text(result) + "\n"),
        write_results(out / f"{stem}.json", record),
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


def _narrows(survivors: tuple[float, ...]) -> bool:
    """Whether each level leaves no more rows than the one before; other indexes count there what they measured."""
    return len(survivors) > 1 and all(later <= earlier for earlier, later in pairwise(survivors))


def _pictures(section: SectionResult, out: Path, stem: str) -> list[Path]:
    title, done = section.section.title, [each for each in section.outcomes if each.ran]
    files = []
    trials = [each.trial for each in done if each.trial is not None]
    shown = [each.trial for each in done if each.trial is not None and each.row.spec != MAJORITY] or trials
    if shown:
        files.append(out / f"{stem}-frontier.png")
        frontier_png(shown, files[-1], title=title)
    curves = {
        each.row.label: (each.curve.coverage.tolist(), each.curve.risk.tolist())
        for each in done
        if each.curve is not None
    }
    if curves:
        files.append(out / f"{stem}-risk.png")
        y_label = "wrong among the answers"
        curves_png(curves, files[-1], title=title, x_label="share of queries answered", y_label=y_label)
    narrowing = {each.told.survivors: each.row.label for each in reversed(done) if _narrows(each.told.survivors)}
    survivors = {label: (range(1, len(told) + 1), told) for told, label in reversed(narrowing.items())}
    if survivors:
        files.append(out / f"{stem}-survivors.png")
        y_label = "rows still in the race, mean"
        curves_png(survivors, files[-1], title=title, x_label="level", y_label=y_label, y_log=True)
    return files
