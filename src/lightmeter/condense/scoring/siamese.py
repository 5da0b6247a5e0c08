"""Differentiable Siamese Augmentation: the changes of pictures that data-set condensation is learnt and scored with.

Batches are float [B, C, H, W], already standardised; each change is a pure function with numbers of each picture's own.
Source: Zhao and Bilen 2021, arXiv:2102.08259, with the ranges of Kim et al. 2022 (IDC), public code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.condense.scoring.augment import flipped, shifted
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

CHANGES = ("color", "crop", "cutout", "flip", "scale", "rotate")
SHIFT, HOLE, SCALE, TURN_DEGREES = 0.125, 0.5, 1.2, 15.0
"""Shares of the side that pictures move and that are cut out; sizes go from 1 / SCALE to SCALE; turns either way."""


def _column(values: Array, x: Tensor) -> Tensor:
    import torch

    return torch.from_numpy(np.asarray(values)).to(x).view(-1, 1, 1, 1)


def brightened(x: Tensor, even: Array) -> Tensor:
    """−0.5 to 0.5 added. even: float [B], 0 to 1, as for all here"""
    return x + (_column(even, x) - 0.5)


def saturated(x: Tensor, even: Array) -> Tensor:
    """Differences of the channels from their mean times 0 to 2."""
    mean = x.mean(1, keepdim=True)
    return (x - mean) * (2 * _column(even, x)) + mean


def contrasted(x: Tensor, even: Array) -> Tensor:
    """Differences of a picture from its mean times 0.5 to 1.5."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (_column(even, x) + 0.5) + mean


def sampled(x: Tensor, maps: Array) -> Tensor:
    """Pictures looked up where an affine map of their coordinates (−1 to 1) says, 0 outside. maps: float [B, 2, 3]"""
    import torch
    from torch.nn import functional

    grid = functional.affine_grid(torch.from_numpy(maps).to(x), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def scaled(x: Tensor, across: Array, down: Array) -> Tensor:
    """Pictures shrunk by these factors of their own about the middle, enlarged by those below 1. float [B] each"""
    maps = np.zeros((len(x), 2, 3))
    maps[:, 0, 0], maps[:, 1, 1] = across, down
    return sampled(x, maps)


def rotated(x: Tensor, turns: Array) -> Tensor:
    """Pictures turned about the middle. turns: float [B], radians"""
    maps = np.zeros((len(x), 2, 3))
    maps[:, 0, 0] = maps[:, 1, 1] = np.cos(turns)
    maps[:, 0, 1], maps[:, 1, 0] = -np.sin(turns), np.sin(turns)
    return sampled(x, maps)


def holed(x: Tensor, middles: Array) -> Tensor:
    """A square of half the sides set to 0 around a place of each picture, cut off at the edges. middles: int [B, 2]"""
    import torch

    inside = []
    for axis, side in enumerate(x.shape[2:]):
        span = int(side * HOLE + 0.5)
        first = np.asarray(middles)[:, axis : axis + 1] - span // 2
        inside.append((np.arange(side) >= first) & (np.arange(side) < first + span))
    hole = torch.from_numpy(inside[0][:, :, None] & inside[1][:, None, :]).to(x.device)
    return x.masked_fill(hole[:, None], 0.0)


def siamese(x: Tensor, rng: np.random.Generator, changes: tuple[str, ...] = CHANGES) -> Tensor:
    """Mirror, colours and hole where they are among `changes`; of crop, scale and rotate, one, drawn for the batch.

    With CutMix, the hole is left out, as the public code does.  Raises InvalidValueError for an unknown change.
    """
    unknown = sorted(set(changes) - set(CHANGES))
    if unknown:
        raise InvalidValueError(f"changes must be of {', '.join(CHANGES)}, got {unknown[0]!r}")
    count = len(x)
    if "flip" in changes:
        x = flipped(x, rng.random(count) < 0.5)
    if "color" in changes:
        for change in (brightened, saturated, contrasted):
            x = change(x, rng.random(count))
    moves = [each for each in ("crop", "scale", "rotate") if each in changes]
    if moves:
        x = _MOVES[moves[int(rng.integers(len(moves)))]](x, rng)
    if "cutout" in changes:
        spans = [int(side * HOLE + 0.5) for side in x.shape[2:]]
        ends = [side + 1 - span % 2 for side, span in zip(x.shape[2:], spans, strict=True)]
        x = holed(x, np.stack([rng.integers(0, end, count) for end in ends], axis=1))
    return x


def _crop(x: Tensor, rng: np.random.Generator) -> Tensor:
    most = [int(side * SHIFT + 0.5) for side in x.shape[2:]]
    return shifted(x, *(rng.integers(-each, each + 1, len(x)) for each in most))


def _scale(x: Tensor, rng: np.random.Generator) -> Tensor:
    return scaled(x, *(rng.uniform(1 / SCALE, SCALE, len(x)) for _ in range(2)))


def _rotate(x: Tensor, rng: np.random.Generator) -> Tensor:
    return rotated(x, np.deg2rad(rng.uniform(-TURN_DEGREES, TURN_DEGREES, len(x))))


_MOVES: dict[str, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "crop": _crop, "scale": _scale, "rotate": _rotate,
}  # fmt: skip
