"""Feature series: rows appended as durable shards, read back as one array or shard by shard."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lightmeter.errors import InvalidValueError, LibraryBusyError, UnknownNameError, nearest
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.connect import NAME, connect_to_read
from lightmeter.library.contents import bury
from lightmeter.library.filters import Where, keys_sql
from lightmeter.library.shards import Written, broken, open_shard, shard_path, write_shard
from lightmeter.search.exact import Block
from lightmeter.types import Array, check_axes

OWNERS = ("item", "path")


@dataclass(frozen=True, slots=True)
class Series:
    """The features that one encoder made: spec names the encoder, owner what they describe (`item` or `path`)."""

    id: int
    spec: str
    owner: str
    dim: int


def get_series(catalogue: Catalogue, spec: str, *, owner: str | None = None) -> Series:
    """The series of a spec. Raises UnknownNameError with the nearest one."""
    sql = "SELECT id, spec, owner, dim FROM series WHERE spec = ? AND owner = coalesce(?, owner) ORDER BY owner"
    found = catalogue.row(sql, (spec, owner))
    if found is None:
        known = [row[0] for row in catalogue.rows("SELECT spec FROM series")]
        raise UnknownNameError(f"the library has no features of {spec!r}{nearest(spec, known)}")
    return Series(*found)


def make_series(catalogue: Catalogue, spec: str, *, owner: str, dim: int) -> Series:
    """The series of a spec, made when it is new. Raises InvalidValueError when it is there with other numbers a row."""
    if owner not in OWNERS:
        raise InvalidValueError(f"owner must be item or path, got {owner!r}")
    if dim < 1:
        raise InvalidValueError(f"dim must be 1 or more, got {dim}")
    found = catalogue.row("SELECT id, spec, owner, dim FROM series WHERE spec = ? AND owner = ?", (spec, owner))
    if found is None:
        sql = "INSERT INTO series (spec, owner, dim) VALUES (?, ?, ?) RETURNING id"
        return Series(int(catalogue.value(sql, (spec, owner, dim))), spec, owner, dim)
    if found[3] != dim:
        raise InvalidValueError(
            f"dim of {spec} must be {found[3]} as in the library, got {dim}: give the encoder another spec"
        )
    return Series(*found)


def series_folder(catalogue: Catalogue, series: int) -> Path:
    """Where the shards of a series stand."""
    return catalogue.folder / "shards" / str(series)


# -- writing --------------------------------------------------------------------------------------------------------


def append(
    catalogue: Catalogue,
    series: Series,
    owners: Array,
    vectors: Array,
    times_s: Array | None = None,
    *,
    replace: bool = False,
) -> None:
    """Add rows: durable on disk first, then registered in the open transaction.

    owners: int64 [N] keys; the rows of one owner stand together · vectors: float [N, D], finite
    times_s: float64 [N] or None
    Raises InvalidValueError for an owner that is unknown, or has features already and `replace` is off.
    """
    block = _checked(series, owners, vectors, times_s)
    if not len(block.owners):
        return
    starts, names, counts = runs_of(block.owners)
    if len(np.unique(names)) != len(names):
        raise InvalidValueError("rows of one owner must stand together: sort the rows by owner")
    _check_known(catalogue, series, names)
    if replace:
        bury(catalogue, series.id, names.tolist())
    written = write_shard(
        series_folder(catalogue, series.id), [block], spec=series.spec, dim=series.dim, rows=len(block.owners)
    )
    try:
        register(catalogue, series.id, written, (starts, names, counts))
    except sqlite3.IntegrityError as error:
        (series_folder(catalogue, series.id) / written.name).unlink()
        raise InvalidValueError(
            f"some of these {series.owner}s have features of {series.spec} already: use replace=True"
        ) from error


def _checked(series: Series, owners: Array, vectors: Array, times_s: Array | None) -> Block:
    check_axes("vectors", vectors, f"N {series.dim}")
    check_axes("owners", owners, str(len(vectors)))
    if not np.issubdtype(np.asarray(owners).dtype, np.integer):
        raise InvalidValueError(
            f"owners must be whole numbers, got {np.asarray(owners).dtype}: pass the keys of items or paths"
        )
    times = np.full(len(vectors), np.nan) if times_s is None else np.asarray(times_s, np.float64)
    check_axes("times_s", times, str(len(vectors)))
    wanted = np.ascontiguousarray(vectors, np.float32)
    flat = wanted.reshape(-1)
    if not np.isfinite(np.dot(flat, flat)) and not np.isfinite(flat).all():  # the first is cheap, the second is right
        raise InvalidValueError("vectors must be finite, got inf or NaN: the encoder failed on some rows")
    return Block(wanted, np.asarray(owners, np.int64), times)


def runs_of(owners: Array) -> tuple[Array, Array, Array]:
    """Where each owner's rows start, who it is, and how many they are: int64 [R] each."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(owners)) + 1]) if len(owners) else np.empty(0, np.int64)
    return starts, owners[starts], np.diff(np.append(starts, len(owners)))


