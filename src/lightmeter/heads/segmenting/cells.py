"""One cell of a grid of probes, and what became of it: qualities, counts a picture for intervals, price; as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.segmenting.probed import MASK_TASKS, TASKS
from lightmeter.metrics.bootstrap import Interval
from lightmeter.metrics.dense_errors import DepthScores, FlowScores, compared_depths, compared_flows
from lightmeter.metrics.masks import MaskScores, compared_masks
from lightmeter.types import Array

SCHEMA = "lightmeter.segment.cell/1"
Control = Literal["", "mean", "noise", "shuffled"]
CONTROLS = ("", "mean", "noise", "shuffled")
Scores: TypeAlias = MaskScores | DepthScores | FlowScores
FIRST_MEASURE = {"depth": "abs_rel", "flow": "epe_px"}
"""By which a task is ranked, lower is better; of all others `iou`, higher is better."""
_BINS = 1 << 16


@dataclass(frozen=True, slots=True)
class Cell:
    """What is tried once.

    encoder, head, training: specs; of `mean` all are "" · labels: frames learnt from, 0: all; the threshold is then
    found on no more of `valid` than that · task: see `probed.TASKS`; depth and flow have the head `patch-ridge`, a
    linear layer a cell in closed form, and no training
    control: `mean`, an answer without a look (the mean mask, depth or flow); `noise`: frames of noise, learnt and
    scored; `shuffled`: learnt from the masks of other scenes; "": none
    """

    encoder: str = ""
    head: str = ""
    training: str = "mask-training"
    seed: int = 0
    labels: int = 0
    task: str = "mask"
    control: Control = ""

    def __post_init__(self) -> None:
        if self.control not in CONTROLS or self.task not in TASKS:
            raise InvalidValueError(
                f"control must be one of {', '.join(CONTROLS[1:])} and task of {', '.join(TASKS)}, got "
                f"{self.control!r} and {self.task!r}"
            )
        if self.labels < 0 or self.seed < 0:
            raise InvalidValueError(f"labels and seed must be 0 or more, got {self.labels} and {self.seed}")
        if (self.control == "mean") == bool(self.encoder and self.head):
            raise InvalidValueError(f"a cell must have encoder and head, and `mean` neither, got {self}")

    @property
    def row(self) -> Cell:
        """The same for all seeds: one row of a table."""
        return replace(self, seed=0)


@dataclass(frozen=True, slots=True)
class CellCost:
    """What a cell takes; None: not known.

    encoder_parameters, head_parameters: numbers learnt · encoder_macs, head_macs: of one frame
    encoder_ms, head_ms: CPU milliseconds a frame, one frame at a time · train_cpu_s: learning, without the features
    """

    encoder_parameters: int | None
    head_parameters: int
    encoder_macs: int
    head_macs: int
    encoder_ms: float
    head_ms: float
    train_cpu_s: float

    @property
    def ms(self) -> float:
        """CPU milliseconds for the answer to one frame."""
        return self.encoder_ms + self.head_ms

    @property
    def macs(self) -> int:
        """Multiply–adds for the answer to one frame."""
        return self.encoder_macs + self.head_macs


@dataclass(frozen=True, slots=True, eq=False)
class CellResult:
    """What became of a cell.

    quality: as `MaskQuality`, `DepthQuality` or `FlowQuality` have it as JSON, with the size at which masks were
    compared · rows: counts or sums a test picture [N, C], what intervals are made of · frames: learnt from
    valid_frames: on which the threshold was found · shown: masks of some test pictures, (row, COCO's text)
    refused: one sentence where it could not be run; quality and rows are then empty
    """

    cell: Cell
    quality: Mapping[str, Any] = field(default_factory=dict)
    rows: Array = field(default_factory=lambda: np.zeros((0, 0)))
    cost: CellCost | None = None
    frames: int = 0
    valid_frames: int = 0
    shown: tuple[tuple[int, str], ...] = ()
    refused: str = ""

    @property
    def iou(self) -> float:
        """Micro IoU; NaN where there is none."""
        return _number(self.quality.get("iou"))

    @property
    def value(self) -> float:
        """What the task is ranked by: IoU, AbsRel or end-point error; NaN where there is none."""
        return _number(self.quality.get(FIRST_MEASURE.get(self.cell.task, "iou")))

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "schema": SCHEMA,
            "cell": asdict(self.cell),
            "quality": dict(self.quality),
            "cost": None if self.cost is None else asdict(self.cost),
            "frames": self.frames,
            "valid_frames": self.valid_frames,
            "shown": [list(each) for each in self.shown],
            "rows": self.rows.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CellResult:
        """The inverse; raises KeyError, TypeError or ValueError for anything else."""
        if values["schema"] != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}, got {values['schema']!r:.80}")
        cell, cost = Cell(**values["cell"]), values["cost"]
        kind = np.int64 if cell.task in MASK_TASKS else np.float64
        return cls(
            cell, dict(values["quality"]), np.array(values["rows"], kind), None if cost is None else CellCost(**cost),
            int(values["frames"]), int(values["valid_frames"]),
            tuple((int(row), str(text)) for row, text in values["shown"]),
        )  # fmt: skip


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


# -- seeds and intervals --------------------------------------------------------------------------------------------


def by_row(results: Sequence[CellResult]) -> dict[Cell, list[CellResult]]:
    """Results that ran, seeds together, in the order in which their rows come first."""
    found: dict[Cell, list[CellResult]] = {}
    for each in results:
        if not each.refused:
            found.setdefault(each.cell.row, []).append(each)
    return found


def pooled_scores(seeds: Sequence[CellResult]) -> Scores:
    """The pictures of all seeds one after the other: IoU of them is over the pixels of all seeds together."""
    first = seeds[0]
    rows = np.concatenate([each.rows for each in seeds])
    height, width = int(first.quality["height"]), int(first.quality["width"])
    if first.cell.task == "depth":
        return DepthScores.of_rows(rows, (height, width))
    if first.cell.task == "flow":
        return FlowScores.of_rows(rows, (height, width))
    state = {
        "settings": np.array([0.0, float(first.quality["tolerance_px"])]),
        "size": np.array([height, width], np.int64),
        "rows": rows,
        "histogram": np.zeros((2, _BINS), np.int64),
    }
    return MaskScores.from_state(state)


def paired_intervals(
    systems: Sequence[Sequence[CellResult]], groups: Array, *, rounds: int = 1000, seed: int = 0
) -> list[tuple[dict[str, Interval], dict[str, Interval]]]:
    """Of each system its intervals, and those of its difference to the first (empty of that one), over test scenes.

    systems: of one task, each its results of one seed or several; a picture counts once a seed, and all its seeds are
    drawn together. Systems of other seeds than the first are compared on those that both have.
    groups: int [N] scenes of the test pictures · Raises InvalidValueError for systems without a seed in common.
    """
    first = {each.cell.seed: each for each in systems[0]}
    made = []
    for at, system in enumerate(systems):
        both = [each for each in system if each.cell.seed in first]
        if not both:
            raise InvalidValueError(f"rows to compare must have a seed in common, got {system[0].cell} with others")
        own = _compared([system], groups, rounds, seed)[0][0]
        less = _compared([[first[each.cell.seed] for each in both], both], groups, rounds, seed)[1][1] if at else {}
        made.append((own, less))
    return made


def _compared(
    systems: Sequence[Sequence[CellResult]], groups: Array, rounds: int, seed: int
) -> list[tuple[dict[str, Interval], dict[str, Interval]]]:
    kinds = {"depth": compared_depths, "flow": compared_flows}
    compared: Any = kinds.get(systems[0][0].cell.task, compared_masks)
    scores = [pooled_scores(each) for each in systems]
    made: list[tuple[dict[str, Interval], dict[str, Interval]]] = compared(
        scores, rounds=rounds, seed=seed, groups=np.tile(groups, len(systems[0]))
    )
    return made


# -- files ----------------------------------------------------------------------------------------------------------


def cell_path(folder: Path, cell: Cell, key: str) -> Path:
    """Where a cell is kept: what it is, as far as a name holds it, and the hash of all that its result depends on."""
    told = "-".join(each for each in (cell.task, cell.control, cell.encoder, cell.head) if each)
    return folder / f"{re.sub('[^a-z0-9]+', '-', told.lower())[:80].strip('-')}-s{cell.seed}-{key[:16]}.json"


def write_cell(path: Path, result: CellResult, key: str) -> None:
    """Keep a result, whole or not at all."""
    write_whole(path, json.dumps({**result.as_json(), "key": key}) + "\n")


def read_cell(path: Path, key: str) -> CellResult | None:
    """A result that is kept, None where there is none.  Raises RejectedFileError for a file that is something else."""
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["key"] != key:
            raise ValueError("it is of other data or another encoder")
        return CellResult.from_json(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RejectedFileError(
            "damaged", f"{path} must be a cell as it was written: {error!s:.150}: remove it"
        ) from error
