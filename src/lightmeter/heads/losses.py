"""Losses by name: what `adam/loss=…` takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

    Ready: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
    """probabilities, targets, weights (None: 1), each float32 [B, K] → the loss []"""


class Loss(Protocol):
    """A recipe: a frozen dataclass in `LOSSES`."""

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    def ready(self, shares: Array, *, of: int | None = None) -> Ready:
        """The function, given how common each class is: float64 [K], the share of the examples that have it.

        of: how many classes there are in all, where these are some of them
        """
        ...


@dataclass(frozen=True)
class CrossEntropy(Spelled):
    """Binary cross entropy, the starter's: summed over classes, mean over the batch.

    reduce: `mean` divides by the classes too, as most libraries do; with Adam this matters for clip, l2 and ε alone
    Source: google/youtube-8m `losses.CrossEntropyLoss`.
    """

    epsilon: float = 1e-5
    reduce: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 0.1:
            raise InvalidValueError(f"epsilon must be above 0 and below 0.1, got {self.epsilon}")

    def ready(self, shares: Array, *, of: int | None = None) -> Ready:
        """The function."""
        from lightmeter.nets.losses import cross_entropy

        scale = 1.0 if self.reduce == "sum" else 1 / (of or len(shares))
        return lambda p, targets, weights: cross_entropy(p, targets, weights, self.epsilon) * scale


@dataclass(frozen=True)
class Asymmetric(Spelled):
    """Easy negatives count less than cross entropy has it: for few labels among very many.

    positive, negative: powers γ₊ and γ₋ · margin: negatives below this probability count nothing
    What it learns are no probabilities: they come out too high.
    Source: Ridnik et al. 2021, arXiv:2009.14119.
    """

    positive: float = 0.0
    negative: float = 4.0
    margin: float = 0.05

    def __post_init__(self) -> None:
        if min(self.positive, self.negative) < 0 or not 0 <= self.margin < 1:
            got = f"{self.positive}, {self.negative} and {self.margin}"
            raise InvalidValueError(f"positive and negative must be 0 or more and margin 0 to below 1, got {got}")

    def ready(self, shares: Array, *, of: int | None = None) -> Ready:
        """The function."""
        from lightmeter.nets.losses import asymmetric

        return lambda p, targets, weights: asymmetric(
            p, targets, weights, positive=self.positive, negative=self.negative, margin=self.margin
        )


@dataclass(frozen=True)
class LogitAdjusted(Spelled):
    """Cross entropy that forgives rare classes their rareness: what is learnt are scores as if all were as common.

    Each class's odds are multiplied by (share / (1 − share))^tau before the loss, one class at a time; the shares are
    those of the training set, half an example added on each side. Scores rank videos within a class as before, classes
    within a video otherwise: macro averages gain, GAP, which pools all, loses.
    Source: Menon et al. 2021, arXiv:2007.07314, equation 10, there for one label an example; here each class is a
    problem of two.
    """

    tau: float = 1.0
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 <= self.tau <= 10 or not 0 < self.epsilon < 0.1:
            got = f"{self.tau} and {self.epsilon}"
            raise InvalidValueError(f"tau must be 0 to 10 and epsilon above 0 and below 0.1, got {got}")

    def ready(self, shares: Array, *, of: int | None = None) -> Ready:
        """The function."""
        import torch

        from lightmeter.nets.losses import adjusted, cross_entropy

        odds = torch.from_numpy((shares / (1 - shares)) ** self.tau).float()
        return lambda p, targets, weights: cross_entropy(adjusted(p, odds), targets, weights, self.epsilon)


LOSSES: dict[str, str] = {
    "bce": "lightmeter.heads.losses:CrossEntropy",
    "asymmetric": "lightmeter.heads.losses:Asymmetric",
    "logit-adjusted": "lightmeter.heads.losses:LogitAdjusted",
}
