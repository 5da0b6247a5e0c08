"""Masks laid over their pictures: what is inside is tinted, and its edge drawn."""

from __future__ import annotations

import numpy as np

from lightmeter.metrics.boundaries import boundary
from lightmeter.types import Array, check_axes

AMBER = (240, 170, 40)
_TINT = 0.45
_WIDEST = 4


def overlay(frame: Array, mask: Array, colour: tuple[int, int, int] = AMBER) -> Array:
    """A frame with its mask on it: uint8 [H, W, 3] and [H, W] (above 0 is inside) → uint8 [H, W, 3].

    Inside, colours go 45 % of the way to `colour`; the mask's own boundary pixels take it whole, in a line that is
    wider on large pictures. Where there is no mask, every pixel is as it was.
    """
    check_axes("frame", frame, "H W 3", "uint8")
    check_axes("mask", mask, f"{frame.shape[0]} {frame.shape[1]}")
    inside = mask > 0
    made = frame.copy()
    if not inside.any():
        return made
    tinted = frame[inside] * np.float32(1 - _TINT) + np.array(colour, np.float32) * np.float32(_TINT)
    made[inside] = tinted.round().astype(np.uint8)
    made[_line(inside)] = colour
    return made


def _line(inside: Array) -> Array:
    """Boundary pixels, thickened inwards by one for every 400 pixels of the longer side."""
    left, line = inside.copy(), np.zeros_like(inside)
    for _ in range(min(_WIDEST, 1 + max(inside.shape) // 400)):
        edge = boundary(left[None])[0]
        line |= edge
        left &= ~edge
    return line
