"""A frame-level net: frames are pooled to one vector, features stand beside it, a mixture of experts answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from lightmeter.nets.context_gating import ContextGating
from lightmeter.nets.frames import NOMINAL_FRAMES, Frames, Sources
from lightmeter.nets.joined import Joined
from lightmeter.nets.moe import MixtureOfExperts


class Pool(Protocol):
    """What makes one vector of an item's frames: an `nn.Module`, one paper each (`dbof`, `lstm`, `netvlad` …)."""

    width: int

    def macs_of(self, frames: int) -> int:
        """Multiply-accumulates of one item of that many frames."""
        ...

    def __call__(self, x: Tensor, mask: Tensor, there: Tensor) -> Tensor:
        """Frames [B, T, D] (zeros where absent), bool [B, T], bool [B, blocks of frames] -> float [B, width].

        What the mask leaves out changes nothing; an item without frames gets the same vector always.
        """
        ...


class FrameNet(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """frames -> pool -> features beside it -> mixture of experts: probabilities float32 [B, K].

    sample: frames drawn with replacement, None: all of them · gated: context gating on the probabilities (K² weights)
    Each block of features is made of length 1 for itself, or titles of thousands of numbers would drown the rest; an
    absent one is zeros.
    Cost: `macs_of(frames)`.
    Source: github.com/google/youtube-8m, frame_level_models (pool, then any video-level model).  Changed: blocks of
    features may stand beside what was pooled.
    """

    def __init__(
        self, sources: Sources, pool: nn.Module, classes: int, *, experts: int, sample: int | None, gated: bool = False
    ) -> None:
        super().__init__()
        self.sources, self.sample = sources, sample
        self.frames = Frames(sources.frames, sample=sample)
        self.pool = pool
        self.beside = Joined(sources.features, "block") if sources.features else None
        self.moe = MixtureOfExperts(pool.width + sources.beside_dim, classes, experts)
        self.gate = ContextGating(classes) if gated else None

    def hidden(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None) -> Tensor:
        """What the mixture of experts reads: float [B, H]; blocks of features stand last, each of length 1."""
        assert lengths is not None, "a batch with frames has lengths"
        x, mask = self.frames(values, present, lengths)
        pooled: Tensor = self.pool(x, mask, present[:, [each.place for each in self.sources.frames]])
        if self.beside is None:
            return pooled
        there = present[:, [each.place for each in self.sources.features]]
        return torch.cat([pooled, self.beside(values, there)], -1)

    def forward(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None) -> Tensor:
        """Probabilities float32 [B, K]."""
        scores: Tensor = self.moe(self.hidden(values, present, lengths))
        return scores if self.gate is None else self.gate(scores)

    def decayed(self) -> Iterable[nn.Parameter]:
        """What l2 weighs: the weights of the mixture of experts only, as in the starter code."""
        return [each for each in self.moe.parameters() if each.ndim > 1]

    def macs_of(self, frames: int) -> int:
        """Multiply-accumulates for one item of that many frames."""
        pooling = self.pool.macs_of(frames if self.sample is None else self.sample)
        return int(pooling + self.moe.macs + (self.gate.macs if self.gate else 0))

    @property
    def macs(self) -> int:
        """The same for an item of 300 frames."""
        return self.macs_of(NOMINAL_FRAMES)
