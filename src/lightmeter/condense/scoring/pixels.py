"""Pictures as networks read them: floats, colours moved first, one scale for students and teachers alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

MEANS = {3: (0.485, 0.456, 0.406), 1: (0.449,)}
DEVIATIONS = {3: (0.229, 0.224, 0.225), 1: (0.226,)}
"""Of each channel, as shares of 255: those of ImageNet, which both published protocols take; grey: their means."""


def floats(images: Array, device: str = "cpu") -> Tensor:
    """Pictures uint8 [M, H, W, C] -> float32 [M, C, H, W], 0 to 1."""
    import torch

    moved = torch.from_numpy(np.moveaxis(images, 3, 1).copy())
    return moved.to(device).float().div_(255)


def standardised(x: Tensor) -> Tensor:
    """Float [M, C, H, W] of 0 to 1 -> the same less MEANS, over DEVIATIONS: what every student and teacher here reads.

    One scale for all sets: an online teacher is asked about what the student sees.
    """
    import torch

    channels = x.shape[1]
    mean, deviation = (torch.tensor(each[channels], device=x.device).view(-1, 1, 1) for each in (MEANS, DEVIATIONS))
    return (x - mean) / deviation


def normalised(images: Array, device: str = "cpu") -> Tensor:
    """Pictures uint8 [M, H, W, C] -> float32 [M, C, H, W] as `standardised` makes them."""
    return standardised(floats(images, device))


def resized(images: Array, short_side: int, crop: int) -> Array:
    """Pictures uint8 [M, H, W, C] with the short side so long, then their middle, `crop` pixels square: uint8.

    Bilinear, averaging over what falls on a pixel where they shrink, rounded.  As torchvision's Resize(antialias) and
    CenterCrop of tensors: the long side is cut down to whole pixels.
    """
    import torch
    from torch.nn import functional

    height, width = images.shape[1:3]
    short = min(height, width)
    size = (short_side * height // short, short_side * width // short)
    if size != (height, width):
        x = torch.from_numpy(np.moveaxis(images, 3, 1).copy()).float()
        x = functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        images = x.round_().clamp_(0, 255).to(torch.uint8).movedim(1, 3).numpy()
    top, left = (round((side - crop) / 2) for side in size)
    return images[:, top : top + crop, left : left + crop]
