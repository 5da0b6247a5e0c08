"""ResNets that condensed sets are judged by: ResNet-18, and ResNetAP-10, which averages where others stride."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError
from lightmeter.nets.student_conv import StudentNorm, norm_layer, relu_halved

Stem = Literal["auto", "small", "mid", "large"]
"""The first layer: 3 x 3; 3 x 3 and a pooling by 2; 7 x 7 and a reduction by 4; or one of these by size."""
_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2)}
_LARGEST_SMALL, _LARGEST_MID = 64, 128
_REDUCED = {"small": 1, "mid": 2, "large": 4}


def stem_of(size: tuple[int, int]) -> Stem:
    """Which stem suits pictures: small to 64 px on the short side, mid to 128, large above.

    Source: Kim et al. 2022, arXiv:2205.14959, public code; RDED's "modified" ResNet-18 is the small one.
    """
    side = min(size)
    return "small" if side <= _LARGEST_SMALL else "mid" if side <= _LARGEST_MID else "large"


class _Block(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Two 3 x 3 convolutions, each normed, and the input beside them: [B, I, H, W] -> [B, O, H / s, W / s]."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, norm: StudentNorm, averages: bool) -> None:
        super().__init__()
        step = 1 if averages else stride
        self.halves = averages and stride == 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, step, 1, bias=False)
        self.norm1 = norm_layer(outputs, norm)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = norm_layer(outputs, norm)
        self.beside: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            halve = [nn.AvgPool2d(2)] if self.halves else []
            self.beside = nn.Sequential(
                *halve, nn.Conv2d(inputs, outputs, 1, step, bias=False), norm_layer(outputs, norm)
            )

    def forward(self, x: Tensor) -> Tensor:
        """float [B, I, H, W] -> float [B, O, H / s, W / s], all >= 0"""
        made = self.norm1(self.conv1(x))
        made = relu_halved(made) if self.halves else functional.relu(made)
        return functional.relu(self.norm2(self.conv2(made)) + (x if self.beside is None else self.beside(x)))


@dataclass(frozen=True, slots=True)
class ResNetPlan:
    """Sizes of a ResNet of basic blocks; the defaults are ResNet-18's.

    depth: 10 or 18 · width: channels of the first group, doubled in each of the next · stem: `auto` goes by size
    averages: ResNetAP: every stride is a 2 x 2 average pooling, the large stem's reduction one of 4 x 4. Beside a block
    it comes before the 1 x 1 convolution, not behind it as in the public code: the two commute, and cost a quarter so.
    """

    depth: int = 18
    width: int = 64
    norm: StudentNorm = "batch"
    averages: bool = False
    stem: Stem = "auto"

    def __post_init__(self) -> None:
        if self.depth not in _BLOCKS or self.stem not in get_args(Stem) or self.width < 1:
            raise InvalidValueError(
                f"depth must be one of {', '.join(map(str, _BLOCKS))}, stem one of {', '.join(get_args(Stem))} and "
                f"width 1 or more, got {(self.depth, self.stem, self.width)}"
            )


class ResNet(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Stem, four groups of blocks, the mean over all cells, one linear layer: logits [B, K].

    inputs: channels of a picture · size: height and width; the last group must see at least 2 x 2 cells, or instance
    norm leaves nothing of them
    Source: He et al. 2016, arXiv:1512.03385; AP: Kim et al. 2022, arXiv:2205.14959, and its public code, whose
    initialisation this has (normal, He's by outputs).
    """

    def __init__(self, inputs: int, classes: int, size: tuple[int, int], plan: ResNetPlan) -> None:
        super().__init__()
        if min(inputs, classes) < 1:
            raise InvalidValueError(f"inputs and classes must be 1 or more, got {inputs} and {classes}")
        self.stem = stem_of(size) if plan.stem == "auto" else plan.stem
        reduced = 8 * _REDUCED[self.stem]
        if min(size) < 2 * reduced:
            raise InvalidValueError(
                f"pictures must be at least {2 * reduced} px a side for a ResNet with the {self.stem} stem, got "
                f"{size[0]} x {size[1]}: take stem=small, a ConvNet or larger pictures"
            )
        self.size, self.norm, self.averages = size, plan.norm, plan.averages
        self.conv = self._first(inputs, plan.width)
        self.first_norm = norm_layer(plan.width, plan.norm)
        groups, before = [], plan.width
        for at, blocks in enumerate(_BLOCKS[plan.depth]):
            wide = plan.width << at
            for number in range(blocks):
                stride = 2 if at and not number else 1
                groups.append(_Block(before, wide, stride=stride, norm=plan.norm, averages=plan.averages))
                before = wide
        self.blocks = nn.Sequential(*groups)
        self.last = nn.Linear(before, classes)
        for each in self.modules():
            if isinstance(each, nn.Conv2d):
                nn.init.kaiming_normal_(each.weight, mode="fan_out", nonlinearity="relu")

    def _first(self, inputs: int, width: int) -> nn.Module:
        """The convolution of the stem; that of the large one strides, unless averages do."""
        if self.stem == "large":
            return nn.Conv2d(inputs, width, 7, 1 if self.averages else 2, 3, bias=False)
        return nn.Conv2d(inputs, width, 3, 1, 1, bias=False)

    def _pooled(self, x: Tensor) -> Tensor:
        """What the stem does after its relu."""
        if self.stem == "small":
            return x
        if self.averages:
            return functional.avg_pool2d(x, _REDUCED[self.stem])
        return functional.max_pool2d(x, 3, 2, 1)

    def features(self, x: Tensor) -> Tensor:
        """float [B, C, H, W] -> what the last layer reads, float [B, 8 * width]"""
        x = self._pooled(functional.relu(self.first_norm(self.conv(x))))
        made: Tensor = self.blocks(x).mean((2, 3))
        return made

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, H, W] -> logits float [B, K]"""
        made: Tensor = self.last(self.features(x))
        return made

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one picture."""
        height, width = self.size
        stride = self.conv.stride[0]
        total = -(-height // stride) * -(-width // stride) * self.conv.weight.numel()
        height, width = self._reduced(height), self._reduced(width)
        for block in self.blocks:
            inner = height * width
            height, width = (_halved(each, block) for each in (height, width))
            first = height * width if block.conv1.stride[0] == 2 else inner
            total += first * block.conv1.weight.numel() + height * width * block.conv2.weight.numel()
            if block.beside is not None:
                total += height * width * block.beside[-2].weight.numel()
        return int(total + self.last.weight.numel())

    def _reduced(self, side: int) -> int:
        """Cells of a side after the stem."""
        if self.stem == "small" or self.averages:
            return side // _REDUCED[self.stem]
        return -(-side // _REDUCED[self.stem])

    @property
    def widest_bytes(self) -> int:
        """Bytes of its largest map of one picture: what decides how many pictures fit a cache."""
        stride = self.conv.stride[0]
        return int(4 * self.conv.out_channels * (self.size[0] // stride) * (self.size[1] // stride))


def _halved(side: int, block: _Block) -> int:
    if block.halves:
        return side // 2
    stride = int(block.conv1.stride[0])
    return -(-side // stride)
