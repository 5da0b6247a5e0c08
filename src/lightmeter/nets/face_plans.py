"""The layers of three published face networks as plain numbers: what they cost, without torch and without a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightmeter.errors import InvalidValueError

LIGHT_CNN_SIDE, LIGHT_CNN_DIM = 128, 256
LIGHT_CNN_BLOCKS = (1, 2, 3, 4)
"""Residual blocks of the 29 layers, before each of the four last groups."""
VGG_SIDE, VGG_DIM = 224, 4096
VGG_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each stage; half the side after each."""
VGG2_SIDE, VGG2_DIM = 224, 2048
VGG2_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Channels inside of a block and blocks of each stage; four times as many channels come out."""
SQUEEZE = 16
"""Channels of a squeeze-and-excitation block, a number for how many."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution, or with side 1 a matrix product.

    before, after: channels · kernel, side: pixels, of the kernel and of what comes out
    extra: numbers beside the taps for one channel: 1 is a bias, 4 are those of a batch norm
    """

    before: int
    after: int
    kernel: int
    side: int
    extra: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one picture."""
        return self.before * self.after * self.kernel**2 * self.side**2

    @property
    def weights(self) -> int:
        """Numbers that are read."""
        return self.before * self.after * self.kernel**2 + self.extra * self.after


def macs_of(layers: Sequence[Layer]) -> int:
    """Multiply-accumulates of all layers for one picture."""
    return sum(layer.macs for layer in layers)


def bytes_of(layers: Sequence[Layer]) -> int:
    """Bytes of all weights as float32."""
    return 4 * sum(layer.weights for layer in layers)


def light_cnn_layers(layers: int, version: int = 1) -> tuple[Layer, ...]:
    """Light CNN of 9 or 29 layers, or the second version of the 29, without the classes.

    A max-feature-map keeps the larger of two channels, so each layer has twice as many channels as it hands on.
    Source: Wu et al. 2018, arXiv:1511.02683, tables 1 and 2; version 2: github.com/AlfredXiangWu/LightCNN.

    >>> sum(layer.weights for layer in light_cnn_layers(9)), sum(layer.weights for layer in light_cnn_layers(29))
    (5480864, 12573280)
    """
    check_light_cnn(layers, version)
    side = LIGHT_CNN_SIDE
    found = [Layer(1, 2 * 48, 5, side)]
    groups = ((48, 96, True), (96, 192, True), (192, 128, True), (128, 128, False))
    for (before, after, halves), blocks in zip(groups, LIGHT_CNN_BLOCKS, strict=True):
        side = side // 2 if halves else side
        found += [Layer(before, 2 * before, 3, side)] * (2 * blocks if layers == 29 else 0)
        found += [Layer(before, 2 * before, 1, side), Layer(before, 2 * after, 3, side)]
    last = LIGHT_CNN_DIM if version == 2 else 2 * LIGHT_CNN_DIM
    return (*found, Layer((side // 2) ** 2 * 128, last, 1, 1))


def check_light_cnn(layers: int, version: int) -> None:
    """Raise InvalidValueError for what its authors never published."""
    if (layers, version) not in ((9, 1), (29, 1), (29, 2)):
        raise InvalidValueError(
            f"Light CNN must have 9 layers, 29 layers or 29 layers of version 2, got {layers} of version {version}"
        )


def vggface_layers() -> tuple[Layer, ...]:
    """VGG-16 up to fc7: 13 convolutions of 3 x 3, two products.

    Source: Parkhi, Vedaldi & Zisserman, "Deep face recognition", BMVC 2015, table 3.
    """
    found, before, side = [], 3, VGG_SIDE
    for channels, convolutions in VGG_STAGES:
        for _ in range(convolutions):
            found.append(Layer(before, channels, 3, side))
            before = channels
        side //= 2
    return (*found, Layer(before * side**2, VGG_DIM, 1, 1), Layer(VGG_DIM, VGG_DIM, 1, 1))


def vggface2_layers(*, squeeze: bool) -> tuple[Layer, ...]:
    """ResNet-50 as Caffe has it (a block strides in its first 1 x 1), with or without squeeze-and-excitation.

    Source: He et al. 2016, arXiv:1512.03385, table 1; Hu et al. 2018, arXiv:1709.01507; Cao et al. 2018,
    arXiv:1710.08092.
    """
    side = VGG2_SIDE // 2
    found, before = [Layer(3, 64, 7, side, 4)], 64
    for channels, blocks in VGG2_STAGES:
        side, wide = side // 2, 4 * channels
        for block in range(blocks):
            inner, across = Layer(before, channels, 1, side, 4), Layer(channels, channels, 3, side, 4)
            found += [inner, across, Layer(channels, wide, 1, side, 4)]
            if squeeze:
                found += [Layer(wide, wide // SQUEEZE, 1, 1), Layer(wide // SQUEEZE, wide, 1, 1)]
            if block == 0:
                found.append(Layer(before, wide, 1, side, 4))
            before = wide
    return tuple(found)
