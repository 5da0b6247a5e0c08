"""The slow and obvious reader: decode every frame, keep all of them, then look up what was on screen."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from lightmeter.media.limits import DEFAULT_LIMITS
from lightmeter.media.pixels import Converter


def all_frames(path: Path, short_side: int | None = None) -> list[tuple[float, float, np.ndarray]]:
    """(start_s, end_s, pixels) of every frame, in the order of showing."""
    convert = Converter(short_side, DEFAULT_LIMITS)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shown = [
            (f.pts * stream.time_base, (f.duration or 0) * stream.time_base, convert(f))
            for f in container.decode(stream)
        ]
    start = shown[0][0]
    return [(at - start, at - start + long, pixels) for at, long, pixels in shown]


def shown_at(shown: list[tuple[float, float, np.ndarray]], fps: float) -> list[tuple[float, np.ndarray]]:
    """Of all frames, the one shown at every k / fps before the end of the last."""
    end = max(each[1] for each in shown)
    found, k = [], 0
    while k == 0 or k / fps < end:
        found.append((k / fps, [pixels for at, _, pixels in shown if at <= k / fps][-1]))
        k += 1
    return found
