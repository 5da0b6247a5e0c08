"""Checking a whole library, byte by byte, and setting aside what is broken so that the next run makes it again."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightmeter.assets.files import FileLock
from lightmeter.errors import LibraryDamagedError, LibraryNotFoundError
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.codes import count_strays, damaged_codes, repair_codes
from lightmeter.library.connect import NAME, connect_to_read, connect_to_write
from lightmeter.library.features import is_among, runs_of
from lightmeter.library.opening import LOCK_NAME, check_length, check_version, strangers, sweep
from lightmeter.library.salvage import salvage
from lightmeter.library.shards import check_shard, links, open_shard, shard_files, shard_path
from lightmeter.types import Array

Place = Literal["catalogue", "shard", "features", "codes"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. place: `catalogue`, `shard` (then `shard` is its id, None for a link), `features`
    or `codes` (searches scan without them)."""

    place: Place
    detail: str
    shard: int | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What fsck found.

    problems: empty for a sound library · orphans: files that nobody names (harmless, the next writer deletes them)
    repaired: whether the problems were repaired · lost: owners (items or paths) that must be encoded again
    """

    problems: tuple[Problem, ...]
    orphans: int
    shards: int
    size_bytes: int
    repaired: bool = False
    lost: int = 0


def fsck(folder: Path, *, repair: bool = False, wait_s: float = 0.0) -> Health:
    """Read every byte of a library and compare it with what was registered. Cost: one pass over all shards.

    repair: a catalogue that does not read is rebuilt from the rows that do; a broken shard is set aside as `*.bad` and
    its owners count as missing, so that the same index command makes their features again.
    """
    if not folder.is_dir() or not (folder / NAME).exists():
        raise LibraryNotFoundError(
            f"no library at {folder}: make one with `lightmeter index FOLDER --library {folder}`"
        )
    if not repair:
        return _read_only(folder)
    lock = FileLock(folder / LOCK_NAME)
    lock.take(wait_s)
    try:
        return _repair(folder, lock)
    finally:
        lock.release()


def _read_only(folder: Path) -> Health:
    try:
        check_length(folder / NAME)
        catalogue = Catalogue(folder, connect_to_read(folder / NAME), None)
    except LibraryDamagedError as error:
        return Health((Problem("catalogue", str(error)),), 0, 0, 0)
    try:
        return _examine(catalogue)
    finally:
        catalogue.close()


def _repair(folder: Path, lock: FileLock) -> Health:
    found = _read_only(folder)
    ill = [problem for problem in found.problems if problem.place == "catalogue"]
    if ill:
        salvage(folder)
        found = _read_only(folder)
        if any(problem.place == "catalogue" for problem in found.problems):
            raise LibraryDamagedError(
                f"the catalogue of {folder} cannot be saved: move the folder away and index again"
            )
    for link in links(folder):
        link.unlink()  # the link, not what it leads to
    catalogue = Catalogue(folder, connect_to_write(folder / NAME)[0], lock)
    try:
        check_version(catalogue)
        lost = _set_aside(catalogue, found.problems)
        sweep(catalogue)
        repair_codes(catalogue)
        after = _examine(catalogue)
    finally:
        catalogue.close()
    left = after.problems
    problems = (*ill, *found.problems)
    return Health(problems, found.orphans, after.shards, after.size_bytes, repaired=not left, lost=lost)


def _set_aside(catalogue: Catalogue, problems: tuple[Problem, ...]) -> int:
    """Take broken shards out of the manifest. Returns how many owners lost their features."""
    lost = 0
    broken = sorted({problem.shard for problem in problems if problem.shard is not None})
    for shard in broken:
        series, name = catalogue.rows("SELECT series, name FROM shards WHERE id = ?", (shard,))[0]
        _keep_bad(catalogue.folder, series, name)
        with catalogue.transaction():
            lost += catalogue.execute("DELETE FROM features WHERE shard = ?", (shard,)).rowcount
            catalogue.execute("DELETE FROM shards WHERE id = ?", (shard,))
    with catalogue.transaction():
        lost += catalogue.execute(
            "DELETE FROM features WHERE shard NOT NULL AND shard NOT IN (SELECT id FROM shards)"
        ).rowcount
        for table, owner in (("items", "item"), ("paths", "path")):
            stray = f"owner NOT IN (SELECT key FROM {table})"
            mine = f"{stray} AND series IN (SELECT id FROM series WHERE owner = '{owner}')"
            catalogue.execute(
                f"INSERT OR IGNORE INTO dead SELECT shard, owner FROM features WHERE shard NOT NULL AND {mine}"
            )
            catalogue.execute(f"DELETE FROM features WHERE {mine}")
    return lost


def _keep_bad(folder: Path, series: object, name: object) -> None:
    """Keep the bytes of a broken shard as `*.bad`, where they are the library's own."""
    try:
        path = Path(shard_path(folder, series, name))
    except LibraryDamagedError:
        return
    if path.is_symlink():
        path.unlink()
    elif path.is_file():
        bad = path.with_name(path.name + ".bad")
        bad.unlink(missing_ok=True)
        os.link(path, bad)