def _check_known(catalogue: Catalogue, series: Series, names: Array) -> None:
    table = "items" if series.owner == "item" else "paths"
    sql = f"SELECT value FROM json_each(?) WHERE value NOT IN (SELECT key FROM {table}) LIMIT 1"
    stranger = catalogue.value(sql, (json.dumps(names.tolist()),))
    if stranger is not None:
        raise InvalidValueError(f"owners must be keys of {table}, got {stranger}: add the content first")


def register(
    catalogue: Catalogue, series: int, written: Written, runs: tuple[Array, Array, Array], *, again: bool = False
) -> int:
    """Enter a durable shard and its owners in the manifest; again: they move here from other shards."""
    sql = "INSERT INTO shards (series, name, rows, size_bytes, digest) VALUES (?, ?, ?, ?, ?) RETURNING id"
    shard = int(catalogue.value(sql, (series, written.name, written.rows, written.size_bytes, written.digest)))
    into = f"{'REPLACE' if again else 'INSERT'} INTO features (series, owner, shard, first_row, rows)"
    starts, names, counts = (each.tolist() for each in runs)
    if len(names) == written.rows:  # a row an owner: one statement for all takes a third of the time
        catalogue.execute(f"{into} SELECT ?, value, ?, key, 1 FROM json_each(?)", (series, shard, json.dumps(names)))
    else:
        rows = [(series, owner, shard, start, count) for start, owner, count in zip(starts, names, counts, strict=True)]
        catalogue.execute_many(f"{into} VALUES (?, ?, ?, ?, ?)", rows)
    return shard


def mark_empty(catalogue: Catalogue, series: Series, owners: Sequence[int]) -> None:
    """Say that owners were encoded and there was nothing to keep, such as a film without sound."""
    _check_known(catalogue, series, np.asarray(owners, np.int64))
    catalogue.execute_many(
        "INSERT OR IGNORE INTO features (series, owner, shard, first_row, rows) VALUES (?, ?, NULL, 0, 0)",
        [(series.id, int(owner)) for owner in owners],
    )


def missing(catalogue: Catalogue, series: Series, where: Where | None = None) -> Array:
    """Keys of the owners that no row and no `mark_empty` speaks of. Returns int64 [N], rising."""
    sql, values = keys_sql(where, series.owner)
    text = f"SELECT key FROM ({sql}) WHERE key NOT IN (SELECT owner FROM features WHERE series = ?)"
    return catalogue.keys(text, [*values, series.id])


def forget(catalogue: Catalogue, series: Series, owners: Sequence[int] | None = None) -> None:
    """Drop the features of some owners of a series, or of all."""
    if owners is None:
        owners = catalogue.keys("SELECT owner FROM features WHERE series = ?", (series.id,)).tolist()
    bury(catalogue, series.id, owners)


# -- reading --------------------------------------------------------------------------------------------------------


