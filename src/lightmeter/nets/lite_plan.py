"""The layers of EfficientNet-Lite as plain numbers: shared by the torch module and the torch-free graph."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightmeter.errors import InvalidValueError

STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
CLASSES = 1000
NORM_EPSILON = 1e-3
CROP_FRACTION = 0.875
"""Share of the short side that the published evaluation keeps."""

_SCALES = {0: (1.0, 1.0, 224), 1: (1.0, 1.1, 240), 2: (1.1, 1.2, 260)}  # size: width, depth, pixels a side

# kernel, stride, expansion, channels out, repeats: table 1 of the paper
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


@dataclass(frozen=True, slots=True)
class Block:
    """An inverted bottleneck: expand 1x1, depthwise, project 1x1; the input is added where shapes agree."""

    kernel: int
    stride: int
    channels_in: int
    channels_mid: int
    channels_out: int

    @property
    def expands(self) -> bool:
        """Whether it has an expansion at all: the first block has none."""
        return self.channels_mid != self.channels_in

    @property
    def adds_input(self) -> bool:
        """Whether input and output have one shape."""
        return self.stride == 1 and self.channels_in == self.channels_out


@dataclass(frozen=True, slots=True)
class LitePlan:
    """All blocks of one size, and the side of its square input in pixels.

    Source: Tan & Le 2019, arXiv:1905.11946; the Lite variants (no squeeze-and-excite, ReLU6, stem and head not scaled)
    are those of github.com/tensorflow/tpu, models/official/efficientnet/lite.
    """

    side: int
    blocks: tuple[Block, ...]

    @property
    def padded_side(self) -> int:
        """Short side of the smallest picture whose centre crop still holds `side` pixels: 256, 274, 297."""
        return self.side + round(self.side * (1 / CROP_FRACTION - 1))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolutions for one picture, up to the pooled features."""
        side = -(-self.side // 2)
        total = side * side * 9 * 3 * STEM_CHANNELS
        for block in self.blocks:
            if block.expands:
                total += side * side * block.channels_in * block.channels_mid
            side = -(-side // block.stride)
            total += side * side * block.channels_mid * (block.kernel**2 + block.channels_out)
        return total + side * side * self.blocks[-1].channels_out * HEAD_CHANNELS


def lite_plan(size: int) -> LitePlan:
    """The plan of EfficientNet-Lite `size`, 0 to 2.

    >>> lite_plan(0).side, len(lite_plan(0).blocks), lite_plan(0).macs
    (224, 16, 383907552)
    """
    if size not in _SCALES:
        raise InvalidValueError(f"size must be one of {', '.join(map(str, _SCALES))}, got {size!r}")
    width, depth, side = _SCALES[size]
    blocks: list[Block] = []
    channels = STEM_CHANNELS
    for number, (kernel, stride, expansion, out, repeats) in enumerate(_STAGES):
        out = _scaled_channels(out, width)
        fixed = number in (0, len(_STAGES) - 1)
        for repeat in range(repeats if fixed else math.ceil(repeats * depth)):
            blocks.append(Block(kernel, stride if repeat == 0 else 1, channels, channels * expansion, out))
            channels = out
    return LitePlan(side, tuple(blocks))


def _scaled_channels(channels: int, width: float, step: int = 8) -> int:
    wanted = channels * width
    rounded = max(step, int(wanted + step / 2) // step * step)
    return rounded + step if rounded < 0.9 * wanted else rounded
