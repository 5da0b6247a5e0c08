"""NeXtVLAD: frames are split into groups that share clusters, so that VLAD gets small."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.nets.frames import unit
from lightmeter.nets.netvlad import halved
from lightmeter.nets.norm import Norm, drawn, packed, unpacked


class GroupedVlad(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """One block's frames [B, T, N] -> float [B, K·λN/G] by K clusters, expansion λ and G groups.

    x' = expand(x), cut into G groups of λN/G; a group's shares are softmax(BN(x' W)) over K, times the group's
    attention sigmoid(x' A); v_k = Σ_tg a_tgk (x'_tg - c_k), each of length 1, then BN.
    Cost: T·λN(N + G + GK + K) MACs.  Weights without biases and norms: λN(N + G + K(G + 1/G)).
    """

    def __init__(self, dim: int, clusters: int, *, expansion: int, groups: int) -> None:
        super().__init__()
        wide = dim * expansion
        self.groups, self.clusters, self.size = groups, clusters, wide // groups
        self.width = self.size * clusters
        self.expand = nn.Linear(dim, wide)
        self.attend = nn.Linear(wide, groups)
        self.weight = drawn(wide, groups * clusters, fan_in=wide)
        self.norm = Norm(groups * clusters)
        self.centres = drawn(self.size, clusters, fan_in=wide)
        self.vlad_norm = Norm(self.width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Frames [B, T, N], bool [B, T] -> float [B, K·λN/G]."""
        rows = self.expand(packed(x, mask))
        shares = self.norm(rows @ self.weight).unflatten(-1, (self.groups, self.clusters)).softmax(-1)
        shares = shares * self.attend(rows).sigmoid()[..., None]
        wide = unpacked(rows, mask).reshape(len(x), -1, self.size)
        shares = unpacked(shares.flatten(1), mask).reshape(len(x), -1, self.clusters)
        summed = wide.transpose(1, 2) @ shares - shares.sum(1, keepdim=True) * self.centres
        return self.vlad_norm(unit(summed, 1).flatten(1))

    def macs_of(self, frames: int) -> int:
        """Multiply-accumulates of one item."""
        wide = int(self.expand.weight.shape[0])
        each = self.expand.weight.numel() + self.attend.weight.numel() + self.weight.numel() + wide * self.clusters
        return frames * int(each)


class SqueezeGating(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """x * sigmoid(W₂ relu(BN(W₁ x))), narrow in the middle: context gating at a fraction of its weights.

    Source: Hu et al. 2018, arXiv:1709.01507, as Lin et al. 2018 use it.  Cost: 2·dim·(dim / reduction) MACs.
    """

    def __init__(self, dim: int, reduction: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(dim, max(dim // reduction, 1), bias=False)
        self.norm = Norm(self.narrow.out_features)
        self.widen = nn.Linear(self.narrow.out_features, dim)
        self.macs = 2 * int(self.narrow.weight.numel())

    def forward(self, x: Tensor) -> Tensor:
        """float [N, dim] -> float [N, dim]"""
        return x * self.widen(functional.relu(self.norm(self.narrow(x)))).sigmoid()


class NextVlad(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """A grouped VLAD a block of frames -> dropout -> hidden layer -> BN -> squeeze gating: float [B, hidden].

    The widest block has `clusters` and `groups`, every other half as many, as sound has in the authors' code; where
    expansion·N does not divide by the groups, the largest number of groups below that does. Of an item that lacks a
    block this block's part is what no frames give.
    Source: Lin, Xiao & Fan 2018, arXiv:1811.05014, §3, and github.com/linrongc/youtube-8m.
    """

    def __init__(
        self,
        dims: Sequence[int],
        *,
        clusters: int,
        hidden: int,
        expansion: int = 2,
        groups: int = 8,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.width, self.dims = hidden, list(dims)
        self.input_norm = Norm(sum(dims))
        each = zip(dims, halved(dims, clusters), halved(dims, groups), strict=True)
        self.vlads = nn.ModuleList(
            GroupedVlad(dim, count, expansion=expansion, groups=_dividing(dim * expansion, some))
            for dim, count, some in each
        )
        wide = sum(vlad.width for vlad in self.vlads)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(wide, hidden, bias=False)
        self.hidden_norm = Norm(hidden)
        self.gate = SqueezeGating(hidden, 8)

    def forward(self, x: Tensor, mask: Tensor, there: Tensor) -> Tensor:
        """Frames [B, T, Σ dims], bool [B, T], bool [B, blocks] -> float [B, hidden]."""
        x = unpacked(self.input_norm(packed(x, mask)), mask)
        parts = [
            vlad(part, mask & there[:, at, None])
            for at, (vlad, part) in enumerate(zip(self.vlads, x.split(self.dims, -1), strict=True))
        ]
        return self.gate(self.hidden_norm(self.hidden(self.dropout(torch.cat(parts, -1)))))

    def macs_of(self, frames: int) -> int:
        """Multiply-accumulates of one item."""
        return int(sum(each.macs_of(frames) for each in self.vlads) + self.hidden.weight.numel() + self.gate.macs)


def _dividing(dim: int, groups: int) -> int:
    """The largest number of groups up to `groups` that divides `dim`."""
    return next(each for each in range(min(groups, dim), 0, -1) if dim % each == 0)
