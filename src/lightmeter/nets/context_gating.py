"""Context gating: features that let each other through."""

from __future__ import annotations

from torch import Tensor, nn

from lightmeter.nets.norm import Norm, drawn


class ContextGating(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """y = x * sigmoid(BN(x W)): every feature is weighed by all the others.  float [N, D] -> float [N, D]

    Works on hidden activations and on the probabilities of classes alike; N(0, 1 / sqrt(D)) to start with.
    Cost: D² MACs and weights a row.
    Source: Miech, Laptev & Sivic 2017, arXiv:1706.06905, eq. 1, with batch norm in place of the bias, as the authors'
    code has it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = drawn(dim, dim, fan_in=dim)
        self.norm = Norm(dim)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one row."""
        return int(self.weight.numel())

    def forward(self, x: Tensor) -> Tensor:
        """float [N, D] -> float [N, D]"""
        return x * self.norm(x @ self.weight).sigmoid()
