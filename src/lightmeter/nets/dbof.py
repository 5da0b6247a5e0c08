"""Deep bag of frames: frames are sorted into clusters that are learnt, the largest of each is kept."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from lightmeter.nets.norm import Norm, drawn, packed, unpacked


class Dbof(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """BN(input) -> clusters without bias -> BN -> relu6 -> max over frames -> hidden -> BN -> relu6.

    forward: frames [B, T, dim] -> float [B, hidden], 0..6
    An item without frames has no largest: it gets the hidden layer of zeros.
    Cost: T·dim·clusters + clusters·hidden MACs.
    Source: Abu-El-Haija et al. 2016, arXiv:1609.08675, §3.1; github.com/google/youtube-8m of 2017, DbofModel.
    """

    def __init__(self, dim: int, *, clusters: int, hidden: int) -> None:
        super().__init__()
        self.width = hidden
        self.input_norm = Norm(dim)
        self.clusters = drawn(dim, clusters, fan_in=dim)
        self.cluster_norm = Norm(clusters)
        self.hidden = drawn(clusters, hidden, fan_in=clusters)
        self.hidden_norm = Norm(hidden)

    def forward(self, x: Tensor, mask: Tensor, there: Tensor) -> Tensor:
        """Frames [B, T, dim], bool [B, T] -> float [B, hidden]."""
        rows = self.input_norm(packed(x, mask)) @ self.clusters
        near = unpacked(functional.relu6(self.cluster_norm(rows)), mask)  # never below 0: padding is never the largest
        largest = near.amax(1) if near.shape[1] else near.sum(1)
        return functional.relu6(self.hidden_norm(largest @ self.hidden))

    def macs_of(self, frames: int) -> int:
        """Multiply-accumulates of one item."""
        return int(frames * self.clusters.numel() + self.hidden.numel())
