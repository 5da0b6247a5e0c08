"""k-means medoids: of each cluster of a class, the picture nearest to its centre."""

from __future__ import annotations

from dataclasses import dataclass

from lightmeter.condense.clusters import How, k_means
from lightmeter.condense.protocol import Condensed, Material
from lightmeter.condense.rows import RowsOf
from lightmeter.condense.selecting.by_class import Notes, Picked, check_share, selected, without_outliers
from lightmeter.parts import Spelled
from lightmeter.types import Array


@dataclass(frozen=True)
class KMedoid(Spelled):
    """Outliers of a class go, the rest is clustered, and each cluster keeps its medoid: prototypes that are real.

    features: of `teacher`, `pixels`, `latents`, or an encoder of pictures · unit: scaled to length 1 first
    outliers: share of a class that goes by its local outlier factor, 0 to 0.5; the published `contamination`
    how, components, starts: see `clusters.k_means`
    Cost: that of k-means, and n²·D for the outliers of a class of n.
    Source: seed 002, section 4, with the medoid in place of the centre.
    """

    features: str = "teacher"
    unit: bool = True
    outliers: float = 0.0
    how: How = "auto"
    components: int = 0
    starts: int = 10

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
            found = k_means(seen, count, seed=seed, starts=self.starts, how=self.how, components=self.components)
            return Picked(stay[found.medoids], tuple(stay[each] for each in found.members))

        return selected(material.images, per_class, pick, notes=notes)
