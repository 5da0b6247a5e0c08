"""Gated attention pooling: a frame is weighed by how much it tells, not by how long it lasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightmeter.nets.context_gating import ContextGating
from lightmeter.nets.norm import Norm, packed, unpacked


class GatedAttention(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """One block's frames [B, T, dim] -> float [B, queries·dim]: a weighted mean of frames a query.

    a = softmax over the true frames of w·(tanh(V x) * sigmoid(U x)); no frames: zeros.
    Cost: T·(2·dim·inner + inner·queries + queries·dim) MACs.
    """

    def __init__(self, dim: int, *, queries: int, inner: int) -> None:
        super().__init__()
        self.width = queries * dim
        self.both = nn.Linear(dim, 2 * inner)  # V and U in one product
        self.query = nn.Linear(inner, queries, bias=False)

    def shares(self, x: Tensor, mask: Tensor) -> Tensor:
        """How much each frame counts, float [B, T, queries]: sums to 1 over the true frames, 0 at the others."""
        told, gate = self.both(packed(x, mask)).chunk(2, -1)
        scores = unpacked(self.query(told.tanh() * gate.sigmoid()), mask)
        scores = scores.masked_fill(~mask[..., None], torch.finfo(scores.dtype).min)  # -inf would make NaN of no frames
        return scores.softmax(1) * mask[..., None]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Frames [B, T, dim], bool [B, T] -> float [B, queries·dim]."""
        return (self.shares(x, mask).transpose(1, 2) @ x).flatten(1)

    def macs_of(self, frames: int) -> int:
        """Multiply-accumulates of one item."""
        return frames * (int(self.both.weight.numel() + self.query.weight.numel()) + self.width)


class AttentionPool(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Gated attention a block of frames, and which blocks are there -> hidden -> BN -> context gating.

    forward: float [B, hidden].  The hidden layer reads one number more a block, 1 where it is there: it can tell
    silence from no sound.
    Source: Ilse, Tomczak & Welling 2018, arXiv:1802.04712, eq. 9.  Changed: several queries, a block for itself,
    presence told, context gating (Miech et al. 2017).
    """

    def __init__(self, dims: Sequence[int], *, queries: int, inner: int, hidden: int) -> None:
        super().__init__()
        self.width, self.dims = hidden, list(dims)
        self.pools = nn.ModuleList(GatedAttention(dim, queries=queries, inner=inner) for dim in dims)
        self.hidden = nn.Linear(sum(pool.width for pool in self.pools) + len(self.dims), hidden, bias=False)
        self.hidden_norm = Norm(hidden)
        self.gate = ContextGating(hidden)

    def forward(self, x: Tensor, mask: Tensor, there: Tensor) -> Tensor:
        """Frames [B, T, Σ dims], bool [B, T], bool [B, blocks] -> float [B, hidden]."""
        parts = [pool(part, known) for pool, part, known in self._each(x, mask, there)]
        return self.gate(self.hidden_norm(self.hidden(torch.cat([*parts, there.to(x.dtype)], -1))))

    def shares(self, x: Tensor, mask: Tensor, there: Tensor) -> list[Tensor]:
        """How much each frame counts, the mean over the queries: float [B, T] a block of frames."""
        return [pool.shares(part, known).mean(-1) for pool, part, known in self._each(x, mask, there)]

    def _each(self, x: Tensor, mask: Tensor, there: Tensor) -> list[tuple[Any, Tensor, Tensor]]:
        parts = x.split(self.dims, -1)
        known = [mask & there[:, at, None] for at in range(len(parts))]
        return list(zip(self.pools, parts, known, strict=True))

    def macs_of(self, frames: int) -> int:
        """Multiply-accumulates of one item."""
        return int(sum(each.macs_of(frames) for each in self.pools) + self.hidden.weight.numel() + self.gate.macs)


def attention_seconds(net: Any, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    """Which frames a `FrameNet` with an `AttentionPool` looked at: float [B, T] by block of frames, rows sum to 1.

    A row of an absent block is zeros.
    """
    x, mask = net.frames(values, present, lengths)
    there = present[:, [each.place for each in net.sources.frames]]
    names = [each.name for each in net.sources.frames]
    return dict(zip(names, net.pool.shares(x, mask, there), strict=True))
