"""Features as 8 bits, as YouTube-8M keeps them, and back; and what each way of rounding does to the mean."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.library.example_layout import YT8M_OFFSET, YT8M_SCALE
from lightmeter.types import Array

Rounding = Literal["floor", "round"]
BIAS: dict[str, float] = {"floor": 4 / 512 - YT8M_SCALE / 2, "round": 4 / 512}
"""What a value wins on its way to 8 bits and back, in the mean: floor -0.00003 (none, practically), round +0.0078.

Dequantising adds half a step (4/512), which is right for values whose fraction was cut off. The published extractor
rounds to the nearest, so that its features come back half a step too high. All that we quantise is cut.
"""


def quantise(values: Array, rounding: Rounding = "floor") -> Array:
    """uint8 of the same shape: `(clip(x, -2, 2) + 2) * 255 / 4`, its fraction cut off or rounded.

    values: float, any shape; what lies beyond -2 to 2 is clipped · Error on the way back: at most 0.008 of a value that
    was cut, 0.016 of one that was rounded
    Raises InvalidValueError for NaN.  Source: google/youtube-8m, `quantize.py` (round) and its reader's `Dequantize`.
    """
    if rounding not in get_args(Rounding):
        raise InvalidValueError(f"rounding must be floor or round, got {rounding!r}")
    values = np.asarray(values, np.float32)
    if np.isnan(values).any():
        raise InvalidValueError("values must be numbers, got NaN: leave out what is not known")
    steps = np.clip(values, -2, 2)
    steps += 2
    steps *= np.float32(255 / 4)
    if rounding == "round":
        np.rint(steps, out=steps)
    return steps.astype(np.uint8)


def dequantise(codes: Array) -> Array:
    """float32 of the same shape: `q * 4/255 + (4/512 - 2)`.

    codes: uint8 · Source: google/youtube-8m, `utils.py`, `Dequantize`, with max 2 and min -2
    """
    if np.asarray(codes).dtype != np.uint8:
        raise InvalidValueError(f"codes must be uint8, got {np.asarray(codes).dtype}")
    made = np.multiply(codes, np.float32(YT8M_SCALE), dtype=np.float32)
    made += np.float32(YT8M_OFFSET)
    return made
