"""Maps of features → logits of a mask: linear, a few convolutions, attention before them; the seed's shapes.

Every net here is `forward(features by name, float32 [N, C, H / stride, W / stride]) → logits float32 [N, H, W]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError


def joined(features: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Maps of one stride side by side: [N, sum of C, h, w]."""
    return features[names[0]] if len(names) == 1 else torch.cat([features[name] for name in names], dim=1)


def fitted(logits: Tensor, height: int, width: int) -> Tensor:
    """Logits [N, 1, h, w] → [N, height, width], bilinear where the size is another."""
    if logits.shape[2:] != (height, width):
        logits = functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
    return logits[:, 0]


class Standardised(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Maps with each channel brought to mean 0 and deviation 1 of the training set: float32 [C] each, fixed.

    A frozen encoder's channels differ in size by orders of magnitude; without this, one learning rate suits no two.
    Source: as the batch norm before DINOv2's linear probes (Oquab et al. 2023), without its moving average.
    """

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.names = tuple(channels)
        for at, count in enumerate(channels.values()):
            self.register_buffer(f"mean_{at}", torch.zeros(count))
            self.register_buffer(f"scale_{at}", torch.ones(count))

    def learn(self, name: str, mean: Tensor, deviation: Tensor) -> None:
        """Take these; a channel that never changes is left at 0."""
        at = self.names.index(name)
        self.get_buffer(f"mean_{at}").copy_(mean)
        self.get_buffer(f"scale_{at}").copy_(torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), 0.0))

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Maps by name, of the same shapes."""
        return {
            name: (features[name] - self.get_buffer(f"mean_{at}")[:, None, None])
            * self.get_buffer(f"scale_{at}")[:, None, None]
            for at, name in enumerate(self.names)
        }


class LinearPatch(nn.Module):  # type: ignore[misc]
    """A linear layer a cell: its stride² logits from its own features, the usual linear probe.

    Parameters: (C + 1)·stride².
    """

    def __init__(self, names: Sequence[str], channels: int, stride: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.names, self.size = tuple(names), size
        self.layer = nn.Conv2d(channels, stride * stride, 1)
        self.spread = nn.PixelShuffle(stride)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits [N, H, W]."""
        return fitted(self.spread(self.layer(joined(features, self.names))), *self.size)


class LinearGlobal(nn.Module):  # type: ignore[misc]
    """A linear layer from all features of all cells to every pixel: (C·h·w + 1)·H·W parameters."""

    def __init__(self, names: Sequence[str], numbers: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.names, self.size = tuple(names), size
        self.layer = nn.Linear(numbers, size[0] * size[1])

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits [N, H, W]."""
        return self.layer(joined(features, self.names).flatten(1)).view(-1, *self.size)


class CellLinear(nn.Conv2d):  # type: ignore[misc]
    """A linear layer that all cells share: [N, C, h, w] → [N, D, h, w]."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs, 1)


class FlatLinear(nn.Linear):  # type: ignore[misc]
    """A linear layer over all cells at once: [N, C, h, w] → [N, D, h′, w′], (C·h·w + 1)·D·h′·w′ parameters."""

    def __init__(self, shape: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__(math.prod(shape), math.prod(outputs))
        self.outputs = tuple(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """All cells."""
        return super().forward(x.flatten(1)).view(-1, *self.outputs)


def widths_between(first: int, last: int, count: int) -> list[int]:
    """Channels of `count` stages from first to last, each the same times smaller; one stage has the last.

    >>> widths_between(128, 32, 2), widths_between(128, 32, 3), widths_between(128, 32, 1)
    ([128, 32], [128, 64, 32], [32])
    """
    if count < 2:
        return [last] * count
    made = [first * (last / first) ** (at / (count - 1)) for at in range(count)]
    return [first, *(max(1, round(each)) for each in made[1:-1]), last]


class Rising(nn.Module):  # type: ignore[misc]
    """A map at a stride → logits [N, H, W]: a transposed 3 × 3 convolution and ReLU each doubling, then 3 × 3 → 1.

    Of stride 4: C → `first` → `last` → 1, the decoder of the seed's rows 6 to 8.  Their k3 doubles by stride 2, padding
    1, output padding 1.  A stride that is no power of two is doubled as far as that goes, the rest is bilinear.
    """

    def __init__(self, channels: int, stride: int, size: tuple[int, int], *, first: int = 128, last: int = 32) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for wide in widths_between(first, last, int(math.log2(stride))):
            layers += [nn.ConvTranspose2d(channels, wide, 3, 2, padding=1, output_padding=1), nn.ReLU()]
            channels = wide
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, H, W]."""
        return fitted(self.layers(x), *self.size)


class Staged(nn.Module):  # type: ignore[misc]
    """Maps of one stride, joined, through modules one after the other; the last gives logits [N, H, W]."""

    def __init__(self, names: Sequence[str], *stages: nn.Module) -> None:
        super().__init__()
        self.names, self.stages = tuple(names), nn.Sequential(*stages)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits [N, H, W]."""
        return self.stages(joined(features, self.names))


class LightConv(nn.Sequential):  # type: ignore[misc]
    """The seed's row 3 after its linear layer: ReLU, 3 × 3 → 1, ReLU, transposed convolution of kernel and stride s."""

    def __init__(self, channels: int, stride: int, size: tuple[int, int]) -> None:
        super().__init__(
            nn.ReLU(), nn.Conv2d(channels, 1, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(1, 1, stride, stride),
            Fitted(size),
        )  # fmt: skip


class Fitted(nn.Module):  # type: ignore[misc]
    """Logits [N, 1, h, w] → [N, H, W]."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, logits: Tensor) -> Tensor:
        """Logits [N, H, W]."""
        return fitted(logits, *self.size)


class CellAttention(nn.Module):  # type: ignore[misc]
    """Multi-head self-attention among the cells of a map [N, C, h, w]; no positions but what the features know.

    residual: x + attention(layer norm of x); False: the attention alone, as the seed's words have it
    Parameters: 4·C² + 4·C, and 2·C of the norm.  Cost: 4·L·C² + 2·L²·C multiply–adds, L = h·w.
    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.
    """

    def __init__(self, channels: int, heads: int, *, residual: bool) -> None:
        super().__init__()
        if channels % heads:
            raise InvalidValueError(
                f"channels must be a multiple of {heads} heads, got {channels}: take other heads, or width=…"
            )
        self.heads, self.residual = heads, residual
        self.norm = nn.LayerNorm(channels) if residual else None
        self.into = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] → the same shape."""
        count, channels, height, width = x.shape
        cells = x.flatten(2).transpose(1, 2)
        asked = self.into(cells if self.norm is None else self.norm(cells))
        query, key, value = asked.view(count, -1, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        mixed = self.out(mixed).transpose(1, 2).view(count, channels, height, width)
        return x + mixed if self.residual else mixed


class ConvBlock(nn.Module):  # type: ignore[misc]
    """3 × 3 convolution of the width it has: x + conv(ReLU(group norm(x))), or without the x."""

    def __init__(self, width: int, *, residual: bool = True, dilation: int = 1) -> None:
        super().__init__()
        self.residual = residual
        self.norm = nn.GroupNorm(math.gcd(8, width), width)
        self.conv = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """[N, width, h, w] → the same shape."""
        made = self.conv(functional.relu(self.norm(x)))
        return x + made if self.residual else made
