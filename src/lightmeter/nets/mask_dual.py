"""A linear layer from all features to all pixels, in its dual form: rows of the training set in place of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lightmeter.nets.mask_heads import joined

KERNEL = "kernel"


class DualBasis(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Inner products with the training set: maps → X·X_trainᵀ / D, float32 [N, rows].

    rows: training features, float32 [R, D], D = C·h·w; kept as they are, 4·R·D bytes
    """

    def __init__(self, names: Sequence[str], rows: Tensor) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("rows", rows)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{kernel: float32 [N, R]}"""
        rows = self.get_buffer("rows")
        return {KERNEL: joined(features, self.names).flatten(1) @ rows.T / rows.shape[1]}


class DualReadout(nn.Module):  # type: ignore[misc]
    """Inner products → logits: K·A + b, A [R, H·W] from zero, b [H·W] from zero."""

    def __init__(self, rows: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.zeros(rows, math.prod(size)))
        self.bias = nn.Parameter(torch.zeros(math.prod(size)))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """{kernel: [N, R]} → logits [N, H, W]"""
        return torch.addmm(self.bias, features[KERNEL], self.weight).view(-1, *self.size)


class DualLinear(nn.Module):  # type: ignore[misc]
    """logits = (X·X_trainᵀ / D)·A + b: the linear layer W = X_trainᵀ·A / D of D·H·W weights, which is never made.

    R·H·W + H·W weights learn: 1.0 M in place of 251.7 M for 250 frames, 16 × 16 × 240 features and 64 × 64 pixels.
    Nothing is lost: whatever gradient descent from zero, or any loss with a penalty on ‖W‖, can reach is of this form.
    Source: the representer theorem, Kimeldorf and Wahba 1971; Schölkopf, Herbrich and Smola 2001.
    """

    def __init__(self, basis: DualBasis, readout: DualReadout) -> None:
        super().__init__()
        self.basis, self.readout = basis, readout

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits [N, H, W]."""
        return self.readout(self.basis(features))

    def primal(self) -> Tensor:
        """The weights of the linear layer, float32 [H·W, D].  Memory: 4·H·W·D bytes."""
        rows = self.basis.get_buffer("rows")
        return self.readout.weight.detach().T @ rows / rows.shape[1]
