"""One network while it learns: a step, the state that a checkpoint keeps, the weights at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lightmeter.assets.saving import expect
from lightmeter.errors import InvalidValueError
from lightmeter.heads.feeding import Inputs
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

    from lightmeter.heads.losses import Ready
    from lightmeter.heads.training import Adam

Precision = Literal["float32", "bfloat16"]
_CHANCE = 0xD40F


class Learner:
    """A network, Adam's moments of its weights and their moving average.

    Equal states and equal batches give equal states, bit for bit, on one thread: chance depends on seed and step alone.
    Memory: four times the weights (weights, slopes, two moments), five with `ema`.
    """

    def __init__(self, net: Any, training: Adam, loss: Ready, *, precision: Precision, seed: int) -> None:
        import torch

        self.net, self.training, self.loss, self.precision, self.seed = net, training, loss, precision, seed
        self.weights = {name: each for name, each in net.named_parameters() if each.requires_grad}
        self.decayed = _decayed(net) if training.l2 else []
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=training.lr, fused=True)
        for each in self.weights.values():
            moments = {"exp_avg": torch.zeros_like(each), "exp_avg_sq": torch.zeros_like(each)}
            self.optimizer.state[each] = {"step": torch.zeros(()), **moments}
        self.average = {name: each.detach().clone() for name, each in self.weights.items()} if training.ema else {}
        self.clipped = _clipper(net, training)

    def step(self, number: int, inputs: Inputs) -> tuple[float, Tensor]:
        """Learn from one batch: its loss (without l2), and its probabilities before the step, float32 [B, K]."""
        import torch

        seed = np.random.SeedSequence([_CHANCE, self.seed, number]).generate_state(1)[0]
        torch.default_generator.manual_seed(int(seed))  # torch.manual_seed keeps a call for each GPU that may come
        self.net.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            outputs = self.net.stages(*inputs.asked) if hasattr(self.net, "stages") else (self.net(*inputs.asked),)
        loss = self._loss(outputs, inputs)
        value = float(loss.detach())
        if not np.isfinite(value):
            _refuse_data(inputs, number)
            raise InvalidValueError(
                f"the loss must stay finite, got {value} at step {number}: take a smaller lr, or clip"
            )
        loss.backward()
        if self.decayed:
            slopes = [each.grad for each in self.decayed if each.grad is not None]
            torch._foreach_add_(
                slopes, [each.detach() for each in self.decayed if each.grad is not None], alpha=self.training.l2
            )
        self.clipped(self.weights)
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.rate(number)
        self.optimizer.step()
        self._move_average(number)
        return value, outputs[-1].detach()

    def _autocast(self) -> AbstractContextManager[Any]:
        import torch

        narrow = self.precision == "bfloat16"
        return torch.autocast("cpu", dtype=torch.bfloat16) if narrow else nullcontext()

    def _loss(self, outputs: tuple[Tensor, ...], inputs: Inputs) -> Tensor:
        """Of the answer, and `support` of it of the stages before (their mean)."""
        *supports, answer = (self.loss(each, inputs.targets, inputs.weights) for each in outputs)
        if not supports or not self.training.support:
            return answer
        share = self.training.support
        return (1 - share) * answer + share * sum(supports[1:], supports[0]) / len(supports)

    def _move_average(self, number: int) -> None:
        if self.average:
            import torch

            keep = min(self.training.ema, (1 + number) / (10 + number))  # as TensorFlow's num_updates has it
            torch._foreach_lerp_(
                list(self.average.values()), [each.detach() for each in self.weights.values()], 1 - keep
            )

    # -- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Array]:
        """All that the next step depends on, by name, as views: use them before the next step."""
        made = {f"net.{name}": each.detach().numpy() for name, each in self.net.state_dict().items()}
        for name, each in self.weights.items():
            moments = self.optimizer.state[each]
            made[f"first.{name}"], made[f"second.{name}"] = moments["exp_avg"].numpy(), moments["exp_avg_sq"].numpy()
        made |= {f"average.{name}": each.numpy() for name, each in self.average.items()}
        return made

    def restore(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Go on from a state after so many steps.  Raises RejectedFileError for another network's."""
        import torch

        with torch.no_grad():
            for name, own in self.state().items():
                own[...] = expect(arrays, name, own.dtype.name, *own.shape)
            for moments in self.optimizer.state.values():
                moments["step"].fill_(steps)

    def learnt(self) -> dict[str, Array]:
        """What a classifier needs: weights (averaged where they are) and buffers, copies, by name."""
        state = {name: each.detach() for name, each in self.net.state_dict().items()} | self.average
        return {name: each.numpy().copy() for name, each in state.items()}


