"""Learning of a part of a diffusion model, with the running mean of its weights, so that it can stop and go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.assets.saving import expect
from lightmeter.condense.protocol import Tell
from lightmeter.engines.checkpoints import Checkpoints
from lightmeter.engines.steps import take_steps
from lightmeter.engines.stop import Stop
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

_TELL_S = 5.0
_MEMORY = 0.98
"""Of the loss that is told: a running mean of about fifty steps."""


@dataclass(frozen=True, slots=True)
class Learning:
    """What one part learns by.

    steps: of the optimiser · rate: of a step, from 0 on · loss: of a step, a scalar with slopes
    decay: of the running mean of weights, (1 + step)/(10 + step) before it gets there; 0: none is kept
    more: what else a step depends on, as arrays that are changed in place
    """

    steps: int
    rate: Callable[[int], float]
    loss: Callable[[int], Tensor]
    decay: float = 0.0
    more: Mapping[str, Array] | None = None


class PartLearner:
    """A network of diffusers' or transformers' on its way; see `engines.steps.Learner`."""

    def __init__(self, net: Any, learning: Learning, plan: Any, seed: int) -> None:
        from lightmeter.nets.descent import Descent

        self.net, self.learning = net, learning
        self.descent = Descent(net, plan, seed=seed)
        kept = self.descent.weights.items() if learning.decay else ()
        self.means = {name: each.detach().clone() for name, each in kept}
        self.loss = np.zeros(2, np.float64)

    def step(self, number: int) -> None:
        """One step, then the means."""
        import torch

        value = self.descent.step(number, self.learning.rate(number), lambda: self.learning.loss(number))
        self.loss[:] = _MEMORY * self.loss + (1 - _MEMORY) * np.array([value, 1.0])
        keep = min(self.learning.decay, (1 + number) / (10 + number))
        with torch.no_grad():
            for name, mean in self.means.items():
                mean.lerp_(self.descent.weights[name].detach(), 1 - keep)

    @property
    def told(self) -> float:
        """The loss of late."""
        return float(self.loss[0] / max(self.loss[1], 1e-12))

    def state(self) -> dict[str, Array]:
        """All that the next step depends on."""
        means = {f"mean.{name}": each.cpu().numpy() for name, each in self.means.items()}
        return {**self.descent.state(), **means, **(self.learning.more or {}), "loss": self.loss}

    def restore(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Go on from there."""
        import torch

        self.descent.restore(arrays, steps)
        for name, own in self.means.items():
            own.copy_(torch.from_numpy(expect(arrays, f"mean.{name}", "float32", *own.shape).copy()))
        for name, array in {**(self.learning.more or {}), "loss": self.loss}.items():
            array[...] = expect(arrays, name, array.dtype.name, *array.shape)

    def finish(self) -> None:
        """The means are the weights from now on, and nothing learns any more."""
        import torch

        with torch.no_grad():
            for name, mean in self.means.items():
                self.descent.weights[name].copy_(mean)
        self.net.eval().requires_grad_(False)


def learn(learner: PartLearner, stop: Stop, *, checkpoints: Checkpoints | None, tell: Tell, what: str) -> None:
    """All steps, from the last checkpoint on; progress is told every five seconds as a line.

    Ctrl-C ends it with KeyboardInterrupt after the step in flight, its state written where there are checkpoints.
    """
    said_s = time.monotonic()

    def told(done: int, began: int) -> None:
        nonlocal said_s
        now_s = time.monotonic()
        if done == learner.learning.steps or now_s - said_s >= _TELL_S:
            said_s = now_s
            tell(f"{what}: {done} of {learner.learning.steps} steps, loss {learner.told:.4g}")

    take_steps(learner, learner.learning.steps, stop, checkpoints=checkpoints, tell=told)
    learner.finish()


def kept_in(folder: Path | None, part: str, run: Mapping[str, Any], every_s: float) -> Checkpoints | None:
    """Checkpoints of a part of a run; None without a folder."""
    return None if folder is None else Checkpoints(folder / part, {**run, "part": part}, every_s)


def seeded(parts: Sequence[int]) -> int:
    """One seed for torch from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
