"""A set and its features, all given: what selections are tried on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lightmeter.condense.image_set import ImageSet


@dataclass
class GivenMaterial:
    """`condense.protocol.Material` whose parts are handed in; what was not is an error to ask for."""

    images: ImageSet
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    given_losses: np.ndarray | None = None
    folder: Path | None = None

    def tell(self, line):
        raise AssertionError(line)

    def features(self, of):
        return self.rows[of]

    def losses(self):
        return self.given_losses

    def teacher(self):
        raise AssertionError("no teacher was given")

    def captions(self):
        raise AssertionError("no captions were given")

    def generator(self):
        raise AssertionError("no generator was given")


def grey(labels, classes=None, values=None):
    """Pictures of 2 x 2 grey pixels, one value each (its row, if none are given)."""
    labels = np.asarray(labels, np.int64)
    values = np.arange(len(labels)) % 256 if values is None else np.asarray(values)
    images = np.broadcast_to(values.astype(np.uint8)[:, None, None, None], (len(labels), 2, 2, 1)).copy()
    names = classes or [f"c{each}" for each in range(int(labels.max()) + 1)]
    return ImageSet.of(images, labels, names)


def drawn(seed, *, classes=3, per_class=20, dim=6):
    """Mixed classes with normal features of every kind, and losses."""
    chance = np.random.default_rng(seed)
    labels = chance.permutation(np.repeat(np.arange(classes), per_class))
    rows = chance.normal(size=(len(labels), dim)).astype(np.float32)
    kinds = dict.fromkeys(("teacher", "pixels", "latents"), rows)
    return GivenMaterial(grey(labels), kinds, chance.random(len(labels)).astype(np.float32))
