"""The classic filters as frozen convolution layers, and the convolution-detector-pooling block, in torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError
from lightmeter.nets.convolution import Padding, Pooling, check_slide, output_side, pad_index
from lightmeter.nets.kernels import Filter


class FrozenFilters(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """A convolution layer whose weights are known filters and never learn: a bank of them, over each channel alone.

    forward: [N, C, H, W] -> [N, C * F, H', W'], the F responses of the first channel first; H' by `output_side`
    filters: at least one; smaller kernels are framed with zeros to the size of the largest
    correlate, stride, padding, pad: as `convolution.convolve`, to which it is equal
    Gradients flow through to its input. The weights are a buffer: `parameters()` is empty, `state_dict` holds them.
    The seed's layer also sums over its input channels, each with a kernel of its own; with one channel it is this one.
    Cost: `macs`, `size_bytes`.
    Source: seed slides "Convolution layer": kernel size K, number of filters D, stride S, zero padding Z.
    """

    def __init__(
        self,
        filters: Sequence[Filter],
        *,
        correlate: bool = False,
        stride: int = 1,
        padding: Padding = "reflect",
        pad: int | None = None,
    ) -> None:
        super().__init__()
        if not filters:
            raise InvalidValueError("filters must hold at least one, got none: build('sobel/axis=x', 'filter') is one")
        kernels = [each.kernel for each in filters]
        sides = tuple(max(kernel.shape[axis] for kernel in kernels) for axis in (0, 1))
        framed = np.stack(
            [np.pad(each, [((s - n) // 2,) * 2 for s, n in zip(sides, each.shape, strict=True)]) for each in kernels]
        )
        # torch correlates: for a convolution the kernels are turned here, once
        taps = framed if correlate else framed[:, ::-1, ::-1].copy()
        self.register_buffer("weight", torch.from_numpy(taps[:, None]).to(torch.get_default_dtype()))
        self.stride, self.padding = stride, padding
        self.pads = check_slide(sides, stride=stride, padding=padding, pad=pad)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C * F, H', W']"""
        if x.dim() != 4:
            raise InvalidValueError(f"x must be [N, C, H, W], got {list(x.shape)}: add the axes that are missing")
        self.output_shape(x.shape[2], x.shape[3])
        weight = self.weight.repeat(x.shape[1], 1, 1, 1)
        return functional.conv2d(self._padded(x), weight, stride=self.stride, groups=x.shape[1])

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        """H' and W' for a picture; raises InvalidValueError where a kernel does not fit once."""
        tall, wide = (
            output_side(side, kernel, pad=pad, stride=self.stride)
            for side, kernel, pad in zip((height, width), self.weight.shape[2:], self.pads, strict=True)
        )
        return tall, wide

    def macs(self, height: int, width: int, channels: int = 1) -> int:
        """Multiply-accumulates for one picture; zeros among the taps cost as much as any."""
        tall, wide = self.output_shape(height, width)
        return channels * tall * wide * int(self.weight.numel())

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights."""
        return int(self.weight.numel() * self.weight.element_size())

    def _padded(self, x: Tensor) -> Tensor:
        """By index, as numpy: torch's own `reflect` refuses pictures smaller than the pad."""
        for axis, pad in ((2, self.pads[0]), (3, self.pads[1])):
            if pad and self.padding == "zero":
                x = functional.pad(x, [0, 0, pad, pad] if axis == 2 else [pad, pad, 0, 0])
            elif pad:
                places = torch.from_numpy(pad_index(x.shape[axis], pad, self.padding)).to(x.device)
                x = x.index_select(axis, places)
        return x


class DetectorBlock(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Convolution, detector (ReLU), pooling: the block that networks repeat, here with frozen filters.

    forward: [N, C, H, W] -> [N, C * F, H'', W''], none below 0; H'' = output_side(H', size, stride=size)
    pool: `max` or `average`, over windows of size x size side by side
    Source: seed slides "Convolution-detector-pooling block".
    """

    def __init__(self, filters: FrozenFilters, *, size: int = 2, pool: Pooling = "max") -> None:
        super().__init__()
        if size < 1:
            raise InvalidValueError(f"size must be 1 or more, got {size}")
        if pool not in ("max", "average"):
            raise InvalidValueError(f"pool must be max or average, got {pool!r}")
        self.filters, self.detector = filters, nn.ReLU()
        self.pool = nn.MaxPool2d(size) if pool == "max" else nn.AvgPool2d(size)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C * F, H'', W'']"""
        y: Tensor = self.pool(self.detector(self.filters(x)))
        return y
