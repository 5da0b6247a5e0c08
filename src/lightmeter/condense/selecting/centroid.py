"""Mean pictures: of each cluster of a class, the average of its pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.condense.clusters import How, k_means
from lightmeter.condense.protocol import Condensed, Material
from lightmeter.condense.rows import RowsOf
from lightmeter.condense.selecting.by_class import Notes, check_share, everything, sizes_told, without_outliers
from lightmeter.parts import Spelled
from lightmeter.types import Array

_AT_ONCE = 1024


@dataclass(frozen=True)
class Centroid(Spelled):
    """Outliers go, the rest is clustered, and the pictures of each cluster are averaged, pixel by pixel.

    The plainest synthesis: good where pictures of a class are aligned and alike (digits), blurred elsewhere.
    features: what clusters are found by: `pixels` (their means are then k-means centres), `teacher`, `latents`, or an
    encoder of pictures · unit: scaled to length 1 first · outliers: share of a class that goes, 0 to 0.5
    how, components, starts: see `clusters.k_means`
    A class with N pictures or fewer keeps them as they are.
    Cost: that of k-means, and n²·D for the outliers of a class of n.
    Source: seed 002, section 4, in pixels; Lloyd 1982.
    """

    features: str = "pixels"
    unit: bool = False
    outliers: float = 0.0
    how: How = "auto"
    components: int = 0
    starts: int = 10

    def __post_init__(self) -> None:
        check_share(self.outliers)

    @property
    def makes(self) -> bool:
        """It makes pictures."""
        return True

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """See `Condenser`."""
        images, features, notes = material.images, material.features(self.features), Notes()
        made: list[Array] = []
        members: list[Array] = []
        labels: list[int] = []
        for label, rows, count in sizes_told(images, per_class, notes):
            clusters, note = self._clusters(RowsOf(features, rows, self.unit), count, seed)
            notes.add(images.classes[label], note)
            own = [rows[each] for each in clusters]
            made += [mean_picture(images.images, each) for each in own]
            members += own
            labels += [label] * count
        stacked = np.stack(made) if made else np.zeros((0, *images.images.shape[1:]), np.uint8)
        return Condensed(stacked, np.array(labels, np.int64), members=tuple(members), notes=notes.sentences())

    def _clusters(self, rows: RowsOf, count: int, seed: int) -> tuple[tuple[Array, ...], str]:
        if count == len(rows.at):
            return everything(count).members, ""
        stay, seen, note = without_outliers(rows, self.outliers, count)
        found = k_means(seen, count, seed=seed, starts=self.starts, how=self.how, components=self.components)
        return tuple(stay[each] for each in found.members), note


def mean_picture(images: Array, rows: Array) -> Array:
    """The average of some pictures uint8 [N, H, W, C], each pixel rounded, halves to even: uint8 [H, W, C]."""
    total = np.zeros(images.shape[1:], np.float64)
    for start in range(0, len(rows), _AT_ONCE):
        total += images[rows[start : start + _AT_ONCE]].sum(axis=0, dtype=np.float64)
    made: Array = np.rint(total / len(rows)).astype(np.uint8)
    return made
