"""Batch norm over rows, as the nets of videos use it, and what it works on: the true frames of a padded batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-3
"""Added to the variance: the default of TF-Slim, in which the nets of YouTube-8M were written."""


class Norm(nn.BatchNorm1d):  # type: ignore[misc]  # torch is not read by mypy
    """Batch norm of rows: [N, D] -> [N, D].

    A batch of one row or none has no variance: it is normalised by the running averages, in training too.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167. Changed: the averages move by a tenth a step, TF-Slim's by a
    thousandth, which serves no run under some thousands of steps.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=EPSILON, momentum=0.1)

    def forward(self, rows: Tensor) -> Tensor:
        """float [N, D] -> float [N, D]"""
        if self.training and len(rows) < 2:
            return functional.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(rows)


def packed(x: Tensor, mask: Tensor) -> Tensor:
    """The true frames of a batch one after the other: [B, T, D] and bool [B, T] -> [frames, D].

    What is only padding must neither be paid for nor be counted by batch norm.
    """
    return x.flatten(0, 1) if bool(mask.all()) else x[mask]


def unpacked(rows: Tensor, mask: Tensor) -> Tensor:
    """The frames back in their places, zeros at the padding: [frames, D] and bool [B, T] -> [B, T, D]."""
    if bool(mask.all()):
        return rows.unflatten(0, tuple(mask.shape))
    made = rows.new_zeros((*mask.shape, rows.shape[-1]))
    made[mask] = rows
    return made


def drawn(*shape: int, fan_in: int) -> nn.Parameter:
    """Fresh weights N(0, 1 / sqrt(fan_in)), as the starter code of YouTube-8M draws them, from torch's generator."""
    return nn.Parameter(torch.randn(shape) / fan_in**0.5)
