"""From prototypes to a small set: pictures drawn, the best of several kept, in blocks so that memory stays small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lightmeter.condense.protocol import Condensed, Drawing, Generator, Material
from lightmeter.condense.synthesis.candidates import cross_entropies, kept_candidates
from lightmeter.condense.synthesis.learning import seeded
from lightmeter.condense.synthesis.prototypes import Finding, Prototype, class_prototypes, labels_of
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

_DRAWS = 0xD2A3
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Choosing:
    """How many pictures are drawn of a prototype, and which one is kept: see `kept_candidates`."""

    candidates: int = 1
    apart: float = 0.0

    def __post_init__(self) -> None:
        if self.candidates < 1 or not 0 <= self.apart < np.inf:
            raise InvalidValueError(
                f"candidates must be 1 or more and apart 0 or more, got {self.candidates} and {self.apart}"
            )


@dataclass(frozen=True, slots=True)
class Wish:
    """How pictures are drawn, and which of them are kept."""

    drawing: Drawing
    choosing: Choosing = Choosing()


def drawn(material: Material, per_class: int, finding: Finding, wish: Wish, *, seed: int) -> Condensed:
    """`per_class` pictures of every class, each from its prototype, by the material's generator.

    Classes are drawn a block at a time, some 512 pictures.  Raises InvalidValueError for fewer than one a class.
    """
    return drawn_by(material.generator(), material, per_class, finding, wish, seed=seed)


def drawn_by(
    generator: Generator, material: Material, per_class: int, finding: Finding, wish: Wish, *, seed: int
) -> Condensed:
    """The same by another generator of the same latents."""
    if per_class < 1:
        raise InvalidValueError(f"pictures a class must be 1 or more, got {per_class}")
    drawing, choosing, notes = wish.drawing, wish.choosing, list[str]()
    images: list[Array] = []
    kept: list[Prototype] = []
    for labels in _blocks(list(labels_of(material.images)), per_class * choosing.candidates):
        block: list[Prototype] = []
        for label in labels:
            made, said = class_prototypes(material, label, per_class, finding, seed=seed)
            block += made
            notes += said
        shown = _candidates(generator, block, drawing, choosing.candidates, seed)
        images += [_kept(material, shown[at : at + per_class], block[at].label, choosing)
                   for at in range(0, len(block), per_class)]  # fmt: skip
        kept += block
        material.tell(f"drawn: {len(kept):,} pictures of {len(kept) // per_class} classes")
    labels_of_all = np.array([each.label for each in kept], np.int64)
    members = tuple(each.members for each in kept)
    return Condensed(
        np.concatenate(images), labels_of_all, None, members, tuple(each.text for each in kept), notes=tuple(notes)
    )


def _blocks(labels: Sequence[int], each: int) -> Iterator[Sequence[int]]:
    count = max(1, _BLOCK // each)
    return (labels[at : at + count] for at in range(0, len(labels), count))


def _candidates(
    generator: Generator, prototypes: Sequence[Prototype], drawing: Drawing, count: int, seed: int
) -> Array:
    """Pictures uint8 [P, count, H, W, C], each with a seed of its own: of the run, its place and its number."""
    latents = np.stack([each.latent.reshape(generator.latent_shape) for each in prototypes for _ in range(count)])
    places: dict[int, int] = {}
    seeds = []
    for each in prototypes:
        place = places[each.label] = places.get(each.label, -1) + 1
        seeds += [seeded([_DRAWS, seed, each.label, place, number]) for number in range(count)]
    texts = [each.text for each in prototypes for _ in range(count)]
    made = generator.draw(latents, texts, drawing, seeds=seeds)
    return made.reshape(len(prototypes), count, *made.shape[1:])


def _kept(material: Material, candidates: Array, label: int, choosing: Choosing) -> Array:
    """Of a class's candidates uint8 [P, n, H, W, C], one a prototype."""
    count = candidates.shape[1]
    if count == 1:
        return candidates[:, 0]
    teacher = material.teacher()
    flat = candidates.reshape(-1, *candidates.shape[2:])
    losses = cross_entropies(teacher.logits(flat), label).reshape(-1, count)
    features = teacher.features(flat).reshape(*losses.shape, -1)
    chosen = kept_candidates(losses, features, apart=choosing.apart)
    found: Array = candidates[np.arange(len(chosen)), chosen]
    return found
