"""Pictures drawn by chance: what every other way must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.condense.protocol import Condensed, Material
from lightmeter.condense.selecting.by_class import Picked, selected
from lightmeter.parts import Spelled
from lightmeter.types import Array


@dataclass(frozen=True)
class Random(Spelled):
    """Each class by its own draw, without putting back; with the same seed, 10 a class are among the 50 a class.

    Cost: one permutation a class.
    """

    @property
    def makes(self) -> bool:
        """It keeps pictures."""
        return False

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """See `Condenser`."""

        def pick(label: int, rows: Array, count: int) -> Picked:
            return Picked(np.random.default_rng([seed, label]).permutation(len(rows))[:count])

        return selected(material.images, per_class, pick)
