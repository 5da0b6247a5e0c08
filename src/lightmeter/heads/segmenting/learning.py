"""One network of masks while it learns: batches, a step, the state that a checkpoint keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lightmeter.engines.order import Order
from lightmeter.heads.segmenting.prepared import Prepared, changed_frames, drawn_changes
from lightmeter.metrics.masks import NOT_JUDGED
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

    from lightmeter.heads.segmenting.losses import ReadyMask
    from lightmeter.heads.segmenting.training import MaskTraining

_CHANCE = 0x3A5C


class Source(Protocol):
    """Gives batches."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def batch(self, step: int, rows: Array) -> tuple[tuple[Any, ...], Array]:
        """What the network is called with, and masks uint8 [B, H, W]."""
        ...


@dataclass(frozen=True, slots=True)
class Batches:
    """What gives batches, and in which order its rows come."""

    source: Source
    order: Order


class FeatureSource:
    """Batches of features that were made beforehand."""

    def __init__(self, features: Mapping[str, Array], masks: Array) -> None:
        self.features, self.masks = features, masks

    def __len__(self) -> int:
        return len(self.masks)

    def batch(self, step: int, rows: Array) -> tuple[tuple[Any, ...], Array]:
        """Maps by name, and masks."""
        import torch

        return ({name: torch.from_numpy(each[rows]) for name, each in self.features.items()},), self.masks[rows]


class FrameSource:
    """Batches of frames for an encoder that learns too, changed anew each step where that is asked for."""

    def __init__(self, prepared: Prepared, training: MaskTraining, seed: int) -> None:
        self.frames, self.place = prepared.encoder.windows(prepared.clips, prepared.labelled.at)
        self.masks, self.training, self.seed = prepared.masks, training, seed

    def __len__(self) -> int:
        return len(self.masks)

    def batch(self, step: int, rows: Array) -> tuple[tuple[Any, ...], Array]:
        """Clips float32 [B, T, 3, H, W] in 0..1 with places, and masks."""
        import torch

        frames, masks = self.frames[rows], self.masks[rows]
        if self.training.changes:
            drawn = drawn_changes(len(rows), self.training.flip, self.training.shift_px, [_CHANCE, self.seed, step])
            frames, masks = changed_frames(frames, masks, drawn)
        return (unit_clips(frames), torch.from_numpy(self.place[rows])), masks


def unit_clips(frames: Array) -> Tensor:
    """uint8 [N, T, H, W, 3] → float32 [N, T, 3, H, W] in 0..1, as `DenseEncoder.net` takes them."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 1, 4, 2, 3))).float() / 255


class MaskLearner:
    """A network, its optimiser's moments and the batches it learns from: what `engines.steps.take_steps` runs.

    Equal states and equal batches give equal states, bit for bit, on one thread: chance depends on seed and step alone.
    `losses` are those since they were taken last, `last` the newest batch: its logits before the step, and its masks.
    Memory: four times the weights, three with sgd.
    """

    def __init__(self, net: Any, training: MaskTraining, loss: ReadyMask, batches: Batches, seed: int) -> None:
        from lightmeter.nets.descent import Descent

        self.net, self.training, self.loss, self.batches = net, training, loss, batches
        self.descent = Descent(net, training.descent(), seed=seed, share=self._share)
        self.losses: list[float] = []
        self.last: tuple[Tensor, Array] | None = None

    def _share(self, name: str) -> float:
        return self.training.fine_tune if name.startswith("encoder.") else 1.0

    def step(self, number: int) -> None:
        """Learn from one batch."""
        import torch

        inputs, masks = self.batches.source.batch(number, self.batches.order.rows(number))
        self.net.train()
        if self.net.encoder is not None:
            self.net.encoder.eval()  # a codebook in train mode would start anew, running statistics would drift
        truth, judged = (torch.from_numpy(each.astype(np.float32)) for each in (masks == 1, masks != NOT_JUDGED))

        def loss() -> Tensor:
            logits = self.net(*inputs)
            self.last = logits.detach(), masks
            return self.loss(logits, truth, judged)

        self.losses.append(self.descent.step(number, self.training.rate(number), loss))

    def state(self) -> dict[str, Array]:
        """All that the next step depends on, by name, as views: use them before the next step."""
        return self.descent.state()

    def restore(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Go on from a state after so many steps.  Raises RejectedFileError for another network's."""
        self.descent.restore(arrays, steps)
