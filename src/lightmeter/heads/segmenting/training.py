"""How mask heads learn: the recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.losses import MaskBceDice, MaskLoss
from lightmeter.parts import Spelled

if TYPE_CHECKING:
    from lightmeter.nets.descent import DescentPlan


@dataclass(frozen=True)
class MaskTraining(Spelled):
    """Steps of gradient descent over shuffled batches, resumable bit for bit.

    optimiser: `sgd` with `momentum`, `adam` (weight_decay is L2 in the slope) or `adamw` (weight_decay is decoupled,
    Loshchilov and Hutter 2019); biases and norms do not decay · lr: at its highest
    schedule: `cosine` falls to 0 at the last step, `constant` does not · warm_up: share of the steps in which lr rises
    clip: longest slope of all weights together, 0: any
    fine_tune: 0: the encoder is frozen, its features are made once; else it learns too, its lr being this times lr. It
    then learns in eval mode: dropout is off, running statistics and codebooks stay.
    flip, shift_px: mirror frames, move them up to so many pixels (what comes in is not judged). A frozen encoder's
    features are made of the frames as they are and of `copies` − 1 changed ones; a fine-tuned one sees a new change a
    step · standardise: channels are brought to mean 0 and deviation 1 of the training set
    """

    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: float = 0.003
    weight_decay: float = 0.01
    momentum: float = 0.9
    steps: int = 300
    batch: int = 32
    schedule: Literal["cosine", "constant"] = "cosine"
    warm_up: float = 0.05
    clip: float = 1.0
    loss: MaskLoss = field(default_factory=MaskBceDice)
    fine_tune: float = 0.0
    flip: bool = False
    shift_px: int = 0
    copies: int = 1
    standardise: bool = True

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.copies) < 1 or self.shift_px < 0:
            raise InvalidValueError(f"steps, batch and copies must be 1 or more and shift_px 0 or more, got {self}")
        if not 0 < self.lr < math.inf:
            raise InvalidValueError(f"lr must be above 0 and finite, got {self.lr}")
        for name, value in (("weight_decay", self.weight_decay), ("clip", self.clip), ("fine_tune", self.fine_tune)):
            if not 0 <= value < math.inf:
                raise InvalidValueError(f"{name} must be 0 or more and finite, got {value}")
        for name, value in (("momentum", self.momentum), ("warm_up", self.warm_up)):
            if not 0 <= value < 1:
                raise InvalidValueError(f"{name} must be 0 to below 1, got {value}")
        if not isinstance(self.loss, MaskLoss):
            raise InvalidValueError(f"loss must be a loss of masks such as mask-dice, got {self.loss}")
        self._check_changes()

    def _check_changes(self) -> None:
        """An option that would do nothing is refused."""
        if self.changes != (self.copies > 1) and not self.fine_tune:
            raise InvalidValueError(
                "copies above 1 and a change (flip, shift_px) go together with a frozen encoder, whose features are "
                f"made beforehand, got {self.copies} copies: give both, or neither"
            )
        if self.copies > 1 and self.fine_tune:
            raise InvalidValueError("copies must be 1 with fine_tune: every step changes its frames anew")

    @property
    def changes(self) -> bool:
        """Whether frames are changed."""
        return self.flip or self.shift_px > 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0 on.

        >>> [round(MaskTraining(lr=1.0, steps=4, warm_up=0.5).rate(step), 3) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
        """
        from lightmeter.nets.descent import rate_at

        falls = self.schedule == "cosine"
        return rate_at(step, self.steps, lr=self.lr, warm_up=self.warm_up, falls=falls)

    def descent(self) -> DescentPlan:
        """The optimiser."""
        from lightmeter.nets.descent import DescentPlan

        return DescentPlan(self.optimiser, self.weight_decay, self.clip, self.momentum)
