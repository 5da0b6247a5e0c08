"""Small sets, and what methods are told of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from lightmeter.condense.image_set import ImageSet


@dataclass(eq=False)
class MeansTeacher:
    """A linear network: the nearer to the mean picture of a class, the surer."""

    images: ImageSet

    def __post_init__(self):
        pixels = self.images.images.reshape(len(self.images), -1) / 255.0
        labels = range(len(self.images.classes))
        self.means = np.stack([pixels[self.images.labels == label].mean(axis=0) for label in labels])

    def logits(self, images):
        rows = images.reshape(len(images), -1) / 255.0
        return (-((rows[:, None] - self.means) ** 2).sum(axis=2)).astype(np.float32)

    def features(self, images):
        return (images.reshape(len(images), -1) / 255.0).astype(np.float32)


@dataclass(eq=False)
class SmallMaterial:
    images: ImageSet
    folder: Path | None = None
    said: list[str] = field(default_factory=list)

    def tell(self, line):
        self.said.append(line)

    def teacher(self):
        return MeansTeacher(self.images)

    def features(self, of):
        return self.teacher().features(self.images.images)


def striped(count=12, side=8, channels=1, seed=0):
    """Two classes, stripes across and stripes down, with noise: `count` of each."""
    rng = np.random.default_rng(seed)
    stripes = np.where(np.arange(side) % 4 < 2, 200, 40)
    across, down = np.repeat(stripes[:, None], side, 1), np.repeat(stripes[None], side, 0)
    pixels = np.stack([across] * count + [down] * count)[..., None] + rng.normal(
        0, 20, (2 * count, side, side, channels)
    )
    labels = np.repeat([0, 1], count)
    return ImageSet.of(pixels.clip(0, 255).astype(np.uint8), labels, ("across", "down"))


@pytest.fixture
def material():
    """(images, folder) -> what a method looks at"""
    return SmallMaterial


@pytest.fixture
def stripes():
    """(count, side, channels, seed) -> a set of two classes"""
    return striped
