"""Recipe of the mixture of experts: the baseline of YouTube-8M, and the quickest head that learns by steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block, BlockKind
from lightmeter.parts import Spelled, need


@dataclass(frozen=True)
class Moe(Spelled):
    """A mixture of logistic experts a class over the joined features; classes share nothing.

    experts: that learn; one more always says no · normalise: `whole` makes the joined vector's length 1 (the starter),
    `block` each block's (better where their scales differ: counts, ReLU activations), `none` leaves them
    missing: what stands where a block is absent: `zero`, or a vector that is `learned`, which all classes share
    Cost: D·K·(2·experts + 1) multiply–adds an item, as many weights.
    Source: `nets.moe`; the seed has 2 experts (fusion), 8 (MoE A) and 32 (MoE B).
    """

    experts: int = 2
    normalise: Literal["whole", "block", "none"] = "whole"
    missing: Literal["zero", "learned"] = "zero"
    takes: ClassVar[tuple[BlockKind, ...]] = ("features",)

    def __post_init__(self) -> None:
        if not 1 <= self.experts <= 1024:
            raise InvalidValueError(f"experts must be 1 to 1024, got {self.experts}")

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights by torch's global generator."""
        return self.part(blocks, 0, classes, classes)

    def separable(self) -> str:
        """Why classes cannot be learnt alone; empty where they can."""
        return "" if self.missing == "zero" else "missing=learned is a vector that all classes share: take missing=zero"

    def part(self, blocks: Sequence[Block], first: int, last: int, classes: int) -> Any:
        """The classes first..last of what `net` would make."""
        need("torch", "torch")
        from lightmeter.nets.joined import Joined
        from lightmeter.nets.moe import JoinedMoe, MixtureOfExperts

        joined = Joined(blocks, self.normalise, self.missing)
        return JoinedMoe(joined, MixtureOfExperts(joined.dim, last - first, self.experts, first=first, of=classes))
