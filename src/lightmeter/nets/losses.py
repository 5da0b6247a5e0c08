"""What training makes small: losses of probabilities against targets, a sum over classes, a mean over the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_ROWS = 64
"""Rows that go through together: their numbers stay in the cache."""
_LEAST = 1e-8


def cross_entropy(p: Tensor, targets: Tensor, weights: Tensor | None, epsilon: float) -> Tensor:
    """−Σ w·(t·log(p + ε) + (1 − t)·log(1 − p + ε)) / B, with its slope written out.

    p, targets, weights: float32 [B, K], 0..1; weights None: all 1 → float32 []
    Source: google/youtube-8m `losses.CrossEntropyLoss`, ε = 1e-5.
    """
    made: Tensor = _CrossEntropy.apply(p, targets, weights, epsilon)
    return made


class _CrossEntropy(torch.autograd.Function):  # type: ignore[misc]  # torch is not read by mypy
    """Autograd would sweep ten arrays as large as p through memory; this sweeps two."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, targets: Tensor, weights: Tensor | None, epsilon: float) -> Tensor:
        slopes, total = torch.empty_like(p), p.new_zeros(())
        for at in range(0, len(p), _ROWS):
            rows = slice(at, at + _ROWS)
            yes, some, slope = p[rows] + epsilon, targets[rows], slopes[rows]
            no = (1 - p[rows]).add_(epsilon)
            others = 1 - some
            torch.sub(others / no, some / yes, out=slope)
            entropy = yes.log_().mul_(some).add_(no.log_().mul_(others))
            if weights is not None:
                entropy.mul_(weights[rows])
                slope.mul_(weights[rows])
            total -= entropy.sum()
        ctx.save_for_backward(slopes)
        return total / max(1, len(p))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (own,) = ctx.saved_tensors
        return own * (slopes[0] / max(1, len(own))), None, None, None


def asymmetric(
    p: Tensor, targets: Tensor, weights: Tensor | None, *, positive: float, negative: float, margin: float
) -> Tensor:
    """−Σ w·(t·(1 − p)^γ₊·log p + (1 − t)·q^γ₋·log(1 − q)) / B with q = max(p − margin, 0).

    Easy negatives, which are nearly all of them, weigh little, and those below the margin nothing.
    Source: Ridnik et al. 2021, arXiv:2009.14119, equations 4 to 7; logarithms of at least 1e-8, as in their code, and
    so are the bases of powers: a power below 1 has no slope at 0.
    """
    shifted = (p - margin).clamp_min(0)
    of_labels = targets * (1 - p).clamp_min(_LEAST) ** positive * p.clamp_min(_LEAST).log()
    of_others = (1 - targets) * shifted.clamp_min(_LEAST) ** negative * (1 - shifted).clamp_min(_LEAST).log()
    return _summed(of_labels + of_others, weights)


def adjusted(p: Tensor, odds: Tensor) -> Tensor:
    """Probabilities with their odds multiplied: float32 [B, K] and odds [K] → [B, K]."""
    weighed = p * odds
    made: Tensor = weighed / (weighed + (1 - p)).clamp_min(1e-12)
    return made


def _summed(gains: Tensor, weights: Tensor | None) -> Tensor:
    return -(gains if weights is None else gains * weights).sum() / max(1, len(gains))
