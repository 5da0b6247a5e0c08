"""metadata.jsonl of a folder of pictures: a JSON object a line, `file_name` and `text`, as imagefolder sets have it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from lightmeter.assets.files import whole_file
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.door import at_the_door, name_of, open_file
from lightmeter.media.limits import DEFAULT_LIMITS

METADATA = "metadata.jsonl"
TEXT_COLUMNS = ("text", "caption", "description", "prompt", "title")
"""Where a caption is looked for, in this order, unless a column is named."""
_MOST_LINE_BYTES = 1_000_000


def write_metadata(folder: Path | str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write `folder/metadata.jsonl`, whole or not at all, a line a row as they come; gives its path.

    rows: each with `file_name`, a path below the folder with `/` between its parts, and further columns, the same for
    all, such as `text`: values are what JSON holds
    Raises InvalidValueError for a name that leads out of the folder or comes twice, and for rows of other columns.
    Memory: a hash a row.  Source: Hugging Face datasets, "imagefolder" with metadata.
    """
    path = Path(folder) / METADATA
    columns: list[str] | None = None
    seen: set[int] = set()
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            name = row.get("file_name")
            columns = columns or sorted(row)
            _check_row(name, sorted(row), columns)
            if hash(name) in seen:
                raise InvalidValueError(f"file_name must come once, got {name!r} again: keep one row of it")
            seen.add(hash(name))
            told = {"file_name": name, **{key: value for key, value in row.items() if key != "file_name"}}
            file.write(json.dumps(told, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def _check_row(name: Any, got: list[str], columns: list[str]) -> None:
    if not isinstance(name, str) or not is_inside(name):
        raise InvalidValueError(f"file_name must be a path below the folder, as class/file.png, got {name!r:.200}")
    if got != columns:
        raise InvalidValueError(f"rows must have the columns {', '.join(columns)}, got {', '.join(got)} of {name!r}")


def is_inside(name: str) -> bool:
    """Whether a name is a plain path below its folder that UTF-8 can hold.

    >>> is_inside("cat/1.png"), is_inside("../1.png"), is_inside("/1.png"), is_inside("")
    (True, False, False, False)
    """
    path = PurePosixPath(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def read_metadata(
    path: Path | str, *, column: str = "", limit_bytes: int = DEFAULT_LIMITS.table_bytes
) -> dict[str, str]:
    """Captions by file name, from a metadata.jsonl or the folder that it lies in; "" where a row has none.

    column: which holds the caption; "" for the first of `text`, `caption`, `description`, `prompt`, `title`
    A name that comes twice has its last caption. A line that is no JSON object with a `file_name` is an error.
    Raises RejectedFileError: `missing`, `too-large`, `unreadable`.  Cost: one read.
    """
    place = Path(path) / METADATA if Path(path).is_dir() else Path(path)
    return {name: text_of(record, column) for name, record in read_rows(place, limit_bytes)}


def read_rows(path: Path, limit_bytes: int = DEFAULT_LIMITS.table_bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """File name and columns of each line, in order; see `read_metadata`."""
    with at_the_door(name_of(path)), open_file(path) as file:
        taken = number = 0
        while raw := file.readline(_MOST_LINE_BYTES + 1):
            number, taken = number + 1, taken + len(raw)
            if len(raw) > _MOST_LINE_BYTES or taken > limit_bytes:
                most = f"{_MOST_LINE_BYTES} bytes a line and {limit_bytes} in all"
                raise RejectedFileError("too-large", f"{name_of(path)} may have {most}: line {number} has more")
            if raw.strip():
                record = _object(raw, number, path)
                yield str(record["file_name"]).removeprefix("./"), record


def _object(raw: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
    except (ValueError, RecursionError) as error:
        raise RejectedFileError(
            "unreadable", f"line {number} of {name_of(path)} must be a JSON object: {str(error)[:100]}"
        ) from error
    if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
        raise RejectedFileError("unreadable", f"line {number} of {name_of(path)} must be an object with a file_name")
    return record


def text_of(record: Mapping[str, Any], column: str = "") -> str:
    """The caption in a row: on one line, "" where there is none.

    >>> text_of({"file_name": "1.png", "caption": " a  cat\\n"}), text_of({"label": 3})
    ('a cat', '')
    """
    for name in (column,) if column else TEXT_COLUMNS:
        value = record.get(name)
        if isinstance(value, str) and value.strip():
            return one_line(value)
    return ""


def one_line(text: str) -> str:
    """A text with single spaces for all its white space."""
    return " ".join(text.split())
