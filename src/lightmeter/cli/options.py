"""Options that mean the same on every verb, and the two ways to show an answer: for people and as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def library_option(function: F) -> F:
    """`--library`: the folder that holds the library."""
    return click.option(
        "--library",
        default=Path(".lightmeter"),
        show_default=True,
        type=click.Path(path_type=Path),
        envvar="LIGHTMETER_LIBRARY",
        help="Folder of the library (made by `lightmeter index`).",
    )(function)


def json_option(function: F) -> F:
    """`--json`: one object a line on stdout, nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")(function)


def talk_options(function: F) -> F:
    """`--quiet` and `-v`: how much is said on stderr."""
    function = click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")(function)
    return click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")(function)


def seed_option(function: F) -> F:
    """`--seed`: the same seed gives the same output."""
    return click.option("--seed", default=0, show_default=True, help="Same seed, same output.")(function)


def dry_run_option(function: F) -> F:
    """`--dry-run`: say what would be done."""
    return click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")(function)


def where_options(function: F) -> F:
    """Filters of items; `where_from` turns them into one `Where`."""
    for option in reversed(
        [
            click.option("--kind", type=click.Choice(["image", "video", "sound"]), help="Only this kind."),
            click.option(
                "--tagged", "tags", multiple=True, metavar="TAG", help="Only items with this tag (repeatable)."
            ),
            click.option("--word", "words", multiple=True, help="Only items whose title or keywords hold this word."),
            click.option("--after", metavar="DATE", help="Taken (else last changed) on or after DATE, as 2026-11-23."),
            click.option("--before", metavar="DATE", help="Taken (else last changed) before DATE."),
            click.option(
                "--min-size", "min_bytes", metavar="SIZE", callback=_size, help="At least this big, as 200kB."
            ),
            click.option("--max-size", "max_bytes", metavar="SIZE", callback=_size, help="At most this big, as 2MB."),
            click.option("--path", "path_glob", metavar="GLOB", help="Only paths that match, as '*/holiday/*'."),
        ]
    ):
        function = option(function)
    return function


_UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    return None if value is None else size_bytes(value)


def size_bytes(value: str) -> int:
    """A size as people write it, in bytes.

    >>> size_bytes("1.5MB")
    1500000
    """
    digits = value.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ").strip()
    unit = value[len(digits) :].strip().lower()
    try:
        return int(float(digits) * _UNITS[unit])
    except (ValueError, KeyError):
        raise click.BadParameter(f"must be a size such as 200kB, 2MB or 1GB, got {value!r}") from None


def where_from(asked: dict[str, Any]) -> Any:
    """The `Where` of the options above, None where none was given; takes them out of `asked`."""
    from lightmeter.library.filters import Where

    given = {name: asked.pop(name) for name in _WHERE}
    return Where(**given) if any(value not in (None, ()) for value in given.values()) else None


_WHERE = ("kind", "tags", "words", "after", "before", "min_bytes", "max_bytes", "path_glob")


def emit(rows: Iterable[Mapping[str, Any]], schema: str) -> None:
    """Write rows as JSON lines, each with its `schema`."""
    for row in rows:
        click.echo(json.dumps({"schema": f"lightmeter.{schema}", **row}, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return os.fspath(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    if hasattr(value, "as_json"):
        return value.as_json()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def say(message: str, *, quiet: bool = False) -> None:
    """One line for the person, on stderr."""
    if not quiet:
        click.echo(message, err=True)
