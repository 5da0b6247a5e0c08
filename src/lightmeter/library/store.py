"""A library: a folder of items, what is known of them, and their features, that survives whatever happens to it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lightmeter.errors import InvalidValueError, LibraryNotFoundError
from lightmeter.library import contents, coverage, features, gc
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.contents import FileError, KnownPath, StrPath, Tag
from lightmeter.library.features import Features, Series
from lightmeter.library.filters import Where, keys_sql
from lightmeter.library.opening import open_catalogue
from lightmeter.library.views import Items
from lightmeter.types import Array, Item, Words

CODES = "codes"
"""The calibration that says how a large series is searched (`library.coding`)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a library holds. kinds, states, reasons: how many items of each · errors: how many files by code."""

    items: int
    paths: int
    missing_paths: int
    removed: int
    size_bytes: int
    kinds: Mapping[str, int]
    states: Mapping[str, int]
    reasons: Mapping[str, int]
    errors: Mapping[str, int]
    series: Mapping[str, int]


class Library:
    """An open library; a context manager. Made by `open_library`.

    Writing methods work in an open transaction (`with library.transaction():`, or one that the caller began on
    `library.connection`) and leave the commit to it; without one, each is a transaction of its own.
    """

    def __init__(self, catalogue: Catalogue, note: str = "") -> None:
        self._catalogue = catalogue
        self.note = note
        self.opened_codes: dict[int, Any] = {}  # series → its one-bit codes, read by `neighbours` at the first search

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; an open transaction is rolled back."""
        self._catalogue.close()

    @property
    def folder(self) -> Path:
        """Where the library stands."""
        return self._catalogue.folder

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection to library.sqlite, in autocommit mode, for the `engine_*` tables of runs."""
        return self._catalogue.connection

    @property
    def catalogue(self) -> Catalogue:
        """The same with errors translated, for other modules of this part."""
        return self._catalogue

    @property
    def writable(self) -> bool:
        """Whether this is the one writer."""
        return self._catalogue.writable

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing; inside another transaction it becomes a part of that one."""
        return self._catalogue.transaction()

    # -- items and paths --------------------------------------------------------------------------------------------

    def items(self, where: Where | None = None) -> Items:
        """The items that fit, in the order they came in; read lazily, `.keys` are what features call owners."""
        return Items(self._catalogue, where)

    def owners(self, owner: str, where: Where | None = None) -> Array:
        """Keys of the items (owner `item`) or of the paths (owner `path`) that fit. Returns int64 [N], rising."""
        return self._catalogue.keys(*keys_sql(where, owner))

    def items_of(self, keys: Array | Sequence[int]) -> Items:
        """Items by their keys, in the order asked for."""
        import numpy as np

        return Items(self._catalogue, keys=np.asarray(keys, np.int64))

    def key_of(self, item_id: str) -> int | None:
        """The key of a content by the sha256 of its bytes, None when it is not here or was removed."""
        found = self._catalogue.value("SELECT key FROM items WHERE id = ? AND NOT removed", (item_id,))
        return None if found is None else int(found)

    def add_content(self, item: Item, *, taken_at: str | None = None) -> int:
        """Put an item in, or bring its row up to date (paths of `item` are not looked at). Returns its key."""
        with self._catalogue.joined():
            return contents.add_content(self._catalogue, item, taken_at=taken_at)

    def add_contents(self, items: Sequence[Item]) -> Array:
        """Put many items in at once, several times faster than one by one. Returns their keys, int64 [N]."""
        with self.transaction():
            return contents.add_contents(self._catalogue, items)

    def add_path(self, path: StrPath, item: int, *, size_bytes: int, mtime_ns: int) -> int:
        """Say that the content with key `item` stands at a path now. Returns the path's key."""
        with self.transaction():
            return contents.add_path(self._catalogue, path, item, size_bytes=size_bytes, mtime_ns=mtime_ns)

    def known_path(self, path: StrPath) -> KnownPath | None:
        """What the library knows of a path: key, item, size and time by which a change is noticed."""
        return contents.known_path(self._catalogue, path)

    def known_paths(self) -> Iterator[KnownPath]:
        """Every path."""
        return contents.known_paths(self._catalogue)

    def paths_of(self, item: int) -> list[KnownPath]:
        """Every path of an item."""
        return list(contents.known_paths(self._catalogue, "WHERE p.item = ?", (item,)))

    def mark_missing(self, paths: Iterable[int], *, missing: bool = True) -> None:
        """Say that paths (keys) were not found at the last look, or were again."""
        with self.transaction():
            contents.mark_missing(self._catalogue, paths, missing=missing)

    def forget_paths(self, paths: Sequence[int]) -> None:
        """Drop paths (keys) with their words and labels; a content whose last path goes is marked as removed."""
        with self.transaction():
            contents.forget_paths(self._catalogue, paths)

    def remove(self, items: Iterable[int]) -> int:
        """Mark items (keys) as removed; `gc` frees their space. Returns how many were not removed before."""
        with self.transaction():
            return contents.remove(self._catalogue, items)

    def duplicates(self) -> Iterator[Item]:
        """Items that stand at more than one path now."""
        sql = (
            "SELECT item FROM paths JOIN items i ON i.key = item WHERE NOT missing AND NOT i.removed "
            "GROUP BY item HAVING count(*) > 1 ORDER BY item"
        )
        return iter(self.items_of(self._catalogue.keys(sql)))

    # -- words, tags, errors ----------------------------------------------------------------------------------------

    def set_words(self, path: int, words: Sequence[Words]) -> None:
        """Replace all words of a path (key)."""
        with self.transaction():
            contents.set_words(self._catalogue, path, words)

    def words_of(self, paths: Sequence[int]) -> Mapping[int, tuple[Words, ...]]:
        """Words by path (key)."""
        return contents.words_of(self._catalogue, paths)

    def set_tags(self, tags: Iterable[Tag]) -> None:
        """Label paths; a machine's label never overwrites one that was set by hand (score None)."""
        with self._catalogue.joined():
            contents.set_tags(self._catalogue, tags)

    def unset_tags(self, paths: Sequence[int], *, tag: str | None = None, source: str | None = None) -> int:
        """Take labels from paths (keys): by name, by source, or all. Returns how many went."""
        with self.transaction():
            return contents.unset_tags(self._catalogue, paths, tag=tag, source=source)

    def tags_of(self, paths: Sequence[int]) -> Mapping[int, tuple[Tag, ...]]:
        """Labels by path (key)."""
        return contents.tags_of(self._catalogue, paths)

    def tag_counts(self) -> dict[str, int]:
        """How many paths carry each label, the most frequent first."""
        return _counts(self._catalogue, "SELECT tag, count(*) FROM tags GROUP BY tag ORDER BY 2 DESC, 1")

    def set_error(self, path: StrPath, *, stage: str, code: str, detail: str, item: int | None = None) -> None:
        """Remember why a stage could not use a file."""
        with self._catalogue.joined():
            contents.set_error(self._catalogue, path, stage=stage, code=code, detail=detail, item=item)

    def clear_errors(self, path: StrPath, *, stage: str | None = None) -> None:
        """Forget the errors of a file."""
        with self._catalogue.joined():
            contents.clear_errors(self._catalogue, path, stage=stage)

    def errors(self) -> Iterator[FileError]:
        """Every file that could not be used and why."""
        return contents.errors(self._catalogue)

    # -- features ---------------------------------------------------------------------------------------------------

    def series(self, spec: str, owner: str | None = None, dim: int | None = None) -> Series:
        """The series of an encoder's spec; with owner and dim it is made when it is new."""
        if dim is None:
            return features.get_series(self._catalogue, spec, owner=owner)
        with self.transaction():
            return features.make_series(self._catalogue, spec, owner=owner or "item", dim=dim)

    def all_series(self) -> list[Series]:
        """Every series, in the order they were made."""
        return [Series(*row) for row in self._catalogue.rows("SELECT id, spec, owner, dim FROM series ORDER BY id")]

    def append(
        self, series: Series, owners: Array, vectors: Array, times_s: Array | None = None, *, replace: bool = False
    ) -> None:
        """Add feature rows: on disk for good when it returns, part of the library when the transaction commits.

        owners: int64 [N], the rows of one owner together · vectors: float [N, D] · times_s: float64 [N] or None
        """
        with self.transaction():
            features.append(self._catalogue, series, owners, vectors, times_s, replace=replace)
            gc.merge_small(self._catalogue, series)

    def mark_empty(self, series: Series, owners: Sequence[int]) -> None:
        """Say that owners were encoded and there was nothing to keep."""
        with self.transaction():
            features.mark_empty(self._catalogue, series, owners)

    def forget_features(self, series: Series, owners: Sequence[int] | None = None) -> None:
        """Drop features of some owners, or of all, so that they count as missing."""
        with self.transaction():
            features.forget(self._catalogue, series, owners)

    def features(self, spec: str | Series, where: Where | None = None, *, owner: str | None = None) -> Features:
        """The feature rows of a series whose owners fit."""
        series = self.series(spec, owner) if isinstance(spec, str) else spec
        return features.read_features(self._catalogue, series, where)

    def having(self, series: Series, owners: Sequence[int]) -> set[int]:
        """Those of some owners that have features, or were marked as having none."""
        return coverage.having(self._catalogue, series, owners)

    def missing(self, spec: str | Series, where: Where | None = None, *, owner: str | None = None) -> Array:
        """Keys of the owners that have no features yet. Returns int64 [N]."""
        series = self.series(spec, owner) if isinstance(spec, str) else spec
        return features.missing(self._catalogue, series, where)

    def compact(self) -> None:
        """Merge small shards into large ones; call it when a run ends."""
        for series in self.all_series():
            gc.compact(self._catalogue, series)

    def gc(self) -> gc.Freed:
        """Forget removed items, drop dead rows, merge small shards, delete files that nobody names."""
        return gc.collect(self._catalogue)

    # -- notes ------------------------------------------------------------------------------------------------------

    def version(self) -> str:
        """A short text that changes with every append, removal and gc: what calibrations are measured on."""
        parts = "SELECT coalesce(max(id), 0) FROM shards", "SELECT count(*) FROM items WHERE removed = 1"
        sql = f"SELECT ({parts[0]}), ({parts[1]}), (SELECT count(*) FROM dead)"
        return ".".join(map(str, self._catalogue.rows(sql)[0]))

    def set_calibration(self, series: Series, name: str, value: Mapping[str, Any]) -> None:
        """Keep what was measured on a series, with the version of the library it was measured on."""
        row = (series.id, name, json.dumps(value), self.version(), time.time())
        with self.transaction():
            self._catalogue.execute("INSERT OR REPLACE INTO calibrations VALUES (?, ?, ?, ?, ?)", row)

    def calibration(self, series: Series, name: str) -> tuple[dict[str, Any], bool] | None:
        """What was measured, and whether the library is still the same; None when nothing was."""
        sql = "SELECT value, version FROM calibrations WHERE series = ? AND name = ?"
        found = self._catalogue.row(sql, (series.id, name))
        return None if found is None else (json.loads(found[0]), found[1] == self.version())

    def begin_run(self, verb: str, arguments: Mapping[str, Any]) -> int:
        """Note that a verb began. Returns the number of the run."""
        with self.transaction():
            sql = "INSERT INTO runs (verb, arguments, started_at) VALUES (?, ?, ?) RETURNING id"
            return int(self._catalogue.value(sql, (verb, json.dumps(arguments), time.time())))

    def end_run(self, run: int, summary: Mapping[str, Any]) -> None:
        """Note how a run ended; a run without an end was killed."""
        with self.transaction():
            self._catalogue.execute(
                "UPDATE runs SET ended_at = ?, summary = ? WHERE id = ?", (time.time(), json.dumps(summary), run)
            )

    def runs(self) -> list[dict[str, Any]]:
        """Every run, the newest first."""
        names = "id", "verb", "arguments", "started_at", "ended_at", "summary"
        rows = self._catalogue.rows(f"SELECT {', '.join(names)} FROM runs ORDER BY id DESC")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [
            {**run, **{name: json.loads(run[name] or "null") for name in ("arguments", "summary")}} for run in found
        ]

    def counts(self) -> Counts:
        """How much of everything there is."""
        catalogue, live = self._catalogue, "FROM items WHERE NOT removed"
        at = "FROM paths p JOIN items i ON i.key = p.item WHERE NOT i.removed"
        of = "FROM series LEFT JOIN features f ON f.series = id AND f.rows > 0 GROUP BY id ORDER BY id"
        return Counts(
            items=int(catalogue.value(f"SELECT count(*) {live}")),
            paths=int(catalogue.value(f"SELECT count(*) {at}")),
            missing_paths=int(catalogue.value(f"SELECT count(*) {at} AND missing")),
            removed=int(catalogue.value("SELECT count(*) FROM items WHERE removed = 1")),
            size_bytes=int(catalogue.value(f"SELECT coalesce(sum(size_bytes), 0) {live}")),
            kinds=_counts(catalogue, f"SELECT kind, count(*) {live} GROUP BY kind ORDER BY kind"),
            states=_counts(catalogue, f"SELECT state, count(*) {live} GROUP BY state ORDER BY state"),
            reasons=_counts(
                catalogue, f"SELECT reason, count(*) {live} AND state <> 'ok' GROUP BY reason ORDER BY 2 DESC"
            ),
            errors=_counts(catalogue, "SELECT code, count(*) FROM errors GROUP BY code ORDER BY 2 DESC, 1"),
            series=_counts(catalogue, f"SELECT spec, count(f.owner) {of}"),
        )


def _counts(catalogue: Catalogue, sql: str) -> dict[str, int]:
    return dict(catalogue.rows(sql))


def open_library(
    folder: str | Path,
    *,
    create: bool = False,
    write: bool = False,
    wait_s: float = 0.0,
    waiting: Callable[[str], None] | None = None,
) -> Library:
    """Open the library in a folder: for reading, or as its one writer.

    create: make it when there is none (implies write) · wait_s: how long to wait for another writer, told once through
    `waiting`. Raises LibraryNotFoundError, LibraryBusyError, LibraryVersionError, LibraryDamagedError.
    """
    if wait_s < 0:
        raise InvalidValueError(f"wait_s must be 0 or more, got {wait_s}")
    place = Path(folder)
    if not create and not place.is_dir():
        raise LibraryNotFoundError(f"no library at {place}: make one with `lightmeter index FOLDER --library {place}`")
    catalogue, note = open_catalogue(place, create=create, write=write or create, wait_s=wait_s, waiting=waiting)
    return Library(catalogue, note)
