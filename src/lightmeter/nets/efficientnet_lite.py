"""EfficientNet-Lite in torch: the reference for the torch-free graph, and a trainable start for users of `[torch]`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.nets.lite_plan import CLASSES, HEAD_CHANNELS, NORM_EPSILON, STEM_CHANNELS, Block, lite_plan


class SameConv(nn.Conv2d):  # type: ignore[misc]  # torch is not read by mypy
    """A convolution padded as TensorFlow's SAME: output side = input side / stride, rounded up; odd pads go last."""

    def __init__(self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', ceil(H / stride), ceil(W / stride)]"""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, pads))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPSILON, momentum=0.01)


class Bottleneck(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """An inverted bottleneck: expand, depthwise, project; names of its parts are those of the published checkpoints."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        if block.expands:
            self._expand_conv = SameConv(block.channels_in, block.channels_mid, 1)
            self._bn0 = _norm(block.channels_mid)
        middle = block.channels_mid
        self._depthwise_conv = SameConv(middle, middle, block.kernel, stride=block.stride, groups=middle)
        self._bn1 = _norm(middle)
        self._project_conv = SameConv(middle, block.channels_out, 1)
        self._bn2 = _norm(block.channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']"""
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.block.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.block.adds_input else y


class EfficientNetLite(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """The whole network of size 0, 1 or 2: pixels [N, 3, S, S], each (x - 127) / 128 -> class scores [N, 1000].

    Cost: `lite_plan(size).macs` and 1.28 M for the head.
    Source: Tan & Le 2019, arXiv:1905.11946; github.com/tensorflow/tpu, models/official/efficientnet/lite.
    """

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        plan = lite_plan(size)
        self._conv_stem = SameConv(3, STEM_CHANNELS, 3, stride=2)
        self._bn0 = _norm(STEM_CHANNELS)
        self._blocks = nn.ModuleList(Bottleneck(block) for block in plan.blocks)
        self._conv_head = SameConv(plan.blocks[-1].channels_out, HEAD_CHANNELS, 1)
        self._bn1 = _norm(HEAD_CHANNELS)
        self._fc = nn.Linear(HEAD_CHANNELS, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Pooled features [N, 1280], before the head."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores [N, 1000]."""
        scores: Tensor = self._fc(self.features(x))
        return scores


def load_efficientnet_lite(path: Path, size: int = 0) -> EfficientNetLite:
    """The network with a checkpoint's weights, every name and shape checked, in eval mode."""
    net = EfficientNetLite(size)
    weights = {name: torch.from_numpy(array.copy()) for name, array in read_checkpoint(path).items()}
    for name in net.state_dict():
        if name.endswith("num_batches_tracked"):
            weights.setdefault(name, torch.zeros((), dtype=torch.long))
    net.load_state_dict(weights)
    net.eval()
    return net
