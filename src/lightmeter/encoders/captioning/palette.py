"""Names of colours: the nearest of a few in CIE Lab, looked up in a table of 32 x 32 x 32 cells."""

from __future__ import annotations

from functools import cache

import numpy as np

from lightmeter.types import Array

PALETTE: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0), "gray": (128, 128, 128), "white": (255, 255, 255), "red": (200, 30, 30),
    "orange": (250, 140, 20), "yellow": (245, 220, 50), "green": (50, 140, 60), "turquoise": (60, 195, 195),
    "blue": (50, 90, 215), "navy": (15, 20, 110), "purple": (130, 50, 165), "pink": (245, 150, 185),
    "brown": (115, 75, 40), "beige": (222, 200, 160),
}  # fmt: skip
"""Name → sRGB. One word each, so that a text can be searched for it."""
NAMES = tuple(PALETTE)
_STEP_BITS = 3
_SIDE = 256 >> _STEP_BITS


def lab_of(rgb: Array) -> Array:
    """sRGB 0..255 [..., 3] → CIE L*a*b*, white of D65: L 0..100.

    Source: IEC 61966-2-1 (sRGB), CIE 15 (Lab).

    >>> lab_of(np.array([255.0, 255.0, 255.0])).round(1).tolist()[0]
    100.0
    """
    share = np.asarray(rgb, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    bent = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = bent[..., 0], bent[..., 1], bent[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@cache
def _table() -> Array:
    """uint8 [32768]: the name nearest to the middle of each cell, by the CIE 1976 distance."""
    middles = (np.arange(_SIDE) << _STEP_BITS) + (1 << _STEP_BITS) / 2 - 0.5
    cells = np.stack(np.meshgrid(middles, middles, middles, indexing="ij"), axis=-1).reshape(-1, 3)
    known = lab_of(np.array(list(PALETTE.values()), np.float64))
    distances = ((lab_of(cells)[:, None] - known) ** 2).sum(axis=-1)
    nearest: Array = distances.argmin(axis=1).astype(np.uint8)
    return nearest


def nearest_names(red: Array, green: Array, blue: Array) -> Array:
    """Row of NAMES for each colour: uint8 of any shape → uint8 of that shape.

    The nearest by Lab distance to the middle of its cell of 8 x 8 x 8 values.  Cost: a look-up a pixel.

    >>> NAMES[int(nearest_names(*np.array([190, 20, 40], np.uint8)))]
    'red'
    """
    place = (red >> _STEP_BITS).astype(np.uint16) * (_SIDE * _SIDE)
    place += (green >> _STEP_BITS).astype(np.uint16) * _SIDE
    place += blue >> _STEP_BITS
    return np.take(_table(), place)
