"""What is done to a batch before a student sees it: each a pure function of the batch and of numbers that were drawn.

Batches are float [B, C, H, W]; nothing goes picture by picture in Python. `draw_…` draw the numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

LIGHT_SHARES = (0.2175, 0.0188, 0.0045)
LIGHT_COLOURS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Eigenvalues and eigenvectors (columns) of the colours of ImageNet: Krizhevsky et al. 2012, §4.1."""
GREY_SHARES = (0.299, 0.587, 0.114)
_TRIES = 10
_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True)
class Mixed:
    """A batch where each picture holds some of another: `share` is its own, the rest is `partner`'s (int64 [B])."""

    x: Tensor
    partner: Array | None = None
    share: float = 1.0


# -- where pixels are -----------------------------------------------------------------------------------------------


def flipped(x: Tensor, which: Array) -> Tensor:
    """Some pictures mirrored, left to right. which: bool [B]"""
    import torch

    return torch.where(torch.from_numpy(which).to(x.device)[:, None, None, None], x.flip(3), x)


def shifted(x: Tensor, down: Array, right: Array) -> Tensor:
    """Pictures moved by whole pixels, 0 where they came from (zeros around, then a crop). down, right: int [B]"""
    import torch
    from torch.nn import functional

    height, width = x.shape[2:]
    pad = int(max(np.abs(down).max(initial=0), np.abs(right).max(initial=0)))
    padded = functional.pad(x, (pad, pad, pad, pad))
    rows = np.arange(height) + (pad - down)[:, None]
    columns = np.arange(width) + (pad - right)[:, None]
    places = rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]
    index = torch.from_numpy(places.reshape(len(x), 1, -1)).to(x.device).expand(-1, x.shape[1], -1)
    return padded.flatten(2).gather(2, index).view(x.shape)


