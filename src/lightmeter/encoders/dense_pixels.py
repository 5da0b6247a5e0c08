"""Pixels as features: the control that says what a head can do without any encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.encoders.dense import Policy, Pool, Volume, Windowed, at_least, check_options
from lightmeter.parts import Spelled, need
from lightmeter.types import Array


@dataclass(frozen=True)
class Pixels(Windowed, Spelled):
    """The colours of every patch x patch square, less a half: one map `pixels` of 3 * patch**2 channels.

    Channels are in the order of torch's pixel_unshuffle: colour, row, column.  Cost: no MACs, no weights.

    patch: side of a square, the stride of the map · frames, clip, pool: as in `DenseEncoder`; `clip=real,frames=3,
    pool=concat` shows motion to the head
    """

    patch: int = 4
    frames: int = 1
    clip: Policy = "static"
    pool: Pool = "mean"
    maps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_options(self)
        at_least("patch", self.patch)

    @property
    def size_multiple(self) -> int:
        """The patch."""
        return self.patch

    def macs(self, height: int, width: int) -> int:
        """None: nothing is multiplied."""
        return 0

    def net(self) -> Any:
        """The same as a torch module, without weights."""
        from lightmeter.nets.dense_maps import PixelMaps, Pooled

        need("torch", "torch")
        return Pooled(PixelMaps(self.patch), self.chosen, self.pool)

    def _volumes(self) -> Mapping[str, Volume]:
        return {"pixels": Volume(3 * self.patch**2, self.frames, self.patch)}

    def _run(self, window: Array, names: tuple[str, ...]) -> Mapping[str, Array]:
        times, height, width = window.shape[:3]
        high, wide, patch = height // self.patch, width // self.patch, self.patch
        squares = window.reshape(times, high, patch, wide, patch, 3).transpose(5, 2, 4, 0, 1, 3)
        colours = squares.reshape(3 * patch**2, times, high, wide).astype(np.float32)
        return {"pixels": colours / np.float32(255) - np.float32(0.5)}
