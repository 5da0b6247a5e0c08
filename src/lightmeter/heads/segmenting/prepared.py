"""Labelled frames made ready to learn from: at the encoder's size, its features made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.encoders.dense import chosen_sets
from lightmeter.encoders.dense_cache import FeatureCache
from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.resizing import resized_clips, resized_masks, work_size
from lightmeter.metrics.masks import NOT_JUDGED
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.encoders.dense import DenseEncoder, FeatureSet
    from lightmeter.heads.segmenting.training import MaskTraining
    from lightmeter.media.clip_set import LabelledFrames

_AT_ONCE = 32
_CHANCE = 0x5E6


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to frames and masks alike before features are made of them; nothing by default.

    flip, shift_px, copies: as in `MaskTraining` · seed: of what is drawn
    """

    flip: bool = False
    shift_px: int = 0
    copies: int = 1
    seed: int = 0

    @classmethod
    def of(cls, training: MaskTraining, seed: int) -> Changes:
        """What a training asks for beforehand: nothing with a fine-tuned encoder."""
        if training.copies < 2:
            return cls()
        return cls(training.flip, training.shift_px, training.copies, seed)

    def told(self, copy: int) -> str:
        """What is done to a copy, for the cache; "" for the first, to which nothing is done."""
        return f"flip={self.flip},shift_px={self.shift_px},seed={self.seed},copy={copy}" if copy else ""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What a head learns from, or is scored on, of one encoder.

    labelled: as it came; scores are taken at its masks' size · height, width: at which the encoder sees it
    features: float32 [copies·N, C, h, w] by name, the frames as they are first; arrays may lie in a file
    masks: uint8 [copies·N, height, width]
    """

    encoder: DenseEncoder
    labelled: LabelledFrames
    height: int
    width: int
    features: Mapping[str, Array]
    masks: Array
    changes: Changes

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def inputs(self) -> dict[str, FeatureSet]:
        """The maps, by name."""
        return chosen_sets(self.encoder)

    @property
    def clips(self) -> Array:
        """The clips at the encoder's size: uint8 [N, T, height, width, 3]."""
        return resized_clips(self.labelled.clips, self.height, self.width)

    def take(self, rows: Array) -> Prepared:
        """Some of the frames, int [R], in this order, with all their copies: for fewer labels, and for folds."""
        count = len(self.labelled)
        all_rows = np.concatenate([np.asarray(rows, np.int64) + count * at for at in range(self.changes.copies)])
        features = {name: each[all_rows] for name, each in self.features.items()}
        return replace(self, labelled=self.labelled.take(rows), features=features, masks=self.masks[all_rows])

    def with_masks(self, labelled: LabelledFrames) -> Prepared:
        """The same frames with other masks: features stay.  Raises InvalidValueError for other frames, for copies."""
        same = labelled.clips is self.labelled.clips and np.array_equal(labelled.at, self.labelled.at)
        if not same or self.changes.copies > 1:
            raise InvalidValueError("masks can be exchanged for the same clips without copies: prepare the set anew")
        return replace(self, labelled=labelled, masks=resized_masks(labelled.masks, self.height, self.width))


def prepared(
    encoder: DenseEncoder,
    labelled: LabelledFrames,
    *,
    changes: Changes | None = None,
    cache: FeatureCache | None = None,
) -> Prepared:
    """Features of labelled frames, made once.

    cache: keeps features by content (`encoders.dense_cache`); they are then read from its files, not into memory
    Raises InvalidValueError for an empty set.  Cost: the encoder's for each frame and copy, or one read of the copy.
    """
    changes = changes or Changes()
    if not len(labelled):
        raise InvalidValueError("labelled frames must be one at least, got none")
    height, width = work_size(encoder, *labelled.masks.shape[1:])
    parts, masks = [], []
    for copy in range(changes.copies):
        clips, own = changed_frames(labelled.clips, labelled.masks, _changes_of(changes, copy, len(labelled)))
        clips = resized_clips(clips, height, width)
        masks.append(resized_masks(own, height, width))
        parts.append(_features(encoder, clips, labelled.at, cache, changes.told(copy)))
    features = parts[0]
    if len(parts) > 1:
        features = {name: np.concatenate([part[name] for part in parts]) for name in encoder.chosen}
    return Prepared(encoder, labelled, height, width, features, np.concatenate(masks), changes)


def _features(
    encoder: DenseEncoder, clips: Array, at: Array, cache: FeatureCache | None, changed: str
) -> Mapping[str, Array]:
    if cache is not None:
        return cache.features(encoder, clips, at, augmentation=changed)
    parts = [
        encoder.features(clips[first : first + _AT_ONCE], at[first : first + _AT_ONCE])
        for first in range(0, len(clips), _AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in encoder.chosen}


# -- changes --------------------------------------------------------------------------------------------------------


def _changes_of(changes: Changes, copy: int, count: int) -> Array:
    """What a copy does to each row, int64 [N, 3]: flipped, down, right; nothing in the first."""
    if not copy:
        return np.zeros((count, 3), np.int64)
    return drawn_changes(count, changes.flip, changes.shift_px, [_CHANCE, changes.seed, copy])


def drawn_changes(count: int, flip: bool, shift_px: int, seed: list[int]) -> Array:
    """Changes for some rows, int64 [N, 3]: whether it is flipped, pixels down, pixels right."""
    rng = np.random.default_rng(seed)
    flips = rng.integers(0, 2, count) * int(flip)
    shifts = rng.integers(-shift_px, shift_px + 1, (count, 2))
    return np.column_stack([flips, shifts])


def changed_frames(clips: Array, masks: Array, changes: Array) -> tuple[Array, Array]:
    """Clips uint8 [N, T, H, W, 3] and masks [N, H, W] flipped and moved; what comes in repeats the edge, not judged."""
    if not changes.any():
        return clips, masks
    made, own = np.empty_like(clips), np.empty_like(masks)
    height, width = masks.shape[1:]
    for row, (flip, down, right) in enumerate(changes.tolist()):
        clip, mask = clips[row], masks[row]
        if flip:
            clip, mask = clip[:, :, ::-1], mask[:, ::-1]
        from_y, from_x = np.arange(height) - down, np.arange(width) - right
        inside_y, inside_x = from_y.clip(0, height - 1), from_x.clip(0, width - 1)
        made[row] = clip[:, inside_y][:, :, inside_x]
        known = (from_y == inside_y)[:, None] & (from_x == inside_x)
        own[row] = np.where(known, mask[inside_y][:, inside_x], NOT_JUDGED)
    return made, own


def channel_moments(array: Array) -> tuple[Any, Any]:
    """Mean and deviation of each channel of maps [N, C, h, w]: tensors float32 [C]."""
    import torch

    total, square, cells = 0.0, 0.0, 0
    for at in range(0, len(array), _AT_ONCE):
        part = np.asarray(array[at : at + _AT_ONCE], np.float64)
        cells += part.size // part.shape[1]
        total, square = total + part.sum(axis=(0, 2, 3)), square + (part**2).sum(axis=(0, 2, 3))
    mean = total / cells
    deviation = np.sqrt(np.maximum(square / cells - mean**2, 0))
    return torch.from_numpy(np.float32(mean)), torch.from_numpy(np.float32(deviation))
