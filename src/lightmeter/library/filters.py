"""Filters over a library: what an item or one of its paths must be, as SQL over indexed columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from lightmeter.errors import InvalidValueError, nearest
from lightmeter.types import Kind, State


@dataclass(frozen=True, slots=True)
class Where:
    """What the items of a view must be; every field that is set must hold.

    tags, words, path_glob and missing speak of one and the same path. words: whole words or phrases in title or
    keywords, any case. after, before: `2024`, `2024-05` or a full ISO date without a zone, half-open, held against the
    moment a file was taken. path_glob: `*` crosses folders; a pattern that starts with neither `/` nor `*` may match
    anywhere below a folder. missing: True keeps only paths that were not found at the last look.
    """

    kind: Kind | None = None
    state: State | None = None
    tags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    after: str | None = None
    before: str | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    path_glob: str | None = None
    missing: bool | None = None

    def __post_init__(self) -> None:
        choices: tuple[tuple[str, str | None, tuple[str, ...]], ...] = (
            ("kind", self.kind, get_args(Kind)),
            ("state", self.state, get_args(State)),
        )
        for name, value, allowed in choices:
            if value is not None and value not in allowed:
                raise InvalidValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {value!r}{nearest(value, allowed)}"
                )
        for name, value in (("after", self.after), ("before", self.before)):
            if value is not None:
                _moment(name, value)
        if isinstance(self.tags, str) or isinstance(self.words, str):
            raise InvalidValueError("tags and words must be tuples of text: write ('cat',)")


_DATE = re.compile("[0-9]{4}(-[0-9]{2}(-[0-9]{2}([T ][0-9:.]+)?)?)?")


def _moment(name: str, text: str) -> str:
    """A date as `taken_at` spells it, so that text compares as time; part of a date stays part of one.

    >>> _moment("after", "2024-05"), _moment("after", "2024-05-31 07:08")
    ('2024-05', '2024-05-31T07:08:00')
    """
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        moment = datetime.fromisoformat(text + "-01-01"[len(text) - 4 :])
    except ValueError:
        raise InvalidValueError(
            f"{name} must be a date such as 2024-05-31 or 2024-05-31T07:08, got {text!r}: "
            "give one that is in the calendar, without a zone (files hold none)"
        ) from None
    return moment.isoformat() if len(text) > 10 else text


def fold(text: str) -> str:
    """Text as its words in lower case, each between blanks, so that whole words can be found with `instr`.

    >>> fold("Cat-Food, Zoë")
    ' cat food zoë '
    """
    return " ".join(["", *re.findall(r"\w+", text.casefold()), ""])


def conditions(where: Where | None) -> tuple[str, list[Any], str, list[Any]]:
    """SQL for the item `i` and for the path `p` with their parameters; "" where a side is free."""
    if where is None:
        return "", [], "", []
    item, item_values = _item_conditions(where)
    path, path_values = _path_conditions(where)
    return " AND ".join(item), item_values, " AND ".join(path), path_values


def _item_conditions(where: Where) -> tuple[list[str], list[Any]]:
    pairs: list[tuple[str, Any]] = [
        ("i.kind = ?", where.kind),
        ("i.state = ?", where.state),
        ("i.taken_at >= ?", where.after and _moment("after", where.after)),
        ("i.taken_at < ?", where.before and _moment("before", where.before)),
        ("i.size_bytes >= ?", where.min_bytes),
        ("i.size_bytes < ?", where.max_bytes),
        ("i.duration_s >= ?", where.min_duration_s),
        ("i.duration_s < ?", where.max_duration_s),
    ]
    kept = [(text, value) for text, value in pairs if value is not None]
    return [text for text, _ in kept], [value for _, value in kept]


def _path_conditions(where: Where) -> tuple[list[str], list[Any]]:
    texts: list[str] = []
    values: list[Any] = []
    for tag in where.tags:
        texts.append("p.key IN (SELECT path FROM tags WHERE tag = ?)")
        values.append(tag)
    for word in where.words:
        texts.append("p.key IN (SELECT path FROM words WHERE instr(folded, ?))")
        values.append(fold(word))
    if where.path_glob is not None:
        anywhere = where.path_glob if where.path_glob.startswith(("/", "*")) else f"*/{where.path_glob}"
        texts.append("(p.text GLOB ? OR p.text GLOB ?)")
        values += [where.path_glob, anywhere]
    if where.missing is not None:
        texts.append("p.missing = ?")
        values.append(int(where.missing))
    return texts, values


def keys_sql(where: Where | None, owner: str) -> tuple[str, list[Any]]:
    """The query for the keys of the items (owner `item`) or of the paths (owner `path`) that fit, in order."""
    item, item_values, path, path_values = conditions(where)
    item_part = f" AND {item}" if item else ""
    path_part = f" AND {path}" if path else ""
    if owner == "path":
        text = f"SELECT p.key FROM paths p JOIN items i ON i.key = p.item WHERE NOT i.removed{item_part}{path_part}"
        return f"{text} ORDER BY p.key", item_values + path_values
    inner = f" AND i.key IN (SELECT p.item FROM paths p WHERE {path})" if path else ""
    return f"SELECT i.key FROM items i WHERE NOT i.removed{item_part}{inner} ORDER BY i.key", item_values + path_values
