"""`lightmeter recognise`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import Finite, emit, json_option, quiet_option, say, seed_option, shown_path

if TYPE_CHECKING:
    from lightmeter.errors import LightmeterError
    from lightmeter.library.recognising import Opened
    from lightmeter.search.recogniser import Recognition


@click.command(
    epilog="Examples: `lightmeter recognise birds/ photo.jpg` · `lightmeter recognise birds/ *.jpg walk.mp4 "
    "--unknown-at-risk 0.05` · `lightmeter recognise .lightmeter photo.jpg --json`"
)
@click.argument("gallery", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("queries", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="QUERY…")
@click.option(
    "--library", type=click.Path(path_type=Path), help="Where the features are kept.  [default: GALLERY/.lightmeter]"
)
@click.option("--encoder", help="Encoder of a folder of classes.  [default: efficientnet-lite]")
@click.option("--index", "index_spec", default="auto", show_default=True, help="Spec of an index; auto measures.")
@click.option(
    "--at-least", default=0.99, show_default=True, type=Finite(min=0, min_open=True, max=1),
    help="Agreement with the true neighbour that auto must reach.",
)  # fmt: skip
@click.option("--fusion", help="Spec of how the frames of a video are put together.  [default: map]")
@click.option(
    "--unknown-at-risk", "risk", type=Finite(min=0, min_open=True, max=1, max_open=True), metavar="RISK",
    help="Answer only where at most this share of the answers is wrong, 0 to 1.",
)  # fmt: skip
@click.option(
    "--outside", default=0.5, show_default=True, type=Finite(min=0, max=1),
    help="Share of strangers to expect, for --unknown-at-risk.",
)  # fmt: skip
@seed_option
@json_option
@quiet_option
def recognise(gallery: Path, queries: tuple[Path, ...], **asked: Any) -> None:
    """Say of which class of GALLERY each QUERY is: a picture or a video.

    GALLERY is a folder with one folder a class, or a library in which a person tagged files (`lightmeter tag --set`).
    Each answer comes with its distance, the nearest file, and a certificate: whether it is proven to be the nearest.
    With --unknown-at-risk the gallery asks itself first, each file without its like, to learn when not to answer.
    Ends with code 3 when some queries could not be read.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread: see `search`
    from lightmeter.library.recognising import recognise_files
    from lightmeter.meter.cost import measure
    from lightmeter.parts import build

    fusion = build(asked["fusion"], "fusion") if asked["fusion"] else None
    with measure() as opening:
        opened = _opened(gallery, asked)
    if not asked["quiet"] and not asked["as_json"]:
        _tell_gallery(opened, opening.cost.text())
    failed = 0
    with measure() as asking:
        answers = list(recognise_files(opened, queries, fusion=fusion))
    for query, answer in answers:
        failed += not hasattr(answer, "guess")
        _show(query, answer, opened, asked)
    if asked["as_json"]:
        emit([_summary(opened, opening.cost.as_json(), asking.cost.as_json(), len(queries))], "recognise.price/1")
    else:
        _tell_price(answers, opened, asking.cost.text(), asked)
    raise SystemExit(3 if failed else 0)


def _opened(gallery: Path, asked: dict[str, Any]) -> Opened:
    from dataclasses import replace

    from lightmeter.cli.progress import engine_progress
    from lightmeter.library.recognising import ENCODER, index_classes, is_library, open_gallery
    from lightmeter.search.auto import Budget

    plan = Budget(at_least=asked["at_least"], seed=asked["seed"])
    root = None if is_library(gallery) else gallery
    if root is None:
        for option in ("library", "encoder"):
            if asked[option]:
                raise click.UsageError(f"--{option} goes with a folder of classes: GALLERY is a library already")
        library = gallery
    else:
        library = asked["library"] or gallery / ".lightmeter"
        with engine_progress("index", quiet=asked["quiet"]) as heard:
            done = index_classes(gallery, library, encoder=asked["encoder"] or ENCODER, events=heard, waiting=say)
        for path, reason in done.failed.items():
            say(f"left out: {path}: {reason}", quiet=asked["quiet"])
    opened = open_gallery(library, root=root, index_spec=asked["index_spec"], plan=plan)
    if asked["risk"] is None:
        return opened
    recogniser = opened.recogniser.with_unknown(risk=asked["risk"], outside=asked["outside"], seed=asked["seed"])
    return replace(opened, recogniser=recogniser)


