"""What makes masks good: losses of logits against true masks, over the pixels that are judged."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Over = Literal["batch", "picture"]


def mask_bce(logits: Tensor, truth: Tensor, judged: Tensor, positive: float = 1.0) -> Tensor:
    """−Σ (p⁺·t·log σ(z) + (1 − t)·log(1 − σ(z))) over judged pixels, divided by their number: float32 [].

    logits, truth (0 or 1), judged (0 or 1): float32 [B, H, W] · positive: p⁺, how often a pixel inside counts
    """
    each = functional.binary_cross_entropy_with_logits(
        logits, truth, pos_weight=torch.tensor(positive), reduction="none"
    )  # fmt: skip
    return (each * judged).sum() / judged.sum().clamp_min(1)


def soft_dice(logits: Tensor, truth: Tensor, judged: Tensor, *, smooth: float = 1.0, over: Over = "batch") -> Tensor:
    """1 − (2·Σ p·t + s) / (Σ p + Σ t + s) with p = σ(z), over judged pixels: float32 [], 0..1.

    over: sums over the `batch`, or over each `picture`, then the mean of them · smooth: s, pixels
    Source: Milletari, Navab and Ahmadi 2016, arXiv:1606.04797, equation 1, with p in place of p² as most have it since.
    """
    both, found, true = _sums(logits, truth, judged, over)
    return (1 - (2 * both + smooth) / (found + true + smooth)).mean()


def soft_jaccard(logits: Tensor, truth: Tensor, judged: Tensor, *, smooth: float = 1.0, over: Over = "batch") -> Tensor:
    """1 − (Σ p·t + s) / (Σ p + Σ t − Σ p·t + s) with p = σ(z), over judged pixels: float32 [], 0..1.

    Arguments as `soft_dice`.  Source: Rahman and Wang 2016 (soft IoU).
    """
    both, found, true = _sums(logits, truth, judged, over)
    return (1 - (both + smooth) / (found + true - both + smooth)).mean()


def _sums(logits: Tensor, truth: Tensor, judged: Tensor, over: Over) -> tuple[Tensor, Tensor, Tensor]:
    """Σ p·t, Σ p and Σ t of judged pixels: [1] of the batch, or [B]."""
    p, t = torch.sigmoid(logits) * judged, truth * judged
    if over == "picture":
        return tuple(each.flatten(1).sum(1) for each in (p * t, p, t))
    return tuple(each.sum()[None] for each in (p * t, p, t))
