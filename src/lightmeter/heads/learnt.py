"""What a classifier has learnt, as an encoder: features → the activations before its last layer, for search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.encoders.by_path import ByPath, Stamp, settle, settle_digits, stamp_of
from lightmeter.encoders.protocol import Encoder, Takes
from lightmeter.errors import InvalidValueError, LightmeterError
from lightmeter.heads.classifier import Classifier
from lightmeter.heads.examples import Batch
from lightmeter.parts import SPELLED_IF_SET, Spelled, build
from lightmeter.types import Array


@dataclass(frozen=True)
class Learnt(ByPath, Spelled):
    """The last hidden layer of a classifier, behind the encoder whose features it was fitted on.

    encode: N items of that encoder → float32 [N, H]: things of the same labels lie near each other
    model: folder that `fit` made, of a network with a hidden layer (`keyword-mlp`, `chain` …) and one block of features
    sha256: first digits of the hash of that folder; a model that was fitted anew there is refused then
    Cost: that of the encoder, and the network's.
    Source: the seed's outlook (Wang et al. 2017, arXiv:1706.05461, section 5).
    """

    model: Path
    sha256: str = field(default="", metadata=SPELLED_IF_SET)

    def __post_init__(self) -> None:
        settle(self, "model")
        settle_digits(self)

    @property
    def base(self) -> str:
        """Spec of the encoder that made what the classifier reads; its features are what `derive` takes."""
        return self._encoder.spec

    @property
    def _encoder(self) -> Encoder:
        return self._open()[1]

    @property
    def dim(self) -> int:
        """H."""
        return self._open()[2]

    @property
    def takes(self) -> Takes:
        """As the encoder."""
        return self._encoder.takes

    @property
    def short_side(self) -> int | None:
        """As the encoder, where it takes pictures."""
        side: int | None = getattr(self._encoder, "short_side", None)
        return side

    @property
    def macs(self) -> int:
        """Those of the encoder and the network."""
        return self._encoder.macs + self._open()[0].macs

    @property
    def unit(self) -> str:
        """As the encoder."""
        return self._encoder.unit

    @property
    def size_bytes(self) -> int:
        """Weights of both."""
        return self._encoder.size_bytes + self._open()[0].size_bytes

    def load(self) -> None:
        """Read both now."""
        self.check_pin()
        self._encoder.load()

    def encode(self, items: Sequence[Any]) -> Array:
        """N items → float32 [N, H]."""
        return self.derive(self._encoder.encode(items))

    def derive(self, features: Array) -> Array:
        """Features of the encoder, float32 [N, D] → float32 [N, H]."""
        self.check_pin()
        classifier, _, dim = self._open()
        if not len(features):
            return np.zeros((0, dim), np.float32)
        rows = np.asarray(features, np.float32)
        return classifier.hidden(Batch({classifier.blocks[0].name: rows}, np.ones((len(rows), 1), bool)))

    def _open(self) -> tuple[Classifier, Encoder, int]:
        return _opened(self.model, stamp_of(self.model))


@lru_cache(maxsize=4)
def _opened(folder: Path, _stamp: Stamp) -> tuple[Classifier, Encoder, int]:
    """The classifier, the encoder of its one block, and H."""
    classifier = Classifier.load(folder)
    (block, *others) = classifier.blocks
    try:
        encoder = build(block.made_by, "encoder")
    except LightmeterError as error:
        raise InvalidValueError(
            f"learnt/model must be fitted on an encoder's features, got {block.name} by {block.made_by or 'nobody'}"
        ) from error
    if others or block.kind != "features":
        raise InvalidValueError(
            f"learnt/model must read one block of features, got {[e.name for e in classifier.blocks]}"
        )
    none = Batch({block.name: np.zeros((1, block.dim), np.float32)}, np.ones((1, 1), bool))
    return classifier, encoder, classifier.hidden(none).shape[1]
