"""What the methods of the study `distill` look at: a bench a set, and the diffusion models that draw for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lightmeter.condense.synthesis.finetuning import TuneRun, fine_tune
from lightmeter.condense.workbench import Setting, Workbench
from lightmeter.errors import InvalidValueError
from lightmeter.studies.declared import Asked
from lightmeter.studies.distill_data import DistillSet
from lightmeter.studies.distill_rows import Model, Row

TUNED = 3
"""Diffusion models that are tuned on a set, by as many seeds."""
Small = Callable[[DistillSet, Workbench], Path]
"""Learns a small diffusion model of a set and says where it lies; for scales that cannot wait for the usual one."""


class Models:
    """Benches by set and by diffusion model; each is made when it is first asked for.

    small: of a scale that wants a smaller model than the usual one
    """

    def __init__(
        self,
        asked: Asked,
        sets: dict[str, DistillSet],
        folder: Path,
        *,
        teacher_steps: int,
        small: Small | None = None,
    ) -> None:
        self.asked, self.sets, self.folder, self.small = asked, sets, folder, small
        self.teacher_steps = teacher_steps
        self._benches: dict[tuple[str, Model, int], Workbench] = {}

    def teaching(self, name: str) -> Workbench:
        """The bench whose teacher learnt a set."""
        return self._bench(name, "own", 0)

    def bench(self, row: Row, at: int) -> Workbench:
        """The bench of a row's set number `at`."""
        return self._bench(row.data, row.model, at % TUNED if row.model == "tuned" else 0)

    def all_of(self, row: Row) -> Sequence[Workbench]:
        """Those that the sets of a row need."""
        return list(dict.fromkeys(self.bench(row, at) for at in range(row.sets)))

    def _bench(self, name: str, model: Model, number: int) -> Workbench:
        key = (name, model, number)
        if key not in self._benches:
            self._benches[key] = self._made(name, model, number)
        return self._benches[key]

    def _made(self, name: str, model: Model, number: int) -> Workbench:
        if model == "own":
            bench = self._plain(name, None)
            return bench if self.small is None else self._plain(name, self.small(self.sets[name], bench))
        stock = self.asked.checkpoint
        if stock is None:
            raise InvalidValueError("--checkpoint must name a folder of Stable Diffusion, as stable-diffusion-v1-5")
        if model == "stock":
            return self._plain(name, stock)
        captions = self._plain(name, None).captions()
        seed = self.asked.seed + number
        out = self.folder / "models" / f"{name}-tuned-{seed}"
        fine_tune(stock, self.sets[name].learn, captions, out, run=TuneRun(seed=seed, tell=self.asked.tell))
        return self._plain(name, out)

    def _plain(self, name: str, generator: Path | None) -> Workbench:
        whole = self.sets[name]
        beside = whole.folder is not None and (whole.folder / "metadata.jsonl").is_file()
        return Workbench(
            whole.learn,
            self.folder / "benches" / name,
            seed=self.asked.seed,
            captioner="sidecar" if beside else "attributes",
            generator=generator,
            setting=Setting(whole.folder, self.teacher_steps),
            tell=self.asked.tell,
        )
