"""`lightmeter export` and `lightmeter import`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lightmeter.cli.options import emit, json_option, library_option, say, talk_options, where_from, where_options

FORMATS = click.Choice(["parquet", "webdataset", "imagefolder", "lance"])


@click.command(
    epilog="Examples: `lightmeter export out --format parquet` · "
    "`lightmeter export shards --format webdataset --kind image`"
)
@click.argument("out", type=click.Path(path_type=Path))
@library_option
@click.option("--format", "form", type=FORMATS, default="parquet", show_default=True, help="What to write.")
@where_options
@json_option
@talk_options
def export(out: Path, library: Path, **asked: Any) -> None:
    """Write a library as Parquet, WebDataset, imagefolder or Lance.

    Parquet and Lance hold items, words, tags and features; WebDataset and imagefolder hold the files too. Written under
    a temporary name first: what stands at OUT is whole.
    """
    where = where_from(asked)
    from lightmeter.library.exchange import export as run
    from lightmeter.library.store import open_library

    with open_library(library) as opened:
        written = run(opened, out, form=asked["form"], where=where)
    if asked["as_json"]:
        emit([{"out": out, "format": asked["form"], "items": written}], "export/1")
    else:
        say(f"{written} items in {out}", quiet=asked["quiet"])


@click.command("import", epilog="Example: `lightmeter import out --format parquet --library other`")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@library_option
@click.option("--format", "form", type=FORMATS, default="parquet", show_default=True, help="What to read.")
@json_option
@talk_options
def import_(source: Path, library: Path, form: str, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Read such an export into a library."""
    from lightmeter.library.exchange import import_ as run
    from lightmeter.library.store import open_library

    with open_library(library, create=True, write=True, wait_s=10, waiting=say) as opened:
        read = run(opened, source, form=form)
    if as_json:
        emit([{"source": source, "format": form, "items": read}], "import/1")
    else:
        say(f"{read} items read into {library}", quiet=quiet)
