"""Which contents have which features: what indexing asks before it works."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lightmeter.library.catalogue import Catalogue
from lightmeter.library.features import Series


def specs_of(catalogue: Catalogue, item_id: str) -> set[str]:
    """Specs of the encoders that have seen a content (sha256 in hex), whether or not they found anything."""
    sql = (
        "SELECT s.spec FROM items i JOIN features f ON f.owner = i.key JOIN series s ON s.id = f.series "
        "WHERE i.id = ? AND s.owner = 'item'"
    )
    return {row[0] for row in catalogue.rows(sql, (item_id,))}


def having(catalogue: Catalogue, series: Series, owners: Sequence[int]) -> set[int]:
    """Those of some owners that a series has features of, or that were marked as having none."""
    sql = "SELECT owner FROM features WHERE series = ? AND owner IN (SELECT value FROM json_each(?))"
    return {row[0] for row in catalogue.rows(sql, (series.id, json.dumps([int(key) for key in owners])))}


def complete_paths(catalogue: Catalogue, encoders: Sequence[str], words: str) -> set[int]:
    """Keys of the paths whose content has features of every encoder, and whose words are encoded."""
    conditions = [("item", spec) for spec in encoders] + ([("path", words)] if words else [])
    complete: set[int] | None = None
    for owner, spec in conditions:
        column = "p.item" if owner == "item" else "p.key"
        sql = (
            f"SELECT p.key FROM paths p JOIN features f ON f.owner = {column} "
            "WHERE f.series = (SELECT id FROM series WHERE spec = ? AND owner = ?)"
        )
        found = {row[0] for row in catalogue.rows(sql, (spec, owner))}
        complete = found if complete is None else complete & found
    if complete is None:
        return {row[0] for row in catalogue.rows("SELECT key FROM paths")}
    return complete
