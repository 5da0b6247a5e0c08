"""VideoGPT's 3D VQ-VAE: clips to a small grid of codes and back, with the names of the public checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError
from lightmeter.nets.axial import AXIAL_HEADS, AttentionResidual, residual_macs
from lightmeter.nets.codebook import Codebook
from lightmeter.nets.same_padding import SamePadConv3d, SamePadConvTranspose3d, halvings

DATA_VARIANCE = 0.06
"""What the squared error is divided by: the variance of BAIR's pixels, written into the public code."""

Shape = tuple[int, int, int]
"""T, H, W"""


@dataclass(frozen=True, slots=True)
class VqVaePlan:
    """Sizes of a VQ-VAE; the defaults are the public code's, 21.1 M weights.

    hiddens: channels of all layers, a multiple of 2 · layers: attention residual blocks a side
    downsample: pixels a code cell along T, H, W, powers of two · dim: numbers a code · codes: how many there are
    """

    hiddens: int = 240
    layers: int = 4
    downsample: Shape = (4, 4, 4)
    dim: int = 256
    codes: int = 2048

    def __post_init__(self) -> None:
        if self.hiddens < AXIAL_HEADS or self.hiddens % AXIAL_HEADS:
            raise InvalidValueError(f"hiddens must be a multiple of {AXIAL_HEADS}, got {self.hiddens}")
        if min(self.layers, self.dim - 1, self.codes - 1) < 0:
            raise InvalidValueError(f"layers must be 0 or more, dim and codes 1 or more, got {self}")
        powers = all(factor > 0 and factor & (factor - 1) == 0 for factor in self.downsample)
        if len(self.downsample) != 3 or not powers or max(self.downsample) < 2:
            raise InvalidValueError(f"downsample must be three powers of two, one above 1, got {self.downsample}")

    def grid(self, frames: int, height: int, width: int) -> Shape:
        """The code cells of a clip along T, H, W; raises InvalidValueError where it does not divide."""
        clip, factors = (frames, height, width), self.downsample
        if any(size < 1 or size % factor for size, factor in zip(clip, factors, strict=True)):
            raise InvalidValueError(
                f"a clip must have frames, height and width in multiples of {factors}, got {clip}: crop it"
            )
        return frames // factors[0], height // factors[1], width // factors[2]

    def encode_macs(self, frames: int, height: int, width: int) -> int:
        """Multiply-accumulates from one clip to its codes."""
        grid, total, channels = (frames, height, width), 0, 3
        for stride in halvings(self.downsample):
            grid = _shrunk(grid, stride)
            total += math.prod(grid) * 64 * channels * self.hiddens
            channels = self.hiddens
        last = 27 * self.hiddens * self.hiddens + self.hiddens * self.dim + self.dim * self.codes
        return total + math.prod(grid) * last + self.layers * residual_macs(self.hiddens, grid)

    def decode_macs(self, frames: int, height: int, width: int) -> int:
        """Multiply-accumulates from codes back to one clip."""
        grid = self.grid(frames, height, width)
        total = math.prod(grid) * self.hiddens * self.dim + self.layers * residual_macs(self.hiddens, grid)
        strides = halvings(self.downsample)
        for at, stride in enumerate(strides):
            total += math.prod(grid) * 64 * self.hiddens * (3 if at == len(strides) - 1 else self.hiddens)
            grid = (grid[0] * stride[0], grid[1] * stride[1], grid[2] * stride[2])
        return total


def _shrunk(grid: Shape, stride: tuple[int, ...]) -> Shape:
    return grid[0] // stride[0], grid[1] // stride[1], grid[2] // stride[2]


class Reconstruction(NamedTuple):
    """A clip through the codes and back, and what there is to be made smaller.

    clips: float [B, 3, T, H, W] · codes: int64 [B, T', h, w] · error: scalar, mean squared error / variance
    commitment: scalar, weighted · perplexity: scalar, codes in use
    """

    clips: Tensor
    codes: Tensor
    error: Tensor
    commitment: Tensor
    perplexity: Tensor

    @property
    def loss(self) -> Tensor:
        """What the public code trains on: error + commitment."""
        return self.error + self.commitment


