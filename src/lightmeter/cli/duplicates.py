"""`lightmeter duplicates`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lightmeter.cli.options import Finite, emit, json_option, library_option, quiet_option, say


@click.command(epilog="Examples: `lightmeter duplicates` · `lightmeter duplicates --at-least 0.98 --json`")
@library_option
@click.option("--exact", is_flag=True, help="Only files with the very same bytes.")
@click.option(
    "--at-least",
    default=0.95,
    show_default=True,
    type=Finite(0, 1),
    help="Cosine from which two items are near-copies.",
)
@json_option
@quiet_option
def duplicates(library: Path, **asked: Any) -> None:
    """List exact and near duplicates.

    Exact: the same bytes at several paths. Near: pictures (or videos, frame for frame) whose features are alike.
    """
    from lightmeter.library.duplicates import exact_groups, near_groups
    from lightmeter.library.store import open_library
    from lightmeter.meter.cost import measure

    with measure() as meter, open_library(library) as opened:
        groups = exact_groups(opened)
        if not asked["exact"]:
            groups += near_groups(opened, at_least=asked["at_least"])
    if asked["as_json"]:
        emit(({"how": group.how, "score": group.score, "paths": group.paths} for group in groups), "duplicates/1")
        return
    from lightmeter.report.text import clean

    for group in groups:
        click.echo(f"{group.how} {group.score:.3f}  " + "  ".join(clean(path) for path in group.paths))
    say(f"{len(groups)} groups · {meter.cost.text()}", quiet=asked["quiet"])
