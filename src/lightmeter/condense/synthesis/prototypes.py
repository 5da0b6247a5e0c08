"""What stands for the pictures of a class: centres of their latents, and the captions that say most of each cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lightmeter.condense.clusters import How, k_means
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.outliers import inliers
from lightmeter.condense.protocol import Material
from lightmeter.condense.rows import RowsOf
from lightmeter.condense.synthesis.names import class_name
from lightmeter.condense.text_prototypes import Matching, text_prototypes
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

ImagePrototype = Literal["centre", "medoid", "none"]
Text = Literal["prototype", "class", "none"]


@dataclass(frozen=True, slots=True, eq=False)
class Prototype:
    """What one picture is made from.

    label: its class · latent: float32 [D], zeros for none · text: its prompt, "" for none
    members: rows of the set that it stands for, int64
    """

    label: int
    latent: Array
    text: str
    members: Array


@dataclass(frozen=True, slots=True)
class Finding:
    """How prototypes are found.

    image: `centre` of a cluster of latents, its `medoid` (the member nearest to it), or `none` · text: `prototype`
    (the member's caption that says most of what the cluster has of its own), `class` (its name) or `none`
    outliers: share of a class that is left out before, by local outlier factor; 0: none
    how, starts, components: of k-means · beta, top, matching: of text prototypes
    """

    image: ImagePrototype = "centre"
    text: Text = "prototype"
    outliers: float = 0.0
    beta: float = 0.7
    top: int = 30
    matching: Matching = "words"
    how: How = "auto"
    starts: int = 10
    components: int = 0

    def __post_init__(self) -> None:
        for name, kind in (("image", ImagePrototype), ("text", Text), ("matching", Matching), ("how", How)):
            if getattr(self, name) not in get_args(kind):
                raise InvalidValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)}")


def class_prototypes(
    material: Material, label: int, per_class: int, finding: Finding, *, seed: int
) -> tuple[list[Prototype], list[str]]:
    """`per_class` prototypes of a class, and what had to be done differently.

    A class of fewer pictures than that gives as many prototypes as it can, which are then used again in turn.
    Raises InvalidValueError for a class without pictures.
    """
    images, name = material.images, class_name(material.images, label)
    rows = images.rows_of(label)
    if not len(rows):
        raise InvalidValueError(f"a class must have pictures to be condensed, {name!r} has none: leave it out")
    latents, notes = RowsOf(material.features("latents"), rows), []
    if finding.outliers:
        kept, note = inliers(latents, finding.outliers, at_least=min(per_class, len(rows)))
        rows, latents = rows[kept], RowsOf(material.features("latents"), rows[kept])
        notes += [f"{name}: {note}"] if note else []
    count = min(per_class, len(rows))
    if count < per_class:
        notes.append(f"{name}: {count} prototypes for {per_class} pictures, as it has no more; each is drawn again")
    found = k_means(latents, count, seed=seed, how=finding.how, starts=finding.starts, components=finding.components)
    members = [rows[each] for each in found.members]
    texts = _texts(material, rows, found.members, name, finding)
    starts = latents[found.medoids] if finding.image == "medoid" else found.centres
    starts = np.zeros_like(starts) if finding.image == "none" else np.asarray(starts, np.float32)
    made = [Prototype(label, starts[at], texts[at], members[at]) for at in range(count)]
    return [made[at % count] for at in range(per_class)], notes


def _texts(material: Material, rows: Array, members: tuple[Array, ...], name: str, finding: Finding) -> tuple[str, ...]:
    """A prompt a cluster; the class's name where captions say nothing."""
    if finding.text == "none":
        return ("",) * len(members)
    if finding.text == "class":
        return (name,) * len(members)
    told = material.captions()
    captions = [told[row] for row in rows.tolist()]
    found = text_prototypes(captions, members, name, beta=finding.beta, top=finding.top, matching=finding.matching)
    return tuple(each.text or name for each in found)


def labels_of(images: ImageSet) -> Iterator[int]:
    """Every class that has pictures, in order."""
    return (label for label, count in enumerate(images.counts().tolist()) if count)
