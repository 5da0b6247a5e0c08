"""One network of masks while it learns: batches, a step, the state that a checkpoint keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lightmeter.assets.saving import expect
from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.prepared import Prepared, changed_frames, drawn_changes
from lightmeter.metrics.masks import NOT_JUDGED
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

    from lightmeter.heads.segmenting.losses import ReadyMask
    from lightmeter.heads.segmenting.training import MaskTraining

_CHANCE = 0x3A5C
_MOMENTS = {"adam": ("exp_avg", "exp_avg_sq"), "adamw": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}


class Source(Protocol):
    """Gives batches."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def batch(self, step: int, rows: Array) -> tuple[tuple[Any, ...], Array]:
        """What the network is called with, and masks uint8 [B, H, W]."""
        ...


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
    """A network and its optimiser's moments.

    Equal states and equal batches give equal states, bit for bit, on one thread: chance depends on seed and step alone.
    Memory: four times the weights, three with sgd.
    """

    def __init__(self, net: Any, training: MaskTraining, loss: ReadyMask, seed: int) -> None:
        self.net, self.training, self.loss, self.seed = net, training, loss, seed
        self.weights = {name: each for name, each in net.named_parameters() if each.requires_grad}
        self.optimizer = _optimizer(self.weights, training)
        for each in self.weights.values():
            self.optimizer.state[each] |= _fresh(each, training.optimiser)

    def step(self, number: int, inputs: tuple[Any, ...], masks: Array) -> tuple[float, Tensor]:
        """Learn from one batch: its loss, and its logits before the step."""
        import torch

        chance = np.random.SeedSequence([_CHANCE, self.seed, number]).generate_state(1)[0]
        torch.default_generator.manual_seed(int(chance))
        self.net.train()
        if self.net.encoder is not None:
            self.net.encoder.eval()  # a codebook in train mode would start anew, running statistics would drift
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.net(*inputs)
        truth, judged = (torch.from_numpy(each.astype(np.float32)) for each in (masks == 1, masks != NOT_JUDGED))
        loss = self.loss(logits, truth, judged)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise InvalidValueError(f"the loss must stay finite, got {value} at step {number}: take a smaller lr")
        loss.backward()
        if self.training.clip:
            torch.nn.utils.clip_grad_norm_(self.weights.values(), self.training.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.rate(number) * group["share"]
        self.optimizer.step()
        return value, logits.detach()

    def state(self) -> dict[str, Array]:
        """All that the next step depends on, by name, as views: use them before the next step."""
        made = {f"net.{name}": each.detach().numpy() for name, each in self.net.state_dict().items()}
        for name, each in self.weights.items():
            for moment in _MOMENTS[self.training.optimiser]:
                made[f"{moment}.{name}"] = self.optimizer.state[each][moment].numpy()
        return made

    def restore(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Go on from a state after so many steps.  Raises RejectedFileError for another network's."""
        import torch

        with torch.no_grad():
            for name, own in self.state().items():
                own[...] = expect(arrays, name, own.dtype.name, *own.shape)
            for each in self.optimizer.state.values():
                if "step" in each:
                    each["step"].fill_(steps)


def _fresh(weight: Any, optimiser: str) -> dict[str, Any]:
    """Moments before the first step: all zeros, which is what the optimisers themselves begin with."""
    import torch

    made = {moment: torch.zeros_like(weight) for moment in _MOMENTS[optimiser]}
    return made if optimiser == "sgd" else {"step": torch.zeros(()), **made}


def _optimizer(weights: Mapping[str, Any], training: MaskTraining) -> Any:
    """Four groups at most: weights of encoder or head, decayed or not."""
    import torch

    groups: dict[tuple[bool, bool], list[Any]] = {}
    for name, each in weights.items():
        groups.setdefault((name.startswith("encoder."), each.ndim > 1), []).append(each)
    made = [
        {
            "params": each,
            "share": training.fine_tune if of_encoder else 1.0,
            "weight_decay": training.weight_decay if decays else 0.0,
        }
        for (of_encoder, decays), each in groups.items()
    ]
    if training.optimiser == "sgd":
        return torch.optim.SGD(made, lr=training.lr, momentum=training.momentum)
    kind = torch.optim.AdamW if training.optimiser == "adamw" else torch.optim.Adam
    return kind(made, lr=training.lr, fused=True)
