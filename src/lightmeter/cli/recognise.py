"""`lightmeter recognise`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import (
    Finite,
    emit,
    json_option,
    refuse_here,
    say,
    seed_option,
    shown_path,
    talk_options,
)

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
@click.option("--index", default="auto", show_default=True, help="Spec of an index; auto measures.")
@click.option(
    "--at-least", default=0.99, show_default=True, type=Finite(min=0, min_open=True, max=1),
    help="Agreement with the true neighbour that auto must reach.",
)  # fmt: skip
@click.option("--fusion", help="Spec of how the frames of a video are put together.  [default: map]")
@click.option(
    "--unknown-at-risk", type=Finite(min=0, min_open=True, max=1, max_open=True), metavar="RISK",
    help="Answer only where at most this share of the answers is wrong, 0 to 1.",
)  # fmt: skip
@click.option(
    "--outside", default=0.5, show_default=True, type=Finite(min=0, max=1),
    help="Share of strangers to expect, for --unknown-at-risk.",
)  # fmt: skip
@seed_option
@json_option
@talk_options
def recognise(gallery: Path, queries: tuple[Path, ...], **asked: Any) -> None:
    """Say of which class of GALLERY each QUERY is: a picture or a video.

    GALLERY is a folder with one folder a class, or a library in which a person tagged files (`lightmeter tag --set`).
    Each answer comes with its distance, the nearest file, and a certificate: whether it is proven to be the nearest.
    Distance is 2 - 2 * cosine, 0 to 4 (of a video: the least over its frames); confidence is 1 - distance / distance of
    the nearest other class. With --unknown-at-risk the gallery asks itself first, each file without its like, to learn
    when not to answer: an exact index is taken for that, and nothing is promised of videos.
    Ends with code 3 when some queries could not be read.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread: see `search`
    from lightmeter.cli.progress import engine_progress
    from lightmeter.library.recognising import files_of, recognise_files
    from lightmeter.meter.cost import measure
    from lightmeter.parts import build

    if asked["unknown_at_risk"] is None:
        refuse_here(["outside"], "goes with --unknown-at-risk")
    fusion = build(asked["fusion"], "fusion") if asked["fusion"] else None
    files = files_of(queries)
    with measure() as opening:
        opened = _opened(gallery, asked)
    if not asked["quiet"] and not asked["as_json"]:
        _tell_gallery(opened, opening.cost.text(), verbose=asked["verbose"])
    failed = 0
    quiet = asked["quiet"] or len(files) < 8
    with measure() as asking, engine_progress("encode", quiet=quiet) as heard:
        answers = list(recognise_files(opened, files, fusion=fusion, events=heard))
    for query, answer, damage in answers:
        failed += not hasattr(answer, "guess")
        _show(query, answer, damage, opened, asked)
    if asked["as_json"]:
        emit([_summary(opened, opening.cost.as_json(), asking.cost.as_json(), len(files))], "recognise.price/1")
    else:
        _tell_price(answers, opened, asking.cost.text(), asked)
    raise SystemExit(3 if failed else 0)


def _opened(gallery: Path, asked: dict[str, Any]) -> Opened:
    from dataclasses import replace

    from lightmeter.cli.progress import engine_progress
    from lightmeter.library.recognising import ENCODER, index_by_cosine, index_classes, is_library, open_gallery
    from lightmeter.search.auto import Budget

    plan = Budget(at_least=asked["at_least"], seed=asked["seed"])
    root = None if is_library(gallery) else gallery
    left_out: dict[str, str] = {}
    index_spec, encoder = asked["index"], None
    if index_spec != "auto":
        index_by_cosine(index_spec)  # a mistake here must not cost the indexing
    elif asked["unknown_at_risk"] is not None:
        index_spec = "granular"
    if root is None:
        for option in ("library", "encoder"):
            if asked[option]:
                raise click.UsageError(f"--{option} goes with a folder of classes: GALLERY is a library already")
        library = gallery
    else:
        library = asked["library"] or gallery / ".lightmeter"
        with engine_progress("index", quiet=asked["quiet"]) as heard:
            encoder = asked["encoder"] or ENCODER
            done = index_classes(gallery, library, encoder=encoder, events=heard, waiting=say)
        if done.stopped:
            raise KeyboardInterrupt  # half a gallery gives wrong answers
        left_out = done.failed
    opened = open_gallery(library, root=root, encoder=encoder, index_spec=index_spec, plan=plan)
    opened = replace(opened, left_out=left_out)
    if asked["unknown_at_risk"] is None:
        return opened
    recogniser = opened.recogniser.with_unknown(
        risk=asked["unknown_at_risk"], outside=asked["outside"], seed=asked["seed"]
    )
    return replace(opened, recogniser=recogniser)