def _refuse_data(inputs: Inputs, number: int) -> None:
    """Where a loss came out wrong because what came in was: InvalidValueError that names the block, or the teacher."""
    import torch

    for name, each in {**inputs.values, "what the teacher says": inputs.targets}.items():
        if each is not None and not bool(torch.isfinite(each).all()):
            rows = int((~torch.isfinite(each)).flatten(1).any(dim=1).sum())
            raise InvalidValueError(
                f"{name} must be finite, got NaN or infinity in {rows} of the {len(each)} examples of step {number}: "
                "check what was encoded"
            )


def _decayed(net: Any) -> list[Any]:
    own: Iterable[Any] = net.decayed() if hasattr(net, "decayed") else (w for w in net.parameters() if w.ndim > 1)
    return [each for each in own if each.requires_grad]


def _clipper(net: Any, training: Adam) -> Any:
    """What makes the slopes of a step no longer than `clip`."""
    if training.clip_by == "off":
        return lambda weights: None
    if training.clip_by == "class":
        axes = class_axes(net)
        return lambda weights: _clip_classes(weights, axes, training.clip)
    if training.clip_by == "all":
        return lambda weights: _clip_together(weights.values(), training.clip)
    return lambda weights: _clip_apart(weights.values(), training.clip)


def class_axes(net: Any) -> Mapping[str, int]:
    """Along which axis of each weight the classes stand; raises InvalidValueError where classes share weights."""
    axes: Mapping[str, int] = net.class_axes() if hasattr(net, "class_axes") else {}
    shared = sorted({name for name, each in net.named_parameters() if each.requires_grad} - set(axes))
    if shared:
        raise InvalidValueError(
            f"classes must share nothing to be clipped one by one, got {shared[0]}: take clip_by=variable"
        )
    return axes


def _clip_apart(weights: Iterable[Any], most: float) -> None:
    for each in weights:
        _clip_together([each], most)


def _clip_together(weights: Iterable[Any], most: float) -> None:
    import torch

    slopes = [each.grad for each in weights if each.grad is not None]
    if not slopes:
        return
    length = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(each) for each in slopes])))
    if length > most:
        torch._foreach_mul_(slopes, most / length)


def _clip_classes(weights: Mapping[str, Any], axes: Mapping[str, int], most: float) -> None:
    """Each class's slope, over all weights, at most `most` long."""
    slopes = [(weights[name].grad, axis) for name, axis in axes.items() if weights[name].grad is not None]
    squares = sum(
        each.square().sum(dim=[other for other in range(each.ndim) if other != axis]) for each, axis in slopes
    )
    scales = (most / squares.sqrt().clamp_min(1e-30)).clamp_max(1)
    if bool((scales < 1).any()):
        for each, axis in slopes:
            each.mul_(scales.view([-1 if other == axis else 1 for other in range(each.ndim)]))


@lru_cache(maxsize=1)
def measured_precision() -> Precision:
    """The type in which this machine multiplies faster, by a tenth at least; float32 else.  Cost: 0.1 CPU-seconds."""
    import torch

    took = {}
    for kind in (torch.float32, torch.bfloat16):
        rows, columns = torch.ones(256, 512, dtype=kind), torch.ones(512, 512, dtype=kind)
        spent = []
        for _ in range(4):
            start_s = time.thread_time()
            rows @ columns
            spent.append(time.thread_time() - start_s)
        took[kind] = min(spent[1:])
    return "bfloat16" if took[torch.bfloat16] < 0.9 * took[torch.float32] else "float32"
