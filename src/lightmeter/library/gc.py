"""Giving space back: small shards merged into large ones, dead rows dropped, removed items forgotten.

Every merge writes a new durable shard, swaps it for the old ones in one transaction and deletes their files last, so
a kill at any moment leaves either the old shards or the new one in the manifest, and at worst files that nobody names.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmeter.errors import LibraryDamagedError
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.contents import bury
from lightmeter.library.features import Series, committed_names, dead_owners, is_among, register, runs_of, series_folder
from lightmeter.library.opening import sweep
from lightmeter.library.shards import open_shard, shard_files, shard_path, write_shard
from lightmeter.search.exact import Block

SMALL_BYTES = 1 << 20  # shards below this are merged while a run goes on …
MANY_SMALL = 64  # … as soon as there are so many of them
TARGET_BYTES = 128 << 20  # what compact and gc aim at
_Shard = tuple[int, str, str, int, int]  # id, name, digest, rows, size_bytes


@dataclass(frozen=True, slots=True)
class Freed:
    """What gc gave back."""

    items: int
    rows: int
    size_bytes: int


def merge_small(catalogue: Catalogue, series: Series) -> None:
    """Merge the small shards of a series when there are many; part of the open transaction.

    Cost: every row is written once more, at most a few times for very narrow rows.
    """
    sql = "SELECT id, name, digest, rows, size_bytes FROM shards WHERE series = ? AND size_bytes < ? ORDER BY id"
    small = catalogue.rows(sql, (series.id, SMALL_BYTES))
    if len(small) >= MANY_SMALL:
        delete_replaced(catalogue)
        merge(catalogue, series, small)


def merge(catalogue: Catalogue, series: Series, shards: Sequence[_Shard]) -> int:
    """Swap shards for one that holds their live rows. Returns how many dead rows were dropped."""
    folder = series_folder(catalogue, series.id)
    dead = dead_owners(catalogue, series.id)
    places = [Path(shard_path(catalogue.folder, series.id, shard[1])) for shard in shards]
    parts = [
        (path, shard[2], _live(path, shard[2], dead.get(shard[0]))) for path, shard in zip(places, shards, strict=True)
    ]
    rows = sum(len(keep) for _, _, keep in parts)
    with catalogue.transaction():
        written = None
        if rows:
            written = write_shard(folder, _blocks(parts), spec=series.spec, dim=series.dim, rows=rows)
        chosen = json.dumps([shard[0] for shard in shards])
        catalogue.execute("DELETE FROM shards WHERE id IN (SELECT value FROM json_each(?))", (chosen,))
        if written:
            register(catalogue, series.id, written, runs_of(open_shard(folder / written.name).owners), again=True)
    catalogue.replaced += [path for path, _, _ in parts]
    return sum(shard[3] for shard in shards) - rows


def _live(path: Path, digest: str, dead: np.ndarray | None) -> np.ndarray:
    owners = open_shard(path, digest=digest).owners
    return np.arange(len(owners)) if dead is None else np.flatnonzero(~is_among(owners, dead))


def _blocks(parts: Sequence[tuple[Path, str, np.ndarray]]) -> Iterator[Block]:
    for path, digest, keep in parts:
        block = open_shard(path, digest=digest)
        for start in range(0, len(keep), 8192):
            rows = keep[start : start + 8192]
            yield Block(block.vectors[rows], block.owners[rows], block.times_s[rows])


def delete_replaced(catalogue: Catalogue) -> None:
    """Delete the files of merged shards that the last committed state no longer names."""
    if not catalogue.replaced:
        return
    try:
        names = committed_names(catalogue)
    except (sqlite3.OperationalError, LibraryDamagedError):
        return  # a catalogue without a log cannot be seen from outside now; the next open sweeps
    for path in catalogue.replaced:
        if path.name not in names:
            path.unlink(missing_ok=True)
    catalogue.replaced = [path for path in catalogue.replaced if path.name in names]


def compact(catalogue: Catalogue, series: Series, *, dead_too: bool = False) -> int:
    """Merge shards far below 128 MiB (and those with dead rows) up to that size. Returns dropped dead rows.

    Each merge is a transaction of its own. Cost: the merged shards are read and written once.
    """
    sql = "SELECT id, name, digest, rows, size_bytes FROM shards WHERE series = ? ORDER BY id"
    dead = set(dead_owners(catalogue, series.id)) if dead_too else set()
    shards = [s for s in catalogue.rows(sql, (series.id,)) if s[4] < TARGET_BYTES // 4 or s[0] in dead]
    dropped = 0
    for group in _groups(shards):
        if len(group) > 1 or group[0][0] in dead:
            dropped += merge(catalogue, series, group)
            delete_replaced(catalogue)
    return dropped


def _groups(shards: Sequence[_Shard]) -> Iterator[list[_Shard]]:
    group: list[_Shard] = []
    for shard in shards:
        if group and sum(s[4] for s in group) + shard[4] > TARGET_BYTES:
            yield group
            group = []
        group.append(shard)
    if group:
        yield group


def collect(catalogue: Catalogue) -> Freed:
    """Forget removed items and their paths, drop dead rows, merge small shards, delete files nobody names."""
    from lightmeter.library.codes import sweep_codes  # every search would pay for it: 0.03 CPU-s

    before = _disk_bytes(catalogue.folder)
    with catalogue.transaction():
        items = catalogue.keys("SELECT key FROM items WHERE removed = 1").tolist()
        chosen = json.dumps(items)
        paths = catalogue.keys("SELECT key FROM paths WHERE item IN (SELECT value FROM json_each(?))", (chosen,))
        bury(catalogue, "item", items)
        bury(catalogue, "path", paths.tolist())
        catalogue.execute("DELETE FROM items WHERE key IN (SELECT value FROM json_each(?))", (chosen,))
    rows = 0
    for row in catalogue.rows("SELECT id, spec, owner, dim FROM series"):
        rows += compact(catalogue, Series(*row), dead_too=True)
    sweep(catalogue)
    sweep_codes(catalogue)
    for path in shard_files(catalogue.folder):
        if path.suffix == ".bad":
            path.unlink()
    _shrink(catalogue)
    return Freed(len(items), rows, max(0, before - _disk_bytes(catalogue.folder)))


def _shrink(catalogue: Catalogue) -> None:
    free, pages = catalogue.value("PRAGMA freelist_count"), catalogue.value("PRAGMA page_count")
    if free * 4 > pages:
        catalogue.execute("VACUUM")
    catalogue.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