def _tell_gallery(opened: Opened, price: str) -> None:
    from lightmeter.report.text import table

    gallery = opened.recogniser.gallery
    say(f"{len(gallery.names)} classes, {len(gallery.vectors)} rows of {opened.spec} · {price}")
    for note in opened.notes:
        say(note)
    if opened.choice is not None:
        for line in opened.choice.said():
            say(line)
        for line in table(opened.choice.rows_text()).splitlines():
            say(line)
    if opened.recogniser.rejection is not None:
        say(opened.recogniser.rejection.said())


def _show(query: Path, answer: Recognition | LightmeterError, opened: Opened, asked: dict[str, Any]) -> None:
    from lightmeter.errors import LightmeterError
    from lightmeter.search.recogniser import named

    if isinstance(answer, LightmeterError):
        if asked["as_json"]:
            emit([{"path": query, "error": str(answer)}], "recognise.error/1")
        else:
            say(f"{query}: {answer}")
        return
    said = named(answer, opened.recogniser.gallery.names)
    if asked["as_json"]:
        emit([{"path": query, **said, "nearest": opened.paths[answer.row]}], "recognise/1")


def _tell_price(
    answers: list[tuple[Path, Recognition | LightmeterError]], opened: Opened, price: str, asked: dict[str, Any]
) -> None:
    from lightmeter.report.text import clean, table
    from lightmeter.search.recogniser import UNKNOWN, Recognition

    names = opened.recogniser.gallery.names
    rows = [
        {
            "query": shown_path(str(query)),
            "label": "unknown" if answer.label == UNKNOWN else clean(names[answer.label]),
            "distance": f"{answer.distance:.4f}",
            "confidence": f"{answer.confidence:.3f}",
            "nearest": shown_path(opened.paths[answer.row]),
            "certificate": _certificate(answer, opened),
            "price": f"{answer.cpu_s * 1e3:.2f} CPU-ms",
        }
        for query, answer in answers
        if isinstance(answer, Recognition)
    ]
    if rows:
        click.echo(table(rows))
    say(f"{len(rows)} of {len(answers)} recognised or declined · {price}", quiet=asked["quiet"])


def _certificate(answer: Recognition, opened: Opened) -> str:
    """Proven or not, and the share of the gallery's bytes that was read for it."""
    certificate = answer.certificate
    if certificate is None:
        return "none: this index cannot tell"
    share = certificate.bytes_read / opened.recogniser.gallery.vectors.nbytes
    frames = f", {answer.frames} frames" if answer.frames > 1 else ""
    proof = "exact" if certificate.exact else "not proven"
    return f"{proof}: {certificate.refined} rows measured, {share:.0%} of the bytes read{frames}"


def _summary(opened: Opened, opening: dict[str, Any], asking: dict[str, Any], queries: int) -> dict[str, Any]:
    choice, rejection = opened.choice, opened.recogniser.rejection
    return {
        "queries": queries, "classes": len(opened.recogniser.gallery.names),
        "rows": len(opened.recogniser.gallery.vectors), "encoder": opened.spec,
        "index": None if choice is None else choice.best_index().spec,
        "trials": None if choice is None else [trial.as_json() for trial in choice.trials],
        "skipped": None if choice is None else choice.skipped,
        "roofline_s": None if choice is None else choice.roofline_s,
        "rejection": None if rejection is None else rejection.as_json(),
        "cost": {"opening": opening, "asking": asking},
    }  # fmt: skip
