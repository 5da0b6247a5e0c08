"""`lightmeter yt8m extract`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import ABOVE_ZERO, emit, json_option, refuse_here, say, seed_option, talk_options

if TYPE_CHECKING:
    from lightmeter.library.yt8m.extract import Extracted, ExtractOptions


@click.command(
    epilog="Examples: `lightmeter yt8m extract clips --out set --labels folders` · "
    "`lightmeter yt8m extract clips --out records --format tfrecord --pca 1024 --pca-sound 128` · "
    "`lightmeter yt8m extract more --out test --like set`. Ctrl-C once finishes what is in flight; the same command "
    "goes on."
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the set that is written.")
@click.option("--encoder", metavar="SPEC", help="Encoder of pictures.  [default: efficientnet-lite/size=0]")
@click.option("--sound", metavar="SPEC", help="Encoder of sound; '' for none.  [default: log-mel]")
@click.option("--labels", metavar="HOW", help="`folders`, or a CSV file of `path,label;label` lines.")
@click.option(
    "--level", default="frame", show_default=True, type=click.Choice(["frame", "video"]),
    help="A row a second, or the mean of each video.",
)  # fmt: skip
@click.option("--pca", type=click.IntRange(1), metavar="K", help="Keep K whitened components of sight.")
@click.option("--pca-sound", type=click.IntRange(1), metavar="K", help="Keep K whitened components of sound.")
@click.option(
    "--span", type=ABOVE_ZERO, metavar="X",
    help="8 bits cover -X to X; 2 as YouTube-8M.  [default: 99.98 % of what a sample holds]",
)  # fmt: skip
@click.option("--like", type=click.Path(path_type=Path), metavar="SET", help="Encode, reduce and label as this set.")
@click.option(
    "--format", "form", default="set", show_default=True, type=click.Choice(["set", "tfrecord"]),
    help="Our own set, or TFRecords that other readers take.",
)  # fmt: skip
@click.option(
    "--max-seconds", default=360, show_default=True, type=click.IntRange(1, 86_400), help="Seconds of a video at most."
)
@click.option(
    "--engine", default="local", show_default=True, metavar="SPEC", help="Who works: inline, local/workers=2, ray."
)
@click.option(
    "--timeout", default=600.0, show_default=True, type=ABOVE_ZERO, metavar="SECONDS",
    help="Seconds one video may take before it is given up.",
)  # fmt: skip
@click.option(
    "--silent-limit", default=10.0, show_default=True, type=ABOVE_ZERO, metavar="SECONDS",
    help="Seconds a video may hang before it is given up.",
)  # fmt: skip
@click.option(
    "--memory-limit", metavar="SIZE", help="Memory one worker may take.  [default: 1GB, more for large weights]"
)
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="Pass over names or paths that match, as '*.gif' (repeatable)."
)
@click.option("--retry", is_flag=True, help="Try videos again that failed before.")
@click.option("--events", type=click.Path(path_type=Path, dir_okay=False), help="Append each event to this JSONL file.")
@seed_option
@json_option
@talk_options
def extract(folder: Path, out: Path, **asked: Any) -> None:
    """Make features of your own videos in YouTube-8M's schema.

    A frame and 0.96 s of sound a second, encoded, reduced, quantised to 8 bits, with titles and keywords beside. What
    was read is kept in OUT.work: another level, reduction or format needs no video again. Ends with code 3 when some
    videos failed.
    """
    options = _options(asked)
    from lightmeter.cli.progress import engine_progress
    from lightmeter.library.yt8m.extract import extract as run
    from lightmeter.meter.cost import measure

    with measure() as meter, engine_progress("extract", quiet=asked["quiet"], events=asked["events"]) as heard:
        done = run(folder, out, options, events=heard)
    if asked["as_json"]:
        emit([{"out": out, **_counts(done), "notes": done.notes, "cost": meter.cost.as_json()}], "yt8m.extract/1")
        for state, files in (("failed", done.failed), ("damaged", done.damaged)):
            emit(({"path": path, "state": state, "reason": why} for path, why in files.items()), "yt8m.extract.file/1")
    else:
        _tell(done, out, meter.cost.text(), asked)
    raise SystemExit(130 if done.stopped else 3 if done.failed else 0)


def _options(asked: dict[str, Any]) -> ExtractOptions:
    from dataclasses import replace

    from lightmeter.cli.options import size_bytes
    from lightmeter.engines.limits import Limits
    from lightmeter.library.room import room_bytes
    from lightmeter.library.yt8m.extract import ExtractOptions
    from lightmeter.library.yt8m.extract_set import SetOptions
    from lightmeter.parts import build

    if asked["like"] is not None:
        refuse_here(("level",), "comes from --like: leave it out")
    options = ExtractOptions(
        encoder=asked["encoder"],
        sound=asked["sound"],
        max_seconds=asked["max_seconds"],
        labels=asked["labels"],
        form=asked["form"],
        writing=SetOptions(**{name: asked[name] for name in ("level", "pca", "pca_sound", "span", "seed", "like")}),
        retry=asked["retry"],
        exclude=asked["exclude"],
        engine=build(asked["engine"], "engine"),
    )
    told = asked["memory_limit"]
    most = room_bytes(options.made()) if told is None else size_bytes(told)
    limits = Limits(silent_s=asked["silent_limit"], total_s=asked["timeout"], memory_bytes=most)
    return replace(options, limits=limits)


def _counts(done: Extracted) -> dict[str, Any]:
    return {
        "videos": done.videos, "seconds": done.seconds, "read": done.done, "unchanged": done.unchanged,
        "other_kinds": done.skipped, "damaged": len(done.damaged), "failed": len(done.failed), "written": done.written,
        "stopped": done.stopped,
    }  # fmt: skip


def _tell(done: Extracted, out: Path, price: str, asked: dict[str, Any]) -> None:
    quiet = asked["quiet"]
    for title, files in (("damaged, used all the same", done.damaged), ("failed", done.failed)):
        shown = list(files.items()) if asked["verbose"] else list(files.items())[:10]
        for path, reason in shown:
            say(f"{title}: {path}: {reason}", quiet=quiet)
        if len(files) > len(shown):
            say(f"{title}: {len(files) - len(shown)} more; -v names them", quiet=quiet)
    for note in done.notes:
        say(note, quiet=quiet)
    head = "stopped; the same command goes on. " if done.stopped else "" if done.written else "up to date. "
    say(
        f"{head}videos in {out}: {done.videos} ({done.seconds} s) · {done.done} read, {done.unchanged} unchanged, "
        f"{done.skipped} of other kinds, {len(done.damaged)} damaged, {len(done.failed)} failed · {price}",
        quiet=quiet,
    )
