"""`lightmeter export` and `lightmeter import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightmeter.cli.options import emit, json_option, library_option, say, talk_options, where_from, where_options

if TYPE_CHECKING:
    from lightmeter.library.exchange import Exchanged

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
    a temporary name first: what stands at OUT is whole. Ends with code 3 when some items had to be left out.
    """
    where = where_from(asked)
    from lightmeter.library.exchange import export as run
    from lightmeter.library.store import open_library

    with open_library(library) as opened:
        written = run(opened, out, form=asked["form"], where=where)
    raise SystemExit(_tell(written, "export/1", {"out": out, "format": asked["form"]}, asked))


@click.command("import", epilog="Example: `lightmeter import out --format parquet --library other`")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@library_option
@click.option("--format", "form", type=FORMATS, default="parquet", show_default=True, help="What to read.")
@click.option("--into", type=click.Path(path_type=Path), help="Where the media of a webdataset are unpacked to.")
@json_option
@talk_options
def import_(source: Path, library: Path, form: str, into: Path | None, **asked: Any) -> None:
    """Read such an export into a library.

    Ends with code 3 when some of it had to be left out.
    """
    from lightmeter.library.exchange import import_ as run
    from lightmeter.library.store import open_library

    with open_library(library, create=True, write=True, wait_s=10, waiting=say) as opened:
        read = run(opened, source, form=form, into=into)
    raise SystemExit(_tell(read, "import/1", {"source": source, "format": form}, asked))


def _tell(done: Exchanged, schema: str, about: dict[str, Any], asked: dict[str, Any]) -> int:
    """Show what went over and what did not; gives the exit code."""
    counts = {"items": done.items, "paths": done.paths, "rows": done.rows}
    if asked["as_json"]:
        emit([{**about, **counts, "skipped": done.skipped}], schema)
    else:
        from lightmeter.report.text import clean

        for reason in done.skipped if asked["verbose"] else done.skipped[:10]:
            say(f"left out: {clean(reason)}", quiet=asked["quiet"])
        place = next(iter(about.values()))
        text = ", ".join(f"{count} {name}" for name, count in (*counts.items(), ("left out", len(done.skipped))))
        say(f"{place}: {text}", quiet=asked["quiet"])
    return 3 if done.skipped else 0
