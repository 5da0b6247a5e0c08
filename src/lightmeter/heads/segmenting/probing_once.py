"""One cell of a grid: its frames, what it learns, how it is scored, what it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.cells import Cell, CellCost, CellResult, Scores
from lightmeter.heads.segmenting.controls import mean_mask, noise_images, shuffled_masks
from lightmeter.heads.segmenting.fitting import fit_prepared, score_prepared
from lightmeter.heads.segmenting.patch_ridge import fit_patch_ridge
from lightmeter.heads.segmenting.prepared import Changes, Prepared, prepared
from lightmeter.heads.segmenting.probed import MASK_TASKS, Probed
from lightmeter.heads.segmenting.protocol import mask_head
from lightmeter.heads.segmenting.resizing import resized_masks, resized_numbers
from lightmeter.heads.segmenting.segmenter import Segmenter
from lightmeter.media.rle import Rle
from lightmeter.meter.cost import measure
from lightmeter.metrics.dense_errors import DepthScores, FlowScores
from lightmeter.parts import build
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.encoders.dense import DenseEncoder, FeatureSet
    from lightmeter.encoders.dense_cache import FeatureCache
    from lightmeter.heads.segmenting.training import MaskTraining
    from lightmeter.media.clip_set import LabelledFrames

_DRAW = 0x1AB
_SHOWN = 8
_GRID = 4
_TIMES = 3
_NOISE_SEEDS = {"train": 0, "valid": 1, "test": 2}


@dataclass(frozen=True, slots=True)
class EncoderPrice:
    """What an encoder takes for one frame."""

    parameters: int | None
    macs: int
    ms: float


@dataclass(eq=False)
class Sets:
    """Frames of one encoder, its features made once for all cells that share them.

    encoder, price: None for an answer without a look
    """

    encoder: DenseEncoder | None
    parts: Mapping[str, Probed]
    cache: FeatureCache | None
    price: EncoderPrice | None
    _ready: dict[tuple[str, bool], Prepared] = field(default_factory=dict)

    def of(self, part: str, cell: Cell, rows: Array) -> Prepared:
        """Some frames of a part, with features and the masks of the cell's task (zeros for depth and flow)."""
        assert self.encoder is not None
        noise = cell.control == "noise"
        if (part, noise) not in self._ready:
            frames = self.parts[part].frames
            frames = noise_images(frames, seed=_NOISE_SEEDS[part]) if noise else frames
            self._ready[part, noise] = prepared(self.encoder, frames, cache=self.cache)
        base = self._ready[part, noise]
        if cell.task in MASK_TASKS:
            base = base.with_masks(replace(base.labelled, masks=self.parts[part].answer(cell.task)))
        return base if len(rows) == len(base.labelled) else base.take(rows)

    def rows(self, part: str, cell: Cell) -> Array:
        """Which frames of a part a cell uses: of the test all, of validation no more than it learns from."""
        count = len(self.parts[part])
        if part == "valid":
            return drawn_rows(count, min(cell.labels, count), cell.seed)
        return drawn_rows(count, cell.labels if part == "train" else 0, cell.seed)


def drawn_rows(count: int, labels: int, seed: int) -> Array:
    """Rows of `labels` of `count` frames, rising, all for 0; of one seed, more labels hold those of fewer."""
    if labels > count:
        raise InvalidValueError(f"labels must be at most the {count} frames there are, got {labels}: ask for fewer")
    if not labels:
        return np.arange(count)
    return np.sort(np.random.default_rng([_DRAW, seed]).permutation(count)[:labels])


def answered(cell: Cell, encoder: DenseEncoder | None, sets: Sets) -> CellResult:
    """Learn and score one cell; raises LightmeterError where it cannot be run."""
    if cell.task not in MASK_TASKS:
        return _numbers(cell, sets)
    return _mean(cell, sets) if encoder is None else _masks(cell, sets)


def _result(cell: Cell, sets: Sets, scores: Scores, cost: CellCost, shown: list[tuple[int, str]]) -> CellResult:
    valid = len(sets.rows("valid", cell)) if "valid" in sets.parts and cell.task in MASK_TASKS else 0
    quality = scores.result().as_json()
    return CellResult(
        cell, quality, scores.rows, cost, len(sets.rows("train", cell)), valid, tuple(shown)
    )  # fmt: skip


