"""3D convolutions that keep a clip's size (or divide and multiply it by their stride), padded as VideoGPT pads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class SamePadConv3d(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """[B, C, T, H, W] -> [B, O, T / s, H / s, W / s]: k - s zeros are added, the odd one in front.

    T, H and W must be multiples of their strides.  Cost: k³·C·O MACs an output cell.
    Source: VideoGPT's public code, videogpt/vqvae.py; what is padded evenly is padded inside the convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: Sequence[int] = (1, 1, 1), bias: bool = True
    ) -> None:
        super().__init__()
        spare = [kernel - step for step in stride]
        self.front = [each for zeros in reversed(spare) for each in (zeros % 2, 0)]  # last axis first
        self.conv = nn.Conv3d(inputs, outputs, kernel, tuple(stride), tuple(zeros // 2 for zeros in spare), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, T, H, W] -> float [B, O, T / s, H / s, W / s]"""
        return self.conv(functional.pad(x, self.front) if any(self.front) else x)


class SamePadConvTranspose3d(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """[B, C, T, H, W] -> [B, O, sT, sH, sW]: the transposed convolution of kernel 4 that undoes SamePadConv3d's size.

    Strides are 1 or 2.  Cost: 64·C·O MACs an input cell.
    Source: as above. The public code pads its input with zeros and crops what they made; here they are never made, so
    that small maps cost up to half. Same sums.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: Sequence[int]) -> None:
        super().__init__()
        self.convt = nn.ConvTranspose3d(inputs, outputs, 4, tuple(stride), 1)
        self.crop = tuple(slice(None, -1) if step == 1 else slice(None) for step in stride)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, T, H, W] -> float [B, O, sT, sH, sW]"""
        return self.convt(x)[(slice(None), slice(None), *self.crop)]


def halvings(factors: Sequence[int]) -> list[tuple[int, ...]]:
    """Strides of a chain of layers that divides each axis by its factor, a power of two; axes rest when they are done.

    >>> halvings((4, 2, 2))
    [(2, 2, 2), (2, 1, 1)]
    """
    times = [factor.bit_length() - 1 for factor in factors]
    return [tuple(2 if done < each else 1 for each in times) for done in range(max(times))]
