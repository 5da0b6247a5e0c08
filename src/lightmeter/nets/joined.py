"""Several blocks of features as one vector, and what stands where a block is absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from lightmeter.nets.frames import unit

Normalise = Literal["whole", "block", "none"]
Missing = Literal["zero", "learned"]


class Sized(Protocol):
    """A block of features as this file sees it: a name and how many numbers."""

    @property
    def name(self) -> str:
        """Its name among the values of a batch."""
        ...

    @property
    def dim(self) -> int:
        """Numbers an item."""
        ...


class Joined(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Blocks side by side.

    forward: values by name, float [B, dim] each, and present bool [B, M] → float32 [B, D], D the sum of the dims
    normalise: `whole` makes the joined vector's length 1, as the starter does; `block` each block's, so that counts and
        activations on other scales do not drown the rest; `none` leaves all as it is
    missing: what stands where a block is absent: `zero`, or a `learned` vector of its own, which all classes share
    Source: google/youtube-8m `train.py` (`tf.nn.l2_normalize`: x / √max(Σx², 1e-12)).
    """

    def __init__(self, blocks: Sequence[Sized], normalise: Normalise = "whole", missing: Missing = "zero") -> None:
        super().__init__()
        self.names = tuple(block.name for block in blocks)
        self.normalise = normalise
        self.dim = sum(block.dim for block in blocks)
        self.absent = None
        if missing == "learned":
            self.absent = nn.ParameterList([nn.Parameter(torch.randn(each.dim) / each.dim**0.5) for each in blocks])

    def forward(self, values: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """One vector an item."""
        blocks = []
        for at, name in enumerate(self.names):
            own, there = values[name].float(), present[:, at : at + 1]
            own = unit(own) if self.normalise == "block" else own
            other = own.new_zeros(()) if self.absent is None else self._absent(at)
            blocks.append(torch.where(there, own, other))
        joined = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)
        return unit(joined) if self.normalise == "whole" else joined

    def _absent(self, at: int) -> Tensor:
        assert self.absent is not None
        own: Tensor = self.absent[at]
        return unit(own) if self.normalise == "block" else own
