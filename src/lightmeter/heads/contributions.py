"""Why an answer: what each block, second and word of one item adds to the logit of a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.heads.answering import Answering, check_batch, hidden_from
from lightmeter.heads.examples import Batch, Block
from lightmeter.types import Array

_LEAST_CHANCE = 1e-7
_VARIANT_BYTES = 32 << 20
_MOST_VARIANTS = 64


@runtime_checkable
class Additive(Protocol):
    """A classifier whose logits are a sum over blocks."""

    def block_parts(self, batch: Batch) -> tuple[Array, Array] | None:
        """What each block adds, float64 [B, M, K], and what is there without any, [K]: together the logits.

        None where its options make them no sum.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """Of one item, for some classes: how much the logit log(p / (1 − p)) falls when a thing is taken away.

    classes: int64 [C] · chances: float32 [C], what was answered
    blocks: float64 [M, C], in the order of the model's blocks; 0 for one that is absent already
    exact: whether blocks are parts of a sum (they and `base` [C] add up to the logit), not differences
    seconds: float64 [T, C], frames of the item; None where it has none
    words: by block of tokens: float64 [L, C], place by place; `numbers`: int32 [L], the words there
    Chances are held to 1e-7 from 0 and 1, so no logit is beyond ±16.1.
    """

    classes: Array
    chances: Array
    blocks: Array
    exact: bool
    base: Array
    seconds: Array | None
    words: Mapping[str, Array]
    numbers: Mapping[str, Array]


def contributions(model: Answering, batch: Batch, classes: Sequence[int]) -> Contributions:
    """What each block, second and word of one item adds to some classes.

    batch: one item, as the model's `view` gives it · classes: numbers, 0..K − 1
    Blocks: parts of the sum where the model has one (a ridge with sigmoids), seen from the average item; else, and for
    seconds and words always, the difference that leaving one out makes, the others staying as they are: two things
    that say the same have little each.  Without a second the frames after it move up; without a word the words do.
    Networks that sample frames draw others then: their seconds hold that noise.
    Cost: M + T + words answers, in batches of 64 at most.  Raises InvalidValueError.
    Source: leave-one-out, Robnik-Šikonja & Kononenko 2008, "Explaining classifications for individual instances".
    """
    check_batch(batch, model.blocks)
    asked = np.asarray(classes, np.int64)
    if len(batch) != 1:
        raise InvalidValueError(f"batch must be of one item, got {len(batch)}: explain one after the other")
    if not asked.size or asked.min() < 0 or asked.max() >= model.classes:
        raise InvalidValueError(f"classes must be some of 0 to {model.classes - 1}, got {asked.tolist()[:5]}")
    whole = model.scores(batch)[0, asked]
    logit = _logits(whole)
    sums = model.block_parts(batch) if isinstance(model, Additive) else None
    if sums is None:
        blocks, base = logit - _of(model, _without_blocks(batch, model.blocks), asked), np.zeros(len(asked))
        blocks[~batch.present[0]] = 0
    else:
        blocks, base = sums[0][0][:, asked], sums[1][asked]
    seconds = None
    frames = [block.name for block in model.blocks if block.kind == "frames"]
    if frames and batch.lengths is not None:
        seconds = logit - _of(model, _without_seconds(batch, frames), asked)
    words, numbers = {}, {}
    for at, block in enumerate(model.blocks):
        if block.kind == "tokens" and batch.present[0, at]:
            row = batch.values[block.name][0]
            numbers[block.name] = row[row > 0]
            words[block.name] = logit - _of(model, _without_words(batch, block.name), asked)
    return Contributions(asked, whole, blocks, sums is not None, base, seconds, words, numbers)


def strongest(changes: Array, count: int) -> Array:
    """Places of the `count` highest changes above 0, the highest first: float [N] → int64 [at most count]."""
    order = np.argsort(-changes, kind="stable")[:count]
    best: Array = order[changes[order] > 0]
    return best


def _logits(chances: Array) -> Array:
    p = np.clip(chances.astype(np.float64), _LEAST_CHANCE, 1 - _LEAST_CHANCE)
    made: Array = np.log(p / (1 - p))
    return made


def _of(model: Answering, variants: Iterator[Batch], classes: Array) -> Array:
    """Logits of variants of an item: float64 [V, C]."""
    made = [_logits(model.scores(each)[:, classes]) for each in _together(variants)]
    return np.concatenate([np.empty((0, len(classes))), *made])


def _together(variants: Iterator[Batch]) -> Iterator[Batch]:
    """Batches of one as batches of several, within some memory."""
    some: list[Batch] = []
    for each in variants:
        some.append(each)
        size = sum(array.nbytes for array in each.values.values())
        if len(some) * max(size, _VARIANT_BYTES // _MOST_VARIANTS) >= _VARIANT_BYTES:
            yield _stacked(some)
            some = []
    if some:
        yield _stacked(some)


def _stacked(some: Sequence[Batch]) -> Batch:
    values = {name: np.concatenate([each.values[name] for each in some]) for name in some[0].values}
    lengths = [each.lengths for each in some if each.lengths is not None]
    return Batch(
        values, np.concatenate([each.present for each in some]), np.concatenate(lengths) if lengths else None
    )  # fmt: skip


def _without_blocks(batch: Batch, blocks: Sequence[Block]) -> Iterator[Batch]:
    for at in range(len(blocks)):
        yield hidden_from(batch, blocks, [at == other for other in range(len(blocks))])


def _without_seconds(batch: Batch, frames: Sequence[str]) -> Iterator[Batch]:
    assert batch.lengths is not None
    for second in range(int(batch.lengths[0])):
        values = {
            name: _moved_up(each, second) if name in frames else each for name, each in batch.values.items()
        }  # fmt: skip
        yield Batch(values, batch.present, batch.lengths - 1)


def _without_words(batch: Batch, name: str) -> Iterator[Batch]:
    for place in np.flatnonzero(batch.values[name][0] > 0).tolist():
        yield Batch({**batch.values, name: _moved_up(batch.values[name], place)}, batch.present, batch.lengths)


def _moved_up(values: Array, place: int) -> Array:
    """Along the second axis, without one place: what comes after moves up, zeros follow."""
    made = np.zeros_like(values)
    made[:, :place] = values[:, :place]
    made[:, place:-1] = values[:, place + 1 :]
    return made
