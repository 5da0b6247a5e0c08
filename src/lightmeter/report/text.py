"""Text for terminals: aligned tables and numbers that people can read."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from lightmeter.meter.units import bytes_text, count_text, ratio_text, seconds_text

__all__ = [
    "bytes_text",
    "clean",
    "clip_text",
    "count_text",
    "display_width",
    "ratio_text",
    "seconds_text",
    "table",
    "value_text",
    "wants_color",
]

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_GAP = "  "
_ABSENT = "–"


def clean(text: object, *, lines: bool = False) -> str:
    """Text that is safe to show: one line, no control or direction codes, no broken Unicode.

    File names may hold anything. Control characters and line ends become a visible `␤` or `·` (line ends stay with
    `lines=True`), bytes that are no UTF-8 become `�`, codes that turn the direction of text around are dropped.

    >>> clean("a\\nb\\x1b[2J")
    'a␤b·[2J'
    """
    kept = []
    for char in str(text):
        kind = unicodedata.category(char)
        if char == "\n" and lines:
            kept.append(char)
        elif kind == "Cs":
            kept.append("�")
        elif kind in ("Cc", "Zl", "Zp"):
            kept.append("␤" if char in "\n\u2028\u2029" else " " if char == "\t" else "·")
        elif char not in _BIDI:
            kept.append(char)
    return "".join(kept)


def display_width(text: str) -> int:
    """Columns a text takes in a terminal: wide East Asian characters and emoji two, combining marks none.

    >>> display_width("cat"), display_width("猫"), display_width("e\\u0301")
    (3, 2, 1)
    """
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip_text(text: str, width: int) -> str:
    """The text, or as much of it as fits in `width` columns with an ellipsis.

    >>> clip_text("a long name", 6)
    'a lon…'
    """
    if display_width(text) <= width:
        return text
    kept, used = "", 0
    for char in text:
        used += _char_width(char)
        if used > width - 1:
            break
        kept += char
    return kept + "…" if width > 0 else ""


def value_text(value: Any) -> str:
    """One cell: four digits of a fraction, grouped thousands of a whole number, – for what is not there.

    >>> [value_text(v) for v in (0.123456, 12345, None, True, "cat", 1234.5, 1e-7)]
    ['0.1235', '12,345', '–', 'yes', 'cat', '1,234', '1e-07']
    """
    if value is None:
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 and math.isfinite(value) else f"{value:.4g}"
    return clean(value)


def table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None, *, color: bool = False, width: int = 60
) -> str:
    """Rows under a header, numbers to the right, text to the left; no line at the end.

    columns: names and order, default all keys in the order they first come up. A key that a row lacks shows as –.
    width: most columns that one cell may take; longer text ends in …. color: bold header (see `wants_color`).

    >>> print(table([{"name": "cat", "score": 0.5}, {"name": "a dog", "score": None}]))
    name   score
    cat      0.5
    a dog      –
    """
    names = list(columns) if columns is not None else list(dict.fromkeys(key for row in rows for key in row))
    if not names:
        return "(nothing)"
    cells = [[clip_text(value_text(row.get(name)), width) for name in names] for row in rows]
    heads = [clip_text(clean(name), width) for name in names]
    widths = [max(map(display_width, column)) for column in zip(heads, *cells, strict=True)]
    numeric = [all(_is_number(row.get(name)) for row in rows) and bool(rows) for name in names]
    lines = [_line(line, widths, numeric) for line in [heads, *cells]]
    if color:
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    return "\n".join(lines)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = []
    for cell, width, right in zip(cells, widths, numeric, strict=True):
        space = " " * (width - display_width(cell))
        padded.append(space + cell if right else cell + space)
    return _GAP.join(padded).rstrip()


def wants_color(stream: TextIO) -> bool:
    """Whether to colour: a terminal that is not dumb, and nobody set NO_COLOR (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()
