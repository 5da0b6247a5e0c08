"""How the study `bair` runs: encoder by encoder, every cell kept as it ends, shared between calls that run at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from lightmeter.encoders.dense import DenseEncoder
from lightmeter.encoders.dense_cache import FeatureCache
from lightmeter.errors import LibraryBusyError, LightmeterError
from lightmeter.heads.segmenting.cells import Cell, CellResult
from lightmeter.heads.segmenting.prepared import prepared
from lightmeter.heads.segmenting.probing import run_cells
from lightmeter.heads.segmenting.protocol import mask_head
from lightmeter.heads.segmenting.sweep import Sweep, run_sweep
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.meter.cost import Cost
from lightmeter.meter.record import hash_of
from lightmeter.metrics.effective_rank import effective_rank
from lightmeter.parts import build
from lightmeter.studies.bair import BairResult, Outcome
from lightmeter.studies.bair_data import BairSet
from lightmeter.studies.bair_encoders import ALL, FULL, Encoders
from lightmeter.studies.bair_rows import LOSS_NAMES, OPTIMISERS, Row, Sizes, loss_heads, loss_row, rows_of
from lightmeter.studies.bair_sharing import POLL_S, slug, taken
from lightmeter.studies.declared import Asked


class Running:
    """One call of the study."""

    def __init__(self, asked: Asked, sizes: Sizes, whole: BairSet, folder: Path) -> None:
        self.asked, self.whole, self.folder = asked, whole, folder
        self.sizes = sizes if asked.seeds is None else replace(sizes, seeds=asked.seeds)
        self.encoders = Encoders(asked, whole, sizes.recipes, folder / "nets")
        self.cache = FeatureCache(folder / "features")
        self.rows = list(rows_of(self.sizes, yours=asked.encoder is not None))
        self.found: dict[tuple[Cell, str], CellResult] = {}
        self.cells: dict[Row, list[Cell]] = {}
        frames = len(whole.parts["train"])
        few = f"only {frames} frames to learn from"
        self.why: dict[Row, str] = {row: few for row in self.rows if row.labels >= frames}
        self.ranks: dict[str, float] = {}
        self.sweeps_s = 0.0

    def everything(self) -> None:
        """All rows, grouped by encoder; a group that another call has in hand is put off until the rest is done."""
        waiting = list(dict.fromkeys(row.encoder for row in self.rows))
        while waiting:
            put_off = [label for label in waiting if not self._group(label)]
            if len(put_off) == len(waiting):
                time.sleep(POLL_S)
            waiting = put_off

    def _group(self, label: str) -> bool:
        """Whether the rows of an encoder are done."""
        lock = taken(self.folder / "locks" / slug(label))
        if lock is None:
            return False
        try:
            return self._locked_group(label)
        except LibraryBusyError:  # another call pretrains what this one needs
            return False
        finally:
            lock.release()

    def _locked_group(self, label: str) -> bool:
        rows = [row for row in self.rows if row.encoder == label and row not in self.why]
        try:
            encoder = self.encoders.get(label) if label else None
        except LibraryBusyError:
            raise
        except LightmeterError as error:
            self.asked.tell(f"{label}: not run: {error}")
            lost = [loss_row(self.sizes, *each) for each in self._compared(label)]
            self.rows += lost
            self.why |= dict.fromkeys([*rows, *lost], str(error))
            return True
        if encoder is not None:
            rows += self._loss_rows(label, encoder)
        self.cells |= {row: self._cells(row, encoder) for row in rows}
        for on in dict.fromkeys(row.on for row in rows):
            self._run([row for row in rows if row.on == on], on, label)
        if encoder is not None and label != FULL and not label.endswith(ALL):
            self._rank(label, encoder)
        return True

    def _cells(self, row: Row, encoder: DenseEncoder | None) -> list[Cell]:
        spec = "" if encoder is None else encoder.spec
        seeds = range(self.asked.seed, self.asked.seed + row.seeds)
        return [Cell(spec, row.head, row.training, seed, row.labels, row.task, row.control) for seed in seeds]

    def _run(self, rows: Sequence[Row], on: str, label: str) -> None:
        parts = self.whole.parts
        if on not in parts:
            self.why |= dict.fromkeys(rows, self.whole.no_shift)
            return
        cells = list(dict.fromkeys(cell for row in rows for cell in self.cells[row]))
        self.asked.tell(f"{label or 'no encoder'}, asked on {on}: {len(cells)} cells")
        made = run_cells(
            cells, parts["train"], parts["valid"], parts[on], folder=self.folder / "cells", cache=self.cache,
            tell=self._told,
        )  # fmt: skip
        self.found |= {(cell, on): each for cell, each in zip(cells, made, strict=True)}

    def _told(self, result: CellResult, again: bool) -> None:
        if not again:
            cell = result.cell
            head = cell.head.partition("/")[0] or cell.control
            told = result.refused or f"{result.value:.3f}"
            self.asked.tell(f"  {head}, {cell.task}, {cell.labels or 'all'} labels, seed {cell.seed}: {told}")

    def _rank(self, label: str, encoder: DenseEncoder) -> None:
        ready = prepared(encoder, self.whole.parts["test"].frames, cache=self.cache)
        self.ranks[label] = effective_rank(ready.features[encoder.chosen[0]])

    # -- losses and optimisers --------------------------------------------------------------------------------------

    def _compared(self, label: str) -> list[tuple[str, str, str, float]]:
        """Where, loss, optimiser and its usual rate of everything that is compared on an encoder."""
        where = [name for name, (encoder, _) in loss_heads(self.sizes).items() if encoder == label]
        return [
            (each, loss, optimiser, usual)
            for each, loss, (optimiser, (_, usual)) in product(where, LOSS_NAMES, OPTIMISERS.items())
        ]

    def _loss_rows(self, label: str, encoder: DenseEncoder) -> list[Row]:
        """Rows of losses × optimisers, each at the rate that does best on the validation frames after a few steps."""
        compared = self._compared(label)
        if not compared:
            return []
        train, valid = (
            prepared(encoder, self.whole.parts[part].labelled("robot"), cache=self.cache) for part in ("train", "valid")
        )
        key = hash_of([encoder.fingerprint, train.labelled.fingerprint, valid.labelled.fingerprint])[:12]
        made = []
        for where, loss, optimiser, usual in compared:
            row = loss_row(self.sizes, where, loss, optimiser, usual)
            if len(self.sizes.rates) > 1:
                sweep = Sweep({"lr": [usual * each for each in self.sizes.rates]}, seeds=(self.asked.seed,))
                found = run_sweep(
                    train, valid, mask_head(row.head), sweep,
                    training=replace(_training(row.training), steps=self.sizes.tries),
                    folder=self.folder / "sweeps" / slug(f"{where} {loss} {optimiser} {key}"),
                )  # fmt: skip
                self.sweeps_s += sum(each.cost.cpu_s for each in found.all_trials)
                row = loss_row(self.sizes, where, loss, optimiser, _training(found.best[1]).lr)
            made.append(row)
        self.rows += made
        return made

    # -- the end ----------------------------------------------------------------------------------------------------

    def result(self, cost: Cost) -> BairResult:
        """What came of it."""
        order = list(loss_heads(self.sizes))
        rows = sorted(self.rows, key=lambda row: next((at for at, each in enumerate(order) if each in row.label), -1))
        outcomes = tuple(self._outcome(row) for row in rows)
        ranks = {
            label: self.ranks[label] for label in dict.fromkeys(row.encoder for row in rows) if label in self.ranks
        }
        folders = {name: each.folder for name, each in self.encoders.trained.items()}
        notes = tuple(self.encoders.notes.values())
        return BairResult(
            self.asked, self.sizes, self.whole, outcomes, ranks, self.encoders.told(), folders, notes, cost,
            self.sweeps_s,
        )  # fmt: skip

    def _outcome(self, row: Row) -> Outcome:
        if row in self.why:
            return Outcome(row, why=self.why[row])
        results = tuple(self.found[cell, row.on] for cell in self.cells[row])
        return Outcome(row, results, next((each.refused for each in results if each.refused), ""))


def _training(spec: str) -> MaskTraining:
    made: MaskTraining = build(spec, "mask-training")
    return made
