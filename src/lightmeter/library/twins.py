"""Changed copies of a file's own content: the related queries on which misses are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightmeter.encoders.protocol import Encoder, unit_rows
from lightmeter.media.limits import MediaLimits
from lightmeter.types import Array, Image, Sound

CROP = 0.7
"""Share of each side that the cropped twin keeps: half the picture's area."""


def twin_of_image(encoder: Encoder, image: Image) -> float:
    """Cosine of a picture with its middle half, −1..1; raises RejectedFileError where the encoder takes one not."""
    height, width = image.pixels.shape[:2]
    top, left = round(height * (1 - CROP) / 2), round(width * (1 - CROP) / 2)
    crop = np.ascontiguousarray(image.pixels[top : height - top or None, left : width - left or None])
    return _cosine(encoder.encode([image, Image(crop)]))


def twin_of_sound(encoder: Encoder, path: Path, *, window_s: float, limits: MediaLimits) -> float:
    """Cosine of the first window of a sound with itself at half the loudness, noise 30 dB below it, −1..1."""
    from lightmeter.media.sound import SoundReader

    sound = next(iter(SoundReader(path, block_s=window_s, limits=limits)))[1]
    noise = np.random.default_rng(0).standard_normal(len(sound.samples)).astype(np.float32)
    loudness = float(np.sqrt(np.mean(np.square(sound.samples)))) if len(sound.samples) else 0.0
    twin = np.clip(0.5 * sound.samples + 0.016 * loudness * noise, -1, 1).astype(np.float32)
    return _cosine(encoder.encode([sound, Sound(twin, sound.rate_hz)]))


def _cosine(rows: Array) -> float:
    both = unit_rows(rows)
    return float(both[0] @ both[1])
