"""Light CNN in torch: a small face network whose neurons compete in pairs; names are those of the published files."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.nets.face_plans import LIGHT_CNN_BLOCKS, LIGHT_CNN_DIM, LIGHT_CNN_SIDE, check_light_cnn


class MaxFeatureMap(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Twice as many channels as are handed on: channel c is the larger of c and c + C.

    filter: what makes [N, 2C, ...] · Source: arXiv:1511.02683, eq. 1 (MFM 2/1).
    """

    def __init__(self, filter: nn.Module) -> None:  # as the published files call it
        super().__init__()
        self.filter = filter

    def forward(self, x: Tensor) -> Tensor:
        """[N, B, ...] -> [N, C, ...]"""
        first, second = self.filter(x).chunk(2, dim=1)
        return torch.maximum(first, second)


def _conv(before: int, after: int, kernel: int) -> MaxFeatureMap:
    return MaxFeatureMap(nn.Conv2d(before, 2 * after, kernel, padding=kernel // 2))


class Group(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Network in network: 1 x 1, then 3 x 3."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv_a = _conv(before, before, 1)
        self.conv = _conv(before, after, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, C, H, W]"""
        made: Tensor = self.conv(self.conv_a(x))
        return made


class Residual(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Two of 3 x 3 and the input; no batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, 3)
        self.conv2 = _conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape"""
        made: Tensor = x + self.conv2(self.conv1(x))
        return made


def _halved(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2)


def _halved_twice(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2) + functional.avg_pool2d(x, 2)


class LightCnn9(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Grey pixels [N, 1, 128, 128], each x / 255 -> features [N, 256 / width].

    width: divides all channels, for tests; 1 is what is published. The layer of classes (`fc2`) is left out.
    Cost: 1 G MACs. Source: Wu et al. 2018, arXiv:1511.02683, table 1; github.com/AlfredXiangWu/LightCNN.
    """

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        a, b, c, d = (channels // width for channels in (48, 96, 192, 128))
        pool = nn.MaxPool2d(2)
        self.features = nn.Sequential(
            _conv(1, a, 5), pool, Group(a, b), pool, Group(b, c), pool, Group(c, d), Group(d, d), pool
        )
        self.fc1 = MaxFeatureMap(nn.Linear((LIGHT_CNN_SIDE // 16) ** 2 * d, 2 * LIGHT_CNN_DIM // width))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 128, 128] -> [N, 256 / width]"""
        made: Tensor = self.fc1(self.features(x).flatten(1))
        return made


class LightCnn29(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Grey pixels [N, 1, 128, 128], each x / 255 -> features [N, 256 / width]; residual blocks before each group.

    version: 2 pools by maximum plus mean and ends in a plain product · width: divides all channels, for tests
    The layer of classes (`fc2`) is left out.  Cost: 3.6 G MACs.
    Source: Wu et al. 2018, arXiv:1511.02683, table 2; version 2: github.com/AlfredXiangWu/LightCNN.
    """

    def __init__(self, version: int = 1, width: int = 1) -> None:
        super().__init__()
        check_light_cnn(29, version)
        self.halved = _halved if version == 1 else _halved_twice
        a, b, c, d = (channels // width for channels in (48, 96, 192, 128))
        self.conv1 = _conv(1, a, 5)
        for number, (before, after) in enumerate(((a, b), (b, c), (c, d), (d, d)), start=1):
            blocks = (Residual(before) for _ in range(LIGHT_CNN_BLOCKS[number - 1]))
            setattr(self, f"block{number}", nn.Sequential(*blocks))
            setattr(self, f"group{number}", Group(before, after))
        numbers, dim = (LIGHT_CNN_SIDE // 16) ** 2 * d, LIGHT_CNN_DIM // width
        self.fc = nn.Linear(numbers, dim) if version == 2 else MaxFeatureMap(nn.Linear(numbers, 2 * dim))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 128, 128] -> [N, 256 / width]"""
        x = self.halved(self.conv1(x))
        x = self.halved(self.group1(self.block1(x)))
        x = self.halved(self.group2(self.block2(x)))
        x = self.group3(self.block3(x))
        x = self.halved(self.group4(self.block4(x)))
        made: Tensor = self.fc(x.flatten(1))
        return made


def light_cnn(layers: int = 29, version: int = 1, width: int = 1) -> nn.Module:
    """The network by its number of layers and version, with weights drawn by torch; raises InvalidValueError."""
    check_light_cnn(layers, version)
    return LightCnn9(width) if layers == 9 else LightCnn29(version, width)
