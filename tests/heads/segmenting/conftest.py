"""A toy that can be learnt: bright squares on noise, some of them cut off, frames by scene."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.media.clip_set import LabelledFrames


def squares(count, *, size=16, seed=0, first_scene=0, times=1):
    rng = np.random.default_rng([seed, first_scene])
    clips = rng.integers(0, 120, (count, times, size, size, 3), np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    for row, (y, x) in enumerate(rng.integers(0, size - 5, (count, 2))):
        masks[row, y : y + 6, x : x + 6] = 1
        clips[row, :, y : y + 6, x : x + 6] += np.uint8(100)
    groups = first_scene + np.arange(count, dtype=np.int64) // 2
    return LabelledFrames(clips, np.zeros(count, np.int64), masks, groups, tuple(f"row {at}" for at in range(count)))


@pytest.fixture(scope="session")
def train():
    return squares(24)


@pytest.fixture(scope="session")
def valid():
    return squares(12, first_scene=100)