# -- masks ----------------------------------------------------------------------------------------------------------


def _masks(cell: Cell, sets: Sets) -> CellResult:
    head, training = mask_head(cell.head), build(cell.training, "mask-training")
    train = _learnt_from(cell, sets, training)
    valid = sets.of("valid", cell, sets.rows("valid", cell)) if "valid" in sets.parts else None
    with measure(tree=False) as meter:
        made = fit_prepared(train, head, valid, training=training, seed=cell.seed)
    test = sets.of("test", cell, sets.rows("test", cell))
    scores = score_prepared(made, test)
    return _result(cell, sets, scores, _cost(made, test, sets, meter.cost.cpu_s), _shown(_logits(made, test), made))


def _learnt_from(cell: Cell, sets: Sets, training: MaskTraining) -> Prepared:
    rows = sets.rows("train", cell)
    base = sets.of("train", cell, rows)
    labelled = shuffled_masks(base.labelled, seed=cell.seed) if cell.control == "shuffled" else base.labelled
    changes = Changes.of(training, cell.seed)
    if changes.copies > 1:
        return prepared(base.encoder, labelled, changes=changes, cache=sets.cache)
    return base if labelled is base.labelled else base.with_masks(labelled)


def _logits(made: Segmenter, test: Prepared) -> dict[int, Array]:
    """Logits of some test pictures, by row."""
    from lightmeter.report.sheet import spread_out

    rows = spread_out(len(test.labelled), _SHOWN)
    return {row: _one(made, test, row)() for row in rows}


def _one(made: Segmenter, test: Prepared, row: int) -> Callable[[], Array]:
    """The answer to one frame whose features are there, [H, W]; of a tuned encoder all of it."""
    size = test.labelled.masks.shape[1:]
    if made.tuned:
        clips, at = test.labelled.clips[row : row + 1], test.labelled.at[row : row + 1]
        return lambda: made.predict_logits(clips, at)[0]
    features = {name: np.array(each[row : row + 1]) for name, each in test.features.items()}
    return lambda: made.logits_of(features, *size)[0]


def _shown(logits: Mapping[int, Array], made: Any) -> list[tuple[int, str]]:
    return [(row, Rle.of(each > np.float32(made.threshold)).text) for row, each in logits.items()]


def _cost(made: Segmenter, test: Prepared, sets: Sets, train_cpu_s: float) -> CellCost:
    assert sets.price is not None
    own_ms = _cpu_ms(_one(made, test, 0))
    head_ms = max(0.0, own_ms - sets.price.ms) if made.tuned else own_ms
    price = sets.price
    return CellCost(
        price.parameters, made.head_parameters, price.macs, made.macs - price.macs, price.ms, head_ms, train_cpu_s
    )  # fmt: skip


def _cpu_ms(call: Callable[[], Any]) -> float:
    """CPU milliseconds of a call, the mean of some after a first one."""
    call()
    began_s = time.process_time()
    for _ in range(_TIMES):
        call()
    return 1e3 * (time.process_time() - began_s) / _TIMES


def _mean(cell: Cell, sets: Sets) -> CellResult:
    train = sets.parts["train"].labelled(cell.task).take(sets.rows("train", cell))
    with measure(tree=False) as meter:
        made = mean_mask(train)
        if "valid" in sets.parts:
            valid = sets.parts["valid"].labelled(cell.task).take(sets.rows("valid", cell))
            made = made.calibrated(made.scores(valid))
    test: LabelledFrames = sets.parts["test"].labelled(cell.task)
    logits = made.predict_logits(test.clips[:1], test.at[:1])[0]
    from lightmeter.report.sheet import spread_out

    shown = _shown(dict.fromkeys(spread_out(len(test), _SHOWN), logits), made)
    cost = CellCost(0, int(made.logits.size), 0, 0, 0.0, 0.0, meter.cost.cpu_s)
    return _result(cell, sets, made.scores(test), cost, shown)


