"""Items with one path each, as plain values: what exports write and imports read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightmeter.errors import InvalidValueError
from lightmeter.library import contents
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.contents import Tag
from lightmeter.library.filters import Where, keys_sql
from lightmeter.types import Item, Words

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


def put(catalogue: Catalogue, record: Mapping[str, Any]) -> bool:
    """Bring one record in; a path that is known is left as it is. Returns whether it was new."""
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
    """The item of a record; raises InvalidValueError where its fields are not an item's."""
    if not isinstance(record["size_bytes"], int) or record["size_bytes"] < 0:
        raise InvalidValueError(f"size_bytes must be 0 or more, got {record['size_bytes']!r}: the export is damaged")
    return Item(**{name: record[name] for name in _ITEM if name != "taken_at"})
