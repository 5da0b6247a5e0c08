"""Losses of masks by name: what `mask-training/loss=…` takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled

if TYPE_CHECKING:
    from torch import Tensor

    ReadyMask: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
    """logits, truth (0 or 1), judged (0 or 1), each float32 [B, H, W] → the loss []"""

Over = Literal["batch", "picture"]


@runtime_checkable
class MaskLoss(Protocol):
    """A recipe: a frozen dataclass in `MASK_LOSSES`."""

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    def ready_mask(self, share: float) -> ReadyMask:
        """The function, given the share of the judged training pixels that lie inside, 0..1."""
        ...


@dataclass(frozen=True)
class MaskBce(Spelled):
    """Binary cross entropy, mean over judged pixels.  Small things lose: at a threshold of a half they are left out."""

    def ready_mask(self, share: float) -> ReadyMask:
        """The function."""
        from lightmeter.nets.mask_losses import mask_bce

        return mask_bce


@dataclass(frozen=True)
class MaskWeightedBce(Spelled):
    """Binary cross entropy in which pixels inside count more.

    positive: how many times; 0: as often as there are pixels outside for each inside in the training set, 1,000 at most
    Its logits are high by log(positive): the threshold that is found on validation takes that back.
    """

    positive: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.positive < math.inf:
            raise InvalidValueError(f"positive must be 0 or more and finite, got {self.positive}")

    def ready_mask(self, share: float) -> ReadyMask:
        """The function."""
        from lightmeter.nets.mask_losses import mask_bce

        positive = self.positive or min((1 - share) / max(share, 1e-3), 1000.0) or 1.0
        return lambda logits, truth, judged: mask_bce(logits, truth, judged, positive)


@dataclass(frozen=True)
class MaskDice(Spelled):
    """1 − the soft Dice coefficient of the batch, or the mean of each picture's; smooth: pixels added to both sums."""

    smooth: float = 1.0
    over: Over = "batch"

    def __post_init__(self) -> None:
        _check_smooth(self.smooth)

    def ready_mask(self, share: float) -> ReadyMask:
        """The function."""
        from lightmeter.nets.mask_losses import soft_dice

        return lambda logits, truth, judged: soft_dice(logits, truth, judged, smooth=self.smooth, over=self.over)


@dataclass(frozen=True)
class MaskJaccard(Spelled):
    """1 − the soft intersection over union of the batch, or the mean of each picture's."""

    smooth: float = 1.0
    over: Over = "batch"

    def __post_init__(self) -> None:
        _check_smooth(self.smooth)

    def ready_mask(self, share: float) -> ReadyMask:
        """The function."""
        from lightmeter.nets.mask_losses import soft_jaccard

        return lambda logits, truth, judged: soft_jaccard(logits, truth, judged, smooth=self.smooth, over=self.over)


@dataclass(frozen=True)
class MaskBceDice(Spelled):
    """(1 − share)·cross entropy + share·Dice: steady slopes from the one, the right thing from the other."""

    share: float = 0.5
    smooth: float = 1.0
    over: Over = "batch"

    def __post_init__(self) -> None:
        _check_smooth(self.smooth)
        if not 0 <= self.share <= 1:
            raise InvalidValueError(f"share must be 0 to 1, got {self.share}")

    def ready_mask(self, share: float) -> ReadyMask:
        """The function."""
        from lightmeter.nets.mask_losses import mask_bce, soft_dice

        def both(logits: Tensor, truth: Tensor, judged: Tensor) -> Tensor:
            dice = soft_dice(logits, truth, judged, smooth=self.smooth, over=self.over)
            return (1 - self.share) * mask_bce(logits, truth, judged) + self.share * dice

        return both


def _check_smooth(smooth: float) -> None:
    if not 0 < smooth < math.inf:  # with none, a batch without a mask is 0 / 0
        raise InvalidValueError(f"smooth must be above 0 and finite, got {smooth}")
