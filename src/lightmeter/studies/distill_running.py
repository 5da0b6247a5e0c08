"""How the study `distill` runs: sets are made once a method, budget and seed and kept; calls at once share the work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmeter.assets.saving import expect, load_model, save_model
from lightmeter.condense.attempts import as_learnt
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.keeping import condensed_arrays, condensed_of
from lightmeter.condense.protocol import Condensed, Condenser, Teacher
from lightmeter.condense.scoring import Scored, encoded, linear_probe, score
from lightmeter.condense.workbench import Workbench
from lightmeter.errors import LightmeterError, MissingAssetError, RejectedFileError
from lightmeter.meter.cost import Cost
from lightmeter.meter.record import hash_of
from lightmeter.parts import build
from lightmeter.studies.bair_sharing import POLL_S, slug, taken
from lightmeter.studies.declared import Asked
from lightmeter.studies.distill_data import DistillSet
from lightmeter.studies.distill_models import Models
from lightmeter.studies.distill_rows import PROBE, Row
from lightmeter.types import Array

VERSION = 1
_DRAWS = ("vlcp", "d4m", "minimax")
"""Methods that need a diffusion model."""
PROBE_ENCODER = "efficientnet-lite"


@dataclass(frozen=True, eq=False)
class Figures:
    """What became of a row: measured, or not run and why.

    hits: bool [S, N], which test pictures each student knows after its last step · best: float64 [S], at any look
    price: of making one set, with all that was learnt for it · learning: of one student · small: the first set
    """

    row: Row
    hits: Array | None = None
    best: Array | None = None
    price: Cost | None = None
    learning: Cost | None = None
    small: Condensed | None = None
    why: str = ""

    @property
    def ran(self) -> bool:
        """Whether it has figures."""
        return self.hits is not None


class Running:
    """One call of the study."""

    def __init__(
        self, asked: Asked, rows: Sequence[Row], sets: dict[str, DistillSet], models: Models, folder: Path
    ) -> None:
        self.asked, self.rows, self.sets, self.models, self.folder = asked, rows, sets, models, folder
        self.found: dict[Row, Figures] = {}
        self.full: dict[str, float] = {}
        self._probed: dict[str, Array] = {}

    def everything(self) -> None:
        """All rows, those of one set after the other; sets that another call has in hand are put off."""
        waiting = list(dict.fromkeys(row.made for row in self.rows))
        while waiting:
            put_off = [made for made in waiting if not self._group(made)]
            if len(put_off) == len(waiting):
                time.sleep(POLL_S)
            waiting = put_off
        for name in self.sets:
            self.full[name] = self._knows_all(name)

    # -- what is shared ---------------------------------------------------------------------------------------------

    def _group(self, made: tuple[str, str, int, str]) -> bool:
        """Whether the rows of one kind of set are done."""
        rows = [row for row in self.rows if row.made == made]
        lock = taken(self.folder / "locks" / slug(" ".join(map(str, made))))
        if lock is None:
            return False
        try:
            if not all(self._ready(rows[0], what) for what in self._needs(rows[0])):
                return False
            for row in rows:
                self.found[row] = self._figures(row)
        except LightmeterError as error:
            self.asked.tell(f"{rows[0].label} × {rows[0].per_class}: not run: {error}")
            self.found |= {row: Figures(row, why=str(error)) for row in rows if row not in self.found}
        finally:
            lock.release()
        return True

    def _needs(self, row: Row) -> tuple[str, ...]:
        return ("teacher", "generator") if row.method.partition("/")[0] in _DRAWS else ("teacher",)

    def _ready(self, row: Row, what: str) -> bool:
        """Make what several sets need, unless another call is making it."""
        lock = taken(self.folder / "locks" / slug(f"{row.data} {row.model} {what}"))
        if lock is None:
            return False
        try:
            for bench in self.models.all_of(row) if what == "generator" else (self.models.bench(row, 0),):
                getattr(bench, what)()
        finally:
            lock.release()
        return True

    # -- rows -------------------------------------------------------------------------------------------------------

    def _figures(self, row: Row) -> Figures:
        seeds = [self.asked.seed + at for at in range(row.seeds)]
        small = [self._set(row, at) for at in range(row.sets)]
        scored = [self._scored(row, small[at % row.sets][0], seed) for at, seed in enumerate(seeds)]
        hits, best = (np.concatenate([each[at] for each in scored]) for at in (0, 1))
        learning = scored[0][2]
        for each in scored[1:]:
            learning = learning.plus(each[2])
        self.asked.tell(
            f"{row.block}, {row.data}: {row.label} × {row.per_class}{f', {row.student}' if row.student else ''}: "
            f"{100 * hits.mean():.1f} %"
        )
        return Figures(row, hits, best, small[0][1], learning.shared_by(row.seeds), small[0][0])

    def _set(self, row: Row, at: int) -> tuple[Condensed, Cost]:
        """The set of one seed and its price; kept."""
        bench = self.models.bench(row, at)
        key = hash_of([VERSION, bench.images.fingerprint, row.method, row.per_class, row.model, self.asked.seed + at])
        place = self.folder / "sets" / key[:24]
        with suppress(MissingAssetError, RejectedFileError):
            arrays, about = load_model(place)
            return condensed_of(arrays, about), Cost.from_json(about["price"])
        method: Condenser = build(row.method, "condenser")
        with bench.priced() as priced:
            small = method.condense(bench, row.per_class, seed=self.asked.seed + at)
        arrays, told = condensed_arrays(small)
        save_model(place, arrays, told | {"price": priced.cost.as_json(), "method": row.method})
        return small, priced.cost

    def _scored(self, row: Row, small: Condensed, seed: int) -> tuple[Array, Array, Cost]:
        """What one student knows at the end, its best, and its cost; kept."""
        whole = self.sets[row.data]
        small = as_learnt(small)
        made = ImageSet.of(small.images, small.labels, whole.learn.classes)
        soft = "" if small.soft is None else hash_of(small.soft)
        told = [VERSION, made.fingerprint, soft, whole.test.fingerprint, row.protocol, row.student, seed]
        place = self.folder / "students" / hash_of(told)[:24]
        with suppress(MissingAssetError, RejectedFileError):
            arrays, about = load_model(place)
            count = len(whole.test)
            return (
                expect(arrays, "hits", "bool", 1, count), expect(arrays, "best", "float64", 1),
                Cost.from_json(about["cost"]),
            )  # fmt: skip
        scored = self._learnt(row, made, small, seed)
        best = scored.best_on_test.astype(np.float64)
        save_model(place, {"hits": scored.hits, "best": best}, {"cost": scored.cost.as_json()})
        return scored.hits, best, scored.cost

    def _learnt(self, row: Row, made: ImageSet, small: Condensed, seed: int) -> Scored:
        test = self.sets[row.data].test
        if row.student == PROBE:
            if row.data not in self._probed:
                self._probed[row.data] = encoded(test, build(PROBE_ENCODER, "encoder"))
            return linear_probe(made, test, PROBE_ENCODER, test_rows=self._probed[row.data])
        protocol = build(row.protocol, "protocol")
        soft: Teacher | Array | None = None
        if protocol.labels == "teacher":
            if small.soft is not None:
                protocol = build(row.protocol + f"{',' if '/' in row.protocol else '/'}labels=own", "protocol")
                soft = small.soft
            else:
                soft = self.models.bench(row, 0).teacher()
        return score(made, test, protocol, student=row.student, seeds=(seed,), soft=soft)

    def _knows_all(self, name: str) -> float:
        """Share of test pictures that the network knows which learnt everything."""
        bench: Workbench = self.models.teaching(name)
        teacher, test = bench.teacher(), self.sets[name].test
        parts = [
            teacher.logits(test.images[at : at + 512]).argmax(axis=1) == test.labels[at : at + 512]
            for at in range(0, len(test), 512)
        ]
        return float(np.concatenate(parts).mean())
