"""Sampling one token after the other: what is kept of those before, and how the next is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightmeter.errors import InvalidValueError


class LayerCache:
    """Keys and values of one layer for all tokens to come, [B, heads, L, d] each, and those of what it looks up.

    Memory: 8·B·L·width bytes in float32.
    """

    def __init__(
        self, batch: int, heads: int, tokens: int, width: int, *, like: Tensor, seen: tuple[Tensor, ...] = ()
    ) -> None:
        self.batch, self.seen = batch, seen
        self.keys = like.new_zeros(batch, heads, tokens, width // heads)
        self.values = torch.zeros_like(self.keys)

    def put(self, at: int, keys: Tensor, values: Tensor) -> None:
        """Those of one token, [B, heads, 1, d] each."""
        self.keys[:, :, at : at + 1] = keys
        self.values[:, :, at : at + 1] = values

    def upto(self, at: int, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Those up to a token, or of the visible places among them, int64 [V]."""
        if visible is None:
            return self.keys[:, :, : at + 1], self.values[:, :, : at + 1]
        return self.keys.index_select(2, visible), self.values.index_select(2, visible)


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """Logits less their largest over a temperature above 0, float [..., K]: the largest stays 0 however cold it is."""
    return (logits - logits.amax(-1, keepdim=True)) / max(temperature, torch.finfo(torch.float32).tiny)


@dataclass(frozen=True, slots=True)
class Choice:
    """A code by its logits, float [B, K] -> int64 [B].

    temperature: logits are divided by it; 0 takes the likeliest · top_k: only so many of the likeliest, 0 for all
    generator: torch's own without one; draws happen on its device
    Source: top-k sampling, Fan et al. 2018, arXiv:1805.04833, §5.1. The public code draws at temperature 1 from all.
    """

    temperature: float = 1.0
    top_k: int = 0
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not self.temperature >= 0 or self.top_k < 0:
            raise InvalidValueError(f"temperature and top_k must be 0 or more, got {self.temperature} and {self.top_k}")

    def __call__(self, logits: Tensor) -> Tensor:
        """float [B, K] -> int64 [B]"""
        if self.temperature == 0:
            return logits.argmax(-1)
        if 0 < self.top_k < logits.shape[-1]:
            best, codes = logits.topk(self.top_k)
            return codes.gather(1, self._drawn(best))[:, 0]
        return self._drawn(logits)[:, 0]

    def _drawn(self, logits: Tensor) -> Tensor:
        return torch.multinomial(tempered(logits, self.temperature).softmax(-1), 1, generator=self.generator)
