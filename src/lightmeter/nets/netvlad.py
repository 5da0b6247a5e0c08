"""NetVLAD: what frames differ by from the centres of clusters that are learnt, summed cluster by cluster."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightmeter.nets.context_gating import ContextGating
from lightmeter.nets.frames import unit
from lightmeter.nets.norm import Norm, drawn, packed, unpacked


class Vlad(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """One block's frames [B, T, dim] -> float [B, dim·clusters] of length 1.

    a = softmax(BN(x W)), v_k = Σ_t a_tk (x_t - c_k), each v_k of length 1, then all of them together.
    centres=False leaves c out (NetRVLAD).  Cost: 2·T·dim·clusters MACs.
    """

    def __init__(self, dim: int, clusters: int, *, centres: bool) -> None:
        super().__init__()
        self.width = dim * clusters
        self.weight = drawn(dim, clusters, fan_in=dim)
        self.norm = Norm(clusters)
        self.centres = drawn(dim, clusters, fan_in=dim) if centres else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Frames [B, T, dim], bool [B, T] -> float [B, dim·clusters]."""
        shares = unpacked(self.norm(packed(x, mask) @ self.weight).softmax(-1), mask)
        summed = x.transpose(1, 2) @ shares
        if self.centres is not None:
            summed = summed - shares.sum(1, keepdim=True) * self.centres
        return unit(unit(summed, 1).flatten(1))

    def macs_of(self, frames: int) -> int:
        """Multiply-accumulates of one item."""
        return 2 * frames * int(self.weight.numel())


class NetVlad(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """A VLAD a block of frames -> hidden layer without bias -> BN -> context gating: float [B, hidden].

    The widest block (the first of equals) has `clusters`, every other half as many, as sight and sound have in the
    authors' model. Of an item that lacks a block, this block's part is zeros.
    Cost: per block 2·T·dim·clusters + dim·clusters·hidden MACs, and hidden² for the gating.
    Source: Arandjelović et al. 2016, arXiv:1511.07247; Miech, Laptev & Sivic 2017, arXiv:1706.06905, and their code.
    """

    def __init__(self, dims: Sequence[int], *, clusters: int, hidden: int, centres: bool = True) -> None:
        super().__init__()
        self.width, self.dims = hidden, list(dims)
        self.input_norm = Norm(sum(dims))
        self.vlads = nn.ModuleList(
            Vlad(dim, each, centres=centres) for dim, each in zip(dims, halved(dims, clusters), strict=True)
        )
        wide = sum(vlad.width for vlad in self.vlads)
        self.hidden = drawn(wide, hidden, fan_in=clusters)  # the authors divide by the clusters' root, not the inputs'
        self.hidden_norm = Norm(hidden)
        self.gate = ContextGating(hidden)

    def forward(self, x: Tensor, mask: Tensor, there: Tensor) -> Tensor:
        """Frames [B, T, Σ dims], bool [B, T], bool [B, blocks] -> float [B, hidden]."""
        x = unpacked(self.input_norm(packed(x, mask)), mask)
        parts = [
            vlad(part, mask & there[:, at, None])
            for at, (vlad, part) in enumerate(zip(self.vlads, x.split(self.dims, -1), strict=True))
        ]
        return self.gate(self.hidden_norm(torch.cat(parts, -1) @ self.hidden))

    def macs_of(self, frames: int) -> int:
        """Multiply-accumulates of one item."""
        return int(sum(each.macs_of(frames) for each in self.vlads) + self.hidden.numel() + self.gate.macs)


def halved(dims: Sequence[int], count: int) -> list[int]:
    """`count` for the widest of some blocks, the first of equals, and half of it, at least 1, for the others.

    >>> halved([128, 1024], 256)
    [128, 256]
    """
    widest = max(range(len(dims)), key=lambda at: dims[at])
    return [count if at == widest else max(count // 2, 1) for at in range(len(dims))]
