"""Herding: pictures whose mean comes nearest to the mean of their class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.condense.protocol import Condensed, Material
from lightmeter.condense.rows import Rows, RowsOf, expect_rows, held, mean_of, squares_from, taken
from lightmeter.condense.selecting.by_class import Picked, selected
from lightmeter.parts import Spelled
from lightmeter.types import Array


@dataclass(frozen=True)
class Herding(Spelled):
    """Pick after pick, the picture that brings the mean of those picked nearest to the mean of the class.

    features: of `teacher`, `pixels`, `latents`, or an encoder of pictures
    unit: features are scaled to length 1 first, as in iCaRL; IDC's herding does not
    The seed changes nothing but what features depend on. The first N of 50 are the N that are picked alone.
    Cost: 3·n·D a pick of a class of n; memory of one class, or of 8 MB where it is larger than 64 MB.
    Source: Welling 2009; Rebuffi et al. 2017 (iCaRL), algorithm 4.
    """

    features: str = "teacher"
    unit: bool = True

    @property
    def makes(self) -> bool:
        """It keeps pictures."""
        return False

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """See `Condenser`."""
        features = material.features(self.features)

        def pick(label: int, rows: Array, count: int) -> Picked:
            return Picked(herd(RowsOf(features, rows, self.unit), count))

        return selected(material.images, per_class, pick)


def herd(rows: Rows, count: int) -> Array:
    """Rows of float [N, D] in the order they are picked, int64 [count].

    Pick k + 1 is the row x with the least |(k + 1)·mean − sum of those picked − x|², the first among equals.
    """
    expect_rows(rows, count)
    rows = held(rows)
    mean = mean_of(rows)
    total = np.zeros_like(mean)
    picked = np.empty(count, np.int64)
    for turn in range(count):
        apart = squares_from(rows, (turn + 1) * mean - total)
        apart[picked[:turn]] = np.inf
        picked[turn] = apart.argmin()
        total += taken(rows, picked[turn : turn + 1])[0]
    return picked