def _tell_gallery(opened: Opened, price: str, *, verbose: bool) -> None:
    from lightmeter.report.text import table

    gallery = opened.recogniser.gallery
    say(f"classes: {len(gallery.names)}, rows: {len(gallery.vectors)} of {opened.spec} · {price}")
    for note in opened.notes:
        say(note)
    if opened.left_out and not verbose:
        path, reason = next(iter(opened.left_out.items()))
        say(f"left out, cannot be used: {len(opened.left_out)} of the files, such as {path}: {reason} (-v names all)")
    for path, reason in opened.left_out.items() if verbose else ():
        say(f"left out: {path}: {reason}")
    if opened.choice is not None and opened.remembered:
        say(f"{opened.choice.spec} answers, as measured on {opened.choice.date[:10]} with {opened.choice.rows} rows")
    elif opened.choice is not None:
        for line in opened.choice.said():
            say(line)
        for line in table(opened.choice.rows_text()).splitlines():
            say(line)
    if opened.recogniser.rejection is not None:
        rejection = opened.recogniser.rejection
        say(rejection.said())
        if rejection.outside:
            say(f"strangers among those that asked: {rejection.outside} of {rejection.queries} (--outside)")


def _show(
    query: Path, answer: Recognition | LightmeterError, damage: str, opened: Opened, asked: dict[str, Any]
) -> None:  # fmt: skip
    from lightmeter.errors import LightmeterError
    from lightmeter.search.recogniser import named

    if isinstance(answer, LightmeterError):
        if asked["as_json"]:
            emit([{"path": query, "error": str(answer)}], "recognise.error/1")
        else:
            say(f"{query}: {answer}")
        return
    if asked["as_json"]:
        said = named(answer, opened.recogniser.gallery.names)
        emit([{"path": query, **said, "nearest": opened.paths[answer.row], "damaged": damage or None}], "recognise/1")
    elif damage:
        say(f"damaged, used all the same: {query}: {damage}", quiet=asked["quiet"])


def _tell_price(
    answers: list[tuple[Path, Recognition | LightmeterError, str]], opened: Opened, price: str, asked: dict[str, Any]
) -> None:
    from lightmeter.report.text import table
    from lightmeter.search.recogniser import Recognition

    rows = [
        {
            "query": shown_path(str(query)),
            "label": _label(answer, opened),
            "distance": f"{answer.distance:.4f}",
            "confidence": "–" if answer.confidence != answer.confidence else f"{answer.confidence:.3f}",
            "nearest": shown_path(opened.paths[answer.row]),
            "certificate": _certificate(answer, opened),
            "price": f"{answer.cpu_s * 1e3:.2f} CPU-ms",
        }
        for query, answer, _ in answers
        if isinstance(answer, Recognition)
    ]
    if rows:
        click.echo(table(rows))
    say(f"read: {len(rows)} of {len(answers)} · {price}, decoding and encoding included", quiet=asked["quiet"])
    if opened.recogniser.rejection and any(isinstance(a, Recognition) and a.frames > 1 for _, a, _ in answers):
        say("videos are held to the threshold of single pictures: nothing is promised of them", quiet=asked["quiet"])


def _label(answer: Recognition, opened: Opened) -> str:
    """The class's name; both names where another class is just as near."""
    from lightmeter.report.text import clean
    from lightmeter.search.recogniser import UNKNOWN

    names = opened.recogniser.gallery.names
    if answer.label == UNKNOWN:
        return "unknown"
    tied = answer.runner_up != UNKNOWN and answer.runner_up_distance <= answer.distance
    return clean(names[answer.label]) + (f" or {clean(names[answer.runner_up])}" if tied else "")


def _certificate(answer: Recognition, opened: Opened) -> str:
    """Proven or not, and the share of the gallery's bytes that was read for it.

    An index reads bytes of its own beside the rows', its basis above all: of a small gallery more than its rows have.
    """
    certificate = answer.certificate
    if certificate is None:
        return "none: this index cannot tell"
    share = certificate.bytes_read / opened.recogniser.gallery.vectors.nbytes
    frames = f", {answer.frames} frames" if answer.frames > 1 else ""
    proof = "exact" if certificate.exact else "not proven"
    read = f"{share:.0%} of the bytes read" if share <= 1 else f"{share:.1f} x the rows' bytes read, mostly the index's"
    return f"{proof}: {certificate.refined} rows measured, {read}{frames}"


def _summary(opened: Opened, opening: dict[str, Any], asking: dict[str, Any], queries: int) -> dict[str, Any]:
    choice, rejection = opened.choice, opened.recogniser.rejection
    return {
        "queries": queries, "classes": len(opened.recogniser.gallery.names),
        "rows": len(opened.recogniser.gallery.vectors), "encoder": opened.spec,
        "index": opened.index,
        "notes": list(opened.notes), "left_out": dict(opened.left_out),
        "trials": None if choice is None else [trial.as_json() for trial in choice.trials],
        "skipped": None if choice is None else choice.skipped,
        "roofline_s": None if choice is None else choice.roofline_s,
        "rejection": None if rejection is None else rejection.as_json(),
        "cost": {"opening": opening, "asking": asking},
    }  # fmt: skip
