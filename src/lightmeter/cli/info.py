"""`lightmeter info` and `lightmeter status`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lightmeter.cli.options import emit, json_option, library_option, quiet_option, say, talk_options


@click.command(epilog="Examples: `lightmeter info` · `lightmeter info photo.jpg --json`")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@library_option
@json_option
@quiet_option
def info(path: Path | None, library: Path, as_json: bool, quiet: bool) -> None:
    """Say what a library holds, or all that is known of a file."""
    from lightmeter.library.facts import facts_of, library_facts
    from lightmeter.library.store import open_library

    with open_library(library) as opened:
        facts = facts_of(opened, path) if path else library_facts(opened)
    _show(facts, "info/1", as_json)


@click.command(epilog="Examples: `lightmeter status` · `lightmeter status --json`")
@library_option
@json_option
@talk_options
def status(library: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Count items by state, and errors by reason."""
    from lightmeter.library.facts import status_facts
    from lightmeter.library.store import open_library

    with open_library(library) as opened:
        facts, errors = status_facts(opened)
    _show(facts, "status/1", as_json)
    if as_json:
        emit(errors, "status.error/1")
        return
    from lightmeter.report.text import clean, table

    shown = errors if verbose else errors[:20]
    if shown:
        click.echo()
        click.echo(
            table([{**row, "path": clean(row["path"])} for row in shown], columns=["code", "path", "detail"], width=80)
        )
    if len(errors) > len(shown):
        say(f"{len(errors) - len(shown)} more: add -v", quiet=quiet)


def _show(facts: dict[str, Any], schema: str, as_json: bool) -> None:
    if as_json:
        emit([facts], schema)
        return
    from lightmeter.report.text import clean

    for name, value in facts.items():
        if name == "note" and not value:
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
        elif isinstance(value, list | tuple):
            value = "; ".join(map(str, value)) or "none"
        click.echo(f"{name.replace('_', ' ')}: {clean(str(value))}")