def _examine(catalogue: Catalogue) -> Health:
    try:
        with catalogue.snapshot():
            problems = _check_catalogue(catalogue)
            if problems:
                return Health(tuple(problems), 0, 0, 0)
            problems += [Problem("shard", f"{link} is a link") for link in links(catalogue.folder)]
            columns = "h.id, series, name, rows, size_bytes, digest, spec, dim"
            shards = catalogue.rows(f"SELECT {columns} FROM shards h JOIN series s ON s.id = series")
            registered = _registered(catalogue)
            for shard in shards:
                problems += _check_one(catalogue, shard, registered.pop(shard[0], []))
            registered.pop(None, None)
            problems += [
                Problem("features", f"shard {shard} of {len(rows)} owners is not there")
                for shard, rows in registered.items()
            ]
            problems += _check_owners(catalogue)
            problems += [Problem("codes", f"{place.name}: {why}") for place, why in damaged_codes(catalogue)]
            strays = count_strays(catalogue)
    except (LibraryDamagedError, sqlite3.DatabaseError) as error:
        return Health((Problem("catalogue", str(error)),), 0, 0, 0)
    names = {shard[2] for shard in shards}
    files = [path.name for path in shard_files(catalogue.folder)]
    orphans = sum(name.endswith((".shard", ".shard.tmp")) and name not in names for name in files) + strays
    return Health(tuple(problems), orphans, len(shards), sum(shard[4] for shard in shards))


def _check_catalogue(catalogue: Catalogue) -> list[Problem]:
    strange = strangers(catalogue)
    if strange:
        return [Problem("catalogue", each) for each in strange[:20]]
    answers = [str(row[0]) for row in catalogue.rows("PRAGMA integrity_check(20)")]
    problems = [Problem("catalogue", answer) for answer in answers if answer != "ok"]
    if not problems:
        for table, _, parent, _ in catalogue.rows("PRAGMA foreign_key_check"):
            problems.append(Problem("catalogue", f"a row of {table} speaks of a row of {parent} that is not there"))
    return problems[:20]


def _check_one(
    catalogue: Catalogue, shard: tuple[int, int, str, int, int, str, str, int], registered: list[tuple[int, int, int]]
) -> list[Problem]:
    key, series, name, rows, size_bytes, digest, spec, dim = shard
    try:
        path = Path(shard_path(catalogue.folder, series, name))
    except LibraryDamagedError as error:
        return [Problem("shard", f"the manifest of {spec}: {error}", key)]
    wrong = check_shard(path, digest=digest)
    if wrong:
        return [Problem("shard", f"{path.name} of {spec}: {wrong}", key)]
    block = open_shard(path)
    if block.vectors.shape != (rows, dim) or path.stat().st_size != size_bytes:
        return [Problem("shard", f"{path.name} of {spec} is not the shape that was registered", key)]
    if not _rows_fit(catalogue, key, block.owners, registered):
        return [Problem("shard", f"{path.name} of {spec} holds other owners than were registered", key)]
    return []


def _rows_fit(catalogue: Catalogue, shard: int, owners: Array, registered: list[tuple[int, int, int]]) -> bool:
    """Every run of rows is either registered where it stands or known to be dead."""
    dead = catalogue.keys("SELECT owner FROM dead WHERE shard = ? ORDER BY owner", (shard,))
    starts, names, counts = runs_of(owners)
    alive = ~is_among(names, dead)
    return registered == sorted(zip(names[alive].tolist(), starts[alive].tolist(), counts[alive].tolist(), strict=True))


def _registered(catalogue: Catalogue) -> dict[int | None, list[tuple[int, int, int]]]:
    """Shard → (owner, first row, rows) of its owners, by owner; for a million owners 150 MB."""
    found: dict[int | None, list[tuple[int, int, int]]] = {}
    for shard, *run in catalogue.rows("SELECT shard, owner, first_row, rows FROM features ORDER BY owner"):
        found.setdefault(shard, []).append((run[0], run[1], run[2]))
    return found


def _check_owners(catalogue: Catalogue) -> list[Problem]:
    problems = []
    for table, owner in (("items", "item"), ("paths", "path")):
        sql = (
            f"SELECT count(*) FROM features f JOIN series s ON s.id = f.series WHERE s.owner = '{owner}' "
            f"AND f.owner NOT IN (SELECT key FROM {table})"
        )
        strays = int(catalogue.value(sql))
        if strays:
            problems.append(Problem("features", f"{strays} owners of features are not among the {table}"))
    return problems
