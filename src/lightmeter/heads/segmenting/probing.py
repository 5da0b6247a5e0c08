"""Grids of probes: encoders × heads × trainings × seeds × labels × tasks, each cell kept as it ends.

What a cell is, and intervals over its results, are in `cells`; frames with the answers to several tasks in `probed`.

    cells = grid(["future-codes"], ["linear-patch", "multi-scale"], seeds=(0, 1), labels=(25, 0))
    results = run_cells(cells, train, valid, test, folder=Path("probe"), cache=FeatureCache())
    rows = [seeds for seeds in by_row(results).values() if seeds[0].cell.labels == 0]
    paired_intervals(rows, test.groups)  # of each row, and of its difference to the first

`train`, `valid` and `test` must be of different scenes (`media.clip_set.split_by_group`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.encoders.dense_net import ByNet
from lightmeter.encoders.dense_random import RandomWeights
from lightmeter.errors import InvalidValueError, LightmeterError
from lightmeter.heads.segmenting.cells import Cell, CellResult, Control, cell_path, read_cell, write_cell
from lightmeter.heads.segmenting.probed import MASK_TASKS, NUMBER_TASKS, Probed
from lightmeter.heads.segmenting.probing_once import EncoderPrice, Sets, answered
from lightmeter.media.clip_set import LabelledFrames
from lightmeter.meter.record import hash_of
from lightmeter.parts import build, parse

if TYPE_CHECKING:
    from lightmeter.encoders.dense import DenseEncoder
    from lightmeter.encoders.dense_cache import FeatureCache

VERSION = "probing 1"
"""Raise it with any change to what a cell of masks does: it is in the key of every kept one."""
NUMBERS_VERSION = "probing 2"
"""The same of depth and flow."""
RIDGE = "patch-ridge"
SCRATCH = ("pixels/patch=1", "mask-unet/base=16,levels=4,norm=group")
"""A U-Net that learns all of it from the labels: what an encoder must be worth."""
IMAGE = "lite-maps/enlarge=2"
"""Comes with the package; it learnt from single pictures of ImageNet with their labels."""
_OF_IMAGES = ("lite-maps", "dino")
_TIMED_CPU_S = 0.2
_MOST_TIMED = 5


def grid(
    encoders: Sequence[str],
    heads: Sequence[str],
    *,
    training: str = "mask-training",
    seeds: Iterable[int] = (0,),
    labels: Iterable[int] = (0,),
    tasks: Iterable[str] = ("mask",),
    controls: bool = True,
) -> list[Cell]:
    """Every encoder with every head, the first of both first: what all else is compared with.

    controls: beside them the mean, pixels in patches of the first encoder's finest stride, every torch encoder with its
    weights drawn anew (`random` where there is none), an image encoder, a U-Net from scratch (`SCRATCH`), and of the
    first encoder and head noise and shuffled masks.  The image encoder is `lite-maps`, which labels have taught: for
    image self-supervision name `dino/folder=…`, whose files are yours, among the encoders, in its place.
    Tasks of depth and flow have the one head `patch-ridge` and no U-Net, noise or shuffled masks.
    """
    made: list[Cell] = []
    blind = [*_blind(encoders), *_image(encoders)] if controls else []
    for task, count in product(tasks, labels):
        own = [RIDGE] if task in NUMBER_TASKS else list(heads)
        pairs: list[tuple[str, str, Control]] = [(*pair, "") for pair in product([*encoders, *blind], own)]
        if controls:
            pairs.append(("", "", "mean"))
        if controls and task in MASK_TASKS:
            pairs += [(*SCRATCH, ""), (encoders[0], own[0], "noise"), (encoders[0], own[0], "shuffled")]
        made += [
            Cell(encoder, head, "" if head == RIDGE or not head else training, seed, count, task, control)
            for (encoder, head, control), seed in product(pairs, seeds)
        ]
    return list(dict.fromkeys(made))


def _blind(encoders: Sequence[str]) -> list[str]:
    """Encoders that have learnt nothing, to compare with, as short as they can be spelled."""
    strides, twins, given = [], [], set()
    for spec in encoders:
        try:
            encoder: DenseEncoder = build(spec, "dense-encoder")
            strides.append(min(encoder.feature_sets[name].stride for name in encoder.chosen))
        except (FileNotFoundError, ImportError):  # its own cells will say so
            continue
        given.add(encoder.spec)
        if isinstance(encoder, ByNet) and not isinstance(encoder, RandomWeights):
            twins.append(f"untrained/of=({spec})")
    made = [f"pixels/patch={strides[0] if strides else 4}", *(twins or ["random"])]
    return [each for each in made if build(each, "dense-encoder").spec not in given]


def _image(encoders: Sequence[str]) -> list[str]:
    """An encoder that knows single pictures only, unless one is among them."""
    return [] if any(parse(spec).name in _OF_IMAGES for spec in encoders) else [IMAGE]


def run_cells(
    cells: Sequence[Cell],
    train: Probed | LabelledFrames,
    valid: Probed | LabelledFrames | None,
    test: Probed | LabelledFrames,
    *,
    folder: Path | None = None,
    cache: FeatureCache | None = None,
    tell: Callable[[CellResult, bool], None] | None = None,
) -> list[CellResult]:
    """Learn and score every cell; results in the order of the cells, which run encoder by encoder.

    train, valid, test: of different scenes; plain `LabelledFrames` are the task `mask` · valid: finds thresholds; None:
    logit 0 · folder: keeps a JSON file a cell, and cells that stand there are not run again: the same call goes on
    cache: keeps features by content · tell: hears each result as it ends, and whether it was there already
    A cell that cannot be run (weights that are missing, a head that cannot read the maps) says why in `refused`; it is
    not kept, so that the next call tries it again.
    Raises InvalidValueError where sets share a scene, RejectedFileError for a file in `folder` that is no cell.
    """
    run = _Grid(_probed(train), None if valid is None else _probed(valid), _probed(test), folder, cache)
    first = {each.encoder: at for at, each in reversed(list(enumerate(cells)))}
    order = sorted(range(len(cells)), key=lambda at: first[cells[at].encoder])
    found: dict[int, CellResult] = {}
    for at in order:
        found[at], again = run.once(cells[at])
        if tell:
            tell(found[at], again)
    return [found[at] for at in range(len(cells))]


def _probed(given: Probed | LabelledFrames) -> Probed:
    return Probed.of(given) if isinstance(given, LabelledFrames) else given


class _Grid:
    """Encoders and their features, kept as long as their cells run."""

    def __init__(
        self, train: Probed, valid: Probed | None, test: Probed, folder: Path | None, cache: FeatureCache | None
    ) -> None:
        self.parts = {"train": train, "test": test} | ({} if valid is None else {"valid": valid})
        self.folder, self.cache = folder, cache
        self.sets: Sets | None = None
        for one, other in combinations(self.parts, 2):
            if np.intersect1d(self.parts[one].groups, self.parts[other].groups).size:
                raise InvalidValueError(f"{one} and {other} must not share a scene, got some in both: split by group")

    def once(self, cell: Cell) -> tuple[CellResult, bool]:
        """A cell's result, and whether it was kept."""
        try:
            encoder = self._encoder(cell.encoder) if cell.encoder else None
            key = self._key(cell, encoder)
            path = None if self.folder is None else cell_path(self.folder, cell, key)
        except LightmeterError as error:
            return CellResult(cell, refused=str(error)), False
        kept = None if path is None else read_cell(path, key)
        if kept is not None:
            return kept, True
        try:
            made = answered(cell, encoder, self._ready(encoder))
        except LightmeterError as error:
            return CellResult(cell, refused=str(error)), False
        if path is not None:
            write_cell(path, made, key)
        return made, False

    def _encoder(self, spec: str) -> DenseEncoder:
        if self.sets is not None and self.sets.encoder is not None and self.sets.encoder.spec == spec:
            return self.sets.encoder
        encoder: DenseEncoder = build(spec, "dense-encoder")
        return encoder

    def _key(self, cell: Cell, encoder: DenseEncoder | None) -> str:
        fingerprint = "" if encoder is None else encoder.fingerprint
        data = {name: part.fingerprint(cell.task) for name, part in self.parts.items()}
        version = VERSION if cell.task in MASK_TASKS else NUMBERS_VERSION
        return hash_of([version, asdict(cell), fingerprint, data])

    def _ready(self, encoder: DenseEncoder | None) -> Sets:
        if self.sets is None or self.sets.encoder is not encoder:
            price = None if encoder is None else encoder_price(encoder, self.parts["test"].frames)
            self.sets = Sets(encoder, self.parts, self.cache, price)
        return self.sets


def encoder_price(encoder: DenseEncoder, frames: LabelledFrames) -> EncoderPrice:
    """Parameters, multiply–adds and CPU milliseconds of an encoder for one frame, run one at a time, once warm.

    Parameters are None where it neither has a torch network nor says its size.
    """
    from lightmeter.heads.segmenting.resizing import resized_clips, work_size

    height, width = work_size(encoder, *frames.masks.shape[1:])
    clips, at = resized_clips(frames.clips[:1], height, width), frames.at[:1]
    encoder.features(clips, at)
    count, began_s = 0, time.process_time()
    while not count or (count < _MOST_TIMED and time.process_time() - began_s < _TIMED_CPU_S):
        encoder.features(clips, at)
        count += 1
    took_s = (time.process_time() - began_s) / count
    return EncoderPrice(_parameters(encoder), encoder.macs(height, width), 1e3 * took_s)


def _parameters(encoder: Any) -> int | None:
    try:
        return int(sum(each.numel() for each in encoder.net().parameters()))
    except InvalidValueError:
        size_bytes: int | None = getattr(encoder, "size_bytes", None)
        return None if size_bytes is None else size_bytes // 4
