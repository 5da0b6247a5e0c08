"""The decoder of keyword histograms: two wide layers and a sigmoid a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional


class KeywordMlp(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """dim -> ReLU layers, each followed by dropout -> K sigmoids: probabilities float32 [B, K].

    join: module of (values, present) -> float [B, dim] · dropout: share of activations that training leaves out
    Weights start at N(0.001, 0.02), biases at 0.  Cost: the sum of the layers' inputs · outputs.
    Source: Wang et al. 2017, arXiv:1706.05461, §3.3, and the code that its authors released: 1024 -> 1024 -> 2048 ->
    4716, four fifths kept: 12.8 M weights.  Its biases' start is not known; ours is 0.
    """

    def __init__(self, join: nn.Module, dim: int, classes: int, *, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.join = join
        sizes = [dim, *widths, classes]
        self.layers = nn.ModuleList(nn.Linear(sizes[at], sizes[at + 1]) for at in range(len(sizes) - 1))
        self.dropout = nn.Dropout(dropout)
        for layer in self.layers:
            nn.init.normal_(layer.weight, 0.001, 0.02)
            nn.init.zeros_(layer.bias)

    def hidden(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None) -> Tensor:
        """The last layer's inputs: float [B, last width], from 0 on."""
        x = self.join(values, present)
        for layer in self.layers[:-1]:
            x = self.dropout(functional.relu(layer(x)))
        return x

    def forward(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None) -> Tensor:
        """Probabilities float32 [B, K]."""
        return self.layers[-1](self.hidden(values, present, lengths)).float().sigmoid()

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one item."""
        return sum(int(layer.weight.numel()) for layer in self.layers)
