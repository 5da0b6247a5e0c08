"""Where a cell of a grid stands, as learnt numbers: one vector a place along each axis, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightmeter.errors import InvalidValueError


class GridPosition(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Adds to x [B, *shape, C] the vectors of its places: C / axes numbers of each axis, one axis after the other.

    C must be a multiple of the number of axes.  Weights: (sum of shape)·C / axes.
    Source: VideoGPT's public code, videogpt/attention.py (AddBroadcastPosEmbed), whose names these are.
    """

    def __init__(self, shape: Sequence[int], dim: int) -> None:
        super().__init__()
        if dim % len(shape):
            raise InvalidValueError(f"the width must be a multiple of {len(shape)} axes, got {dim}")
        self.shape = tuple(shape)
        self.emb = nn.ParameterDict(
            {f"d_{axis}": nn.Parameter(torch.randn(size, dim // len(shape)) * 0.01) for axis, size in enumerate(shape)}
        )

    def table(self) -> Tensor:
        """The vectors of all places, float [*shape, C]."""
        axes = range(len(self.shape))
        spread = [
            self.emb[f"d_{axis}"].view(*(size if each == axis else 1 for each in axes), -1).expand(*self.shape, -1)
            for axis, size in enumerate(self.shape)
        ]
        return torch.cat(spread, -1)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, *shape, C] -> the same shape"""
        return x + self.table()
