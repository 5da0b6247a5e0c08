"""Words as counts of clusters of word vectors: the paper's feature of keywords."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from lightmeter.encoders.by_path import ByPath, Stamp, settle, settle_digits, stamp_of
from lightmeter.encoders.codebook import Codebook, Metric
from lightmeter.encoders.protocol import Takes, checked
from lightmeter.encoders.text_words import Part, TextOptions
from lightmeter.encoders.word_vectors import WordVectors
from lightmeter.encoders.wordpiece import TOKENS_STATED
from lightmeter.errors import InvalidValueError
from lightmeter.parts import SPELLED_IF_SET, Spelled
from lightmeter.types import Array, Words


@dataclass(frozen=True, kw_only=True)
class WordHistogram(TextOptions, ByPath, Spelled):
    """Each kept word is a one-hot of the nearest centre of a codebook; a text is their sum, order lost.

    encode: N words -> float32 [N, C], whole numbers; zeros where no word is kept.
    Cost: a look-up a word; the first time that a process meets a word C·D, about 0.1 ms at 1,024 x 300.
    Source: seed 003, section 3.3 (C = 1024, D = 300).

    codebook: folder of `Codebook.save`, fitted on these vectors
    metric: nearest by l1 (as the published code assigns) or l2 (as centres are fitted)
    part: keywords, unless told otherwise · sha256: first digits of the hash of what it reads; other files are refused
    then · the other options are those of `TextOptions`
    """

    codebook: Path
    metric: Metric = "l2"
    part: Part = "keywords"
    sha256: str = field(default="", metadata=SPELLED_IF_SET)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric not in ("l1", "l2"):
            raise InvalidValueError(f"metric must be l1 or l2, got {self.metric!r}")
        settle(self, "codebook")
        settle_digits(self)

    @property
    def dim(self) -> int:
        """Centres of the codebook."""
        return len(_codebook(self.codebook))

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
        """None: look-ups, once a word is known."""
        return 0

    @property
    def size_bytes(self) -> int:
        """Bytes of vectors and centres."""
        return self.opened().size_bytes + _codebook(self.codebook).size_bytes

    def load(self) -> None:
        """Read vectors and codebook."""
        self._lookup()

    def encode(self, items: Sequence[Words]) -> Array:
        """Sums of one-hots."""
        texts = checked(items, Words, "word-histogram")
        look = self._lookup()
        return counted(self.kept_numbers(texts), look, self.dim)

    def _lookup(self) -> Lookup:
        self.check_pin()
        return _lookup(self.opened(), _codebook(self.codebook), self.metric)


class Lookup:
    """The centre of each word of some vectors, found when the word is first met and kept."""

    def __init__(self, vectors: WordVectors, codebook: Codebook, metric: Metric) -> None:
        if vectors.dim != codebook.dim:
            raise InvalidValueError(
                f"the codebook must be of {vectors.dim} dimensions as the vectors are, got {codebook.dim}: fit it anew"
            )
        self._vectors, self._codebook, self._metric = vectors, codebook, metric
        self._centres = np.full(len(vectors) + 1, -1, np.int32)

    def __call__(self, numbers: Array) -> Array:
        """Numbers from 1 on, int32 [W] -> centres int32 [W]."""
        found = self._centres[numbers]
        if (found < 0).any():
            new = np.unique(numbers[found < 0])
            self._centres[new] = self._codebook.assign(self._vectors.table[new], self._metric)
            found = self._centres[numbers]
        return found


def counted(texts: Sequence[Array], look: Lookup, clusters: int) -> Array:
    """Histograms of texts, the numbers int32 [W] of each -> float32 [N, clusters]."""
    made = np.zeros((len(texts), clusters), np.float32)
    if texts:
        rows = np.repeat(np.arange(len(texts)), [len(each) for each in texts])
        np.add.at(made, (rows, look(np.concatenate(texts))), 1)
    return made


def _codebook(folder: Path) -> Codebook:
    return _opened(folder, stamp_of(folder))


@lru_cache(maxsize=4)
def _opened(folder: Path, _stamp: Stamp) -> Codebook:
    return Codebook.load(folder)


@lru_cache(maxsize=4)
def _lookup(vectors: WordVectors, codebook: Codebook, metric: Metric) -> Lookup:
    return Lookup(vectors, codebook, metric)
