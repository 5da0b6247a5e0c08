"""Colour histograms: the floor that a learned encoder must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightmeter.encoders.protocol import Takes, checked, checked_image, stacked
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array, Image


@dataclass(frozen=True)
class ColorHistogram(Spelled):
    """Share of the pixels in each cell of the RGB cube.

    encode: N pictures -> float32 [N, bins**3], rows sum to 1.  Cost: O(H*W), no weights.
    Source: Swain & Ballard, "Color indexing", IJCV 1991.  Changed: RGB, not their opponent axes.

    bins: cells along each colour, 2 to 16
    """

    bins: int = 4

    def __post_init__(self) -> None:
        if not 2 <= self.bins <= 16:
            raise InvalidValueError(f"bins must be 2 to 16, got {self.bins}")

    @property
    def dim(self) -> int:
        """Features a row."""
        return self.bins**3

    @property
    def takes(self) -> Takes:
        """What goes in."""
        return "image"

    @property
    def unit(self) -> str:
        """What `macs` counts."""
        return "picture"

    @property
    def macs(self) -> int:
        """Matrix products of one unit."""
        return 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights."""
        return 0

    @property
    def short_side(self) -> int | None:
        """Smallest decode that is enough."""
        return 64

    def load(self) -> None:
        """There is nothing to load."""

    def encode(self, items: Sequence[Image]) -> Array:
        """Counted over all pixels given; shares of a reduced decode are near those of the full one."""
        images = checked(items, Image, "color-histogram")
        return stacked([self._shares(checked_image(each, "color-histogram")) for each in images], self.dim)

    def _shares(self, image: Image) -> Array:
        cells = image.pixels.astype(np.uint16) * self.bins >> 8
        place = (cells[..., 0] * self.bins + cells[..., 1]) * self.bins + cells[..., 2]
        counts = np.bincount(place.ravel(), minlength=self.dim)
        shares: Array = (counts / counts.sum()).astype(np.float32)
        return shares
