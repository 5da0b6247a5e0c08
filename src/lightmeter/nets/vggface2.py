"""VGGFace2 in torch: ResNet-50 and SE-ResNet-50 as Caffe has them, and the two spellings of their published names."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.nets.face_plans import SQUEEZE, VGG2_STAGES


class Bottleneck(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """1 x 1, 3 x 3, 1 x 1 and the input, each normed; the stride is in the first 1 x 1, as in Caffe.

    squeeze: what comes out of the third norm is scaled, channel by channel, by `conv5(relu(conv4(mean)))` through a
    sigmoid: squeeze-and-excitation, Hu et al. 2018, arXiv:1709.01507, eq. 2 to 4
    """

    def __init__(self, before: int, channels: int, *, stride: int, squeeze: bool, projects: bool) -> None:
        super().__init__()
        after = 4 * channels
        self.conv1 = nn.Conv2d(before, channels, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        if squeeze:
            self.conv4 = nn.Conv2d(after, after // SQUEEZE, 1)
            self.conv5 = nn.Conv2d(after // SQUEEZE, after, 1)
        if projects:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )
        self.squeeze, self.projects = squeeze, projects

    def forward(self, x: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, 4C, H / stride, W / stride]"""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.squeeze:
            mean = y.mean(dim=(2, 3), keepdim=True)
            y = y * torch.sigmoid(self.conv5(functional.relu(self.conv4(mean))))
        return functional.relu(y + (self.downsample(x) if self.projects else x))


class VggFace2(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """BGR pixels [N, 3, 224, 224] in 0..255 less their mean -> the last mean over places, [N, 2048 / width].

    squeeze: SE-ResNet-50 · width: divides all channels, for tests; 1 is what is published
    The layer of classes is left out.  Cost: 3.9 G MACs; 23.5 M weights, 26 M with squeeze.
    Source: Cao et al. 2018, arXiv:1710.08092; He et al. 2016, arXiv:1512.03385. The first pooling has no padding and
    rounds up, and a norm's epsilon is 1e-5.
    """

    def __init__(self, *, squeeze: bool = False, width: int = 1) -> None:
        super().__init__()
        before = 64 // width
        self.conv1 = nn.Conv2d(3, before, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        for stage, (channels, blocks) in enumerate(VGG2_STAGES, start=1):
            inner, made = channels // width, []
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                made.append(Bottleneck(before, inner, stride=stride, squeeze=squeeze, projects=block == 0))
                before = 4 * inner
            setattr(self, f"layer{stage}", nn.Sequential(*made))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 224, 224] -> [N, 2048 / width], all >= 0"""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 3, stride=2, ceil_mode=True)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))


_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def dag_names(*, squeeze: bool) -> dict[str, str]:
    """Name in Albanie's converted files (`resnet50_ft_dag.pth`, `senet50_ft_dag.pth`) -> name here.

    Here, names are those of github.com/cydonia999/VGGFace2-pytorch, which are torchvision's with `conv4` and `conv5`
    for squeeze-and-excitation.

    >>> dag_names(squeeze=False)["conv3_1_1x1_proj_bn.bias"]
    'layer2.0.downsample.1.bias'
    """
    pairs = _normed("conv1_7x7_s2", "conv1", "bn1")
    for stage, (_, blocks) in enumerate(VGG2_STAGES, start=1):
        for block in range(blocks):
            theirs, ours = f"conv{stage + 1}_{block + 1}", f"layer{stage}.{block}"
            for part, number in (("1x1_reduce", 1), ("3x3", 2), ("1x1_increase", 3)):
                pairs += _normed(f"{theirs}_{part}", f"{ours}.conv{number}", f"{ours}.bn{number}")
            if block == 0:
                pairs += _normed(f"{theirs}_1x1_proj", f"{ours}.downsample.0", f"{ours}.downsample.1")
            for part, number in (("1x1_down", 4), ("1x1_up", 5)) if squeeze else ():
                pairs += [(f"{theirs}_{part}.{each}", f"{ours}.conv{number}.{each}") for each in ("weight", "bias")]
    return dict(pairs)


def _normed(theirs: str, conv: str, norm: str) -> list[tuple[str, str]]:
    """A convolution and its norm, name by name."""
    return [(f"{theirs}.weight", f"{conv}.weight"), *((f"{theirs}_bn.{each}", f"{norm}.{each}") for each in _NORM)]
