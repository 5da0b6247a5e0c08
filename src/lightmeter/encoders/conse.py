"""ConSE: words and pictures in one space without a joint model, by way of the names of a classifier's classes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from lightmeter.assets.table import ASSETS
from lightmeter.encoders.bge import BgeSmall
from lightmeter.encoders.cache import kept
from lightmeter.encoders.efficientnet_lite import EfficientNetLite
from lightmeter.encoders.imagenet import class_entries, class_names
from lightmeter.encoders.protocol import Classifier, Encoder, Takes, stacked, unit_rows
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled, build
from lightmeter.types import Array, Image, Words

TABLE_VERSION = "names 1"
"""Raise it with any change to `_make_table`: tables are kept on disk under this name."""


@dataclass(frozen=True)
class Conse(Spelled):
    """A picture is the mean of the names of its likeliest classes: concepts near the 1,000 names. It is not CLIP.

    encode: N pictures -> float32 [N, text.dim], unit rows.  Cost: that of `image`, its head and k * text.dim MACs.
    Source: Norouzi et al. 2014, arXiv:1312.5650.  Changed: names are centred by their own mean and so is every query;
    half of a class's vector comes from a sentence that describes its looks; probabilities are flattened by a
    temperature.
    Measured on docs/results/encoders-stamps.json, where the plain recipe stands beside this one.

    image: a classifier of ImageNet's classes · text: an encoder of words
    k: likeliest classes that count · temperature: 1 leaves the probabilities as they are, above 1 flattens them
    described: share of the description in a class's vector, 0 to 1
    """

    image: Classifier = field(default_factory=EfficientNetLite)
    text: Encoder = field(default_factory=BgeSmall)
    k: int = 50
    temperature: float = 1.5
    described: float = 0.5

    def __post_init__(self) -> None:
        if not hasattr(self.image, "probabilities"):
            raise InvalidValueError(f"conse/image must be a classifier, got {self.image!r}: try efficientnet-lite")
        if getattr(self.text, "takes", None) != "words":
            raise InvalidValueError(f"conse/text must be an encoder of words, got {self.text!r}: try bge-small")
        if not 1 <= self.k <= 1000:
            raise InvalidValueError(f"conse/k must be 1 to 1000, got {self.k}")
        if not 0.1 <= self.temperature <= 10:
            raise InvalidValueError(f"conse/temperature must be 0.1 to 10, got {self.temperature}")
        if not 0 <= self.described <= 1:
            raise InvalidValueError(f"conse/described must be 0 to 1, got {self.described}")

    @property
    def dim(self) -> int:
        """Features a row: those of the text encoder."""
        return self.text.dim

    @property
    def takes(self) -> Takes:
        """Pictures; words go through `encode_words`."""
        return "image"

    @property
    def unit(self) -> str:
        """What `macs` counts."""
        return self.image.unit

    @property
    def macs(self) -> int:
        """The classifier with its head, then k weighted names."""
        return self.image.macs + self.image.dim * len(class_names()) + self.k * self.dim

    @property
    def size_bytes(self) -> int:
        """Weights of both encoders."""
        return self.image.size_bytes + self.text.size_bytes

    @property
    def short_side(self) -> int | None:
        """As the classifier wants it."""
        return self.image.short_side

    @property
    def base(self) -> str | None:
        """The classifier, whose features `derive` takes."""
        return self.image.spec

    def load(self) -> None:
        """Read both encoders and the table of names."""
        self.image.load()
        self.text.load()
        names_table(self.text.spec, self.described)

    def encode(self, items: Sequence[Image]) -> Array:
        """N pictures -> float32 [N, dim]: the classifier's features, derived."""
        return self.derive(self.image.encode(items))

    def derive(self, features: Array) -> Array:
        """Classifier features [N, D] -> float32 [N, dim], row by row.  Cost: 0.3 to 1 ms a row."""
        names, _ = names_table(self.text.spec, self.described)
        rows = []
        for shares in self.image.probabilities(features):
            likeliest = np.argsort(-shares, kind="stable")[: self.k]
            rows.append(shares[likeliest] ** np.float32(1 / self.temperature) @ names[likeliest])
        return unit_rows(stacked(rows, self.dim))

    def encode_words(self, texts: Sequence[str]) -> Array:
        """N queries -> float32 [N, dim], centred by the mean of the plain names, whatever the other queries are."""
        if isinstance(texts, str):
            raise InvalidValueError("encode_words takes a list of texts, got one text: put it in a list")
        _, mean = names_table(self.text.spec, self.described)
        return unit_rows(self.text.encode([Words(title=text, source="query") for text in texts]) - mean)


@cache
def names_table(text: str, described: float) -> tuple[Array, Array]:
    """A unit vector for each class [1000, D], and the mean of the plain names [D]."""
    digest = hashlib.sha256(json.dumps([class_names(), class_entries()]).encode()).hexdigest()
    weights = " ".join(asset.sha256 for name, asset in ASSETS.items() if name.startswith(text.partition("/")[0]))
    stamp = f"{TABLE_VERSION} {text} {weights} {digest} {described!r}"
    body = kept("conse.npy", stamp, lambda: _make_table(build(text, "encoder"), described))
    table = np.load(io.BytesIO(body), allow_pickle=False).astype(np.float32)
    return unit_rows(table[:-1]), table[-1]


def _make_table(text: Encoder, described: float) -> bytes:
    """The table as .npy, float16 [1001, D]: the classes, then the mean.  Cost: 2,000 runs of the text encoder."""
    names = text.encode([Words(title=name) for name in class_names()])
    mean = names.mean(axis=0)
    rows = unit_rows(names - mean)
    if described:
        sentences = [
            entry.get("description") or name for name, entry in zip(class_names(), class_entries(), strict=True)
        ]
        looks = text.encode([Words(title=sentence) for sentence in sentences])
        rows = unit_rows((1 - described) * rows + described * unit_rows(looks - looks.mean(axis=0)))
    file = io.BytesIO()
    np.save(file, np.vstack([rows, mean]).astype(np.float16))
    return file.getvalue()
