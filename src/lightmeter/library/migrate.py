"""Bringing an older library up to the present version: a backup first, then every step in one transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from lightmeter.errors import LibraryVersionError
from lightmeter.library.catalogue import Catalogue
from lightmeter.library.connect import NAME
from lightmeter.library.schema import Step
from lightmeter.library.shards import sync_folder


def migrate(catalogue: Catalogue, steps: Mapping[int, Step], version: int) -> Path:
    """Run the steps from the library's version up to `version`, all or nothing. Returns the backup.

    Killed at any moment the library is of the old version or of the new one, never between.
    """
    start = int(catalogue.value("PRAGMA user_version"))
    lost = [each for each in range(start, version) if each not in steps]
    if lost:
        raise LibraryVersionError(
            f"the library at {catalogue.folder} is of version {start}, too old: no step leads on from {lost[0]}"
        )
    kept = back_up(catalogue, start)
    with catalogue.transaction():
        for each in range(start, version):
            steps[each](catalogue.connection)
        catalogue.execute(f"PRAGMA user_version = {version:d}")
        if catalogue.rows("PRAGMA foreign_key_check"):
            raise LibraryVersionError(
                f"the library at {catalogue.folder} did not survive the step to {version}: it stays as it was"
            )
    return kept


def back_up(catalogue: Catalogue, version: int) -> Path:
    """Copy the catalogue to `library.sqlite.bak-vN`, whole or not at all."""
    path = catalogue.folder / f"{NAME}.bak-v{version}"
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    copy = sqlite3.connect(temporary)
    try:
        catalogue.connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)
    return path
