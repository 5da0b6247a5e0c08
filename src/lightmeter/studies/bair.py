"""The study `bair`: seed 001's table with the controls that it lacks, on a simulated arm or the user's frames."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightmeter.encoders.cache import cache_folder
from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.cells import CellResult
from lightmeter.meter.cost import Cost, measure
from lightmeter.studies.bair_data import BairSet, Counts, simulated, user_set
from lightmeter.studies.bair_encoders import FRAME, FUTURE, HIDDEN, PIXELS, Recipes, recipe_frames
from lightmeter.studies.bair_rows import Heads, Row, Sizes
from lightmeter.studies.declared import Asked, Scale

ROUNDS: dict[Scale, int] = {"smoke": 50, "cpu": 1000, "paper": 1000}
"""Of every bootstrap."""

SIZES: dict[Scale, Sizes] = {
    "smoke": Sizes(
        counts=Counts("shapes", "", 44, 8, 12, 0, 20, frames=8, size=32),
        recipes=Recipes(
            vqvae="vqvae/of=frames,frames=8,steps=20,batch=4,hiddens=8,dim=8,codes=16",
            prior="prior/steps=4,batch=4,width=24,layers=1,heads=2,base=8,dim=24",
            own="future/blank=1,steps=6,batch=4,width=24,layers=1,heads=2,base=8,levels=2",
        ),
        heads=Heads(
            light="light-conv",
            flat_unet="mask-unet/fc=flat,base=4,levels=2",
            fc_conv="fc-conv/first=8,last=4",
            attention="attention-conv/heads=2,first=8,last=4",
            residual="attention-conv/heads=2,first=8,last=4,residual=true",
            unet="mask-unet/base=8,levels=2,norm=group",
            multi="multi-scale/width=8,blocks=1,stride=4",
            tuned="multi-scale/width=8,blocks=1",
            width=8,
        ),
        steps=6, grid_steps=4, tune_steps=4, batch=4, seeds=2, few=1, labels=(5, 10), low=5, tries=2, rates=(1.0,),
        singles=(HIDDEN, FRAME, FUTURE, PIXELS),
    ),
    "cpu": Sizes(
        counts=Counts("sawyer", "sawyer-shift", 700, 50, 100, 100, 250, frames=16, size=64),
        recipes=Recipes(
            vqvae="vqvae/of=frames,frames=8,steps=400,batch=8",
            prior="prior/steps=250,batch=8",
            own="future/blank=1,steps=500,batch=8",
        ),
        heads=Heads(
            light="light-conv",
            flat_unet="mask-unet/fc=flat,base=8,levels=4",
            fc_conv="fc-conv/first=48,last=16",
            attention="attention-conv/heads=8,first=48,last=16",
            residual="attention-conv/heads=8,first=48,last=16,residual=true",
            unet="mask-unet/base=16,levels=4,norm=group",
            multi="multi-scale/width=64,blocks=3,stride=4",
            tuned="multi-scale/width=64,blocks=3",
            width=64,
        ),
        steps=200, grid_steps=100, tune_steps=200, batch=16, seeds=5, few=2, labels=(10, 25, 50, 100), low=25,
        tries=30,
    ),
    "paper": Sizes(
        counts=None,
        recipes=Recipes(
            vqvae="vqvae/of=frames,frames=16,steps=200000,batch=32,hiddens=240,layers=4,dim=256,codes=2048,"
            "downsample=[4,2,2]",
            prior="prior/steps=100000,batch=32,width=576,layers=8,attention=sparse,dropout=0.2,base=64,"
            "blocks=[3,4,6,3],dim=240",
            own="future/blank=1,steps=40000,batch=32",
        ),
        heads=Heads(
            light="light-conv",
            flat_unet="mask-unet/fc=flat,base=32",
            fc_conv="fc-conv",
            attention="attention-conv",
            residual="attention-conv/residual=true",
            unet="mask-unet",
            multi="multi-scale",
            tuned="multi-scale",
            width=240,
        ),
        steps=5000, grid_steps=5000, tune_steps=5000, batch=32, seeds=5, few=3, labels=(10, 25, 50, 100), low=25,
        tries=500,
    ),
}  # fmt: skip


# -- what comes out -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Outcome:
    """A row by its seeds: measured, or not run and why."""

    row: Row
    results: tuple[CellResult, ...] = ()
    why: str = ""

    @property
    def ran(self) -> bool:
        """Whether every seed was run."""
        return bool(self.results) and not self.why


@dataclass(frozen=True, eq=False)
class BairResult:
    """The study as it came out; `bair_results` shows and writes it.

    ranks: effective rank of each encoder's maps on the test frames · nets: what is told of each that was pretrained
    sweeps_s: CPU-seconds in which rates of losses × optimisers were tried, whenever that was
    folder: of pretrained nets and kept cells · cost: of this call; what was kept costs nothing again
    """

    asked: Asked
    sizes: Sizes
    whole: BairSet
    outcomes: tuple[Outcome, ...]
    ranks: Mapping[str, float]
    nets: Mapping[str, Mapping[str, Any]]
    folders: Mapping[str, Path]
    notes: tuple[str, ...]
    cost: Cost
    sweeps_s: float = 0.0

    def of(self, block: str) -> list[Outcome]:
        """The rows of a block, in their order."""
        return [each for each in self.outcomes if each.row.block == block]

    def text(self) -> str:
        """The tables."""
        from lightmeter.studies.bair_results import bair_text

        return bair_text(self)

    def json_rows(self) -> list[dict[str, Any]]:
        """One object a row."""
        from lightmeter.studies.bair_results import bair_json

        return bair_json(self)

    def write(self, out: Path) -> list[Path]:
        """Tables, record and pictures."""
        from lightmeter.studies.bair_results import write_bair

        return write_bair(self, out)


# -- running --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bair:
    """The study by its scales. `run` is what `lightmeter study` calls."""

    name: str = "bair"
    question: str = "Are networks that predict video good encoders for masks, with which maps, heads and losses?"
    sizes: Mapping[Scale, Sizes] = field(default_factory=lambda: SIZES)

    def run(self, asked: Asked) -> BairResult:
        """Run it; smoke in a folder that goes with the result, all else in the cache, where a killed run goes on.

        Two calls at once share the work.  Raises InvalidValueError for `paper` without data.
        """
        if asked.scale == "paper" and asked.data is None:
            raise InvalidValueError("--scale paper needs --data FOLDER with frames and masks, and clips to pretrain on")
        if asked.scale != "smoke":
            return self.run_in(asked, cache_folder() / "study-bair" / asked.scale)
        place = Path(tempfile.mkdtemp(prefix="lightmeter-bair-"))
        try:
            result = self.run_in(asked, place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        weakref.finalize(result, shutil.rmtree, place, ignore_errors=True)  # its pictures are read there
        return result

    def run_in(self, asked: Asked, folder: Path) -> BairResult:
        """Run it with a folder for clips, nets, features and cells; what stands there is not made again."""
        from lightmeter.studies.bair_running import Running

        sizes = self.sizes[asked.scale]
        with measure() as meter:
            if asked.data is not None:
                window = recipe_frames(sizes.recipes.vqvae)
                whole = user_set(asked.data, seed=asked.seed, frames=window)
            else:
                assert sizes.counts is not None
                whole = simulated(sizes.counts, folder / "clips", seed=asked.seed, tell=asked.tell)
            asked.tell(whole.said)
            running = Running(asked, sizes, whole, folder)
            running.everything()
        return running.result(meter.cost)


BAIR = Bair()
