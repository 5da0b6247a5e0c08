"""What the seeds print: every cell of their tables, transcribed with seed and place, to stand beside our figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lightmeter.errors import InvalidValueError, UnknownNameError, nearest

SCHEMA = "lightmeter.published/1"
FOLDER = Path(__file__).with_name("published")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell as it stands in a seed.

    unit: `%`, `ms`, `MB`, `IoU` or `million videos` · printed: the characters there
    value: their number, None for a dash
    plus_minus: what follows ± there, None where nothing does · seed, place: where to look it up
    """

    row: str
    column: str
    unit: str
    printed: str
    value: float | None
    plus_minus: float | None
    seed: str
    place: str


@dataclass(frozen=True)
class PublishedTable:
    """One table of a seed, whole; cells in reading order."""

    name: str
    seed: str
    place: str
    title: str
    source: str
    notes: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Labels of the rows, in order."""
        return tuple(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> tuple[str, ...]:
        """Labels of the columns, in order."""
        return tuple(dict.fromkeys(cell.column for cell in self.cells))

    def cell(self, row: str, column: str) -> Cell:
        """One cell; raises UnknownNameError with the nearest row or column."""
        for kind, name, known in (("row", row, self.rows), ("column", column, self.columns)):
            if name not in known:
                raise UnknownNameError(f"table {self.name} has no {kind} {name!r}{nearest(name, known)}")
        return next(cell for cell in self.cells if (cell.row, cell.column) == (row, column))


def published_names() -> tuple[str, ...]:
    """Names of all tables, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@cache
def published(name: str) -> PublishedTable:
    """A table by its name, as `caltech-101`.

    Raises UnknownNameError for a name that is not there, InvalidValueError where a file is not a whole table.
    """
    if name not in published_names():
        raise UnknownNameError(f"no published table called {name!r}{nearest(name, published_names())}")
    return table_from(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


def table_from(values: Mapping[str, Any]) -> PublishedTable:
    """A table from its JSON; each pair of row and column must stand there exactly once."""
    if values.get("schema") != SCHEMA:
        raise InvalidValueError(f"schema must be {SCHEMA}, got {values.get('schema')!r}: use the version that wrote it")
    seed, place = values["seed"], values["place"]
    cells = tuple(Cell(**cell, seed=seed, place=place) for cell in values["cells"])
    table = PublishedTable(
        values["name"], seed, place, values["title"], values["source"], tuple(values["notes"]), cells
    )
    places = {(cell.row, cell.column) for cell in cells}
    if not len(places) == len(cells) == len(table.rows) * len(table.columns):
        raise InvalidValueError(
            f"table {table.name} must hold {len(table.rows)} x {len(table.columns)} cells, each once, got {len(cells)}"
        )
    return table
