"""`lightmeter remove`, `gc` and `fsck`: keeping a library in shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lightmeter.cli.options import (
    WHERE,
    dry_run_option,
    emit,
    given_here,
    json_option,
    library_option,
    quiet_option,
    say,
    shown_path,
    where_from,
    where_options,
)  # fmt: skip


@click.command(
    epilog="Examples: `lightmeter remove old.jpg` · `lightmeter remove --path '*/thumbs/*' --dry-run` · "
    "`lightmeter remove --missing`"
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH…]")
@library_option
@click.option("--missing", is_flag=True, help="Everything that is no longer where it was last seen.")
@where_options
@dry_run_option
@json_option
@quiet_option
def remove(paths: tuple[Path, ...], library: Path, **asked: Any) -> None:
    """Take items out of a library; the files stay.

    PATHs, filters and --missing narrow each other: what goes fits all that is given. An item goes with the last of its
    paths; its features stay on disk until `lightmeter gc`, and seeing the content again brings it back.
    """
    where = where_from(asked)
    if not paths and not given_here([*WHERE, "missing"]):
        raise click.UsageError("give PATHs, a filter such as --path '*/thumbs/*', or --missing")
    from lightmeter.library.facts import chosen_paths
    from lightmeter.library.store import open_library

    with open_library(library, write=True, wait_s=10, waiting=say) as opened:
        chosen, before = chosen_paths(opened, paths, where, missing=asked["missing"]), len(opened.items())
        if not asked["dry_run"]:
            opened.forget_paths(list(chosen))
        gone = before - len(opened.items())
    if asked["as_json"]:
        emit(({"path": path, "removed": not asked["dry_run"]} for path in chosen.values()), "remove/1")
    elif asked["dry_run"]:
        for path in chosen.values():
            click.echo(f"would remove {shown_path(path)}")
        say(f"{len(chosen)} paths; nothing was changed", quiet=asked["quiet"])
    else:
        told = (
            f"{len(chosen)} paths removed, and {gone} items that stood nowhere else; `lightmeter gc` frees their space"
        )
        say(told, quiet=asked["quiet"])


@click.command(epilog="Example: `lightmeter gc`")
@library_option
@json_option
@quiet_option
def gc(library: Path, as_json: bool, quiet: bool) -> None:
    """Rewrite shards without what was removed."""
    from lightmeter.library.gc import collect
    from lightmeter.library.store import open_library
    from lightmeter.report.text import bytes_text

    with open_library(library, write=True, wait_s=10, waiting=say) as opened:
        freed = collect(opened.catalogue)
    if as_json:
        emit([{"items": freed.items, "rows": freed.rows, "size_bytes": freed.size_bytes}], "gc/1")
    else:
        say(f"{freed.items} items and {freed.rows} rows dropped, {bytes_text(freed.size_bytes)} freed", quiet=quiet)


@click.command(epilog="Examples: `lightmeter fsck` · `lightmeter fsck --repair`")
@library_option
@click.option("--repair", is_flag=True, help="Set aside what is broken; `lightmeter index` makes it again.")
@json_option
@quiet_option
def fsck(library: Path, repair: bool, as_json: bool, quiet: bool) -> None:
    """Re-hash a library and repair it.

    Ends with code 4 when something is broken and --repair was not given.
    """
    from lightmeter.library.fsck import fsck as run
    from lightmeter.report.text import bytes_text, clean

    health = run(library, repair=repair, wait_s=10)
    if as_json:
        emit(({"place": problem.place, "detail": problem.detail} for problem in health.problems), "fsck.problem/1")
        emit(
            [
                {
                    "problems": len(health.problems),
                    "repaired": health.repaired,
                    "lost": health.lost,
                    "shards": health.shards,
                }
            ],
            "fsck/1",
        )
    else:
        for problem in health.problems:
            click.echo(clean(f"{problem.place}: {problem.detail}"))
        said = f"{health.shards} shards, {bytes_text(health.size_bytes)} read: "
        if not health.problems:
            said += "sound"
        elif health.repaired:
            said += f"{len(health.problems)} problems repaired, {health.lost} to encode again: run `lightmeter index`"
        else:
            said += f"{len(health.problems)} problems: run `lightmeter fsck --repair --library {library}`"
        say(said, quiet=quiet)
    if health.problems and not health.repaired:
        raise SystemExit(4)
