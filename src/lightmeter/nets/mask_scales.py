"""Maps of several layers and strides → logits of a mask: each brought to one width and grid, summed, convolved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from lightmeter.nets.mask_heads import ConvBlock, fitted


class MultiScale(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """A 1 × 1 convolution for each map, bilinear to one grid, their sum, blocks of 3 × 3, stride² logits a cell.

    maps: channels and stride by name · stride: of the grid; a map finer than it is taken in squares of its cells, by a
    convolution of that kernel and stride, so that nothing is averaged away
    blocks: residual, group-normed; with `dilated` their kernels reach 1, 2, 4 … cells, so that few of them see far
    forward: maps by name → logits [N, H, W].  Cost: mostly blocks·9·width² multiply–adds a cell of the grid.
    Parameters, where no map is finer than the grid: Σ(C + 1)·width + blocks·(9·width² + 3·width) + 2·width +
    (width + 1)·stride².
    Source: the sum of laterals as Lin et al. 2017, arXiv:1612.03144 (FPN), one grid only as Hariharan et al. 2015
    (hypercolumns); sub-pixel logits as Shi et al. 2016, arXiv:1609.05158.
    """

    def __init__(
        self,
        maps: Mapping[str, tuple[int, int]],
        size: tuple[int, int],
        *,
        stride: int,
        width: int,
        blocks: int,
        dilated: bool,
    ) -> None:
        super().__init__()
        self.names: Sequence[str] = tuple(maps)
        self.size, self.stride = size, stride
        squares = [stride // own if own < stride else 1 for _, own in maps.values()]
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, width, side, side) for (channels, _), side in zip(maps.values(), squares, strict=True)
        )
        self.blocks = nn.Sequential(
            *(ConvBlock(width, dilation=2 ** (at % 4) if dilated else 1) for at in range(blocks))
        )
        self.norm = nn.GroupNorm(math.gcd(8, width), width)
        self.last = nn.Conv2d(width, self.stride**2, 1)
        self.spread = nn.PixelShuffle(self.stride)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits [N, H, W]."""
        grid = (math.ceil(self.size[0] / self.stride), math.ceil(self.size[1] / self.stride))
        parts = [lateral(features[name]) for name, lateral in zip(self.names, self.laterals, strict=True)]
        total = sum(
            part if part.shape[2:] == grid else functional.interpolate(part, grid, mode="bilinear", align_corners=False)
            for part in parts
        )
        made = functional.relu(self.norm(self.blocks(total)))
        return fitted(self.spread(self.last(made)), *self.size)
