"""The study `distill`: seed 002's tables with prices, every method beside plain selections, on open or own data."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightmeter.condense.workbench import Workbench
from lightmeter.encoders.cache import cache_folder
from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import Cost, measure
from lightmeter.studies.declared import Asked, Scale
from lightmeter.studies.distill_data import DistillSet, clothes, digits, user_set
from lightmeter.studies.distill_models import Models
from lightmeter.studies.distill_presets import preset_called
from lightmeter.studies.distill_rows import (
    HERDING,
    MADE,
    OURS,
    PROBE,
    RANDOM,
    SELECTED,
    Row,
    Sizes,
    preset_rows,
    rows_of,
)
from lightmeter.studies.distill_running import Figures, Running

SIZES: dict[Scale, Sizes] = {
    "smoke": Sizes(
        data=("digits",),
        budgets={"digits": (1, 5)},
        seeds=2,
        few=2,
        methods={
            RANDOM: "random-rows", HERDING: "herding", "k-medoid": "k-medoid", "mean pictures": "centroid",
            OURS: "vlcp/steps=10",
        },
        settings=False,
        students=(),
        soft="",
        learn=0,
        test=0,
        teacher_steps=60,
        quick="quick/steps=40,flip=false,batch=32",
    ),
    "cpu": Sizes(
        data=("digits", "fashion-mnist"),
        budgets={"digits": (1, 10), "fashion-mnist": (1, 10, 50)},
        seeds=5,
        few=3,
        methods=SELECTED | MADE,
        settings=True,
        students=("resnet-ap/depth=10,width=16", PROBE),
        soft="rded-soft/epochs=100",
        learn=20_000,
        test=4_000,
        teacher_steps=1200,
    ),
}  # fmt: skip
"""Of `paper` the user's set says what is run: see `distill_presets`."""
_DIGITS = "quick/flip=false"


@dataclass(frozen=True, eq=False)
class DistillResult:
    """The study as it came out; `distill_results` shows and writes it.

    full: share of test pictures that a network knows which learnt everything, by set · cost: of this call
    """

    asked: Asked
    sets: Mapping[str, DistillSet]
    figures: tuple[Figures, ...]
    full: Mapping[str, float]
    cost: Cost

    def text(self) -> str:
        """The tables."""
        from lightmeter.studies.distill_results import distill_text

        return distill_text(self)

    def json_rows(self) -> list[dict[str, Any]]:
        """One object a row, then one an aim."""
        from lightmeter.studies.distill_results import distill_json

        return distill_json(self)

    def write(self, out: Path) -> list[Path]:
        """Tables, record and pictures."""
        from lightmeter.studies.distill_results import write_distill

        return write_distill(self, out)


@dataclass(frozen=True)
class Distill:
    """The study by its scales. `run` is what `lightmeter study` calls."""

    name: str = "distill"
    question: str = "How much accuracy do N pictures a class keep, made or selected, and at what price?"
    sizes: Mapping[Scale, Sizes] = field(default_factory=lambda: SIZES)

    def run(self, asked: Asked) -> DistillResult:
        """Run it; smoke in a folder that goes with the result, all else in the cache, where a killed run goes on.

        Two calls at once share the work.  Raises InvalidValueError for `paper` without data, and data without `paper`.
        """
        if (asked.scale == "paper") != (asked.data is not None):
            raise InvalidValueError(
                "--data FOLDER with train and val goes with --scale paper, and both must be given; the folder's name "
                "says which of the seed's sets it is"
            )
        if asked.encoder is not None:
            raise InvalidValueError(f"distill takes no --encoder, got {asked.encoder}: leave it out")
        if asked.scale != "smoke":
            return self.run_in(asked, cache_folder() / "study-distill" / asked.scale)
        place = Path(tempfile.mkdtemp(prefix="lightmeter-distill-"))
        try:
            result = self.run_in(asked, place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        weakref.finalize(result, shutil.rmtree, place, ignore_errors=True)
        return result

    def run_in(self, asked: Asked, folder: Path) -> DistillResult:
        """Run it with a folder for models, sets and students; what stands there is not made again."""
        with measure() as meter:
            sets, rows = self._declared(asked, folder)
            for whole in sets.values():
                asked.tell(whole.said)
            steps = 1200 if asked.scale == "paper" else self.sizes[asked.scale].teacher_steps
            small = _small_model if asked.scale == "smoke" else None
            models = Models(asked, sets, folder, teacher_steps=steps, small=small)
            running = Running(asked, rows, sets, models, folder)
            running.everything()
        found = tuple(running.found[row] for row in rows)
        return DistillResult(asked, sets, found, running.full, meter.cost)

    def _declared(self, asked: Asked, folder: Path) -> tuple[dict[str, DistillSet], tuple[Row, ...]]:
        if asked.data is not None:
            preset = preset_called(asked.data.resolve().name)
            work = folder / "read" / preset.name
            whole = user_set(asked.data, work, size=preset.size, classes=preset.classes, tell=asked.tell)
            return {preset.name: whole}, preset_rows(preset)
        sizes = self.sizes[asked.scale]
        makers = {
            "digits": lambda: digits(asked.seed),
            "fashion-mnist": lambda: clothes(sizes.learn, sizes.test, asked.seed),
        }
        sets = {name: makers[name]() for name in sizes.data}
        return sets, tuple(_unflipped(row) for row in rows_of(_asked_seeds(sizes, asked)))


def _asked_seeds(sizes: Sizes, asked: Asked) -> Sizes:
    from dataclasses import replace

    return sizes if asked.seeds is None else replace(sizes, seeds=asked.seeds, few=min(sizes.few, asked.seeds))


def _unflipped(row: Row) -> Row:
    """A digit in the mirror is none."""
    from dataclasses import replace

    return replace(row, protocol=_DIGITS) if (row.data, row.protocol) == ("digits", "quick") else row


def _small_model(whole: DistillSet, bench: Workbench) -> Path:
    """A diffusion model of some thousand weights that has learnt next to nothing, for the smoke scale."""
    from lightmeter.condense.synthesis.autoencoder import SmallVae
    from lightmeter.condense.synthesis.denoiser import SmallDenoiser
    from lightmeter.condense.synthesis.small import SmallDiffusion, SmallRun, small_generator

    recipe = SmallDiffusion(
        SmallVae(channels=(8, 16), steps=60, batch=16),
        SmallDenoiser(channels=(16, 32), text=16, heads=2, steps=60, batch=16),
    )
    place = bench.folder / "small-model"
    small_generator(whole.learn, bench.captions(), place, recipe, SmallRun(seed=bench.seed))
    return place


DISTILL = Distill()
