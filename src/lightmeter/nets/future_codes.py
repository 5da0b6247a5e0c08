"""What comes next, guessed at once: one frame -> the codes of its clip, by a masked-token transformer.

The frame is seen by a small U-Net that is trained with it and kept afterwards: a dense encoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError
from lightmeter.nets.axial import AxialAttention, axial_macs
from lightmeter.nets.grid_position import GridPosition
from lightmeter.nets.multi_head import MultiHead
from lightmeter.nets.unet import UNet, UNetNorm, UNetPlan

Condition = Literal["add", "cross"]
"""How the frame reaches the code tokens: added where they stand, or looked up by cross-attention in every block."""
Attention = Literal["full", "axial"]
"""Between code tokens: everything with everything, or along T, H and W only."""
STEM_STRIDE = 2
"""Pixels a cell of the frame encoder's finest map."""


@dataclass(frozen=True, slots=True)
class FutureCodesPlan:
    """Sizes of a predictor of future codes.

    grid: code cells along T, H, W · codes: how many codes there are · stride: pixels a code cell, in space, 2 or more
    width, layers, heads: of the transformer; 0 layers leave the frame alone · base: channels of the frame encoder's
    finest map, at stride 2, doubled at each of its `levels` halvings · condition, attention, norm: see their types
    """

    grid: tuple[int, int, int] = (4, 16, 16)
    codes: int = 512
    stride: int = 4
    width: int = 96
    layers: int = 2
    heads: int = 4
    base: int = 32
    levels: int = 3
    condition: Condition = "add"
    attention: Attention = "full"
    norm: UNetNorm = "group"

    def __post_init__(self) -> None:
        if len(self.grid) != 3 or min(*self.grid, self.codes, self.heads, self.layers + 1) < 1:
            raise InvalidValueError(f"grid, codes and heads must be 1 or more, layers 0 or more, got {self}")
        if self.width < 1 or self.width % 3 or self.width % self.heads:
            raise InvalidValueError(f"width must be a multiple of 3 and of {self.heads} heads, got {self.width}")
        if self.stride < STEM_STRIDE or self.stride & (self.stride - 1):
            raise InvalidValueError(f"stride must be a power of two from {STEM_STRIDE} on, got {self.stride}")
        for name, value, known in (
            ("condition", self.condition, get_args(Condition)),
            ("attention", self.attention, get_args(Attention)),
        ):
            if value not in known:
                raise InvalidValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if self.condition == "cross" and not self.layers:
            raise InvalidValueError("condition=cross needs layers that look the frame up: take 1 or more, or add")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame, in pixels."""
        return self.grid[1] * self.stride, self.grid[2] * self.stride

    @property
    def unet(self) -> UNetPlan:
        """The frame encoder behind its strided stem."""
        return UNetPlan(self.base, 0, self.base, self.levels, self.norm)

    @property
    def strides(self) -> dict[int, int]:
        """Channels of the frame's map at each stride, finest first."""
        return {STEM_STRIDE << level: wide for level, wide in enumerate(self.unet.widths)}

    @property
    def depth(self) -> int:
        """Channels of the finest map folded to one row a code cell."""
        return self.base * (self.stride // STEM_STRIDE) ** 2

    def frame_macs(self, height: int, width: int) -> int:
        """Multiply-accumulates of the frame encoder for one frame of any size."""
        height, width = height // STEM_STRIDE, width // STEM_STRIDE
        return height * width * 16 * 3 * self.base + self.unet.macs(height, width)

    def macs(self) -> int:
        """Multiply-accumulates of one prediction, the frame's encoding included."""
        frames, height, width = self.grid
        cells, tokens, wide = height * width, math.prod(self.grid), self.width
        cross = self.condition == "cross"
        total = self.frame_macs(*self.size) + cells * 9 * self.depth * wide * (1 if cross else frames)
        each = tokens * 8 * wide * wide
        if self.attention == "axial":
            each += axial_macs(wide, self.grid)
        else:
            each += tokens * (4 * wide * wide + 2 * tokens * wide)
        if cross:
            each += tokens * (2 * wide * wide + 2 * cells * wide) + 2 * cells * wide * wide
        return total + self.layers * each + tokens * wide * self.codes

    def decoding_macs(self, steps: int) -> int:
        """Multiply-accumulates of filling in a clip's codes in so many steps, the frame seen once."""
        frames, height, width = self.grid
        told = height * width * 9 * self.depth * self.width * (1 if self.condition == "cross" else frames)
        once = self.frame_macs(*self.size) + told
        return once + steps * (self.macs() - once)


class FrameEncoder(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Frames [B, 3, H, W] in -0.5..0.5 -> maps by stride, {2: [B, base, H / 2, W / 2], 4: …}, all >= 0.

    A 4² convolution of stride 2, then a U-Net, the map after its way up at each size. H and W must be multiples of
    2 · 2^levels.  Cost: `FutureCodesPlan.frame_macs`.
    """

    def __init__(self, plan: FutureCodesPlan) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, plan.base, 4, STEM_STRIDE, 1)
        self.unet = UNet(plan.unet)

    def forward(self, frames: Tensor) -> dict[int, Tensor]:
        """float [B, 3, H, W] -> float [B, C, H / s, W / s] by stride s"""
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise InvalidValueError(f"frames must be [B, 3, H, W], got {list(frames.shape)}")
        maps = self.unet.maps(functional.relu(self.stem(frames)))
        return {STEM_STRIDE << level: each for level, each in enumerate(maps)}


class _Block(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """x + attention, (+ look-up in the frame), + two layers: tokens [B, T, H, W, C] -> the same; normed before each."""

    def __init__(self, plan: FutureCodesPlan) -> None:
        super().__init__()
        wide, heads = plan.width, plan.heads
        self.axial, self.cross = plan.attention == "axial", plan.condition == "cross"
        self.norm = nn.LayerNorm(wide)
        self.mix = AxialAttention(wide, heads=heads) if self.axial else MultiHead(wide, heads=heads, layers=plan.layers)
        if self.cross:
            self.look_norm = nn.LayerNorm(wide)
            self.look = MultiHead(wide, heads=heads, layers=plan.layers)
        self.inner_norm = nn.LayerNorm(wide)
        self.inner = nn.Sequential(nn.Linear(wide, 4 * wide), nn.GELU(), nn.Linear(4 * wide, wide))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Tokens float [B, T, H, W, C], the frame's cells float [B, H·W, C] -> tokens"""
        if self.axial:
            x = x + self.mix(self.norm(x).movedim(-1, 1)).movedim(1, -1)
        else:
            x = x + self.mix(self.norm(x).flatten(1, 3)).view(x.shape)
        if self.cross:
            x = x + self.look(self.look_norm(x).flatten(1, 3), seen).view(x.shape)
        return x + self.inner(self.inner_norm(x))


class FutureCodes(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """One frame and what is known of its clip's codes -> how likely each code is, in all cells at once.

    Frames float [B, 3, H, W] in -0.5..0.5, codes int64 [B, T', h, w], hidden bool [B, T', h, w] (True: not known)
    -> logits float [B, T', h, w, K]. Without codes everything is hidden: plain parallel prediction.
    The condition is read off the finest map (stride 2), folded to code cells, so that all maps are trained.
    Cost: `plan.macs`.
    Source: the objective of MaskGIT (Chang et al. 2022, arXiv:2202.04200, §3.2) on the 3D codes of a VQ-VAE, as MAGVIT
    (Yu et al. 2023, arXiv:2212.05199) has it. Changed: what is given is a picture, not codes of a first frame, so that
    a picture encoder is trained with it; blocks norm first; positions are a vector an axis; attention may be axial.
    """

    def __init__(self, plan: FutureCodesPlan) -> None:
        super().__init__()
        self.plan = plan
        times = 1 if plan.condition == "cross" else plan.grid[0]
        self.frame = FrameEncoder(plan)
        self.condition = nn.Conv2d(plan.depth, times * plan.width, 3, padding=1)
        self.tokens = nn.Embedding(plan.codes, plan.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.unknown = nn.Parameter(torch.randn(plan.width) * 0.02)
        self.position = GridPosition(plan.grid, plan.width)
        self.blocks = nn.ModuleList(_Block(plan) for _ in range(plan.layers))
        self.norm = nn.LayerNorm(plan.width)
        self.answer = nn.Linear(plan.width, plan.codes)

    def maps(self, frames: Tensor) -> dict[int, Tensor]:
        """The dense features: frames [B, 3, H, W] in -0.5..0.5 -> float [B, C, H / s, W / s] by stride s, finest 2."""
        made: dict[int, Tensor] = self.frame(frames)
        return made

    def seen(self, maps: Mapping[int, Tensor]) -> Tensor:
        """What the tokens are told of the frame, float [B, T', h, w, C] to add or [B, 1, h, w, C] to look up."""
        folded = functional.pixel_unshuffle(maps[STEM_STRIDE], self.plan.stride // STEM_STRIDE)
        if folded.shape[2:] != self.plan.grid[1:]:
            raise InvalidValueError(f"a frame must be {self.plan.size} pixels high and wide: resize it")
        rows = self.condition(folded).unflatten(1, (-1, self.plan.width)).movedim(2, -1)
        return rows + self.position.table()[:1] if self.plan.condition == "cross" else rows

    def logits(self, seen: Tensor, codes: Tensor | None = None, hidden: Tensor | None = None) -> Tensor:
        """As `forward`, of a frame that was seen already: steps of decoding pay for it once."""
        x = self._tokens(len(seen), codes, hidden)
        if self.plan.condition == "add":
            x = x + seen
        cells = seen.flatten(1, 3)
        for block in self.blocks:
            x = block(x, cells)
        return self.answer(self.norm(x))

    def forward(self, frames: Tensor, codes: Tensor | None = None, hidden: Tensor | None = None) -> Tensor:
        """Frames [B, 3, H, W], codes and hidden [B, T', h, w] or neither -> logits float [B, T', h, w, K]"""
        return self.logits(self.seen(self.maps(frames)), codes, hidden)

    def _tokens(self, batch: int, codes: Tensor | None, hidden: Tensor | None) -> Tensor:
        if codes is None:
            x = self.unknown.expand(batch, *self.plan.grid, -1)
        else:
            if hidden is None or codes.shape != (batch, *self.plan.grid) or hidden.shape != codes.shape:
                got = f"{list(codes.shape)} and {None if hidden is None else list(hidden.shape)}"
                raise InvalidValueError(f"codes and hidden must be {[batch, *self.plan.grid]}, got {got}")
            x = torch.where(hidden[..., None], self.unknown, self.tokens(codes))
        return self.position(x)
