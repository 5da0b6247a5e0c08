"""`lightmeter tag`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from lightmeter.cli.options import (
    WHERE,
    Finite,
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
    epilog="Examples: `lightmeter tag` · `lightmeter tag --labels 'cat,dog,car'` · "
    "`lightmeter tag --set holiday beach.jpg dunes.jpg` · `lightmeter tag --unset cat dog.jpg`"
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH…]")
@library_option
@click.option("--labels", help="Labels of your own, separated by commas, or @FILE with one a line.")
@click.option("--set", "add", multiple=True, metavar="TAG", help="Set TAG on the PATHs by hand (repeatable).")
@click.option("--unset", "drop", multiple=True, metavar="TAG", help="Take TAG off the PATHs (repeatable).")
@click.option(
    "--at-least",
    type=Finite(),
    help="Lowest score that counts.  [default: 0.3 built-in; the search threshold for --labels]",
)
@click.option("--most", default=3, show_default=True, type=click.IntRange(1), help="Labels an item at most.")
@where_options
@json_option
@quiet_option
def tag(paths: tuple[Path, ...], library: Path, **asked: Any) -> None:
    """Label items by a list of labels, the built-in ones, or by hand.

    Without --labels the thousand built-in classes are used, with their probabilities. Labels set by hand are never
    overwritten by a machine.
    """
    where = where_from(asked)
    from lightmeter.library.store import open_library
    from lightmeter.library.tagging import set_by_hand, tag_builtin, tag_with
    from lightmeter.meter.cost import measure

    by_hand = bool(asked["add"] or asked["drop"])
    if by_hand != bool(paths):
        raise click.UsageError("--set and --unset go with PATHs, and PATHs with them")
    if by_hand:
        refuse_here([*WHERE, "labels", "at_least", "most"], "goes without --set and --unset, which label the PATHs")
    labels = None if asked["labels"] is None else _labels(asked["labels"])
    with measure() as meter, open_library(library, write=True, wait_s=10, waiting=say) as opened:
        if by_hand:
            changed = set_by_hand(opened, paths, add=asked["add"], drop=asked["drop"])
            return _tell_by_hand(paths, changed, asked)
        if labels is not None:
            found = tag_with(opened, labels, at_least=asked["at_least"], most=asked["most"], where=where)
        else:
            at_least = 0.3 if asked["at_least"] is None else asked["at_least"]
            found = tag_builtin(opened, at_least=at_least, most=asked["most"], where=where)
    if asked["as_json"]:
        emit(
            ({"path": each.path, "tags": [{"tag": t, "score": round(s, 4)} for t, s in each.tags]} for each in found),
            "tag/1",
        )
    else:
        from lightmeter.report.text import clean, table

        rows = [{"path": clean(each.path), "tags": ", ".join(f"{t} {s:.2f}" for t, s in each.tags)} for each in found]
        if rows:
            click.echo(table(rows, width=100))
        say(f"{len(found)} files labelled · {meter.cost.text()}", quiet=asked["quiet"])
    return None


def _tell_by_hand(paths: tuple[Path, ...], changed: int, asked: dict[str, Any]) -> None:
    if asked["as_json"]:
        names = [os.path.abspath(path) for path in paths]  # noqa: PTH100  resolve() would follow links
        emit(({"path": name, "set": asked["add"], "unset": asked["drop"]} for name in names), "tag.hand/1")
    else:
        say(f"{changed} files labelled", quiet=asked["quiet"])


def _labels(text: str) -> list[str]:
    labels = [label for label in _label_lines(text) if label.strip()]
    if not labels:
        raise click.BadParameter(f"--labels must hold a word, got {text!r}: leave it out for the built-in labels")
    return labels


def _label_lines(text: str) -> list[str]:
    if not text.startswith("@"):
        return text.split(",")
    try:
        return Path(text[1:]).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"--labels must name a text file after @, got {text!r}: {error}") from error
