"""dlib's network of faces: 128 numbers, near for one person and far for two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from lightmeter.assets.finding import find
from lightmeter.assets.table import ASSETS
from lightmeter.encoders import face_finding
from lightmeter.encoders.protocol import Takes, checked, checked_image, stacked
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled, need
from lightmeter.types import Array, Image

CHIP_SIDE, CHIP_PADDING = 150, 0.25
DIM = 128
STEM_CHANNELS = 32
LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""Channels, residual blocks, and whether the first of them halves the picture."""


@dataclass(frozen=True)
class DlibFace(Spelled):
    """Who it is: the largest face of a picture, upright and cut out, as a ResNet of 29 convolutions sees it.

    encode: N pictures -> float32 [N, 128], not unit rows (about 1.4 long).  Cost: 0.25 G MACs, 0.15 s of CPU a
    picture; with the search of `view=face` 0.25 s (docs/results/dlib-face.json).
    Two pictures of one person are nearer than 0.6 by Euclidean distance, says its author; 99.38 % of the pairs of LFW
    are told apart so. Everything here compares by cosine (docs/faces.md says what 0.6 becomes).
    Source: King 2017, dlib_face_recognition_resnet_model_v1 (CC0), blog.dlib.net, "High Quality Face Recognition with
    Deep Metric Learning"; network after He et al. 2015, arXiv:1512.03385. Runs dlib, one thread.

    view: `face` finds the largest face (`face_finding.largest_face`) · `whole`: the picture is a crop of a face, from
    the brows to the chin, and is only turned and scaled by its landmarks
    Raises RejectedFileError (`no-face`) for a picture where `face` sees none.
    """

    view: Literal["face", "whole"] = "face"

    def __post_init__(self) -> None:
        if self.view not in ("face", "whole"):
            raise InvalidValueError(f"view must be face or whole, got {self.view!r}")

    @property
    def dim(self) -> int:
        """Features a row."""
        return DIM

    @property
    def takes(self) -> Takes:
        """What goes in."""
        return "image"

    @property
    def unit(self) -> str:
        """What `macs` counts."""
        return "picture"

    @property
    def macs(self) -> int:
        """The network's; gradients and trees, which find the face, are no matrix products."""
        return network_macs()

    @property
    def size_bytes(self) -> int:
        """The network and the landmarks; the detector comes inside of dlib."""
        return ASSETS["dlib-face"].size_bytes + ASSETS[face_finding.LANDMARKS].size_bytes

    @property
    def short_side(self) -> int | None:
        """Smallest decode that is enough: the least face that is found has as many pixels as what the network sees."""
        return 2 * (face_finding.SEARCH_SIDE if self.view == "face" else CHIP_SIDE)

    def load(self) -> None:
        """Read the weights."""
        face_finding.load()
        _network()

    def encode(self, items: Sequence[Image]) -> Array:
        """N pictures of any size -> float32 [N, 128], one by one."""
        images = checked(items, Image, "dlib-face")
        return stacked([self._row(checked_image(each, "dlib-face")) for each in images], self.dim)

    def _row(self, image: Image) -> Array:
        height, width = image.pixels.shape[:2]
        box = face_finding.face_box(image) if self.view == "face" else (0.0, 0.0, float(width), float(height))
        chip = aligned(image, box)
        return np.array(_network().compute_face_descriptor(chip), np.float32)


def aligned(image: Image, box: face_finding.Box) -> Array:
    """The face in a box, turned and scaled so that its landmarks lie as in training: uint8 [150, 150, 3].

    What lies outside of the picture is black, as dlib makes it.
    """
    found = face_finding.landmarks(image, box)
    pixels = np.ascontiguousarray(image.pixels)
    chip: Array = need("dlib", "faces").get_face_chip(pixels, found, size=CHIP_SIDE, padding=CHIP_PADDING)
    return chip


def convolutions() -> list[tuple[int, int, int, int]]:
    """(channels in, channels out, side of the kernel, side of what comes out) of the 29 convolutions.

    Worked out from `anet_type` in dlib's examples/dnn_face_recognition_ex.cpp: one of 7 x 7 with stride 2, pooling of
    3 x 3 with stride 2, then blocks of two 3 x 3 with a shortcut. What strides is not padded, what does not is.
    """
    side = _strided(CHIP_SIDE, 7)
    found = [(3, STEM_CHANNELS, 7, side)]
    side, before = _strided(side, 3), STEM_CHANNELS
    for channels, blocks, halves in LEVELS:
        for block in range(blocks):
            side = _strided(side, 3) if halves and block == 0 else side
            found += [(before, channels, 3, side), (channels, channels, 3, side)]
            before = channels
    return found


def _strided(side: int, kernel: int) -> int:
    return (side - kernel) // 2 + 1


def network_macs() -> int:
    """Multiply-accumulates of the convolutions and the last product for one face."""
    each = (before * after * kernel**2 * side**2 for before, after, kernel, side in convolutions())
    return sum(each) + LEVELS[-1][0] * DIM


@cache
def _network() -> Any:
    # checked, because it is dlib's reader that opens it, not ours
    return need("dlib", "faces").face_recognition_model_v1(str(find("dlib-face", check=True)))
