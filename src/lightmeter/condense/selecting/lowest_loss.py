"""The pictures that a teacher finds easiest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.condense.protocol import Condensed, Material
from lightmeter.condense.selecting.by_class import Picked, selected
from lightmeter.parts import Spelled
from lightmeter.types import Array


@dataclass(frozen=True)
class LowestLoss(Spelled):
    """Of each class those with the lowest cross-entropy of a network that learnt the whole set, equals by row.

    Easy pictures are alike: from ten a class on this may be worse than a random draw.
    The seed changes nothing but what the teacher depends on.
    Cost: one pass of the teacher over the set.
    """

    @property
    def makes(self) -> bool:
        """It keeps pictures."""
        return False

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """See `Condenser`."""
        losses = material.losses()

        def pick(label: int, rows: Array, count: int) -> Picked:
            return Picked(np.argsort(losses[rows], kind="stable")[:count])

        return selected(material.images, per_class, pick)
