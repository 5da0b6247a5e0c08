"""What all pretrainings have in common: so many steps of so many windows, at a rate that rises and falls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

    from lightmeter.encoders.pretraining.tokenizer import Tokenizer
    from lightmeter.encoders.pretraining.windows import Cut, Footage
    from lightmeter.nets.descent import DescentPlan


@dataclass(frozen=True)
class Scheduled(Spelled):
    """Options of every recipe.

    steps, batch: how often, and windows a step · lr: at its highest, from which it falls to 0 as a cosine
    warm_up: share of the steps in which it rises · weight_decay: of AdamW, decoupled · clip: longest slope, 0: any
    mirror, reverse: whether windows are also shown mirrored, and backwards in time
    """

    steps: int = 2000
    batch: int = 8
    lr: float = 0.002
    warm_up: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    mirror: bool = True
    reverse: bool = True

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1:
            raise InvalidValueError(f"steps and batch must be 1 or more, got {self.steps} and {self.batch}")
        if not 0 < self.lr < math.inf:
            raise InvalidValueError(f"lr must be above 0 and finite, got {self.lr}")
        if not 0 <= self.warm_up < 1:
            raise InvalidValueError(f"warm_up must be 0 to below 1, got {self.warm_up}")
        for name, value in (("weight_decay", self.weight_decay), ("clip", self.clip)):
            if not 0 <= value < math.inf:
                raise InvalidValueError(f"{name} must be 0 or more and finite, got {value}")

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0 on."""
        from lightmeter.nets.descent import rate_at

        return rate_at(step, self.steps, lr=self.lr, warm_up=self.warm_up)

    def descent(self) -> DescentPlan:
        """The optimiser."""
        from lightmeter.nets.descent import DescentPlan

        return DescentPlan("adamw", self.weight_decay, self.clip)


class Task(Protocol):
    """One pretraining at work: a net, the clips it learns from, how it is scored.

    macs: multiply-accumulates of one window, forwards
    """

    net: Any
    footage: Footage
    macs: int

    @property
    def cut(self) -> Cut:
        """How its windows are cut."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """What is made smaller at a step, and figures to be told beside; a function of the net and the step."""
        ...

    def score(self) -> dict[str, float]:
        """Figures on clips that are held out, of the net as it stands; {} where none are."""
        ...

    def diagnosed(self, windows: Array) -> dict[str, Any]:
        """What is told of the net at the end, by some windows uint8 [B, T, H, W, 3]; see `diagnostics`."""
        ...

    def shown(self, windows: Array) -> dict[str, Array]:
        """What it makes of windows, by name (`recoded`, `predicted`): uint8 of the same shape."""
        ...

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """Write the net, and what is needed to use it."""
        ...


class Pretraining(Protocol):
    """A recipe: kind `pretraining`."""

    steps: int
    batch: int

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0 on."""
        ...

    def descent(self) -> DescentPlan:
        """The optimiser."""
        ...

    def task(self, footage: Footage, *, seed: int, tokens: Tokenizer | None = None, device: str = "cpu") -> Task:
        """At work on clips."""
        ...
