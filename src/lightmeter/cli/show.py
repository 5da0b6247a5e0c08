"""`lightmeter show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lightmeter.cli.options import (
    WHERE,
    emit,
    json_option,
    library_option,
    quiet_option,
    refuse_here,
    say,
    where_from,
    where_options,
)


@click.command(
    epilog="Examples: `lightmeter show --out sheet.png` · `lightmeter show --kind video --out videos.png` · "
    "`lightmeter show clip.mp4 --strip --out strip.png`"
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE…]")
@library_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sheet.png"),
    show_default=True,
    help="PNG to write.",
)
@click.option("--strip", is_flag=True, help="Frames of one video in a row, instead of a sheet.")
@click.option(
    "-k", type=click.IntRange(1), help="Pictures (or frames) at most.  [default: 40 of a library, 8 of a strip]"
)
@click.option("--columns", default=5, show_default=True, type=click.IntRange(1, 20), help="Pictures a row.")
@where_options
@json_option
@quiet_option
def show(paths: tuple[Path, ...], library: Path, **asked: Any) -> None:
    """Draw a contact sheet or a strip of frames.

    Without FILEs, a sheet of the library's items that fit the filters; with FILEs, of those.
    """
    where = where_from(asked)
    out: Path = asked["out"]
    if paths:
        refuse_here(WHERE, "choose from the library and go without FILEs")
    if asked["strip"]:
        if len(paths) != 1:
            raise click.UsageError("--strip takes one video FILE")
        refuse_here(["columns"], "is for sheets; a strip is one row")
        from lightmeter.library.showing import strip_of

        shown = strip_of(paths[0], out, count=asked["k"] or 8)
    elif paths:
        from lightmeter.library.showing import sheet_of_files

        shown = sheet_of_files(paths[: asked["k"]], out, columns=asked["columns"])
    else:
        from lightmeter.library.showing import sheet_of
        from lightmeter.library.store import open_library

        with open_library(library) as opened:
            keys = opened.items(where).keys[: asked["k"] or 40].tolist()
            shown = sheet_of(opened, keys, out, columns=asked["columns"])
    if asked["as_json"]:
        emit([{"out": out, "shown": shown}], "show/1")
    else:
        say(f"{shown} pictures in {out}", quiet=asked["quiet"])
