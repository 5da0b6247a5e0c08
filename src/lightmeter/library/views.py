"""Views of a library: the items that fit a filter, read when they are asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.filters import Where, keys_sql
from lightmeter.parts import need
from lightmeter.types import Array, Item

CHUNK = 500
_COLUMNS = "key, id, kind, size_bytes, state, reason, duration_s, width, height"
_RECORD = [
    ("key", np.int64), ("id", "U64"), ("kind", "U5"), ("size_bytes", np.int64), ("state", "U8"), ("reason", object),
    ("duration_s", np.float64), ("width", np.int32), ("height", np.int32),
]  # fmt: skip


class Items(Sequence[Item]):
    """The items that fit a filter, in the order they came in; keys are read once, at first use, items when asked."""

    def __init__(self, catalogue: Catalogue, where: Where | None = None, keys: Array | None = None) -> None:
        self._catalogue = catalogue
        self._where = where
        self._given = keys

    @cached_property
    def keys(self) -> Array:
        """int64 [N]: what feature rows call their owner"""
        found = self._given
        if found is None:
            found = self._catalogue.keys(*keys_sql(self._where, "item"))
        found = np.asarray(found, np.int64)
        found.flags.writeable = False
        return found

    def __len__(self) -> int:
        if self._given is None and "keys" not in self.__dict__:  # counting is cheaper than reading
            sql, values = keys_sql(self._where, "item")
            return int(self._catalogue.value(f"SELECT count(*) FROM ({sql})", values))
        return len(self.keys)

    def __iter__(self) -> Iterator[Item]:
        for start in range(0, len(self), CHUNK):
            yield from read_items(self._catalogue, self.keys[start : start + CHUNK].tolist())

    def __getitem__(self, index: Any) -> Any:
        """One item, or a view of a slice or of an array of positions."""
        if isinstance(index, (int, np.integer)):
            return read_items(self._catalogue, [int(self.keys[index])])[0]
        return Items(self._catalogue, keys=self.keys[index])

    def __repr__(self) -> str:
        return f"<{len(self)} items of {self._catalogue.folder}>"

    def _records(self) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(self), CHUNK):
            yield from read_rows(self._catalogue, self.keys[start : start + CHUNK].tolist())

    def to_numpy(self) -> Array:
        """A structured array [N]: key, id, kind, size_bytes, state, reason, duration_s (NaN: none), width, height (0).

        Cost: one row at a time from SQLite, 3 us an item.
        """
        rows = [(*r[:6], np.nan if r[6] is None else r[6], r[7] or 0, r[8] or 0) for r in self._records()]
        return np.array(rows, dtype=_RECORD)

    def to_arrow(self) -> Any:
        """A pyarrow table with the columns of `to_numpy` and the list of paths; needs the extra `arrow`."""
        arrow = need("pyarrow", "arrow")
        names = [name.strip() for name in _COLUMNS.split(",")]
        columns: dict[str, Any] = {
            name: list(values) for name, values in zip(names, zip(*self._records(), strict=True), strict=False)
        }
        columns["paths"] = [list(item.paths) for item in self]
        integer, real, text = arrow.int64(), arrow.float64(), arrow.string()
        types = [integer, text, text, integer, text, text, real, integer, integer, arrow.list_(text)]
        return arrow.table(
            {
                name: arrow.array(_utf8(columns.get(name, [])), kind)
                for name, kind in zip([*names, "paths"], types, strict=True)
            }
        )


def _utf8(values: list[Any]) -> list[Any]:
    return [[os.fsencode(each).decode("utf-8", "replace") for each in v] if isinstance(v, list) else v for v in values]


def read_rows(catalogue: Catalogue, keys: Sequence[int]) -> list[tuple[Any, ...]]:
    """The rows of items, in the order asked for. Raises InvalidValueError for a key that no item has."""
    sql = f"SELECT {_COLUMNS} FROM items WHERE key IN (SELECT value FROM json_each(?))"
    found = {row[0]: row for row in catalogue.rows(sql, (json.dumps(list(keys)),))}
    lost = [key for key in keys if key not in found]
    if lost:
        raise InvalidValueError(
            f"keys must be keys of items, got {lost[0]}: it is not in the library, or gc dropped it"
        )
    return [found[key] for key in keys]


def read_items(catalogue: Catalogue, keys: Sequence[int]) -> list[Item]:
    """Items with their paths (those that are not missing first), in the order asked for."""
    sql = "SELECT item, path FROM paths WHERE item IN (SELECT value FROM json_each(?)) ORDER BY item, missing, key"
    paths: dict[int, list[str]] = {}
    for item, path in catalogue.rows(sql, (json.dumps(list(keys)),)):
        paths.setdefault(item, []).append(os.fsdecode(path))
    return [
        Item(
            id=row[1], kind=row[2], size_bytes=row[3], state=row[4], reason=row[5],
            duration_s=row[6], width=row[7], height=row[8], paths=tuple(paths.get(row[0], ())),
        )
        for row in read_rows(catalogue, keys)
    ]  # fmt: skip
