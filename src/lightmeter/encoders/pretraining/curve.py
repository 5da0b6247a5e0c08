"""How a run went: means over stretches of steps, and scores on held-out clips; kept with the checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.assets.saving import expect
from lightmeter.errors import MissingAssetError, RejectedFileError
from lightmeter.types import Array

Row = dict[str, float]


class Curve:
    """Rows of figures by step, of two kinds: `learnt`, means over the steps since the row before, and `scored`.

    every: steps a row.  A run that was stopped goes on with the sums as they were, and ends with the same rows.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.learnt: list[Row] = []
        self.scored: list[Row] = []
        self._sums: Row = {}
        self._count = 0

    def add(self, done: int, figures: Mapping[str, float], *, ends: bool) -> bool:
        """Count a step; whether a row was made of it."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if done % self.every and not ends:
            return False
        self.learnt.append({"step": float(done), **{name: each / self._count for name, each in self._sums.items()}})
        self._sums, self._count = {}, 0
        return True

    def score(self, done: int, figures: Mapping[str, float]) -> None:
        """Keep what was scored after so many steps, if anything was."""
        if figures:
            self.scored.append({"step": float(done), **figures})

    @property
    def last(self) -> dict[str, Row]:
        """The newest figures, without their step: means over steps of what was `learnt`, and what was `held_out`."""
        return {"learnt": _figures(self.learnt), "held_out": _figures(self.scored)}

    def state(self) -> dict[str, Array]:
        """All of it, as arrays."""
        made = {"curve.count": np.array([self._count], np.int64)}
        made |= {f"curve.sum.{name}": np.array([value]) for name, value in self._sums.items()}
        for kind, rows in (("learnt", self.learnt), ("scored", self.scored)):
            names = {name: None for row in rows for name in row}
            made |= {f"curve.{kind}.{name}": np.array([row.get(name, math.nan) for row in rows]) for name in names}
        return made

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take up what `state` gave."""
        self._count = int(expect(arrays, "curve.count", "int64", 1)[0])
        found = {name.removeprefix("curve."): each for name, each in arrays.items() if name.startswith("curve.")}
        self._sums = {name[4:]: float(each[0]) for name, each in found.items() if name.startswith("sum.")}
        self.learnt, self.scored = _rows(found, "learnt."), _rows(found, "scored.")

    def write(self, path: Path) -> None:
        """As JSON Lines: `{"kind": "learnt", "step": 20, "loss": …}`."""
        rows = [("learnt", row) for row in self.learnt] + [("scored", row) for row in self.scored]
        rows.sort(key=lambda each: each[1]["step"])
        lines = [json.dumps({"kind": kind, **row, "step": int(row["step"])}) for kind, row in rows]
        write_whole(path, "\n".join(lines) + "\n" if lines else "")

    def read(self, path: Path) -> None:
        """Take up what `write` wrote.  Raises MissingAssetError where it is not there, RejectedFileError for others."""
        if not path.is_file():
            raise MissingAssetError(f"{path} is not there: put it back, or train anew")
        try:
            rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            self.learnt, self.scored = (
                [
                    {name: float(each) for name, each in row.items() if name != "kind"}
                    for row in rows
                    if row["kind"] == kind
                ]
                for kind in ("learnt", "scored")
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RejectedFileError("damaged", f"{path} must be the curve of a run: {str(error)[:200]}") from error

    def draw(self, path: Path, title: str) -> None:
        """As PNG: the loss by step, learnt from and, where it is scored, held out."""
        from lightmeter.report.plots import curves_png

        curves = {
            name: ([row["step"] for row in rows if "loss" in row], [row["loss"] for row in rows if "loss" in row])
            for name, rows in (("learnt from", self.learnt), ("held out", self.scored))
        }
        curves = {name: points for name, points in curves.items() if points[0]}
        curves_png(curves, path, x_label="step", y_label="loss", title=title)


def _figures(rows: list[Row]) -> Row:
    return {name: value for name, value in rows[-1].items() if name != "step"} if rows else {}


def _rows(found: Mapping[str, Array], prefix: str) -> list[Row]:
    columns = {name.removeprefix(prefix): each for name, each in found.items() if name.startswith(prefix)}
    count = len(next(iter(columns.values()))) if columns else 0
    rows = [{name: float(column[at]) for name, column in columns.items()} for at in range(count)]
    return [{name: value for name, value in row.items() if not math.isnan(value)} for row in rows]
