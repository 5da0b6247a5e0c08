"""Heads of convolutions: the seed's, deeper ones, a U-Net, and one that reads several maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.protocol import check_range, check_weights, one_stride
from lightmeter.parts import Spelled, need

if TYPE_CHECKING:
    from lightmeter.encoders.dense import FeatureSet

Linear = Literal["cell", "flat"]
_TOO_LARGE = "take fc=cell, a linear layer that all cells share"
_WIDEST = 4096


@dataclass(frozen=True)
class LightConvHead(Spelled):
    """The seed's row 3: linear layer to the same shape, ReLU, 3 × 3 → 1, ReLU, transposed convolution to full size.

    fc: `flat`, over all cells at once (4096 → 4096 for 4 × 32 × 32), or `cell`, the same for every cell
    The one map between its last two layers is cut at zero: with bad luck it is zero everywhere and learns no more.
    """

    fc: Linear = "flat"

    def net(self, inputs: Mapping[str, FeatureSet], height: int, width: int) -> Any:
        """See `MaskHead.net`."""
        need("torch", "torch")
        from lightmeter.nets.mask_heads import LightConv, Staged

        names, channels, stride = one_stride(self.spec, inputs)
        first = _linear(self.fc, (channels, height // stride, width // stride))
        return Staged(names, first, LightConv(channels, stride, (height, width)))


@dataclass(frozen=True)
class FcConvHead(Spelled):
    """The seed's row 6: linear layer, ReLU, transposed 3 × 3 convolutions up to full size, 3 × 3 → 1.

    fc: `cell`, 240 → 240 for every cell; `flat`, what the words say, has 3.8 billion weights at the seed's size and is
    refused there · first, last: channels of the first and the last transposed convolution
    """

    fc: Linear = "cell"
    first: int = 128
    last: int = 32

    def __post_init__(self) -> None:
        check_range("first", self.first, 1, _WIDEST)
        check_range("last", self.last, 1, _WIDEST)

    def net(self, inputs: Mapping[str, FeatureSet], height: int, width: int) -> Any:
        """See `MaskHead.net`."""
        torch = need("torch", "torch")
        from lightmeter.nets.mask_heads import Rising, Staged

        names, channels, stride = one_stride(self.spec, inputs)
        first = _linear(self.fc, (channels, height // stride, width // stride))
        rising = Rising(channels, stride, (height, width), first=self.first, last=self.last)
        return Staged(names, first, torch.nn.ReLU(), rising)


@dataclass(frozen=True)
class AttentionConvHead(Spelled):
    """The seed's rows 7 and 8: self-attention among all cells, ReLU, then as `fc-conv`.

    heads: 8 in the seed · residual: false is the seed's words, the attention's output alone; true adds it to its input
    width: 0, or the channels that a linear layer makes first (the seed has none)
    Cost grows with the square of the cells: 256 at stride 4 of 64 × 64.
    """

    heads: int = 8
    residual: bool = False
    width: int = 0
    first: int = 128
    last: int = 32

    def __post_init__(self) -> None:
        check_range("heads", self.heads, 1, 256)
        check_range("width", self.width, 0, _WIDEST)
        check_range("first", self.first, 1, _WIDEST)
        check_range("last", self.last, 1, _WIDEST)

    def net(self, inputs: Mapping[str, FeatureSet], height: int, width: int) -> Any:
        """See `MaskHead.net`; raises InvalidValueError where the channels are no multiple of the heads."""
        torch = need("torch", "torch")
        from lightmeter.nets.mask_heads import CellAttention, CellLinear, Rising, Staged

        names, channels, stride = one_stride(self.spec, inputs)
        before = [CellLinear(channels, self.width)] if self.width else []
        inner = self.width or channels
        attention = CellAttention(inner, self.heads, residual=self.residual)
        rising = Rising(inner, stride, (height, width), first=self.first, last=self.last)
        return Staged(names, *before, attention, torch.nn.ReLU(), rising)


@dataclass(frozen=True)
class DeepConvHead(Spelled):
    """3 × 3 convolutions on the maps' grid, then as `fc-conv` up: the seed's deeper and residual heads.

    width: channels of the convolutions · blocks: how many · residual: each adds to its input
    """

    width: int = 64
    blocks: int = 4
    residual: bool = True
    first: int = 48
    last: int = 24

    def __post_init__(self) -> None:
        check_range("width", self.width, 1, _WIDEST)
        check_range("blocks", self.blocks, 0, 64)
        check_range("first", self.first, 1, _WIDEST)
        check_range("last", self.last, 1, _WIDEST)

    def net(self, inputs: Mapping[str, FeatureSet], height: int, width: int) -> Any:
        """See `MaskHead.net`."""
        torch = need("torch", "torch")
        from lightmeter.nets.mask_heads import CellLinear, ConvBlock, Rising, Staged

        names, channels, stride = one_stride(self.spec, inputs)
        blocks = [ConvBlock(self.width, residual=self.residual) for _ in range(self.blocks)]
        rising = Rising(self.width, stride, (height, width), first=self.first, last=self.last)
        return Staged(names, CellLinear(channels, self.width), *blocks, torch.nn.ReLU(), rising)


@dataclass(frozen=True)
class UNetHead(Spelled):
    """A U-Net on the maps; on `pixels/patch=1` it is the baseline that learns from nothing (the seed's row 9).

    fc: before it `none`, `cell`, or `flat`: a linear layer of all features to one map of the mask's size and ReLU, the
    seed's row 4 (base 32 for its 512 × 4 × 4) · base, levels: channels at full size and halvings; 64 and 4 are
    Ronneberger's, 31 M weights
    norm: between convolutions `none` as in the paper, `group` or `batch`
    """

    fc: Literal["none", "cell", "flat"] = "none"
    base: int = 64
    levels: int = 4
    norm: Literal["none", "batch", "group"] = "none"

    def __post_init__(self) -> None:
        check_range("base", self.base, 1, 512)
        check_range("levels", self.levels, 0, 6)

    def net(self, inputs: Mapping[str, FeatureSet], height: int, width: int) -> Any:
        """See `MaskHead.net`."""
        torch = need("torch", "torch")
        from lightmeter.nets.mask_unet import MaskUNet
        from lightmeter.nets.unet import UNetPlan

        names, channels, stride = one_stride(self.spec, inputs)
        shape = (channels, height // stride, width // stride)
        before, inner = torch.nn.Identity(), channels
        if self.fc != "none":
            outputs = (1, height, width) if self.fc == "flat" else shape
            before, inner = torch.nn.Sequential(_linear(self.fc, shape, outputs), torch.nn.ReLU()), outputs[0]
        return MaskUNet(names, before, UNetPlan(inner, 1, self.base, self.levels, self.norm), (height, width))


@dataclass(frozen=True)
class MultiScaleHead(Spelled):
    """Several maps of any strides: each to one width, summed on one grid, residual 3 × 3 blocks, logits.

    stride: of the grid, 0 for that of the finest map; 4 in place of 2 costs a quarter. Maps that are finer must go into
    it a whole number of times
    width, blocks: 64 and 3 keep it under 0.3 M weights for maps of up to 2,700 channels together
    dilated: the blocks' kernels reach 1, 2 and 4 cells
    """

    width: int = 64
    blocks: int = 3
    dilated: bool = True
    stride: int = 0

    def __post_init__(self) -> None:
        check_range("stride", self.stride, 0, 64)
        check_range("width", self.width, 1, _WIDEST)
        check_range("blocks", self.blocks, 0, 64)

    def net(self, inputs: Mapping[str, FeatureSet], height: int, width: int) -> Any:
        """See `MaskHead.net`."""
        need("torch", "torch")
        from lightmeter.nets.mask_scales import MultiScale

        if not inputs:
            raise InvalidValueError("multi-scale must read one map at least, got none: name maps of the encoder")
        stride = self.stride or min(each.stride for each in inputs.values())
        for each in inputs.values():
            if each.stride < stride and stride % each.stride:
                raise InvalidValueError(
                    f"stride must be a multiple of that of finer maps, got {stride} and {each.stride} of {each.name}"
                )
        return MultiScale(
            {name: (each.channels, each.stride) for name, each in inputs.items()}, (height, width), stride=stride,
            width=self.width, blocks=self.blocks, dilated=self.dilated,
        )  # fmt: skip


def _linear(kind: str, shape: tuple[int, int, int], outputs: tuple[int, int, int] | None = None) -> Any:
    """A linear layer on maps [C, h, w], to the same shape or another."""
    from lightmeter.nets.mask_heads import CellLinear, FlatLinear

    outputs = outputs or shape
    if kind == "cell":
        return CellLinear(shape[0], outputs[0])
    check_weights("a linear layer of all cells", math.prod(shape) * math.prod(outputs), _TOO_LARGE)
    return FlatLinear(shape, outputs)
