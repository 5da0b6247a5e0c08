"""Pictures that learn: a set's pixels as numbers that follow a slope, from where they start to how they are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Condenser, Material, Tell
from lightmeter.condense.scoring.pixels import DEVIATIONS, MEANS
from lightmeter.encoders.runtime import threads
from lightmeter.engines.checkpoints import Checkpoints
from lightmeter.engines.steps import Learner, take_steps
from lightmeter.engines.stop import Stop
from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import hash_of
from lightmeter.parts import need
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

    from lightmeter.nets.descent import DescentPlan

_BATCH = 0xBA7C
_TELL_S = 5.0
_MEMORY = 0.95
"""Of the loss that is told: a running mean of about twenty steps."""


def pictures(pixels: Tensor) -> Array:
    """From 0..1, cut and rounded: float32 [M, C, H, W] → uint8 [M, H, W, C]."""
    made: Array = (pixels.detach().clamp(0, 1) * 255).round().byte().movedim(1, -1).contiguous().cpu().numpy()
    return made


def shares(logits: Array) -> Array:
    """Softmax of rows: float32 [N, K]."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    made: Array = raised / raised.sum(axis=1, keepdims=True)
    return made


def from_standard(pixels: Tensor) -> Tensor:
    """The way back of `scoring.pixels.standardised`: float32 [M, C, H, W], 0..1 where it is a picture's."""
    mean, deviation = _columns(pixels)
    return pixels * deviation + mean


def clamp_standard(pixels: Tensor) -> None:
    """Cut, in place, to what a standardised picture can hold."""
    import torch

    mean, deviation = _columns(pixels)
    with torch.no_grad():
        pixels.copy_(torch.minimum(torch.maximum(pixels, -mean / deviation), (1 - mean) / deviation))


def _columns(pixels: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    channels = pixels.shape[1]
    mean, deviation = (
        torch.tensor(each[channels], device=pixels.device).view(-1, 1, 1) for each in (MEANS, DEVIATIONS)
    )
    return mean, deviation


def start_rows(material: Material, start: Condenser, per_class: int, *, seed: int) -> Array:
    """`per_class` rows of the set for every class that has any, class after class: int64 [M].

    start: a method that keeps pictures of the set. A class with fewer gives some more than once.
    """
    images = material.images
    kept = start.condense(material, per_class, seed=seed).rows
    assert kept is not None, "check_start let a method pass that makes pictures"
    own = [kept[images.labels[kept] == label] for label in np.flatnonzero(images.counts())]
    return np.concatenate([np.resize(each, per_class) for each in own])


@dataclass(frozen=True)
class ClassBatches:
    """Rows of one class at a step: without the same one twice where the class has as many."""

    rows: Mapping[int, Array]
    batch: int
    seed: int

    @classmethod
    def of(cls, images: ImageSet, batch: int, seed: int) -> ClassBatches:
        """Of every class that has pictures."""
        labels = np.flatnonzero(images.counts()).tolist()
        return cls({label: images.rows_of(label) for label in labels}, batch, seed)

    def at(self, label: int, step: int) -> Array:
        """int64 [min(batch, pictures of the class)]; the same for the same step."""
        own = self.rows[label]
        rng = np.random.default_rng([_BATCH, self.seed, step, label])
        return own[rng.choice(len(own), min(self.batch, len(own)), replace=False)]


class Objective(Protocol):
    """What pixels should get right."""

    def loss(self, number: int, pixels: Tensor) -> Tensor:
        """Of a step, from 0 on: a scalar with slopes.  pixels: float32 [M, C, H, W]"""
        ...


@dataclass(eq=False)
class PixelLearner:
    """Pixels that follow the slope of an objective; see `engines.steps.Learner`.

    rate: of a step · after: changes the pixels in place when a step is done, such as `clamp_standard`
    betas: of Adam, where the plan takes it
    """

    start: Tensor
    objective: Objective
    plan: DescentPlan
    rate: Callable[[int], float]
    seed: int
    after: Callable[[Tensor], None] | None = None
    betas: tuple[float, float] | None = None
    told: float = field(default=float("nan"), init=False)

    def __post_init__(self) -> None:
        from torch import nn

        from lightmeter.nets.descent import Descent

        self.pixels = nn.Parameter(self.start.clone())
        self.descent = Descent(nn.ParameterDict({"pixels": self.pixels}), self.plan, seed=self.seed)
        if self.betas is not None:
            for group in self.descent.optimizer.param_groups:
                group["betas"] = self.betas

    def step(self, number: int) -> None:
        """Once down the slope."""
        value = self.descent.step(number, self.rate(number), lambda: self.objective.loss(number, self.pixels))
        self.told = value if np.isnan(self.told) else _MEMORY * self.told + (1 - _MEMORY) * value
        if self.after is not None:
            self.after(self.pixels)

    def state(self) -> dict[str, Array]:
        """Pixels and moments."""
        return self.descent.state()

    def restore(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Go on from there."""
        self.descent.restore(arrays, steps)


class Telling(Learner, Protocol):
    """A learner that knows its loss of late."""

    @property
    def told(self) -> float:
        """A running mean."""
        ...


_Learner = TypeVar("_Learner", bound=Telling)


@dataclass(frozen=True)
class PixelRun:
    """A condenser at work on a set: where its state is kept and what it says.

    A run of the same set, spec, count and seed goes on where it was stopped or killed, and is not done again when it
    has ended: its end is kept in `pixels-…` of the material's folder.
    """

    material: Material
    spec: str
    per_class: int
    seed: int

    def take(self, make: Callable[[], tuple[_Learner, int]], part: str = "pixels") -> _Learner:
        """Make a learner and let it take its steps; Ctrl-C ends it with KeyboardInterrupt, its state written."""
        torch = need("torch", "torch")
        torch.set_num_threads(threads())
        with torch.random.fork_rng(devices=[]), Stop() as stop:
            torch.manual_seed(self.seed)
            learner, steps = make()
            tell = _Teller(self.material.tell, f"{self.spec.partition('/')[0]}, {part}", learner, steps)
            take_steps(learner, steps, stop, checkpoints=self._checkpoints(part), tell=tell)
        return learner

    def _checkpoints(self, part: str) -> Checkpoints | None:
        folder: Path | None = self.material.folder
        if folder is None:
            return None
        run = {
            "set": self.material.images.fingerprint, "method": self.spec, "per_class": self.per_class,
            "seed": self.seed, "part": part,
        }  # fmt: skip
        return Checkpoints(folder / f"pixels-{hash_of(run)[:16]}", run)


class _Teller:
    """A line every five seconds, and at the end."""

    def __init__(self, tell: Tell, what: str, learner: Telling, steps: int) -> None:
        self.tell, self.what, self.learner, self.steps = tell, what, learner, steps
        self.said_s = time.monotonic()

    def __call__(self, done: int, began: int) -> None:
        now_s = time.monotonic()
        if done == self.steps or now_s - self.said_s >= _TELL_S:
            self.said_s = now_s
            self.tell(f"{self.what}: {done} of {self.steps} steps, loss {self.learner.told:.4g}")


def labels_of(images: ImageSet, per_class: int) -> Array:
    """`per_class` of every class that has pictures, class after class: int64 [M]."""
    made: Array = np.repeat(np.flatnonzero(images.counts()), per_class)
    return made


def check_start(start: Condenser) -> None:
    """Raises InvalidValueError for a method that makes pictures, for pixels start from those of the set."""
    if start.makes:
        raise InvalidValueError(f"start must keep pictures of the set, got {start.spec}, which makes them: try herding")