def draw_crops(
    rng: np.random.Generator, count: int, size: tuple[int, int], scale: tuple[float, float]
) -> tuple[Array, Array, Array, Array]:
    """Tops, lefts, heights and widths, int64 [count], of random resized crops.

    Up to ten tries for a share of the area from `scale` and a ratio from 3/4 to 4/3 (its log even) that fit; then the
    largest crop of the middle whose ratio is within. With `scale` (1, 1), as RDED has it for one patch a picture, only
    a square fits: every crop is the whole picture.
    Source: Szegedy et al. 2015, arXiv:1409.4842, as torchvision's RandomResizedCrop draws it.
    """
    height, width = size
    areas = height * width * rng.uniform(*scale, (count, _TRIES))
    ratios = np.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1]), (count, _TRIES)))
    widths = np.rint(np.sqrt(areas * ratios)).astype(np.int64)
    heights = np.rint(np.sqrt(areas / ratios)).astype(np.int64)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first, some = fits.argmax(axis=1), fits.any(axis=1)
    rows = np.arange(count)
    middle_width = min(width, round(height * _RATIO[1]))
    middle_height = min(height, round(width / _RATIO[0]))
    h = np.where(some, heights[rows, first], middle_height)
    w = np.where(some, widths[rows, first], middle_width)
    top = np.where(some, rng.integers(0, height - h + 1), (height - middle_height) // 2)
    left = np.where(some, rng.integers(0, width - w + 1), (width - middle_width) // 2)
    return top, left, h, w


def cropped(x: Tensor, crops: tuple[Array, Array, Array, Array], size: tuple[int, int]) -> Tensor:
    """A crop of each picture, brought to `size` bilinearly: float [B, C, *size].

    crops: tops, lefts, heights, widths, int [B]. Nothing outside a crop is seen. Meant for crops no larger than
    `size`, where averaging (antialias) would do nothing.
    """
    import torch
    from torch.nn import functional

    top, left, heights, widths = (np.asarray(each, np.float64)[:, None] for each in crops)
    places = []
    for start, span, cells, whole in ((top, heights, size[0], x.shape[2]), (left, widths, size[1], x.shape[3])):
        at = (np.arange(cells) + 0.5) * span / cells - 0.5
        at = start + np.clip(at, 0, span - 1)
        places.append(torch.from_numpy((2 * at + 1) / whole - 1).to(x))
    rows, columns = places
    grid = torch.stack([columns[:, None, :].expand(-1, size[0], -1), rows[:, :, None].expand(-1, -1, size[1])], dim=-1)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def shuffled_patches(x: Tensor, columns: Array, rows: Array) -> Tensor:
    """Each picture cut into F x F patches, its columns of them put into another order, then its rows.

    columns, rows: int [B, F], which column (row) of patches comes first, second … The last is larger where F does not
    divide.  Source: Sun et al. 2024, arXiv:2312.03526 (RDED), public code.
    """
    import torch

    for axis, order in ((3, columns), (2, rows)):
        cells, parts = x.shape[axis], order.shape[1]
        part = np.minimum(np.arange(cells) // (cells // parts), parts - 1)
        rank = np.argsort(order, axis=1)
        places = torch.from_numpy(np.argsort(rank[:, part], axis=1, kind="stable")).to(x.device)
        index = places[:, None, None, :] if axis == 3 else places[:, None, :, None]
        x = x.gather(axis, index.expand(x.shape))
    return x


# -- colours --------------------------------------------------------------------------------------------------------


def grey(x: Tensor) -> Tensor:
    """Luminance: [B, C, H, W] -> [B, 1, H, W]; grey pictures are theirs."""
    if x.shape[1] == 1:
        return x
    red, green, blue = GREY_SHARES
    return red * x[:, 0:1] + green * x[:, 1:2] + blue * x[:, 2:3]


def jittered(x: Tensor, amounts: Array) -> Tensor:
    """Brightness, contrast and saturation changed by `amounts`, float [B, 3].

    Each goes so far from the picture towards black, towards its mean luminance, towards its luminance; away from it
    where that is negative. Nothing is cut to 0..1.  The public codes draw an order of the three for each picture: they
    commute, so there is none here.
    Source: Kim et al. 2022 (IDC) and Gu et al. 2024 (Minimax), public code.
    """
    import torch

    dark, flat, pale = torch.from_numpy(np.asarray(amounts)).to(x)[:, :, None, None, None].unbind(1)
    x = x * (1 - dark)
    x = x + flat * (grey(x).mean((2, 3), keepdim=True) - x)
    return x + pale * (grey(x) - x) if x.shape[1] > 1 else x


def lit(x: Tensor, amounts: Array) -> Tensor:
    """Another light: `amounts` [B, 3] of the three directions in which colours vary most, times how much they do.

    Grey pictures have no such directions and stay.  Source: Krizhevsky et al. 2012, §4.1 ("PCA lighting").
    """
    import torch

    if x.shape[1] == 1:
        return x
    shift = (amounts * np.array(LIGHT_SHARES)) @ np.array(LIGHT_COLOURS).T
    return x + torch.from_numpy(shift).to(x)[:, :, None, None]


# -- of two pictures one --------------------------------------------------------------------------------------------


def draw_box(rng: np.random.Generator, size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of a box of 1 − `share` of the area around an even centre, cut off at the edges.

    Source: Yun et al. 2019, arXiv:1905.04899, algorithm A.
    """
    cut = math.sqrt(1 - share)
    box = []
    for side in size:
        half, centre = int(side * cut) // 2, int(rng.integers(side))
        box += [min(max(centre - half, 0), side), min(max(centre + half, 0), side)]
    return box[0], box[1], box[2], box[3]


def cutmix(x: Tensor, partner: Array, box: tuple[int, int, int, int]) -> Mixed:
    """A box of each picture taken from its partner, the same box for the whole batch; shares are of the pixels."""
    import torch

    top, bottom, left, right = box
    made = x.clone()
    made[:, :, top:bottom, left:right] = x[torch.from_numpy(partner).to(x.device), :, top:bottom, left:right]
    return Mixed(made, partner, 1 - (bottom - top) * (right - left) / (x.shape[2] * x.shape[3]))


def mixup(x: Tensor, partner: Array, share: float) -> Mixed:
    """`share` of each picture and the rest of its partner.  Source: Zhang et al. 2018, arXiv:1710.09412."""
    import torch

    return Mixed(share * x + (1 - share) * x[torch.from_numpy(partner).to(x.device)], partner, share)


def mixed(x: Tensor, rng: np.random.Generator, *, how: str = "cutmix", alpha: float = 1.0) -> Mixed:
    """CutMix or mixup with a share drawn from Beta(alpha, alpha), once for the batch, and partners in random order."""
    share = float(rng.beta(alpha, alpha))
    partner = rng.permutation(len(x))
    if how == "mixup":
        return mixup(x, partner, share)
    return cutmix(x, partner, draw_box(rng, (x.shape[2], x.shape[3]), share))
