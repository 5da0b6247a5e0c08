"""Masked tokens in training and in decoding: how many are hidden, which ones, and how they are filled in in k steps."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from lightmeter.errors import InvalidValueError
from lightmeter.nets.prior_cache import tempered


class Guesser(Protocol):
    """Fills in what is hidden: codes int64 [B, *grid], hidden bool [B, *grid] -> logits float [B, *grid, K]."""

    def __call__(self, codes: Tensor, hidden: Tensor) -> Tensor:
        """One pass."""
        ...


def hidden_share(progress: float) -> float:
    """The cosine schedule: share of tokens that are hidden, 1 at progress 0 and 0 at progress 1.

    Source: Chang et al. 2022, arXiv:2202.04200, §3.3.

    >>> [round(hidden_share(each), 3) for each in (0.0, 0.5, 1.0)]
    [1.0, 0.707, 0.0]
    """
    return math.cos(math.pi / 2 * progress)


def drawn_hidden(
    batch: int, grid: tuple[int, ...], *, generator: torch.Generator | None = None, device: str | torch.device = "cpu"
) -> Tensor:
    """What to hide in training, bool [B, *grid]: an item's progress is drawn evenly, then as many places, at least one.

    Draws on the CPU from the generator, torch's own without one.
    """
    total = math.prod(grid)
    progress = torch.rand(batch, generator=generator)
    counts = torch.ceil(torch.cos(math.pi / 2 * progress) * total).long().clamp(1, total)
    ranks = torch.rand(batch, total, generator=generator).argsort(1).argsort(1)
    return (ranks < counts[:, None]).view(batch, *grid).to(device)


def masked_loss(logits: Tensor, codes: Tensor, hidden: Tensor | None = None, *, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy in nats over the hidden places, all of them without `hidden`: a scalar.

    logits: float [B, *grid, K] · codes: int64 [B, *grid] · hidden: bool [B, *grid] · smoothing: share of the target
    spread over all codes (MaskGIT trains with 0.1)
    """
    rows, wanted = logits.flatten(0, -2), codes.flatten()
    if hidden is not None:
        rows, wanted = rows[hidden.flatten()], wanted[hidden.flatten()]
    return functional.cross_entropy(rows, wanted, label_smoothing=smoothing)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def decode_masked(
    guess: Guesser,
    batch: int,
    grid: tuple[int, ...],
    *,
    steps: int = 8,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Codes int64 [B, *grid] out of nothing: each step guesses all hidden places and keeps the surest.

    After step i of k, cos(π/2 · i/k) of the places are still hidden, at least one fewer each time; one step is plain
    parallel prediction. temperature: of the draws and, falling to 0 by the last step, of the noise on how sure a guess
    is; 0 takes the likeliest. With FutureCodes, guess is `partial(net.logits, net.seen(net.maps(frames)))`.
    Cost: k passes.  Source: Chang et al. 2022, arXiv:2202.04200, §3.2.
    """
    total = math.prod(grid)
    if not 1 <= steps <= total:
        raise InvalidValueError(f"steps must be 1 to the {total} places, got {steps}")
    if temperature < 0:
        raise InvalidValueError(f"temperature must be 0 or more, got {temperature}")
    codes = torch.zeros(batch, total, dtype=torch.long, device=device)
    hidden = torch.ones_like(codes, dtype=torch.bool)
    left = total
    for step in range(1, steps + 1):
        logits = guess(codes.view(batch, *grid), hidden.view(batch, *grid)).flatten(1, -2)
        drawn, sure = _drawn(logits, temperature, generator)
        codes = torch.where(hidden, drawn, codes)
        left = min(left - 1, int(total * hidden_share(step / steps))) if step < steps else 0
        noise = temperature * (1 - step / steps) * _gumbel(sure.shape, generator).to(device)
        sure = torch.where(hidden, sure + noise, math.inf)
        hidden = torch.zeros_like(hidden).scatter_(1, sure.argsort(dim=1, stable=True)[:, :left], True)
    return codes.view(batch, *grid)


def _drawn(logits: Tensor, temperature: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """A code a place and its log-probability; [B, N, K] -> int64 [B, N], float [B, N]."""
    chances = logits.log_softmax(-1)
    if temperature == 0:
        drawn = logits.argmax(-1)
    else:
        drawn = (tempered(logits, temperature) + _gumbel(logits.shape, generator).to(logits.device)).argmax(-1)
    return drawn, chances.gather(-1, drawn[..., None])[..., 0]


def _gumbel(shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    return -torch.empty(shape).exponential_(generator=generator).log()