class Encoder(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Clips [B, 3, T, H, W] -> [B, C, T', h, w]: halving convolutions, one more, attention residual blocks, norm, relu.

    Changed: the public code cannot be built with a single halving, (2, 2, 2); here it can.
    """

    def __init__(self, plan: VqVaePlan) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            SamePadConv3d(plan.hiddens if at else 3, plan.hiddens, 4, stride=stride)
            for at, stride in enumerate(halvings(plan.downsample))
        )
        self.conv_last = SamePadConv3d(plan.hiddens, plan.hiddens, 3)
        self.res_stack = _stack(plan)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, 3, T, H, W] -> float [B, C, T', h, w], all >= 0"""
        for conv in self.convs:
            x = functional.relu(conv(x))
        return self.res_stack(self.conv_last(x))


class Decoder(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """[B, C, T', h, w] -> clips [B, 3, T, H, W]: the same blocks, then doubling transposed convolutions."""

    def __init__(self, plan: VqVaePlan) -> None:
        super().__init__()
        self.res_stack = _stack(plan)
        strides = halvings(plan.downsample)
        self.convts = nn.ModuleList(
            SamePadConvTranspose3d(plan.hiddens, 3 if at == len(strides) - 1 else plan.hiddens, stride=stride)
            for at, stride in enumerate(strides)
        )

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, T', h, w] -> float [B, 3, T, H, W]"""
        x = self.res_stack(x)
        for at, conv in enumerate(self.convts):
            x = conv(functional.relu(x) if at else x)
        return x


def _stack(plan: VqVaePlan) -> nn.Sequential:
    blocks = [AttentionResidual(plan.hiddens) for _ in range(plan.layers)]
    return nn.Sequential(*blocks, nn.BatchNorm3d(plan.hiddens), nn.ReLU())


class VqVae(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Clips [B, 3, T, H, W] in -0.5..0.5 to codes [B, T', h, w] and back; names are those of the public checkpoints.

    T, H and W must be multiples of `plan.downsample`.  Cost: `plan.encode_macs`, `plan.decode_macs`.
    Source: Yan et al. 2021, arXiv:2104.10157, §3.1, and github.com/wilson1yan/VideoGPT, videogpt/vqvae.py.
    """

    def __init__(self, plan: VqVaePlan) -> None:
        super().__init__()
        self.plan = plan
        self.encoder = Encoder(plan)
        self.decoder = Decoder(plan)
        self.pre_vq_conv = SamePadConv3d(plan.hiddens, plan.dim, 1)
        self.post_vq_conv = SamePadConv3d(plan.dim, plan.hiddens, 1)
        self.codebook = Codebook(plan.codes, plan.dim)

    def latents(self, clips: Tensor) -> Tensor:
        """What is quantised, float [B, D, T', h, w]: a dense encoder's features."""
        if clips.ndim != 5 or clips.shape[1] != 3:
            raise InvalidValueError(
                f"clips must be [B, 3, T, H, W], got {list(clips.shape)}: move the colours to axis 1"
            )
        self.plan.grid(*clips.shape[2:])
        return self.pre_vq_conv(self.encoder(clips))

    def encode(self, clips: Tensor) -> Tensor:
        """Clips float [B, 3, T, H, W] in -0.5..0.5 -> codes int64 [B, T', h, w]; the codebook stays as it is."""
        z = self.latents(clips).float()
        rows = z.movedim(1, -1)
        return self.codebook.nearest(rows.flatten(0, -2)).view(rows.shape[:-1])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 [B, T', h, w] -> clips float [B, 3, T, H, W], -0.5..0.5 and a little beyond."""
        return self.decoder(self.post_vq_conv(self.codebook.vectors(codes)))

    def forward(self, clips: Tensor) -> Reconstruction:
        """Clips float [B, 3, T, H, W] in -0.5..0.5 -> Reconstruction; in training mode the codebook follows."""
        made = self.codebook(self.latents(clips))
        back = self.decoder(self.post_vq_conv(made.embeddings))
        error = functional.mse_loss(back, clips) / DATA_VARIANCE
        return Reconstruction(back, made.codes, error, made.commitment, made.perplexity)
