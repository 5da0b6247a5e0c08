"""ConvNet-D: the small network that condensed sets are judged by, with a pooling that CPUs do fast."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError

StudentNorm = Literal["instance", "batch"]


def norm_layer(channels: int, norm: StudentNorm) -> nn.Module:
    """Instance norm, which is group norm of one channel a group with learnt scale and shift, or batch norm."""
    if norm not in get_args(StudentNorm):
        raise InvalidValueError(f"norm must be one of {', '.join(get_args(StudentNorm))}, got {norm!r}")
    return nn.GroupNorm(channels, channels) if norm == "instance" else nn.BatchNorm2d(channels)


class ReluHalved(torch.autograd.Function):  # type: ignore[misc]  # torch is not read by mypy
    """Relu, then the mean of 2 x 2 cells: [B, C, 2h, 2w] -> [B, C, h, w]; can be differentiated twice.

    Rows are summed whole and the slope is spread without being copied, so that both passes are vectorised; torch's own
    average pooling of NCHW goes cell by cell.
    Cost: a ConvNet of width 32 learns in three quarters of the CPU time (`docs/results/condense-students.json`).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """float [B, C, 2h, 2w], contiguous"""
        batch, channels, height, width = x.shape
        kept = x.view(batch, channels, height // 2, 2, width).clamp_min(0)
        ctx.save_for_backward(kept)
        rows = kept[:, :, :, 0] + kept[:, :, :, 1]
        return (rows[..., 0::2] + rows[..., 1::2]).mul_(0.25)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        """The slope [B, C, h, w] a quarter to each cell that was above 0."""
        (kept,) = ctx.saved_tensors
        batch, channels, height, _, width = kept.shape
        wide = (slope * 0.25).unsqueeze(-1).expand(-1, -1, -1, -1, 2).reshape(batch, channels, height, 1, width)
        spread = torch.ops.aten.threshold_backward(wide.expand(-1, -1, -1, 2, -1), kept, 0)
        return spread.reshape(batch, channels, 2 * height, width)


def relu_halved(x: Tensor) -> Tensor:
    """Relu and 2 x 2 average pooling of a map of any size; a last odd row or column is dropped, as torch does."""
    if x.shape[2] % 2 or x.shape[3] % 2 or x.device.type != "cpu":
        return functional.avg_pool2d(functional.relu(x), 2)
    made: Tensor = ReluHalved.apply(x.contiguous())
    return made


class ConvNet(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """[3 x 3 convolution, norm, relu, 2 x 2 average pooling] D times, and one linear layer: logits [B, K].

    inputs: channels of a picture · size: height and width, at least 2**depth each; odd rests are dropped in pooling
    Changed: convolutions have no bias, as the norm behind each takes it out again.
    Source: Gidaris and Komodakis 2018, arXiv:1804.09458, as data-set condensation took it up: Zhao et al. 2021,
    arXiv:2006.05929 (width 128; D 3 for 32 px, 6 for 224 px in arXiv:2311.15529).
    """

    def __init__(
        self, inputs: int, classes: int, size: tuple[int, int], *, depth: int = 3, width: int = 128,
        norm: StudentNorm = "instance",
    ) -> None:  # fmt: skip
        super().__init__()
        if min(inputs, classes, depth, width) < 1:
            raise InvalidValueError(
                f"inputs, classes, depth and width must be 1 or more, got {(inputs, classes, depth, width)}"
            )
        if min(size) < 1 << depth:
            fits = max(1, min(size)).bit_length() - 1
            raise InvalidValueError(
                f"pictures must be at least {1 << depth} px a side for a ConvNet of depth {depth}, got "
                f"{size[0]} x {size[1]}: take depth={fits}, or larger pictures"
            )
        self.size, self.norm = size, norm
        self.convs = nn.ModuleList(
            nn.Conv2d(width if at else inputs, width, 3, padding=1, bias=False) for at in range(depth)
        )
        self.norms = nn.ModuleList(norm_layer(width, norm) for _ in range(depth))
        self.last = nn.Linear(width * (size[0] >> depth) * (size[1] >> depth), classes)

    def features(self, x: Tensor) -> Tensor:
        """float [B, C, H, W] -> what the last layer reads, float [B, width * (H >> D) * (W >> D)]"""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = relu_halved(norm(conv(x)))
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, H, W] -> logits float [B, K]"""
        made: Tensor = self.last(self.features(x))
        return made

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one picture."""
        cells = [(self.size[0] >> at) * (self.size[1] >> at) for at in range(len(self.convs))]
        made = sum(many * each.weight.numel() for many, each in zip(cells, self.convs, strict=True))
        return int(made + self.last.weight.numel())

    @property
    def widest_bytes(self) -> int:
        """Bytes of its largest map of one picture: what decides how many pictures fit a cache."""
        return int(4 * self.convs[0].out_channels * self.size[0] * self.size[1])
