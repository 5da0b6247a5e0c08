"""The U-Net: convolutions down and up again, with what is known at each size handed across."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError

UNetNorm = Literal["none", "batch", "group"]
"""Between convolution and relu: nothing (as in the paper), batch norm, or group norm over groups of 8 channels."""
_GROUP = 8


@dataclass(frozen=True, slots=True)
class UNetPlan:
    """Sizes of a U-Net; the defaults are Ronneberger's, for pictures of 3 channels: 31.0 M weights.

    inputs, outputs: channels in and out; without outputs the finest map itself is the answer
    base: channels at full size, doubled at each level · levels: halvings
    """

    inputs: int = 3
    outputs: int = 1
    base: int = 64
    levels: int = 4
    norm: UNetNorm = "none"

    def __post_init__(self) -> None:
        if min(self.inputs, self.outputs + 1, self.base) < 1 or not 0 <= self.levels <= 8:
            raise InvalidValueError(f"inputs and base must be 1 or more, outputs 0 or more, levels 0 to 8, got {self}")
        if self.norm not in get_args(UNetNorm):
            raise InvalidValueError(f"norm must be one of {', '.join(get_args(UNetNorm))}, got {self.norm!r}")
        if self.norm == "group" and self.base % _GROUP:
            raise InvalidValueError(f"base must be a multiple of {_GROUP} for group norm, got {self.base}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each size, finest first: levels + 1 of them."""
        return tuple(self.base << level for level in range(self.levels + 1))

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of it."""
        return 1 << self.levels

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates of one picture."""
        total, before, pixels = height * width * self.base * self.outputs, self.inputs, height * width
        for level, wide in enumerate(self.widths):
            cells = pixels >> 2 * level
            total += cells * 9 * wide * (before + wide)
            if level:  # coming up to the level before: twice its channels in, after a 2 x 2 at four cells a cell
                half = wide // 2
                total += 4 * cells * (wide * half + 9 * half * (wide + half))
            before = wide
        return total


class _Twice(nn.Sequential):  # type: ignore[misc]  # torch is not read by mypy
    """Two 3² convolutions with zeros at the border, each normed and cut at zero."""

    def __init__(self, inputs: int, outputs: int, norm: UNetNorm) -> None:
        layers: list[nn.Module] = []
        for before in (inputs, outputs):
            layers.append(nn.Conv2d(before, outputs, 3, padding=1, bias=norm == "none"))
            if norm == "batch":
                layers.append(nn.BatchNorm2d(outputs))
            elif norm == "group":
                layers.append(nn.GroupNorm(outputs // _GROUP, outputs))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class UNet(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Pictures [B, C, H, W] -> logits [B, outputs, H, W]; `maps` gives what is known at each size.

    H and W must be multiples of `plan.size_multiple`. Weights start as He et al. 2015 draw them, biases at zero.
    Cost: `plan.macs`.  Source: Ronneberger et al. 2015, arXiv:1505.04597, figure 1. Changed: convolutions pad with
    zeros, so that the answer has the picture's size and nothing is cropped; norms are offered; no dropout.
    """

    def __init__(self, plan: UNetPlan) -> None:
        super().__init__()
        self.plan = plan
        widths = plan.widths
        befores = (plan.inputs, *widths)
        self.down = nn.ModuleList(
            _Twice(before, wide, plan.norm) for before, wide in zip(befores, widths, strict=False)
        )
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * wide, wide, 2, 2) for wide in widths[:-1])
        self.up = nn.ModuleList(_Twice(2 * wide, wide, plan.norm) for wide in widths[:-1])
        self.last = nn.Conv2d(plan.base, plan.outputs, 1) if plan.outputs else nn.Identity()
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def maps(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Float [B, widths[l], H >> l, W >> l] for each level l, finest first, all >= 0: after the way up."""
        multiple = self.plan.size_multiple
        if pictures.ndim != 4 or pictures.shape[1] != self.plan.inputs:
            raise InvalidValueError(f"pictures must be [B, {self.plan.inputs}, H, W], got {list(pictures.shape)}")
        if pictures.shape[2] % multiple or pictures.shape[3] % multiple:
            raise InvalidValueError(f"height and width must be multiples of {multiple}, got {list(pictures.shape[2:])}")
        across: list[Tensor] = []
        x = pictures
        for level, layers in enumerate(self.down):
            x = layers(functional.max_pool2d(x, 2) if level else x)
            across.append(x)
        made = [across.pop()]
        for level in reversed(range(self.plan.levels)):
            grown = self.grow[level](made[-1])
            made.append(self.up[level](torch.cat([across.pop(), grown], 1)))
        return tuple(reversed(made))

    def forward(self, pictures: Tensor) -> Tensor:
        """float [B, inputs, H, W] -> logits float [B, outputs, H, W]; the finest map [B, base, H, W] without outputs"""
        return self.last(self.maps(pictures)[0])