class Features:
    """The rows of a series that fit a filter, over memory-mapped shards; a snapshot that later writes do not change.

    `blocks()` hands out the rows shard by shard without copying whole shards; `vectors`, `owners` and `times_s` are
    all rows as one array (a view where one shard holds them all, else a copy made once).
    """

    def __init__(
        self, series: Series, blocks: Sequence[Block], masks: Sequence[Array | None], names: Sequence[str]
    ) -> None:
        self.series = series
        self._blocks = blocks
        self._masks = masks
        self._names = names

    @property
    def spec(self) -> str:
        """The encoder's spelling."""
        return self.series.spec

    @property
    def dim(self) -> int:
        """Numbers a row."""
        return self.series.dim

    def __len__(self) -> int:
        return int(self._ends[-1])

    @cached_property
    def _ends(self) -> Array:
        counts = [len(b.owners) if m is None else len(m) for b, m in zip(self._blocks, self._masks, strict=True)]
        return np.cumsum([0, *counts])

    def blocks(self) -> Iterator[Block]:
        """Rows shard by shard: views where a whole shard counts, else a copy of the rows that do."""
        for _, block, rows in self.shards():
            if rows is None:
                yield block
            elif len(rows):
                yield Block(block.vectors[rows], block.owners[rows], block.times_s[rows])

    def shards(self) -> Iterator[tuple[str, Block, Array | None]]:
        """Every shard: its file's name, all of its rows, and which of them count, int64 [n] rising (None for all)."""
        return zip(self._names, self._blocks, self._masks, strict=True)

    @cached_property
    def vectors(self) -> Array:
        """float32 [N, D]"""
        return _join([block.vectors for block in self.blocks()], np.empty((0, self.dim), np.float32))

    @cached_property
    def owners(self) -> Array:
        """int64 [N]: keys of items or of paths, as `series.owner` says"""
        pairs = zip(self._blocks, self._masks, strict=True)
        return _join([b.owners if rows is None else b.owners[rows] for b, rows in pairs], np.empty(0, np.int64))

    @cached_property
    def times_s(self) -> Array:
        """float64 [N]: seconds from the start of the item, NaN where a row has no time"""
        pairs = zip(self._blocks, self._masks, strict=True)
        return _join([b.times_s if rows is None else b.times_s[rows] for b, rows in pairs], np.empty(0, np.float64))

    def take(self, rows: Array) -> Array:
        """Vectors of some rows, in the order asked for. rows: int [n] in 0..N-1. Returns float32 [n, D]."""
        wanted = np.asarray(rows, np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise InvalidValueError(f"rows must be in 0..{len(self) - 1}, got {wanted.min()}..{wanted.max()}")
        found = np.empty((len(wanted), self.dim), np.float32)
        where = np.searchsorted(self._ends, wanted, side="right") - 1
        for index in np.unique(where):
            mine = where == index
            inner, kept = wanted[mine] - self._ends[index], self._masks[index]
            found[mine] = self._blocks[index].vectors[inner if kept is None else kept[inner]]
        return found


def _join(parts: list[Array], empty: Array) -> Array:
    if not parts:
        return empty
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def read_features(catalogue: Catalogue, series: Series, where: Where | None = None) -> Features:
    """The live rows of a series that fit a filter. Cost: one page a shard, and the owners' column."""
    for _ in range(100):  # a writer may replace shards between our look at the manifest and at the file
        try:
            with catalogue.snapshot():
                return _read(catalogue, series, where)
        except FileNotFoundError as error:
            gone = Path(error.filename)
            if gone.name in committed_names(catalogue):
                raise broken(gone, "the file is gone") from error
            if catalogue.connection.in_transaction:
                break  # the caller holds an older state, whose files are gone
    raise LibraryBusyError(f"another process tidies up the library at {catalogue.folder}: try again")


def committed_names(catalogue: Catalogue) -> set[str]:
    """Names of the shards in the manifest as it is now, whatever older state a transaction here still sees."""
    if not catalogue.connection.in_transaction:
        return {name for (name,) in catalogue.rows("SELECT name FROM shards")}
    with contextlib.closing(connect_to_read(catalogue.folder / NAME)) as other:
        return {name for (name,) in other.execute("SELECT name FROM shards")}


def _read(catalogue: Catalogue, series: Series, where: Where | None) -> Features:
    manifest = catalogue.rows("SELECT id, name, digest FROM shards WHERE series = ? ORDER BY id", (series.id,))
    known = catalogue.mapped.get(series.id, {})
    blocks = [known.get(name) or _open(catalogue, series, name, digest) for _, name, digest in manifest]
    catalogue.mapped[series.id] = {name: block for (_, name, _), block in zip(manifest, blocks, strict=True)}
    wanted = None if where is None else catalogue.keys(*keys_sql(where, series.owner))
    hidden, dead = _hidden(catalogue, series), dead_owners(catalogue, series.id)
    masks = [
        _rows(b.owners, wanted, hidden, dead.get(shard)) for b, (shard, _, _) in zip(blocks, manifest, strict=True)
    ]
    return Features(series, blocks, masks, [name for _, name, _ in manifest])


def _open(catalogue: Catalogue, series: Series, name: str, digest: str) -> Block:
    path = shard_path(catalogue.folder, series.id, name)
    block = open_shard(path, digest=digest)
    if block.vectors.shape[1] != series.dim:
        raise broken(path, f"its rows have {block.vectors.shape[1]} numbers and {series.dim} were registered")
    return block


def _hidden(catalogue: Catalogue, series: Series) -> Array:
    if series.owner == "item":
        return catalogue.keys("SELECT key FROM items WHERE removed = 1 ORDER BY key")
    return catalogue.keys("SELECT p.key FROM paths p JOIN items i ON i.key = p.item WHERE i.removed = 1 ORDER BY 1")


def dead_owners(catalogue: Catalogue, series: int) -> dict[int, Array]:
    """Shard → the owners whose rows there no longer count, int64 [N]."""
    sql = "SELECT shard, owner FROM dead JOIN shards ON id = shard WHERE series = ? ORDER BY shard, owner"
    found: dict[int, list[int]] = {}
    for shard, owner in catalogue.rows(sql, (series,)):
        found.setdefault(shard, []).append(owner)
    return {shard: np.array(owners, np.int64) for shard, owners in found.items()}


def _rows(owners: Array, wanted: Array | None, hidden: Array, dead: Array | None) -> Array | None:
    """Rows of a shard that count, None for all. wanted, hidden, dead: int64, rising."""
    gone = [each for each in (hidden, dead) if each is not None and len(each)]
    if wanted is None and not gone:
        return None
    keep = np.ones(len(owners), bool) if wanted is None else is_among(owners, wanted)
    for each in gone:
        keep &= ~is_among(owners, each)
    return None if keep.all() else np.flatnonzero(keep)


def is_among(values: Array, some: Array) -> Array:
    """Whether each value is one of some. some: rising. Cost: N log M, no table as wide as the range (`np.isin`)."""
    if not len(some):
        return np.zeros(len(values), bool)
    found: Array = some[np.minimum(np.searchsorted(some, values), len(some) - 1)] == values
    return found
