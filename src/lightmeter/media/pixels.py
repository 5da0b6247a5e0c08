"""Decoded video frames to upright RGB arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.errors import RejectedFileError
from lightmeter.media.limits import MediaLimits
from lightmeter.types import Array

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_HD_HEIGHT = 720  # from here on unmarked video is BT.709, below BT.601
_UNSPECIFIED = 2


@dataclass(slots=True)
class Converter:
    """Turns frames into uint8 [H, W, 3] of one size: that of the first frame, scaled so that its short side fits.

    Colours: the stream's matrix and range; unmarked ones are BT.709 from 720 lines on, else BT.601.
    HDR is not tone-mapped.
    """

    short_side: int | None
    limits: MediaLimits
    _size: tuple[int, int] | None = None
    _turn: int = 0

    def __call__(self, frame: VideoFrame) -> Array:
        """One upright RGB frame; pixels are scaled by area on the way."""
        self.limits.check_size(frame.width, frame.height, of_video=True)
        if self._size is None:
            self._size = fit(frame.width, frame.height, self.short_side)
            self._turn = frame.rotation // 90 % 4
        width, height = self._size
        matrix = frame.colorspace
        if matrix in (0, _UNSPECIFIED):
            matrix = 1 if frame.height >= _HD_HEIGHT else 5
        rgb = frame.reformat(
            width=width,
            height=height,
            format="rgb24",
            interpolation="AREA" if width < frame.width else "BICUBIC",
            src_colorspace=_swscale(matrix),
            src_color_range=2 if frame.color_range == 2 or frame.format.name.startswith("yuvj") else 1,
            threads=1,
        )
        pixels = rgb.to_ndarray()
        if pixels.shape != (height, width, 3):
            raise RejectedFileError("unreadable", f"a frame came out as {list(pixels.shape)}")
        return np.ascontiguousarray(np.rot90(pixels, self._turn)) if self._turn else pixels


def fit(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Width and height with the short side brought down to `short_side`; never enlarged.

    >>> fit(1280, 720, 240)
    (427, 240)
    """
    shortest = min(width, height)
    if short_side is None or shortest <= short_side:
        return width, height
    return max(1, round(width * short_side / shortest)), max(1, round(height * short_side / shortest))


def _swscale(matrix: int) -> int:
    """AVColorSpace to swscale's own constants."""
    return {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}.get(matrix, 5)
