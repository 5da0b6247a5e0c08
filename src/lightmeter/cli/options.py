"""Options that mean the same on every verb, and the two ways to show an answer: for people and as JSON lines."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

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


def quiet_option(function: F) -> F:
    """`--quiet`: say nothing on stderr."""
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")(function)


def talk_options(function: F) -> F:
    """`--quiet` and `-v`, for verbs that have more to say."""
    return click.option("-v", "--verbose", is_flag=True, help="Name every file, not only the first.")(
        quiet_option(function)
    )


def seed_option(function: F) -> F:
    """`--seed`: the same seed gives the same output."""
    return click.option(
        "--seed", default=0, show_default=True, callback=_seed, help="Same seed, same output."
    )(function)  # fmt: skip


def _seed(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if value < 0:
        raise click.BadParameter(f"must be a whole number from 0 on, got {value}")
    return value


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
                "--min-size", "min_bytes", metavar="SIZE", callback=size_option, help="At least this big, as 200kB."
            ),
            click.option(
                "--max-size", "max_bytes", metavar="SIZE", callback=size_option, help="At most this big, as 2MB."
            ),
            click.option("--path", "path_glob", metavar="GLOB", help="Only paths that match, as '*/holiday/*'."),
        ]
    ):
        function = option(function)
    return function


_UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}


def size_option(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A size as an option's value, in bytes."""
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
    except (ValueError, KeyError, OverflowError):
        raise click.BadParameter(f"must be a size such as 200kB, 2MB or 1GB, got {value!r}") from None


def where_from(asked: dict[str, Any]) -> Any:
    """The `Where` of the options above, None where none was given; takes them out of `asked`."""
    from lightmeter.library.filters import Where

    given = {name: asked.pop(name) for name in WHERE}
    return Where(**given) if any(value not in (None, ()) for value in given.values()) else None


class Finite(click.FloatRange):
    """A number within a range that is neither NaN nor infinite: NaN passes every comparison that should stop it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As click does, then refuse what cannot be counted with."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} must be a finite number.", param, ctx)
        return number


ABOVE_ZERO = Finite(min=0, min_open=True)


def given_here(names: Iterable[str]) -> list[str]:
    """Those of some parameters that stand on the command line (or in a variable), by their flags.

    What a configuration file sets for all runs is a wish, not part of what is asked now.
    """
    context = click.get_current_context()
    spoken = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return [
        max(param.opts, key=len)
        for param in context.command.params
        if param.name in set(names) and context.get_parameter_source(str(param.name)) in spoken
    ]


def refuse_here(names: Iterable[str], why: str) -> None:
    """A usage error where one of some parameters was given, rather than to ignore it."""
    given = given_here(names)
    if given:
        raise click.UsageError(f"{', '.join(given)} {why}")


WHERE = ("kind", "tags", "words", "after", "before", "min_bytes", "max_bytes", "path_glob")


def shown_path(path: str) -> str:
    """A path for the terminal: from here where it lies below, control characters made visible."""
    from lightmeter.report.text import clean

    here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118  the path is text that may hold any bytes
    return clean(path.removeprefix(here))


def emit(rows: Iterable[Mapping[str, Any]], schema: str) -> None:
    """Write rows as JSON lines, each with its `schema`.

    ASCII only: names that are no UTF-8 and control codes travel as \\u escapes, and steer no terminal.
    """
    for row in rows:
        click.echo(json.dumps({"schema": f"lightmeter.{schema}", **row}, ensure_ascii=True, default=_plain))


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
    """One line for the person, on stderr; names of files in it cannot steer the terminal."""
    if not quiet:
        from lightmeter.report.text import clean

        click.echo(clean(message), err=True)
