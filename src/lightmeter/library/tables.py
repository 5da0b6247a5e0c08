"""Parquet and Lance: one table of item-paths, one table of feature rows a series.

`items` has a row an item-path with its words and tags as nested lists; `features-N` has item (its id), path (for
series of paths), time_s and vector (null: encoded, and nothing there), and the series' spec, owner and dim in the
metadata of its schema.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError, LightmeterError
from lightmeter.library import records
from lightmeter.library.exchange import Exchanged, Tally
from lightmeter.library.features import Features, Series
from lightmeter.library.filters import Where
from lightmeter.library.store import Library
from lightmeter.parts import build, need
from lightmeter.types import Array

ROWS = 4096  # feature rows in a batch
LANCE_ROWS = 65536  # rows in a Lance fragment


def write_tables(library: Library, folder: Path, form: str, where: Where | None) -> Exchanged:
    """Write the tables into an empty folder."""
    tally = Tally()
    arrow = need("pyarrow", "arrow")
    found = [library.features(series, where) for series in library.all_series()]  # mapped now, whatever gc does later
    _write(folder / f"items.{form}", _items_schema(arrow), _item_batches(arrow, library, where, tally), form)
    for number, features in enumerate(found):
        schema = _features_schema(arrow, features.series)
        batches = _feature_batches(arrow, library, features, where, tally)
        _write(folder / f"features-{number}.{form}", schema, batches, form)
    return tally.done()


def _items_schema(arrow: Any) -> Any:
    text, whole, real = arrow.string(), arrow.int64(), arrow.float64()
    word = arrow.struct([("source", text), ("title", text), ("keywords", arrow.list_(text))])
    tag = arrow.struct([("tag", text), ("score", real), ("source", text)])
    return arrow.schema(
        [
            ("id", text), ("kind", text), ("size_bytes", whole), ("state", text), ("reason", text),
            ("duration_s", real),
            ("width", whole), ("height", whole), ("taken_at", text), ("path", text), ("path_bytes", arrow.binary()),
            ("mtime_ns", whole), ("missing", arrow.bool_()), ("words", arrow.list_(word)), ("tags", arrow.list_(tag)),
        ]
    )  # fmt: skip


def _features_schema(arrow: Any, series: Series) -> Any:
    about = {"lightmeter.spec": series.spec, "lightmeter.owner": series.owner, "lightmeter.dim": str(series.dim)}
    columns = [
        ("item", arrow.string()), ("path", arrow.string()), ("path_bytes", arrow.binary()), ("time_s", arrow.float64()),
        ("vector", arrow.list_(arrow.float32())),
    ]  # fmt: skip
    return arrow.schema(columns, metadata=about)


def _item_batches(arrow: Any, library: Library, where: Where | None, tally: Tally) -> Iterator[Any]:
    for rows in records.records(library.catalogue, where):
        tally.items += len({row["id"] for row in rows})
        tally.paths += sum(row["path"] is not None for row in rows)
        yield arrow.RecordBatch.from_pylist(rows, schema=_items_schema(arrow))


def _feature_batches(arrow: Any, library: Library, found: Features, where: Where | None, tally: Tally) -> Iterator[Any]:
    series = found.series
    schema = _features_schema(arrow, series)
    for block in found.blocks():
        for start in range(0, len(block.owners), ROWS):
            part = slice(start, start + ROWS)
            owners, vectors, times_s = block.owners[part], block.vectors[part], block.times_s[part]
            names = _owner_names(library, series, owners)
            ends = arrow.array(np.arange(0, vectors.size + 1, series.dim, dtype=np.int32))
            flat = arrow.array(np.ascontiguousarray(vectors).reshape(-1))
            times = arrow.array(times_s, mask=np.isnan(times_s))
            columns = [*_columns(arrow, names), times, arrow.ListArray.from_arrays(ends, flat)]
            tally.rows += len(owners)
            yield arrow.RecordBatch.from_arrays(columns, schema=schema)
    empty = _empty_owners(library, series, where)
    if len(empty):
        names = _owner_names(library, series, empty)
        nothing = [arrow.nulls(len(empty), arrow.float64()), arrow.nulls(len(empty), arrow.list_(arrow.float32()))]
        yield arrow.RecordBatch.from_arrays([*_columns(arrow, names), *nothing], schema=schema)


def _columns(arrow: Any, names: list[tuple[str, str | None, bytes | None]]) -> list[Any]:
    kinds = (arrow.string(), arrow.string(), arrow.binary())
    return [arrow.array([name[i] for name in names], kind) for i, kind in enumerate(kinds)]


def _empty_owners(library: Library, series: Series, where: Where | None) -> Array:
    keys = library.owners(series.owner, where)
    nothing = "SELECT owner FROM features WHERE series = ? AND shard IS NULL"
    return np.intersect1d(keys, library.catalogue.keys(nothing, (series.id,)))


def _owner_names(library: Library, series: Series, owners: Array) -> list[tuple[str, str | None, bytes | None]]:
    """(id of the item, path as text, bytes of the path where they differ) of each owner."""
    chosen = "(SELECT value FROM json_each(?))"
    if series.owner == "item":
        sql = f"SELECT key, id, NULL FROM items WHERE key IN {chosen}"
    else:
        sql = f"SELECT p.key, i.id, p.path FROM paths p JOIN items i ON i.key = p.item WHERE p.key IN {chosen}"
    values = str(np.unique(owners).tolist())
    names = {
        key: (item, *(records.text_of(path) if path else (None, None)))
        for key, item, path in library.catalogue.rows(sql, (values,))
    }
    return [names[key] for key in owners.tolist()]


# -- reading --------------------------------------------------------------------------------------------------------


def read_tables(library: Library, folder: Path, form: str) -> Exchanged:
    """Read the tables of a folder into a library, a transaction a batch."""
    items = folder / f"items.{form}"
    if not items.exists():
        raise InvalidValueError(f"source must be a folder with items.{form}, got {folder}: name what `export` wrote")
    tally, seen = Tally(), set[str]()
    _, batches = _read(items, form, _items_schema(need("pyarrow", "arrow")))
    rows = 0
    for batch in batches:
        with library.transaction():
            for record in batch.to_pylist():
                rows += 1
                try:
                    if records.put(library.catalogue, record):
                        tally.paths += record["path"] is not None
                        seen.add(record["id"])
                except InvalidValueError as error:
                    tally.skipped.append(f"row {rows} of {items.name}: {error}")
    tally.items = len(seen)
    for path in sorted(folder.glob(f"features-*.{form}")):
        try:
            _read_features(library, path, form, tally)
        except InvalidValueError as error:
            tally.skipped.append(f"{path.name}: {error}")
    return tally.done()


def _read_features(library: Library, path: Path, form: str, tally: Tally) -> None:
    wanted = _features_schema(need("pyarrow", "arrow"), Series(0, "", "", 0))
    about, batches = _read(path, form, wanted)
    series = library.series(*_series_of(about))
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        if sum(len(each) for each in held) >= ROWS:
            held = [_put_features(library, series, held, tally, last=False)]
    if held:
        _put_features(library, series, held, tally, last=True)


def _series_of(metadata: dict[bytes, bytes]) -> tuple[str, str, int]:
    """(spec, owner, dim) of a series that an encoder here could have made; nothing else may enter a library."""
    try:
        about = {name: metadata[f"lightmeter.{name}".encode()].decode() for name in ("spec", "owner", "dim")}
    except (KeyError, UnicodeDecodeError) as error:
        raise InvalidValueError("a table of features must name its series in its metadata, got none") from error
    spec = about["spec"]
    try:
        encoder = build(spec, "encoder")
        owner, dim = "path" if encoder.takes == "words" else "item", int(encoder.dim)
    except (LightmeterError, ImportError, OSError) as error:
        raise InvalidValueError(f"the series must be of an encoder that is here, got {spec[:99]!r}: {error}") from error
    if (about["owner"], about["dim"]) != (owner, str(dim)):
        got = f"{about['owner'][:20]!r} and {about['dim'][:20]!r}"
        raise InvalidValueError(f"owner and dim of {spec} must be {owner!r} and {dim}, got {got}")
    return spec, owner, dim


def _put_features(library: Library, series: Series, held: list[Any], tally: Tally, *, last: bool) -> Any:
    """Append the rows of whole owners; the rows of the last owner wait for the next batch unless it is the last."""
    arrow = need("pyarrow", "arrow")
    table = arrow.Table.from_batches(held).combine_chunks()
    names = list(zip(*(table.column(name).to_pylist() for name in ("item", "path", "path_bytes")), strict=True))
    end = len(names)
    while not last and end and names[end - 1] == names[-1]:
        end -= 1
    now, rest = table.slice(0, end), table.slice(end)
    if end:
        with library.transaction():
            _append(library, series, now, _keys(library, series, names[:end]), tally)
    empty = arrow.RecordBatch.from_pylist([], schema=table.schema)
    return rest.combine_chunks().to_batches()[0] if len(rest) else empty


def _append(library: Library, series: Series, table: Any, keys: Array, tally: Tally) -> None:
    has = library.having(series, np.unique(keys[keys >= 0]).tolist())
    wanted = (keys >= 0) & ~np.isin(keys, np.array(sorted(has), np.int64))
    column = table.column("vector").combine_chunks()
    null = np.asarray(column.is_null())
    library.mark_empty(series, np.unique(keys[wanted & null]).tolist())
    rows = np.flatnonzero(wanted & ~null)
    if not len(rows):
        return
    chosen = column.take(rows)
    flat = np.asarray(chosen.flatten(), np.float32)
    if len(flat) != len(rows) * series.dim or np.any(np.asarray(chosen.value_lengths()) != series.dim):
        raise InvalidValueError(
            f"vectors of {series.spec} must have {series.dim} numbers, got others: the export is damaged"
        )
    times_s = np.array([np.nan if t is None else t for t in table.column("time_s").take(rows).to_pylist()])
    order = np.argsort(keys[rows], kind="stable")
    library.append(series, keys[rows][order], flat.reshape(-1, series.dim)[order], times_s[order])
    tally.rows += len(rows)


def _keys(library: Library, series: Series, names: list[tuple[str, str | None, bytes | None]]) -> Array:
    """Keys of the owners here, -1 for one that is not here or is another content now."""
    sql = "SELECT key FROM items WHERE id = ? AND NOT removed"
    if series.owner == "path":
        sql = "SELECT p.key FROM paths p JOIN items i ON i.key = p.item WHERE i.id = ? AND p.path = ? AND NOT i.removed"
    found: dict[Any, int] = {}
    for name in set(names):
        item, path, raw = name
        values = (item,) if series.owner == "item" else (item, raw if raw is not None else os.fsencode(path or ""))
        key = library.catalogue.value(sql, values)
        found[name] = -1 if key is None else int(key)
    return np.array([found[name] for name in names], np.int64)


# -- files ----------------------------------------------------------------------------------------------------------


def _write(path: Path, schema: Any, batches: Iterator[Any], form: str) -> None:
    if form == "lance":
        _write_lance(path, schema, batches)
        return
    parquet = need("pyarrow.parquet", "arrow")
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_lance(path: Path, schema: Any, batches: Iterator[Any]) -> None:
    """Written here and not from a reader: Lance would pull it in a thread of its own, where SQLite may not be read."""
    lance, arrow = need("lance", "lance"), need("pyarrow", "arrow")
    lance.write_dataset(schema.empty_table(), str(path))
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        if sum(len(each) for each in held) >= LANCE_ROWS:
            lance.write_dataset(arrow.Table.from_batches(held), str(path), mode="append")
            held = []
    if held:
        lance.write_dataset(arrow.Table.from_batches(held), str(path), mode="append")


def _read(path: Path, form: str, wanted: Any) -> tuple[dict[bytes, bytes], Iterator[Any]]:
    """(metadata, batches) of a table that has the wanted columns, each value in it checked to be of its kind."""
    arrow = need("pyarrow", "arrow")
    try:
        schema, batches = _lance(path) if form == "lance" else _parquet(path)
    except (arrow.ArrowException, OSError, ValueError) as error:
        what = "a Lance dataset" if form == "lance" else "a Parquet file"
        raise InvalidValueError(f"{path} must be {what}, got something that does not read: {error}") from error
    for column in wanted:
        found = schema.field(column.name).type if schema.names.count(column.name) == 1 else None
        if found != column.type:
            raise InvalidValueError(f"{column.name} of {path.name} must be a column of {column.type}, got {found}")
    return schema.metadata or {}, _checked(path, batches)


def _lance(path: Path) -> tuple[Any, Iterator[Any]]:
    found = need("lance", "lance").dataset(str(path))
    return found.schema, iter(found.to_batches(batch_size=ROWS))


def _parquet(path: Path) -> tuple[Any, Iterator[Any]]:
    file = need("pyarrow.parquet", "arrow").ParquetFile(path)
    return file.schema_arrow, _batches(file)


def _batches(file: Any) -> Iterator[Any]:
    with file:
        yield from file.iter_batches(batch_size=ROWS)


def _checked(path: Path, batches: Iterator[Any]) -> Iterator[Any]:
    """The same batches; text in them is UTF-8 and lists end where their values do."""
    arrow = need("pyarrow", "arrow")
    try:
        for batch in batches:
            batch.validate(full=True)
            yield batch
    except (arrow.ArrowException, OSError) as error:
        raise InvalidValueError(f"{path.name} must be a table that reads to its end, got: {error}") from error