# -- numbers a pixel ------------------------------------------------------------------------------------------------


def _numbers(cell: Cell, sets: Sets) -> CellResult:
    """Depth and flow: a linear layer a cell in closed form, or the mean of each pixel.

    An encoder that takes frames of another size is taught targets of that size, the nearest pixel each; its answers are
    brought back and scored at the size of the truth.  Flow stays in pixels of the truth all the way.
    """
    rows = sets.rows("train", cell)
    targets = _judged(sets.parts["train"].answer(cell.task)[rows], cell.task)
    truth = sets.parts["test"].answer(cell.task)
    if sets.encoder is None:
        with measure(tree=False) as meter:
            made = _mean_of(targets)
        guessed = np.repeat(made[None], len(truth), axis=0)
        cost = CellCost(0, int(made.size), 0, 0, 0.0, 0.0, meter.cost.cpu_s)
        return _result(cell, sets, _scored(cell.task, guessed, truth), cost, [])
    train, test = sets.of("train", cell, rows), sets.of("test", cell, sets.rows("test", cell))
    inputs, learnt = on_one_grid(train.inputs, train.features)
    seen = on_one_grid(test.inputs, test.features)[1]
    with measure(tree=False) as meter:
        ridge = fit_patch_ridge(inputs, learnt, resized_masks(targets, train.height, train.width))
    guessed = resized_numbers(ridge.predict(seen), *truth.shape[1:3])
    one = {name: np.array(each[:1]) for name, each in seen.items()}
    cells = (test.height // ridge.stride) * (test.width // ridge.stride)
    price = sets.price
    assert price is not None
    cost = CellCost(
        price.parameters, int(ridge.weights.size), price.macs, cells * int(ridge.weights[:-1].size), price.ms,
        _cpu_ms(lambda: ridge.predict(one)), meter.cost.cpu_s,
    )  # fmt: skip
    return _result(cell, sets, _scored(cell.task, guessed, truth), cost, [])


def on_one_grid(
    inputs: Mapping[str, FeatureSet], features: Mapping[str, Array]
) -> tuple[dict[str, FeatureSet], Mapping[str, Array]]:
    """Maps of several strides on the grid of one, for layers that see a cell: the largest that is 4 or less, if any.

    Finer maps become the means of what a cell covers, coarser ones are repeated; maps of one stride stay as they are.
    Raises InvalidValueError for strides that do not divide one another.
    """
    strides = sorted({each.stride for each in inputs.values()})
    stride = max((each for each in strides if each <= _GRID), default=strides[0])
    made: dict[str, Array] = {}
    for name, each in inputs.items():
        array = features[name]
        if max(each.stride, stride) % min(each.stride, stride):
            raise InvalidValueError(f"strides must divide one another, got {each.stride} of {name} and {stride}")
        if each.stride < stride:
            times = stride // each.stride
            count, channels, height, width = array.shape
            array = array.reshape(count, channels, height // times, times, width // times, times).mean(axis=(3, 5))
        elif each.stride > stride:
            array = array.repeat(each.stride // stride, axis=2).repeat(each.stride // stride, axis=3)
        made[name] = array
    return {name: replace(each, stride=stride) for name, each in inputs.items()}, made


def _judged(targets: Array, task: str) -> Array:
    """Targets float64 with NaN where they are not judged."""
    wanted = np.asarray(targets, np.float64)
    known = np.isfinite(wanted) & (wanted > 0 if task == "depth" else True)
    return np.where(known, wanted, np.nan)


def _mean_of(targets: Array) -> Array:
    """The mean of each pixel over the frames that judge it, else over all of them."""
    known = np.isfinite(targets)
    count, total = known.sum(axis=0), np.where(known, targets, 0).sum(axis=0)
    if not known.any():
        raise InvalidValueError("targets must have a finite number somewhere, got none: there is nothing to learn")
    made: Array = np.where(count > 0, total / np.maximum(count, 1), total.sum() / count.sum())
    return made


def _scored(task: str, guessed: Array, truth: Array) -> Scores:
    return DepthScores().update(guessed, truth) if task == "depth" else FlowScores().update(guessed, truth)
