"""From examples to tensors: the batch of a step, with its targets, read while the one before it is learnt from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lightmeter.engines.order import Order
from lightmeter.heads.examples import Batch, Block, Examples
from lightmeter.types import Array, Labels

if TYPE_CHECKING:
    from torch import Tensor

_ABSENCE = 0xAB5E


class Teacher(Protocol):
    """What a student imitates: a classifier, or an ensemble of them."""

    def scores(self, batch: Batch) -> Array:
        """Probabilities float32 [B, K]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """A batch as a network takes it. targets, weights: float32 [B, classes of the range] or None"""

    values: Mapping[str, Tensor]
    present: Tensor
    lengths: Tensor | None
    targets: Tensor | None = None
    weights: Tensor | None = None

    @property
    def asked(self) -> tuple[Any, Any, Any]:
        """The arguments of `forward`."""
        return self.values, self.present, self.lengths


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Batches of a run, for the classes first..last.

    drop: chance that a block is hidden, see `hidden_blocks`
    teacher, share: targets are (1 − share)·labels + share·scores of the teacher
    """

    examples: Examples
    order: Order
    first: int
    last: int
    drop: float = 0.0
    teacher: Teacher | None = None
    share: float = 0.0

    def batches(self, start: int) -> Iterator[tuple[Batch, Inputs]]:
        """From a step on to the end; the next one is read by a thread meanwhile."""
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self.batch, start)
            for step in range(start, self.order.steps):
                ready = ahead.result()
                if step + 1 < self.order.steps:
                    ahead = reader.submit(self.batch, step + 1)
                yield ready

    def batch(self, step: int) -> tuple[Batch, Inputs]:
        """The batch of a step, and the same as tensors."""
        import torch

        batch = self.examples.batch(self.order.rows(step))
        assert batch.labels is not None, "what is learnt from has labels"
        targets = dense_range(batch.labels, self.first, self.last)
        if self.teacher is not None:
            targets = (1 - self.share) * targets + self.share * self.teacher.scores(batch)[:, self.first : self.last]
        if self.drop:
            batch = replace(batch, present=hidden_blocks(batch.present, self.drop, self.order.seed, step))
        weights = None if batch.rated is None else torch.from_numpy(dense_range(batch.rated, self.first, self.last))
        return batch, replace(
            inputs_of(batch, self.examples.blocks), targets=torch.from_numpy(targets), weights=weights
        )


def inputs_of(batch: Batch, blocks: tuple[Block, ...]) -> Inputs:
    """The values of some blocks as tensors; `present` has a column for each, in this order."""
    values = {block.name: tensor_of(batch.values[block.name]) for block in blocks}
    return Inputs(values, tensor_of(batch.present), None if batch.lengths is None else tensor_of(batch.lengths))


def tensor_of(array: Array) -> Tensor:
    """A tensor that shares the memory of an array and is only read, whether or not others may write to it."""
    import torch

    plain = np.require(array, requirements=["C", "A"])
    if plain.flags.writeable:  # as batches are: filters of warnings belong to all threads, leave them be
        return torch.from_numpy(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "the given array is not writable": nor do we write
        return torch.from_numpy(plain)


def dense_range(labels: Labels, first: int, last: int) -> Array:
    """Which of the classes first..last N items have: float32 [N, last − first], 0 or 1."""
    made = np.zeros((len(labels), last - first), np.float32)
    inside = (labels.classes >= first) & (labels.classes < last)
    rows = np.repeat(np.arange(len(labels)), np.diff(labels.offsets))[inside]
    made[rows, labels.classes[inside] - first] = 1
    return made


def hidden_blocks(present: Array, drop: float, seed: int, step: int) -> Array:
    """Modality dropout: each block that is there is hidden with chance `drop`; where all would be, one of them stays.

    present: bool [B, M] → bool [B, M].  The draw depends on seed and step alone.
    Source: Neverova et al. 2016, "ModDrop", arXiv:1501.00102, section 3.3; that one stays is ours.
    """
    chance = np.random.default_rng([_ABSENCE, seed, step]).random(present.shape)
    kept: Array = present & (chance >= drop)
    bare = present.any(axis=1) & ~kept.any(axis=1)
    likeliest = np.where(present, chance, -1.0).argmax(axis=1)
    kept[bare, likeliest[bare]] = True
    return kept


def class_shares(labels: Labels, first: int, last: int) -> Array:
    """Share of the items that have each of the classes first..last, float64, half an item added on each side."""
    counts = np.bincount(labels.classes, minlength=labels.count)[first:last]
    shares: Array = (counts + 0.5) / (len(labels) + 1)
    return shares
