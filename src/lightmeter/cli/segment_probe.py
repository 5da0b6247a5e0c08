"""`lightmeter segment probe`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import Finite, emit, json_option, quiet_option, refuse_here, say, seed_option
from lightmeter.cli.segment_data import clip_options, data_options, opened

if TYPE_CHECKING:
    from lightmeter.heads.segmenting.cells import Cell, CellResult
    from lightmeter.heads.segmenting.probed import Probed
    from lightmeter.library.segment_probe import ProbeRow
    from lightmeter.meter.cost import Cost
    from lightmeter.report.progress import Progress

_TASKS = ("robot", "objects", "moving", "depth", "flow")


@click.command(
    epilog="Examples: `lightmeter segment probe CLIPS --out PROBE --encoder future-codes --encoder lite-maps --head "
    "linear-patch --head fc-conv` · `lightmeter segment probe CLIPS --out PROBE --encoder future-codes --labels 10,25 "
    "--task robot --task depth` · `lightmeter segment probe FRAMES --masks MASKS --out PROBE --encoder lite-maps`"
)
@click.argument("clips", type=click.Path(path_type=Path, exists=True))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
@click.option("--masks", metavar="MASKS", help="As of `segment fit`: probe these in place of what clips know.")
@click.option("--encoder", "encoders", multiple=True, required=True, metavar="SPEC",
              help="Dense encoder (repeatable); all else is compared with the first, with the first head.")  # fmt: skip
@click.option("--head", "heads", multiple=True, default=("linear-patch",), show_default=True, metavar="SPEC",
              help="Mask head (repeatable).")  # fmt: skip
@click.option("--training", default="mask-training", show_default=True, metavar="SPEC", help="How heads learn.")
@click.option("--task", "tasks", multiple=True, type=click.Choice(_TASKS), default=("robot",), show_default=True,
              help="What clips are asked (repeatable); depth and flow by a linear layer a cell.")  # fmt: skip
@click.option("--labels", metavar="N,N,…", help="Learn from so many frames each.  [default: all]")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="Runs of each cell.")
@click.option("--no-controls", is_flag=True,
              help="Leave out the mean, noise, shuffled masks, pixels, untrained and image encoders, the U-Net from "
              "scratch.")  # fmt: skip
@click.option("--test", default=0.3, show_default=True, metavar="SHARE", help="Share of the scenes to score on.",
              type=Finite(min=0, max=1, min_open=True, max_open=True))  # fmt: skip
@click.option("--valid", default=0.2, show_default=True, metavar="SHARE", help="Of the rest, the share for thresholds.",
              type=Finite(min=0, max=1, min_open=True, max_open=True))  # fmt: skip
@click.option("--rounds", default=1000, show_default=True, type=click.IntRange(2), help="Of the bootstrap.")
@data_options
@seed_option
@json_option
@quiet_option
def probe(clips: Path, out: Path, **asked: Any) -> None:
    """Say what is in the features of encoders: every encoder with every head on labelled frames of unseen scenes.

    OUT gets a JSON file a cell, so that a stopped run goes on, probe.json, probe.csv, probe.html, a sheet of
    predictions and curves over --labels. Exit code 3: some cells could not be run; they are named.
    """
    from lightmeter.encoders.dense_cache import FeatureCache
    from lightmeter.heads.segmenting.probing import run_cells
    from lightmeter.library.segment_probe import probe_rows, write_probe
    from lightmeter.meter.cost import measure

    cells = _cells(asked)
    with measure() as meter, _Line(len(cells), quiet=asked["quiet"]) as line:
        train, valid, test = _parts(clips, asked)
        results = run_cells(cells, train, valid, test, folder=out / "cells", cache=FeatureCache(), tell=line)
        rows = probe_rows(results, test.groups, rounds=asked["rounds"], seed=asked["seed"])
    refused = [each for each in results if each.refused]
    notes = {"train": len(train), "valid": len(valid), "test_frames": len(test), "seed": asked["seed"]}
    written = write_probe(rows, refused, test, out, notes) if rows else []
    _show(rows, refused, written, meter.cost, asked)
    if refused:
        click.get_current_context().exit(3)


def _cells(asked: dict[str, Any]) -> list[Cell]:
    from lightmeter.cli.segment_data import numbers_of
    from lightmeter.heads.segmenting.probing import grid
    from lightmeter.heads.segmenting.protocol import mask_head
    from lightmeter.parts import build

    if asked["masks"] is not None:
        refuse_here(("tasks",), "is for what clips know: leave it out with --masks")
    context = click.get_current_context()
    labels = numbers_of(context, _option(context, "labels"), asked["labels"]) or (0,)
    for spec in asked["encoders"]:
        build(spec, "dense-encoder")  # a wrong spec is a wrong question, not a cell that cannot be run
    for spec in asked["heads"]:
        mask_head(spec)
    build(asked["training"], "mask-training")
    tasks = asked["tasks"] if asked["masks"] is None else ("mask",)
    seeds = range(asked["seed"], asked["seed"] + asked["seeds"])
    return grid(asked["encoders"], asked["heads"], training=asked["training"], seeds=seeds, labels=labels, tasks=tasks,
                controls=not asked["no_controls"])  # fmt: skip


def _option(context: click.Context, name: str) -> click.Parameter:
    return next(each for each in context.command.params if each.name == name)


def _parts(clips: Path, asked: dict[str, Any]) -> tuple[Probed, Probed, Probed]:
    """What is learnt from, where thresholds are found, what is scored: of different scenes."""
    from lightmeter.media.clip_set import split_by_group

    whole = _whole(clips, asked)
    rest, held_out = split_by_group(whole.groups, share=asked["test"], seed=asked["seed"])
    known = whole.take(rest)
    learnt, valid = split_by_group(known.groups, share=asked["valid"], seed=asked["seed"])
    return known.take(learnt), known.take(valid), whole.take(held_out)


def _whole(clips: Path, asked: dict[str, Any]) -> Probed:
    import numpy as np

    from lightmeter.heads.segmenting.probed import Probed, probed_clips
    from lightmeter.media.labelled_clips import open_any_clips

    if asked["masks"] is not None:
        reading = opened(clips, asked["masks"], asked)
        found = Probed.of(reading.value)
    else:
        of_files = (
            "context",
            "partial",
            "group_by",
            "wanted",
            "not_judged",
            "categories",
            "group_s",
            "clip_frames",
            "size",
        )
        refuse_here(of_files, "is for --masks: clips hold theirs")
        reading_of_clips = open_any_clips(clips, clip_options(asked))
        chosen, reading = reading_of_clips.value, None
        if asked["most"] is not None and asked["most"] < len(chosen):
            order = np.random.default_rng(asked["seed"]).permutation(len(chosen))
            chosen = chosen.take(np.sort(order[: asked["most"]]))
        found = probed_clips(
            chosen, list(dict.fromkeys(asked["tasks"])), per_clip=asked["per_clip"], seed=asked["seed"]
        )
    for note in (reading or reading_of_clips).notes:
        say(note, quiet=asked["quiet"])
    return found


class _Line:
    """A line of progress, a step a cell."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self.total, self.quiet = total, quiet
        self.line: Progress | None = None

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self.line is not None:
            self.line.close()

    def __call__(self, result: CellResult, again: bool) -> None:
        """A cell has ended."""
        from lightmeter.report.progress import Progress

        self.line = self.line or Progress("probe", self.total, quiet=self.quiet)
        cell = result.cell
        name = " ".join(each for each in (cell.task, cell.encoder, cell.head, cell.control) if each)
        if result.refused:
            self.line.note(f"{name}: {result.refused}")
        else:
            self.line.label = f"probe ({result.value:.3f} {name})"
        self.line.advance(**{"failed" if result.refused else "skipped" if again else "ok": 1})


def _show(
    rows: list[ProbeRow], refused: list[CellResult], written: list[Path], cost: Cost, asked: dict[str, Any]
) -> None:  # fmt: skip
    from lightmeter.library.segment_probe import probe_frontier, refused_json
    from lightmeter.report.text import table

    if asked["as_json"]:
        emit((row.as_json() for row in rows), "segment.probe/1")
        emit((refused_json(each) for each in refused), "segment.probe/1")
    else:
        for task in dict.fromkeys(row.cell.task for row in rows):
            click.echo(table([row.shown() for row in rows if row.cell.task == task], width=46))
        frontier = probe_frontier(rows)
        if frontier is not None:
            best = ", ".join(f"{each.candidate} ({each.quality:.3f})" for each in frontier.points)
            say(f"on the frontier: {best}", quiet=asked["quiet"])
    say(f"{asked_out(written)}{cost.text()}", quiet=asked["quiet"])


def asked_out(written: list[Path]) -> str:
    """Where to look."""
    pages = [each for each in written if each.suffix == ".html"]
    return f"look at {pages[0]} · " if pages else ""
