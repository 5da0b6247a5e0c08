"""Example sets of features ↔ one Parquet file, for exchange with whatever reads tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import whole_file
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.examples import Block
from lightmeter.library.example_layout import Stored
from lightmeter.library.example_set import ExampleSet
from lightmeter.library.example_writing import MOST_ID_BYTES, ShardRows, write_set
from lightmeter.parts import need
from lightmeter.types import Array, Labels

ROWS = 8192
_ABOUT = b"lightmeter.example-set"
_MOST_ABOUT_BYTES = 16 << 20


def write_parquet(examples: ExampleSet, path: Path | str, *, progress: Callable[[int], None] | None = None) -> Path:
    """Write a set without frames as one file: `id`, `labels` (int32; null where nobody knows), a column a block.

    A block is a list of fixed length of float32 (int32 for tokens), null where an item has not got it: what was stored
    as float16 or uint8 stands there as the numbers it means. Names of classes and blocks are in the file's metadata.
    progress: called with the items of each row group · Raises InvalidValueError for sets with frames, and where another
    thing than a table stands
    """
    arrow, parquet = need("pyarrow", "arrow"), need("pyarrow.parquet", "arrow")
    if examples.lengths is not None or examples.rated is not None:
        raise InvalidValueError("a Parquet file holds features and tokens: write frames and segments as TFRecords")
    _check_place(Path(path))
    columns = [arrow.field("id", arrow.string()), arrow.field("labels", arrow.list_(arrow.int32()))]
    for block in examples.blocks:
        kind = arrow.int32() if block.kind == "tokens" else arrow.float32()
        columns.append(arrow.field(f"block.{block.name}", arrow.list_(kind, block.dim)))
    about = {
        "label_names": examples.label_names,
        "blocks": [each.as_json() for each in examples.manifest.blocks],
        "about": examples.manifest.about,
    }
    schema = arrow.schema(columns, metadata={_ABOUT: json.dumps(about).encode()})
    with whole_file(path) as unfinished, parquet.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for start in range(0, len(examples), ROWS):
            rows = np.arange(start, min(len(examples), start + ROWS))
            writer.write_batch(arrow.record_batch(_columns(examples, rows, arrow), schema=schema))
            if progress:
                progress(len(rows))
    return Path(path)


def _check_place(path: Path) -> None:
    """A table may be written over, and nothing else."""
    if path.exists():
        if path.is_file():
            with path.open("rb") as file:
                if file.read(4) in (b"PAR1", b""):
                    return
        raise InvalidValueError(f"OUT must be new or a Parquet file, got {path}, which is another thing: take another")


def _columns(examples: ExampleSet, rows: Array, arrow: Any) -> list[Any]:
    batch = examples.batch(rows)
    made = [arrow.array(examples.ids[int(rows[0]) : int(rows[-1]) + 1], arrow.string())]
    if batch.labels is None:
        made.append(arrow.nulls(len(rows), arrow.list_(arrow.int32())))
    else:
        made.append(arrow.ListArray.from_arrays(batch.labels.offsets.astype(np.int32), batch.labels.classes))
    for at, block in enumerate(examples.blocks):
        absent = arrow.array(~batch.present[:, at])
        flat = arrow.array(np.ascontiguousarray(batch.values[block.name]).reshape(-1))
        made.append(arrow.FixedSizeListArray.from_arrays(flat, block.dim, mask=absent))
    return made


def read_parquet(path: Path | str, folder: Path | str, *, progress: Callable[[int], None] | None = None) -> ExampleSet:
    """Make a set of a file that `write_parquet` wrote, or of one with the same columns and metadata.

    Raises RejectedFileError for files that are no such table, whose lists do not fit, or that end early.
    """
    arrow, parquet = need("pyarrow", "arrow"), need("pyarrow.parquet", "arrow")
    path = Path(path)
    try:
        file = parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise RejectedFileError("not-a-table", f"{path} must be a Parquet file: {str(error)[:200]}") from error
    with file:
        blocks, names, about = _about(file.schema_arrow, path)
        _check_columns(file.schema_arrow, blocks, arrow, path)
        shards = _shards(file, blocks, len(names), path, progress or (lambda count: None))
        return write_set(folder, blocks, names, shards, about={**about, "from": path.name})


def _about(schema: Any, path: Path) -> tuple[list[Stored], list[str], dict[str, Any]]:
    raw = (schema.metadata or {}).get(_ABOUT, b"")
    try:
        if len(raw) > _MOST_ABOUT_BYTES:
            raise InvalidValueError(f"metadata must be at most {_MOST_ABOUT_BYTES} bytes, got {len(raw)}")
        said: Mapping[str, Any] = json.loads(raw)
        names = [str(each) for each in said["label_names"]]
        return [Stored.from_json(each) for each in said["blocks"]], names, dict(said["about"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"{path} must name its classes and blocks in its metadata ({_ABOUT.decode()}): {str(error)[:200]}"
        raise RejectedFileError("broken-metadata", what) from error


def _check_columns(schema: Any, blocks: list[Stored], arrow: Any, path: Path) -> None:
    wanted = {"id": arrow.string(), "labels": arrow.list_(arrow.int32())}
    for stored in blocks:
        block: Block = stored.block
        if block.kind == "frames":
            raise RejectedFileError("broken-metadata", f"{path} must have no frames: they do not fit into a table")
        kind = arrow.int32() if block.kind == "tokens" else arrow.float32()
        wanted[f"block.{block.name}"] = arrow.list_(kind, block.dim)
    for name, kind in wanted.items():
        found = schema.field(name).type if schema.names.count(name) == 1 else None
        if found != kind and not (found is not None and _alike(found, kind, arrow)):
            raise RejectedFileError("wrong-column", f"{name} of {path} must be {kind}, got {found}")


def _alike(found: Any, kind: Any, arrow: Any) -> bool:
    """Lists whose items are only called otherwise."""
    lists = (arrow.types.is_list, arrow.types.is_fixed_size_list)
    same = any(each(found) and each(kind) for each in lists) and found.value_type == kind.value_type
    return same and getattr(found, "list_size", 0) == getattr(kind, "list_size", 0)


def _shards(
    file: Any, blocks: list[Stored], classes: int, path: Path, progress: Callable[[int], None]
) -> Iterator[ShardRows]:
    arrow = need("pyarrow", "arrow")
    try:
        for batch in file.iter_batches(batch_size=ROWS):
            batch.validate(full=True)
            yield _rows(batch, blocks, classes, path)
            progress(len(batch))
    except (arrow.ArrowException, OSError) as error:
        raise RejectedFileError("truncated", f"{path} must be a table that reads to its end: {error}") from error


def _rows(batch: Any, blocks: list[Stored], classes: int, path: Path) -> ShardRows:
    ids = batch.column("id").to_pylist()
    if any(not each or len(each.encode()) > MOST_ID_BYTES or "\0" in each for each in ids):
        raise RejectedFileError("bad-id", f"ids of {path} must be texts of 1 to {MOST_ID_BYTES} bytes")
    present = np.ones((len(ids), len(blocks)), bool)
    values: dict[str, Array] = {}
    for at, stored in enumerate(blocks):
        column = batch.column(f"block.{stored.block.name}")
        present[:, at] = np.asarray(column.is_valid())
        made = np.zeros((len(ids), stored.block.dim), np.int32 if stored.block.kind == "tokens" else np.float32)
        held = column.drop_null().flatten()
        if held.null_count:
            raise RejectedFileError("wrong-column", f"{stored.block.name} of {path} must have no holes in its lists")
        made[present[:, at]] = np.asarray(held).reshape(-1, stored.block.dim)
        values[stored.block.name] = _coded(stored, made, path)
    return ShardRows(ids, values, _labels(batch.column("labels"), classes, path), present)


def _labels(column: Any, classes: int, path: Path) -> Labels | None:
    if column.null_count == len(column) and len(column):
        return None
    try:
        return Labels.of([each or () for each in column.to_pylist()], classes)
    except (InvalidValueError, TypeError) as error:
        raise RejectedFileError("label-range", f"labels of {path} must be 0 to {classes - 1}: {error}") from error


def _coded(stored: Stored, values: Array, path: Path) -> Array:
    """Numbers as they are stored: codes of uint8 are found again from what they stood for."""
    if not np.isfinite(values).all():
        raise RejectedFileError("not-numbers", f"{stored.block.name} of {path} must be finite numbers")
    if stored.storage != "uint8":
        return values
    steps = np.rint((values - np.float32(stored.offset)) / np.float32(stored.scale))
    made: Array = np.clip(steps, 0, 255).astype(np.uint8)
    return made
