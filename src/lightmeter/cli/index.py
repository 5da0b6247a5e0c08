"""`lightmeter index`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import (
    ABOVE_ZERO,
    dry_run_option,
    emit,
    json_option,
    library_option,
    say,
    seed_option,
    talk_options,
)

if TYPE_CHECKING:
    from lightmeter.library.indexing import Indexed, IndexOptions


@click.command(
    epilog="Examples: `lightmeter index ~/Pictures` · `lightmeter index clips --fps 2 --library clips.lm` · "
    "`lightmeter index . --watch`. Ctrl-C once finishes the batch, twice stops now; the same command goes on."
)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER…")
@library_option
@click.option(
    "--encoder", "encoders", multiple=True, metavar="SPEC",
    help="Encoder of pictures or sound (repeatable).  [default: efficientnet-lite, conse, log-mel]",
)  # fmt: skip
@click.option("--words", default="centred", show_default=True, metavar="SPEC", help="Encoder of titles; '' for none.")
@click.option(
    "--fps", default=1.0, show_default=True, type=ABOVE_ZERO, help="Frames a second of video that are encoded."
)
@click.option(
    "--engine", default="local", show_default=True, metavar="SPEC", help="Who works: inline, local/workers=2."
)
@click.option(
    "--silent-limit", default=10.0, show_default=True, type=ABOVE_ZERO, metavar="SECONDS",
    help="Seconds a file may hang before it is given up.",
)  # fmt: skip
@click.option(
    "--memory-limit", metavar="SIZE", help="Memory one worker may take.  [default: 1GB, more for large weights]"
)
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="Pass over names or paths that match, as '*.gif' (repeatable)."
)
@click.option("--retry", is_flag=True, help="Try files again that failed before.")
@click.option("--watch", is_flag=True, help="Keep looking for changes until Ctrl-C.")
@click.option(
    "--every", default=2.0, show_default=True, type=ABOVE_ZERO, metavar="SECONDS",
    help="Seconds between two looks of --watch.",
)  # fmt: skip
@click.option("--events", type=click.Path(path_type=Path, dir_okay=False), help="Append each event to this JSONL file.")
@seed_option
@dry_run_option
@json_option
@talk_options
def index(folders: tuple[Path, ...], library: Path, **asked: Any) -> None:
    """Read folders of pictures, videos and sounds into a library.

    Only what changed is read again; a moved or renamed file keeps its features. A file that cannot be read is named
    with its reason, and the rest goes on. Hidden files and folders are passed over. Ends with code 3 when some files
    failed.
    """
    options = _options(asked)
    if asked["dry_run"]:
        return _plan(folders, library, options, asked)
    if asked["watch"]:
        from lightmeter.library.watching import watch

        ran = watch(
            folders, library, options, every_s=asked["every"], run=lambda: _index(folders, library, options, asked)
        )
        raise SystemExit(ran)
    raise SystemExit(_index(folders, library, options, asked))


def _options(asked: dict[str, Any]) -> IndexOptions:
    from dataclasses import replace

    from lightmeter.cli.options import size_bytes
    from lightmeter.engines.limits import Limits
    from lightmeter.library.indexing import DEFAULT_ENCODERS, IndexOptions
    from lightmeter.library.room import room_bytes
    from lightmeter.parts import build

    options = IndexOptions(
        encoders=asked["encoders"] or DEFAULT_ENCODERS,
        words=asked["words"],
        fps=asked["fps"],
        retry=asked["retry"],
        exclude=asked["exclude"],
        seed=asked["seed"],
        engine=build(asked["engine"], "engine"),
    )
    told = asked["memory_limit"]
    most = room_bytes(options.made()) if told is None else size_bytes(told)
    return replace(options, limits=Limits(silent_s=asked["silent_limit"], memory_bytes=most))


def _index(folders: tuple[Path, ...], library: Path, options: IndexOptions, asked: dict[str, Any]) -> int:
    from lightmeter.cli.progress import engine_progress
    from lightmeter.library.indexing import index as run
    from lightmeter.meter.cost import measure

    with measure() as meter, engine_progress("index", quiet=asked["quiet"], events=asked["events"]) as heard:
        done = run(folders, library, options, events=heard, waiting=lambda text: say(text, quiet=asked["quiet"]))
    cost = meter.cost
    if asked["as_json"]:
        emit([{"library": library, **_counts(done), "cost": cost.as_json()}], "index/1")
        emit(
            ({"path": path, "state": "failed", "reason": reason} for path, reason in done.failed.items()),
            "index.file/1",
        )
        emit(({"path": path, "state": "damaged", "reason": why} for path, why in done.damaged.items()), "index.file/1")
    else:
        _tell(done, library, cost.text(), asked)
    return 130 if done.stopped else 3 if done.failed else 0


def _counts(done: Indexed) -> dict[str, Any]:
    return {
        "items": done.items, "read": done.done, "unchanged": done.unchanged, "other_kinds": done.skipped,
        "missing": done.missing, "damaged": len(done.damaged), "failed": len(done.failed), "stopped": done.stopped,
    }  # fmt: skip


def _tell(done: Indexed, library: Path, price: str, asked: dict[str, Any]) -> None:
    from lightmeter.report.text import clean

    quiet = asked["quiet"]
    for title, files in (("damaged, used all the same", done.damaged), ("failed", done.failed)):
        shown = list(files.items()) if asked["verbose"] else list(files.items())[:10]
        for path, reason in shown:
            say(f"{title}: {clean(path)}: {clean(reason)}", quiet=quiet)
        if len(files) > len(shown):
            say(
                f"{title}: {len(files) - len(shown)} more; `lightmeter status --library {library}` counts them",
                quiet=quiet,
            )
    head = "stopped; the same command goes on. " if done.stopped else ""
    say(
        f"{head}{done.items} items in {library}: {done.done} files read, {done.unchanged} unchanged, "
        f"{done.skipped} of other kinds, {len(done.damaged)} damaged, {len(done.failed)} failed, "
        f"{done.missing} gone · {price}",
        quiet=quiet,
    )


def _plan(folders: tuple[Path, ...], library: Path, options: IndexOptions, asked: dict[str, Any]) -> None:
    from lightmeter.library.indexing import dry_run

    plan = dry_run(folders, library, options)
    size_bytes = sum(found.size_bytes for found in plan.fresh)
    if asked["as_json"]:
        emit(({"path": found.path, "size_bytes": found.size_bytes} for found in plan.fresh), "index.plan/1")
    else:
        from lightmeter.report.text import clean

        for found in plan.fresh if asked["verbose"] else plan.fresh[:10]:
            click.echo(f"would read {clean(found.path)}")
        say(
            f"{len(plan.fresh)} files to read ({size_bytes / 1e6:.1f} MB), {plan.unchanged} unchanged, "
            f"{plan.scan.skipped} of other kinds, {len(plan.scan.refused)} refused, "
            f"{len(plan.known_bad)} known to fail, "
            f"{len(plan.gone)} gone; nothing was changed",
            quiet=asked["quiet"],
        )
