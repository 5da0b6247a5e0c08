"""`lightmeter search`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import (
    emit,
    json_option,
    library_option,
    quiet_option,
    say,
    shown_path,
    where_from,
    where_options,
)

if TYPE_CHECKING:
    from lightmeter.library.searching import Answer, Hit
    from lightmeter.meter.cost import Cost


@click.command(
    epilog="Examples: `lightmeter search 'a cat'` · `lightmeter search photo.jpg -k 5` · "
    "`lightmeter search 'a goal' --kind video` · `lightmeter search --after 2026-01-01 --tagged holiday`"
)
@click.argument("query", required=False)
@library_option
@click.option("-k", default=10, show_default=True, type=click.IntRange(1), help="Hits to show.")
@click.option(
    "--by",
    type=click.Choice(["auto", "picture", "sound"]),
    default="auto",
    show_default=True,
    help="What of a video asks.",
)
@click.option("--all", "everything", is_flag=True, help="Show the nearest even where nothing is near enough.")
@click.option("--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Also draw the hits into this PNG.")
@where_options
@json_option
@quiet_option
def search(query: str | None, library: Path, **asked: Any) -> None:
    """Find items by words, picture, video or sound.

    Answers only with what is near enough: scores are held against what unrelated queries reach on this library, and
    the threshold is shown with the false alarms and misses that it makes. Without QUERY, lists what the filters let
    through.
    """
    # a scan waits for memory: more threads would spin beside it, at twice the CPU time (docs/results/ingest.json)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    where = where_from(asked)
    if query is None and where is None:
        raise click.UsageError("give a QUERY (words or a file), or a filter such as --kind image")
    from lightmeter.library.searching import search as run
    from lightmeter.library.store import open_library
    from lightmeter.meter.cost import measure

    with measure() as meter, open_library(library) as opened:
        answer = run(opened, query, k=asked["k"], where=where, by=asked["by"], everything=asked["everything"])
        if asked["sheet"]:
            from lightmeter.library.showing import sheet_of_hits

            sheet_of_hits(answer.hits, asked["sheet"], title=query or "")
    if asked["as_json"]:
        emit((_row(hit) for hit in answer.hits), "search/1")
        emit([_summary(answer, meter.cost)], "search.summary/1")
    else:
        _print(answer, meter.cost, query, asked["quiet"])


def _row(hit: Hit) -> dict[str, Any]:
    item = hit.item
    return {
        "path": hit.path, "score": _rounded(hit.score, 4), "surprise": _rounded(hit.surprise, 2),
        "evidence": hit.evidence, "time_s": hit.time_s, "kind": item.kind, "id": item.id, "missing": hit.missing,
        "also_at": [path for path in item.paths if path != hit.path], "state": item.state,
    }  # fmt: skip


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _summary(answer: Answer, cost: Cost) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "kind": answer.kind,
        "hits": len(answer.hits),
        "looked_at": answer.looked_at,
        "sources": [
            {
                "evidence": source.evidence,
                "encoder": source.spec,
                "nearest": source.nearest,
                "fresh": source.fresh,
                "index": asdict(source.answered) if source.answered else {"index": "scan"},
                **source.null.as_json(),
            }
            for source in answer.sources
        ],
        "notes": answer.notes,
        "cost": cost.as_json(),
    }  # fmt: skip


def _print(answer: Answer, cost: Cost, query: str | None, quiet: bool) -> None:
    from lightmeter.report.text import clean, table

    rows = []
    for hit in answer.hits:
        at = "" if hit.time_s is None else f"{hit.time_s:.1f} s"
        path = shown_path(hit.path) + " (gone)" * hit.missing
        if answer.kind == "none":
            rows.append({"kind": hit.item.kind, "path": path})
        else:
            score = "–" if hit.score is None else f"{hit.score:.3f}"
            rows.append({"score": score, "at": at, "path": path, "by": clean(hit.evidence)})
    if rows:
        click.echo(table(rows, width=300))
    elif query:
        say(f"nothing here is near enough to {query!r}", quiet=quiet)
    for source in answer.sources:
        say(source.said(), quiet=quiet)
    for note in answer.notes:
        say(clean(note), quiet=quiet)
    say(f"{len(answer.hits)} of {answer.looked_at} items · {cost.text()}", quiet=quiet)
