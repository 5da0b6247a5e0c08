"""Captions by rule: measured attributes, each named by the fifth of the data set that it falls into."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmeter.assets.saving import expect, expect_recipe, insist, load_model, save_model
from lightmeter.encoders.captioning.measuring import ATTRIBUTES, MEASURES, measures
from lightmeter.encoders.captioning.palette import NAMES
from lightmeter.encoders.captioning.protocol import check_batch, spoken
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array, check_axes

VERSION = 1
WORDS: dict[str, tuple[str, str, str, str, str]] = {
    "brightness": ("dark", "dim", "moderate", "light", "bright"),
    "texture": ("plain", "smooth", "shaded", "textured", "patterned"),
    "coverage": ("thin", "slim", "regular", "broad", "massive"),
    "aspect": ("flat", "wide", "square", "tall", "elongated"),
    "asymmetry": ("symmetric", "balanced", "uneven", "lopsided", "asymmetric"),
    "top": ("sunken", "low", "centered", "high", "raised"),
    "edges": ("horizontal", "level", "mixed", "upright", "vertical"),
    "size": ("tiny", "small", "medium", "large", "huge"),
}
"""From the lowest fifth to the highest; no word twice, so that each can be counted."""
_SHARES = (0.2, 0.4, 0.6, 0.8)
_LEAST_CHROMA = 0.01


@dataclass(frozen=True)
class Attributes(Spelled):
    """Says of a picture what was measured: brightness, size, shape, symmetry, place, surface, edges, and colours.

    Words are relative: "dark" is a picture among the darkest fifth of its set. So it is fitted on the set first;
    unfitted, `caption` fits itself on the pictures it is given, and captions depend on all of them.
    Deterministic, no model.  Cost: about 25 µs a picture of 32 x 32; memory: a few MB, and 44 bytes a picture.

    threshold: how far from the background a pixel is foreground, above 0 to below 1 of the range (see `measures`)
    colours: name colours where the set has any (1 % of its pixels that are not grey)
    """

    threshold: float = 0.1
    colours: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise InvalidValueError(f"threshold must be above 0 and below 1, got {self.threshold}")

    @property
    def fingerprint(self) -> str:
        """The spec and the version of the rules."""
        return f"{self.spec} rules {VERSION}"

    @property
    def short_side(self) -> int:
        """Smallest decode that is enough."""
        return 64

    @property
    def size_bytes(self) -> int:
        """No weights."""
        return 0

    def load(self) -> None:
        """There is nothing to load."""

    def measure(self, images: Sequence[Array]) -> Array:
        """The numbers behind the words: float32 [N, 11], see `measures`. A picture's do not depend on the others."""
        return measures(images, self.threshold)

    def fit(self, images: Sequence[Array]) -> FittedAttributes:
        """Learn a set's fifths.  Raises InvalidValueError for a set without pictures."""
        return self.fit_measures(self.measure(images))

    def fit_measures(self, rows: Array) -> FittedAttributes:
        """The same from what `measure` gave: float32 [N, 11]."""
        check_axes("rows", rows, f"N {len(MEASURES)}")
        if not len(rows):
            raise InvalidValueError("images must hold at least one picture to fit on, got none")
        edges = np.quantile(rows[:, : len(ATTRIBUTES)].astype(np.float64), _SHARES, axis=0).T
        coloured = self.colours and float(rows[:, MEASURES.index("chroma")].mean(dtype=np.float64)) >= _LEAST_CHROMA
        return FittedAttributes(self, tuple(tuple(each) for each in edges.tolist()), coloured)

    def caption(self, images: Sequence[Array], class_names: Sequence[str], names: Sequence[str]) -> list[str]:
        """Captions of a whole set, each relative to the others: fits itself first.  One look at each picture."""
        check_batch(images, class_names, names)
        if not len(images):
            return []
        rows = self.measure(images)
        return self.fit_measures(rows).describe(rows, class_names)


@dataclass(frozen=True)
class FittedAttributes:
    """`Attributes` that know a set: blind to the batch.

    edges: for each of the eight attributes the quantiles 0.2, 0.4, 0.6, 0.8 · coloured: whether colours are named
    """

    recipe: Attributes
    edges: tuple[tuple[float, ...], ...]
    coloured: bool

    @property
    def spec(self) -> str:
        """The recipe's; the fingerprint tells fits apart."""
        return self.recipe.spec

    @property
    def fingerprint(self) -> str:
        """The recipe's, and what was learnt of the set."""
        learnt = hashlib.sha256(repr((self.edges, self.coloured)).encode()).hexdigest()[:16]
        return f"{self.recipe.fingerprint} fitted {learnt}"

    @property
    def short_side(self) -> int:
        """Smallest decode that is enough."""
        return self.recipe.short_side

    @property
    def size_bytes(self) -> int:
        """No weights."""
        return 0

    def load(self) -> None:
        """There is nothing to load."""

    def caption(self, images: Sequence[Array], class_names: Sequence[str], names: Sequence[str]) -> list[str]:
        """A sentence a picture."""
        check_batch(images, class_names, names)
        return self.describe(self.recipe.measure(images), class_names)

    def describe(self, rows: Array, class_names: Sequence[str]) -> list[str]:
        """Measures float32 [N, 11] in words, by the template."""
        words = [
            _chosen(rows[:, at], edges, WORDS[name])
            for at, (name, edges) in enumerate(zip(ATTRIBUTES, self.edges, strict=True))
        ]
        brightness, texture, coverage, aspect, asymmetry, top, edge, size = words
        told = [
            f"The {spoken(name)} in the image is {brightness[at]} and {size[at]}, {aspect[at]} and {coverage[at]} in "
            f"shape, {asymmetry[at]} and {top[at]} in the frame, with a {texture[at]} surface and {edge[at]} edges"
            for at, name in enumerate(class_names)
        ]
        if not self.coloured:
            return [f"{each}." for each in told]
        at_colour, at_ground = MEASURES.index("colour"), MEASURES.index("background")
        pairs = rows[:, [at_colour, at_ground]].astype(np.int64).tolist()
        return [
            f"{each}, mostly {NAMES[colour]}, the background {NAMES[ground]}."
            for each, (colour, ground) in zip(told, pairs, strict=True)
        ]

    def save(self, folder: Path | str) -> None:
        """Keep it in a folder, as `save_model` does."""
        save_model(folder, {"edges": np.array(self.edges, np.float64)}, {"spec": self.spec, "coloured": self.coloured})

    @classmethod
    def load_from(cls, folder: Path | str) -> FittedAttributes:
        """What `save` kept.  Raises RejectedFileError for anything else, MissingAssetError for a missing file."""
        arrays, about = load_model(folder)
        recipe = expect_recipe(about, "captioner", Attributes)
        edges = expect(arrays, "edges", "float64", len(ATTRIBUTES), len(_SHARES))
        insist(isinstance(about.get("coloured"), bool), "coloured of a model must be true or false")
        return cls(recipe, tuple(tuple(each) for each in edges.tolist()), about["coloured"])


def _chosen(values: Array, edges: Sequence[float], words: Sequence[str]) -> list[str]:
    """The word of the fifth that each value lies in.

    A value that many pictures have may be several edges at once: it gets the middle one of the fifths that it spans,
    so where all pictures are alike all are "medium", not "tiny".
    """
    wide = values.astype(np.float64)
    low, high = np.searchsorted(edges, wide, "left"), np.searchsorted(edges, wide, "right")
    return [words[at] for at in ((low + high) // 2).tolist()]
