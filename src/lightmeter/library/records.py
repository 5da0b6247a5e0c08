"""Items with one path each, as plain values: what exports write and imports read, where nothing is believed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, get_args

from lightmeter.errors import InvalidValueError
from lightmeter.library import contents
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.contents import Tag
from lightmeter.library.filters import Where, keys_sql
from lightmeter.types import Item, Kind, State, Words

Record = dict[str, Any]
CHUNK = 1000
_ITEM = ("id", "kind", "size_bytes", "state", "reason", "duration_s", "width", "height", "taken_at")


def records(catalogue: Catalogue, where: Where | None = None) -> Iterator[list[Record]]:
    """The items that fit, each once a path, 1,000 items at a time; an item without paths has one row without a path.

    A record has the item's fields and path (text), path_bytes (None where the text says it all), mtime_ns, missing,
    words [{source, title, keywords}] and tags [{tag, score, source}].
    """
    keys = catalogue.keys(*keys_sql(where, "item")).tolist()
    for start in range(0, len(keys), CHUNK):
        yield _records(catalogue, keys[start : start + CHUNK])


def _records(catalogue: Catalogue, keys: Sequence[int]) -> list[Record]:
    columns = ", ".join(f"i.{name}" for name in _ITEM)
    rows = catalogue.rows(
        f"SELECT p.key, p.path, p.mtime_ns, p.missing, {columns} FROM items i LEFT JOIN paths p ON p.item = i.key "
        "WHERE i.key IN (SELECT value FROM json_each(?)) ORDER BY i.key, p.key",
        (json.dumps(list(keys)),),
    )
    paths = [row[0] for row in rows if row[0] is not None]
    words, tags = contents.words_of(catalogue, paths), contents.tags_of(catalogue, paths)
    return [_record(row, words.get(row[0], ()), tags.get(row[0], ())) for row in rows]


def _record(row: tuple[Any, ...], words: Sequence[Words], tags: Sequence[Tag]) -> Record:
    _, path, mtime_ns, missing, *item = row
    text, raw = (None, None) if path is None else text_of(path)
    return {
        **dict(zip(_ITEM, item, strict=True)),
        "path": text,
        "path_bytes": raw,
        "mtime_ns": mtime_ns,
        "missing": None if missing is None else bool(missing),
        "words": [{"source": w.source, "title": w.title, "keywords": list(w.keywords)} for w in words],
        "tags": [{"tag": t.tag, "score": t.score, "source": t.source} for t in tags],
    }


def text_of(path: bytes) -> tuple[str, bytes | None]:
    """A path as text, and its bytes where the text does not say them."""
    text = path.decode("utf-8", "replace")
    return text, None if text.encode() == path else path


def path_of(record: Mapping[str, Any]) -> bytes | None:
    """The bytes of a record's path."""
    if record["path_bytes"] is not None:
        return bytes(record["path_bytes"])
    return None if record["path"] is None else os.fsencode(record["path"])


def put(catalogue: Catalogue, given: object) -> bool:
    """Bring one record in; a path that is known is left as it is. Returns whether it was new.

    Raises InvalidValueError where it is no record, before anything is written.
    """
    record = parsed(given)
    known = catalogue.value("SELECT key FROM items WHERE id = ? AND NOT removed", (record["id"],))
    if known is None:
        known = contents.add_content(catalogue, item_of(record), taken_at=record["taken_at"])
        fresh = True
    else:
        fresh = False
    path = path_of(record)
    if path is None or contents.known_path(catalogue, path) is not None:
        return fresh
    key = contents.add_path(catalogue, path, known, size_bytes=record["size_bytes"], mtime_ns=record["mtime_ns"] or 0)
    if record["missing"]:
        contents.mark_missing(catalogue, [key])
    contents.set_words(catalogue, key, [Words(w["title"], tuple(w["keywords"]), w["source"]) for w in record["words"]])
    contents.set_tags(catalogue, [Tag(key, t["tag"], t["score"], t["source"]) for t in record["tags"]])
    return True


def item_of(record: Mapping[str, Any]) -> Item:
    """The item of a parsed record."""
    return Item(**{name: record[name] for name in _ITEM if name != "taken_at"})


# -- what strangers wrote -------------------------------------------------------------------------------------------


