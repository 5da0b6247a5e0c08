"""k-center: no picture of the class is far from the nearest that is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.condense.protocol import Condensed, Material
from lightmeter.condense.rows import Rows, RowsOf, expect_rows, held, mean_of, squares_from, taken
from lightmeter.condense.selecting.by_class import Notes, Picked, check_share, selected, without_outliers
from lightmeter.parts import Spelled
from lightmeter.types import Array


@dataclass(frozen=True)
class KCenter(Spelled):
    """Greedy: the picture nearest to the mean of its class, then always the one farthest from all that are kept.

    The greatest distance that is left is at most twice the least possible. It runs after outliers: at ten a class it
    may well be worse than a random draw.
    features: of `teacher`, `pixels`, `latents`, or an encoder of pictures · unit: scaled to length 1 first
    outliers: share of a class that is left out before, 0 to 0.5
    The seed changes nothing but what features depend on.
    Cost: 3·n·D a pick; without outliers n²·D more.
    Source: Gonzalez 1985; Sener and Savarese 2018, algorithm 1.
    """

    features: str = "teacher"
    unit: bool = True
    outliers: float = 0.0

    def __post_init__(self) -> None:
        check_share(self.outliers)

    @property
    def makes(self) -> bool:
        """It keeps pictures."""
        return False

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """See `Condenser`."""
        features, notes = material.features(self.features), Notes()

        def pick(label: int, rows: Array, count: int) -> Picked:
            stay, seen, note = without_outliers(RowsOf(features, rows, self.unit), self.outliers, count)
            notes.add(material.images.classes[label], note)
            picked, owner = spread(seen, count)
            return Picked(stay[picked], tuple(stay[owner == at] for at in range(count)))

        return selected(material.images, per_class, pick, notes=notes)


def spread(rows: Rows, count: int) -> tuple[Array, Array]:
    """Rows of float [N, D] in the order they are picked, int64 [count], and which of them is nearest to each row.

    Equals: the first row is picked, and a row belongs to the pick that came first; picks belong to themselves.
    """
    expect_rows(rows, count)
    rows = held(rows)
    picked, owner = np.empty(count, np.int64), np.zeros(rows.shape[0], np.int64)
    picked[0] = squares_from(rows, mean_of(rows)).argmin()
    apart = squares_from(rows, taken(rows, picked[:1])[0].astype(np.float64))
    apart[picked[0]] = -1
    for turn in range(1, count):
        picked[turn] = apart.argmax()
        new = squares_from(rows, taken(rows, picked[turn : turn + 1])[0].astype(np.float64))
        nearer = new < apart
        apart[nearer], owner[nearer] = new[nearer], turn
        apart[picked[turn]], owner[picked[turn]] = -1, turn
    return picked, owner
