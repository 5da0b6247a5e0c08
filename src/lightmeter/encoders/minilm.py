"""all-MiniLM-L6-v2 without torch: its safetensors file, written as an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.assets.finding import find, hash_of
from lightmeter.assets.table import ASSETS
from lightmeter.encoders import runtime
from lightmeter.encoders.bert import GRAPH_VERSION, BertShape, bert_graph
from lightmeter.encoders.cache import kept
from lightmeter.encoders.protocol import Takes, checked, stacked, unit_rows
from lightmeter.encoders.wordpiece import TOKENS_STATED, tokens, transformer_macs
from lightmeter.parts import Spelled
from lightmeter.types import Array, Words

_SHAPE = BertShape(layers=6, heads=12)


@dataclass(frozen=True)
class MiniLm(Spelled):
    """Sentences to unit vectors in full precision. English.

    encode: N words -> float32 [N, 384], rows of length 1; texts are cut after 256 tokens, as the authors do.
    Cost: 0.17 G MACs a text of 16 tokens.
    Source: Wang et al. 2020, arXiv:2002.10957; sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); mean pooling,
    normalised.
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
        return transformer_macs(layers=_SHAPE.layers, width=384, tokens=TOKENS_STATED, inner=1536)

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights."""
        return ASSETS["minilm"].size_bytes

    def load(self) -> None:
        """Read the weights."""
        self._session()

    def encode(self, items: Sequence[Words]) -> Array:
        """One run a text, without padding."""
        texts = checked(items, Words, "minilm")
        session, tokenizer = self._session(), find("minilm") / "tokenizer.json"
        rows = [session.run(None, {"ids": tokens(tokenizer, words.text, limit=256)})[0][0] for words in texts]
        return unit_rows(stacked(rows, self.dim))

    def _session(self) -> Any:
        return runtime.session(self.spec, _graph)


def _graph() -> bytes:
    weights = find("minilm") / "model.safetensors"

    def build() -> bytes:
        return bert_graph(read_checkpoint(weights), _SHAPE)

    return kept("minilm.onnx", f"{hash_of(weights)} {GRAPH_VERSION}", build)