def parsed(given: object) -> Record:
    """A record from values of any kind. Raises InvalidValueError, with what must be and what was got."""
    record = _mapping("a record", given)
    path_bytes = record.get("path_bytes")
    if path_bytes is not None and not (isinstance(path_bytes, bytes) and path_bytes and b"\0" not in path_bytes):
        _refuse("path_bytes", "the bytes of a path", path_bytes)
    missing = record.get("missing")
    if missing is not None and not isinstance(missing, bool):
        _refuse("missing", "true, false or null", missing)
    path = _text("path", record.get("path"), null=True)
    if path is not None and (not path or "\0" in path):
        _refuse("path", "a path", path)
    return {
        "id": parsed_id(record),
        "kind": _one_of("kind", record.get("kind"), get_args(Kind)),
        "size_bytes": _whole("size_bytes", record.get("size_bytes"), null=False),
        "state": _one_of("state", record.get("state"), get_args(State)),
        "reason": _text("reason", record.get("reason")),
        "duration_s": _number("duration_s", record.get("duration_s"), least=0.0),
        "width": _whole("width", record.get("width"), most=_MOST_SIDE),
        "height": _whole("height", record.get("height"), most=_MOST_SIDE),
        "taken_at": _text("taken_at", record.get("taken_at"), null=True),
        "path": path,
        "path_bytes": path_bytes,
        "mtime_ns": _whole("mtime_ns", record.get("mtime_ns"), least=-_MOST - 1),
        "missing": missing,
        "words": parsed_words(record.get("words")),
        "tags": parsed_tags(record.get("tags")),
    }


def parsed_id(given: object) -> str:
    """The hash that a record names its content by."""
    found = _mapping("a record", given).get("id")
    if not isinstance(found, str) or len(found) != 64 or not set(found) <= set("0123456789abcdef"):
        _refuse("id", "a sha256 in hex", found)
    return found


def parsed_words(given: object) -> list[dict[str, Any]]:
    """Words, each with source, title and keywords."""
    found = [_mapping("each of words", each) for each in _list("words", given)]
    return [
        {
            "source": _text("source", each.get("source")),
            "title": _text("title", each.get("title")),
            "keywords": [_text("keywords", word) for word in _list("keywords", each.get("keywords"))],
        }
        for each in found
    ]


def parsed_tags(given: object) -> list[dict[str, Any]]:
    """Labels, each with tag, score and source."""
    found = [_mapping("each of tags", each) for each in _list("tags", given)]
    return [
        {
            "tag": _text("tag", each.get("tag")),
            "score": _number("score", each.get("score")),
            "source": _text("source", each.get("source")),
        }
        for each in found
    ]


def from_json(text: bytes) -> Record:
    """An object of JSON that a stranger wrote."""
    try:
        return _mapping("the JSON", json.loads(text))
    except InvalidValueError:
        raise
    except (ValueError, RecursionError) as error:  # also what is no UTF-8, and whole numbers of 5,000 digits
        raise InvalidValueError(f"the JSON must parse, got {type(error).__name__}: {str(error)[:100]}") from error


def list_of(given: Mapping[str, Any], name: str) -> list[Record]:
    """The objects in a list of a record."""
    return [_mapping(f"each of {name}", each) for each in _list(name, given.get(name))]


_MOST = 2**63 - 1  # what SQLite and Arrow hold
_MOST_SIDE = 2**31 - 1
_MOST_NUMBER = 1e300


def _refuse(name: str, wanted: str, got: object) -> NoReturn:
    shown = ascii(got)  # bounded: what refuses a text must not repeat all of it
    raise InvalidValueError(f"{name} must be {wanted}, got {shown if len(shown) < 60 else shown[:60] + '…'}")


def _mapping(name: str, given: object) -> Record:
    return given if isinstance(given, dict) else _refuse(name, "an object with names and values", given)


def _list(name: str, given: object) -> list[Any]:
    return given if isinstance(given, list) else _refuse(name, "a list", given)


def _text(name: str, given: object, *, null: bool = False) -> str | None:
    if isinstance(given, str):
        try:
            given.encode()
        except UnicodeEncodeError:
            _refuse(name, "text that UTF-8 can hold", given)
        return given
    return None if given is None and null else _refuse(name, "text", given)


def _one_of(name: str, given: object, known: Sequence[str]) -> str:
    return given if isinstance(given, str) and given in known else _refuse(name, f"one of {', '.join(known)}", given)


def _whole(name: str, given: object, *, least: int = 0, most: int = _MOST, null: bool = True) -> int | None:
    if given is None and null:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
        _refuse(name, f"a whole number from {least} to {most}", given)
    return given


def _number(name: str, given: object, *, least: float = -_MOST_NUMBER) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= _MOST_NUMBER:
        _refuse(name, f"a number from {least} to {_MOST_NUMBER}", given)
    return float(given)
