"""Maps of labels as pictures that people can read."""

from __future__ import annotations

import colorsys

import numpy as np

from lightmeter.types import Array, check_axes

_BACKGROUND, _ROBOT, _NOT_JUDGED = (38, 36, 31), (240, 170, 40), (110, 106, 98)


def label_picture(labels: Array) -> Array:
    """RGB of a map of labels: 0 dark, 1 amber, 255 grey, every other number a colour of its own.

    labels: uint8 [H, W] -> uint8 [H, W, 3]

    >>> label_picture(np.array([[0, 1, 255]], np.uint8))[0].tolist()
    [[38, 36, 31], [240, 170, 40], [110, 106, 98]]
    """
    check_axes("labels", labels, "H W", "uint8")
    hues = (np.arange(256) * 0.618034 + 0.25) % 1  # steps of the golden ratio keep neighbours apart
    palette = np.array([colorsys.hls_to_rgb(hue, 0.6, 0.65) for hue in hues]) * 255
    palette[[0, 1, 255]] = _BACKGROUND, _ROBOT, _NOT_JUDGED
    painted: Array = palette.round().astype(np.uint8)[labels]
    return painted
