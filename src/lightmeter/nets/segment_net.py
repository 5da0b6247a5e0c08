"""Encoder, standardisation and mask head as one network: what learns, what is saved, what is exported."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class SegmentNet(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Frames or maps → logits float32 [N, H, W].

    encoder: None: `forward` takes maps by name; else clips float32 [N, T, 3, H, W] in 0..1 and the place of the
    labelled frame in each, int64 [N] or None for the middle
    """

    def __init__(self, encoder: nn.Module | None, standard: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.standard, self.head = encoder, standard, head

    def forward(self, x: Any, place: Tensor | None = None) -> Tensor:
        """Logits [N, H, W]."""
        maps = x if self.encoder is None else self.encoder(x, place)
        return self.head(maps if self.standard is None else self.standard(maps))
