"""Items, their paths, and what is known of a path: words, tags, errors."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.filters import fold
from lightmeter.types import Array, Item, Words

StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


@dataclass(frozen=True, slots=True)
class KnownPath:
    """Where a content was last seen, and by what a change is noticed without reading the file."""

    key: int
    item: int
    path: str
    size_bytes: int
    mtime_ns: int
    missing: bool
    removed: bool


@dataclass(frozen=True, slots=True)
class Tag:
    """One label of a path; score None: set by hand, and then no machine overwrites it."""

    path: int
    tag: str
    score: float | None
    source: str


@dataclass(frozen=True, slots=True)
class FileError:
    """Why a stage could not use a file."""

    path: str
    stage: str
    code: str
    detail: str
    at: float


def add_content(catalogue: Catalogue, item: Item, *, taken_at: str | None = None) -> int:
    """Put an item in, or bring its row up to date; a removed one comes back. Returns its key."""
    return int(catalogue.value(f"{_UPSERT} RETURNING key", _facts(item, taken_at, time.time())))


def add_contents(catalogue: Catalogue, items: Sequence[Item]) -> Array:
    """The same for many at once, several times faster. Returns their keys in order, int64 [N]."""
    now = time.time()
    catalogue.execute_many(_UPSERT, [_facts(item, None, now) for item in items])
    sql = "SELECT id, key FROM items WHERE id IN (SELECT value FROM json_each(?))"
    keys: dict[str, int] = dict(catalogue.rows(sql, (json.dumps([item.id for item in items]),)))
    return np.fromiter((keys[item.id] for item in items), np.int64, len(items))


def _facts(item: Item, taken_at: str | None, now: float) -> tuple[Any, ...]:
    if not _SHA256.fullmatch(item.id):
        raise InvalidValueError(f"id must be the sha256 of the content in hex, got {item.id!r}")
    facts = item.kind, item.size_bytes, item.state, item.reason, item.duration_s, item.width, item.height
    return (item.id, *facts, taken_at, now)


_SHA256 = re.compile("[0-9a-f]{64}")


_UPSERT = """
INSERT INTO items (id, kind, size_bytes, state, reason, duration_s, width, height, taken_at, added_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
  kind = excluded.kind, state = excluded.state, reason = excluded.reason, duration_s = excluded.duration_s,
  width = excluded.width, height = excluded.height, taken_at = coalesce(excluded.taken_at, taken_at), removed = 0"""


def add_path(catalogue: Catalogue, path: StrPath, item: int, *, size_bytes: int, mtime_ns: int) -> int:
    """Say that a content stands at a path now. Returns the path's key.

    Where another content stood there before, its words and machine's labels go; labels set by hand stay.
    """
    raw = os.fsencode(path)
    known = catalogue.row("SELECT key, item FROM paths WHERE path = ?", (raw,))
    values = (item, size_bytes, mtime_ns, time.time())
    try:
        if known is None:
            columns = "path, text, item, size_bytes, mtime_ns, last_seen"
            sql = f"INSERT INTO paths ({columns}) VALUES (?, ?, ?, ?, ?, ?) RETURNING key"
            return int(catalogue.value(sql, (raw, raw.decode("utf-8", "replace"), *values)))
        sql = "UPDATE paths SET item = ?, size_bytes = ?, mtime_ns = ?, last_seen = ?, missing = 0 WHERE key = ?"
        catalogue.execute(sql, (*values, known[0]))
    except sqlite3.IntegrityError as error:
        raise InvalidValueError(
            f"item must be the key of an item in the library, got {item}: add the content first"
        ) from error
    if known[1] != item:
        _leave(catalogue, known[0], known[1])
    return int(known[0])


def _leave(catalogue: Catalogue, path: int, item: int) -> None:
    """Another content stands at a path: drop what was known of the old one there."""
    catalogue.execute("DELETE FROM words WHERE path = ?", (path,))
    catalogue.execute("DELETE FROM tags WHERE path = ? AND score IS NOT NULL", (path,))
    bury(catalogue, "path", [path])
    _mark_homeless(catalogue, [item])


def _mark_homeless(catalogue: Catalogue, items: Iterable[int]) -> None:
    sql = "UPDATE items SET removed = 1 WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM paths WHERE item = ?1)"
    catalogue.execute_many(sql, [(each,) for each in items])


def bury(catalogue: Catalogue, series: str | int, keys: Sequence[int]) -> None:
    """Forget the features of owners: their rows stay in their shards and no longer count.

    series: one by its id, or all of one kind of owner (`item`, `path`)
    """
    chosen = json.dumps([int(key) for key in keys])
    mine = "owner IN (SELECT value FROM json_each(?)) AND series IN (SELECT id FROM series WHERE ? IN (id, owner))"
    catalogue.execute(
        f"INSERT OR IGNORE INTO dead SELECT shard, owner FROM features WHERE shard IS NOT NULL AND {mine}",
        (chosen, series),
    )
    catalogue.execute(f"DELETE FROM features WHERE {mine}", (chosen, series))


def known_path(catalogue: Catalogue, path: StrPath) -> KnownPath | None:
    """What the library knows of a path."""
    found = list(known_paths(catalogue, "WHERE p.path = ?", (os.fsencode(path),)))
    return found[0] if found else None


def known_paths(catalogue: Catalogue, where: str = "", values: Sequence[Any] = ()) -> Iterator[KnownPath]:
    """Every path, in the order it was first seen."""
    columns = "p.key, p.item, p.path, p.size_bytes, p.mtime_ns, p.missing, i.removed"
    sql = f"SELECT {columns} FROM paths p JOIN items i ON i.key = p.item {where}"
    for key, item, path, size_bytes, mtime_ns, missing, removed in catalogue.rows(sql + " ORDER BY p.key", values):
        yield KnownPath(key, item, os.fsdecode(path), size_bytes, mtime_ns, bool(missing), bool(removed))


def mark_missing(catalogue: Catalogue, paths: Iterable[int], *, missing: bool = True) -> None:
    """Say that paths were not found at the last look (or were again)."""
    catalogue.execute_many("UPDATE paths SET missing = ? WHERE key = ?", [(int(missing), int(key)) for key in paths])


def forget_paths(catalogue: Catalogue, paths: Sequence[int]) -> None:
    """Drop paths with their words and labels; a content whose last path goes is marked as removed."""
    chosen = json.dumps([int(key) for key in paths])
    items = [
        row[0]
        for row in catalogue.rows(
            "SELECT DISTINCT item FROM paths WHERE key IN (SELECT value FROM json_each(?))", (chosen,)
        )
    ]
    bury(catalogue, "path", paths)
    catalogue.execute("DELETE FROM paths WHERE key IN (SELECT value FROM json_each(?))", (chosen,))
    _mark_homeless(catalogue, items)


def remove(catalogue: Catalogue, items: Iterable[int]) -> int:
    """Mark items as removed: no view shows them, gc drops them, seeing the content again brings them back."""
    before = catalogue.connection.total_changes
    keys = [(int(key),) for key in items]
    catalogue.execute_many("UPDATE items SET removed = 1 WHERE key = ? AND NOT removed", keys)
    changed = catalogue.connection.total_changes - before
    catalogue.execute_many("UPDATE paths SET missing = 1 WHERE item = ?", keys)
    return changed


def set_words(catalogue: Catalogue, path: int, words: Sequence[Words]) -> None:
    """Replace all words of a path."""
    catalogue.execute("DELETE FROM words WHERE path = ?", (path,))
    rows = []
    for place, each in enumerate(words):
        title, keywords = _clean(each.title), [_clean(keyword) for keyword in each.keywords]
        folded = "|".join(fold(part) for part in (title, *keywords))  # phrases do not cross from one to the next
        rows.append((path, place, each.source, title, json.dumps(keywords), folded))
    catalogue.execute_many(
        "INSERT INTO words (path, place, source, title, keywords, folded) VALUES (?, ?, ?, ?, ?, ?)", rows
    )


def _clean(text: str) -> str:
    """Text that UTF-8 can hold: file names may carry bytes that are none."""
    return text.encode("utf-8", "replace").decode("utf-8")


def words_of(catalogue: Catalogue, paths: Sequence[int]) -> Mapping[int, tuple[Words, ...]]:
    """The words of each path, in the order they were set; paths without words are left out."""
    chosen = "path IN (SELECT value FROM json_each(?))"
    sql = f"SELECT path, title, keywords, source FROM words WHERE {chosen} ORDER BY path, place"
    found: dict[int, tuple[Words, ...]] = {}
    for path, title, keywords, source in catalogue.rows(sql, (json.dumps([int(key) for key in paths]),)):
        found[path] = (*found.get(path, ()), Words(title, tuple(json.loads(keywords)), source))
    return found


def set_tags(catalogue: Catalogue, tags: Iterable[Tag]) -> None:
    """Label paths; a machine's label (with a score) never overwrites one that was set by hand."""
    catalogue.execute_many(
        "INSERT INTO tags (path, tag, score, source) VALUES (?, ?, ?, ?) ON CONFLICT (path, tag) DO UPDATE SET "
        "score = excluded.score, source = excluded.source WHERE tags.score IS NOT NULL OR excluded.score IS NULL",
        [(each.path, each.tag, each.score, each.source) for each in tags],
    )


def unset_tags(catalogue: Catalogue, paths: Sequence[int], *, tag: str | None = None, source: str | None = None) -> int:
    """Take labels from paths: one by name, all of one source, or all. Returns how many went."""
    chosen = "path IN (SELECT value FROM json_each(?))"
    sql = f"DELETE FROM tags WHERE {chosen} AND tag = coalesce(?, tag) AND source = coalesce(?, source)"
    return catalogue.execute(sql, (json.dumps([int(key) for key in paths]), tag, source)).rowcount


def tags_of(catalogue: Catalogue, paths: Sequence[int]) -> Mapping[int, tuple[Tag, ...]]:
    """The labels of each path: by hand first, then by falling score; paths without labels are left out."""
    sql = (
        "SELECT path, tag, score, source FROM tags WHERE path IN (SELECT value FROM json_each(?)) "
        "ORDER BY path, score IS NOT NULL, score DESC, tag"
    )
    found: dict[int, tuple[Tag, ...]] = {}
    for row in catalogue.rows(sql, (json.dumps([int(key) for key in paths]),)):
        found[row[0]] = (*found.get(row[0], ()), Tag(*row))
    return found


def set_error(
    catalogue: Catalogue, path: StrPath, *, stage: str, code: str, detail: str, item: int | None = None
) -> None:
    """Remember why a stage could not use a file; the last reason of a stage stands."""
    catalogue.execute(
        "INSERT OR REPLACE INTO errors (path, stage, item, code, detail, at) VALUES (?, ?, ?, ?, ?, ?)",
        (os.fsencode(path), stage, item, code, _clean(detail), time.time()),
    )


def clear_errors(catalogue: Catalogue, path: StrPath, *, stage: str | None = None) -> None:
    """Forget the errors of a file, of one stage or of all."""
    catalogue.execute("DELETE FROM errors WHERE path = ? AND stage = coalesce(?, stage)", (os.fsencode(path), stage))


def errors(catalogue: Catalogue) -> Iterator[FileError]:
    """Every file that could not be used, the oldest first."""
    for path, stage, code, detail, at in catalogue.rows(
        "SELECT path, stage, code, detail, at FROM errors ORDER BY at, path"
    ):
        yield FileError(os.fsdecode(path), stage, code, detail, at)
