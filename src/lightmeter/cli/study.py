"""`lightmeter study`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

import click

from lightmeter.cli.options import emit, json_option, quiet_option, say, seed_option
from lightmeter.studies.names import STUDIES


@click.command(
    epilog="Examples: `lightmeter study caltech` · `lightmeter study caltech --scale cpu --out results` · "
    "`lightmeter study caltech --scale paper --data 101_ObjectCategories`"
)
@click.argument("name", type=click.Choice(list(STUDIES)))
@click.option(
    "--scale",
    type=click.Choice(["smoke", "cpu", "paper"]),
    default="smoke",
    show_default=True,
    help="smoke: half a minute, nothing to download; cpu: minutes on two cores; paper: your own --data.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the table, the JSON and the pictures; none are written without it.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Your data: gallery.npz and queries.npz (x, y, track), one folder a class, train and test (yt8m), or "
    "frames and masks (bair).",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, exists=True),
    help="VideoGPT's weights with a prior, as bair_gpt (bair); without it the study trains small ones.",
)
@click.option(
    "--encoder",
    metavar="SPEC",
    help="What encodes the pictures of --data, as dlib-face; efficientnet-lite without it. bair: a dense encoder more.",
)
@seed_option
@click.option(
    "--seeds",
    type=click.IntRange(1),
    help="How many times networks learn, from --seed on: intervals then hold chance in learning too. Left out: once "
    "(yt8m), five times at cpu and paper (bair, its main rows).",
)
@json_option
@quiet_option
def study(
    name: str,
    scale: str,
    out: Path | None,
    data: Path | None,
    checkpoint: Path | None,
    encoder: str | None,
    seed: int,
    seeds: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Rerun a table of the seeds, the published numbers beside ours.

    NAME is caltech (which classifier of deep features is cheapest at which error), faces (how the frames of a video are
    best put together), ann (which search is cheapest at which error), yt8m (what sight, sound, title and keywords tell
    of a video), bair (whether video generators are good encoders for masks) or distill (how much accuracy N pictures a
    class keep). Beside your own --data the published
    numbers of the first three, which are of other data, stand at --scale paper only.

    Every row has its error with an interval, its time, and what else it costs; rows that cannot run here say why.
    """
    from lightmeter.studies.declared import SCHEMA, Asked, Scale, study_called

    tell = partial(say, quiet=quiet)
    result = study_called(name).run(Asked(cast(Scale, scale), seed, data, tell, encoder, seeds, checkpoint))
    written = result.write(out) if out is not None else []
    if as_json:
        emit(result.json_rows(), SCHEMA)
    else:
        click.echo(result.text())
    for path in written:
        say(f"wrote {path}", quiet=quiet)
