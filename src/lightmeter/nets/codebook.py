"""Vector quantisation: the nearest of K vectors, which follow the means of what is quantised to them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

DECAY = 0.99
"""Share of its past that a code keeps at each step."""
COMMITMENT = 0.25
"""Weight of the loss that draws latents to their codes: beta of the VQ-VAE's paper."""
LEAST_USE = 1.0
"""Latents a step, on running average, below which a code is put elsewhere."""
_LAPLACE = 1e-7
_ROWS_AT_ONCE = 8192  # distances of so many latents are held at once: 64 MB to 2,048 codes


class Quantised(NamedTuple):
    """What a codebook makes of latents.

    embeddings: float [B, D, T, H, W], the codes' vectors; their gradient goes to the latents (straight through)
    codes: int64 [B, T, H, W] · commitment: scalar, weighted · perplexity: scalar 1..K, codes in use, evenly counted
    """

    embeddings: Tensor
    codes: Tensor
    commitment: Tensor
    perplexity: Tensor


class Codebook(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """K vectors of D numbers: latents [B, D, T, H, W] -> Quantised; in training the vectors follow, without gradients.

    Buffers: `embeddings` [K, D], `N` [K] (latents a step, running average), `z_avg` [K, D] (their running sum).
    In training: the first batch ever gives the vectors; then a vector is the running mean of its latents, and one with
    N < `least_use` (1) becomes a random latent of the batch. Whether there was a first batch is read off `N`, which is
    0 until then and never again: a loaded codebook is never drawn anew. (The public code keeps this beside its buffers,
    and overwrites a loaded codebook on the first step of training.)
    Draws from torch's generator; same seed, same thread count 1, same bits.
    Cost: D·K MACs a latent.  Source: van den Oord et al. 2017, arXiv:1711.00937, eq. 1 to 8; restarts: Dhariwal et al.
    2020, arXiv:2005.00341, §3.3; numbers and order of VideoGPT's public code.
    """

    def __init__(self, codes: int, dim: int) -> None:
        super().__init__()
        self.least_use = LEAST_USE
        for name, shape in (("embeddings", (codes, dim)), ("N", (codes,)), ("z_avg", (codes, dim))):
            self.register_buffer(name, torch.empty(shape))
        self.reset_parameters()

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def reset_parameters(self) -> None:
        """As if it had seen no batch yet: vectors drawn from torch's generator, no use of any, in place."""
        self.embeddings.normal_()
        self.z_avg.copy_(self.embeddings)
        self.N.zero_()

    @property
    def begun(self) -> bool:
        """Whether the vectors come from data: after a first batch in training, or after loading a trained codebook."""
        return bool(self.N.any())

    def forward(self, z: Tensor) -> Quantised:
        """Latents float [B, D, T, H, W] -> Quantised; in training mode the vectors move afterwards."""
        z = z.float()
        rows = z.detach().movedim(1, -1).flatten(0, -2)
        if self.training and not self.begun:
            self._begin(rows)
        codes = self.nearest(rows)
        embeddings = self.vectors(codes.view(z.shape[0], *z.shape[2:]))
        commitment = COMMITMENT * functional.mse_loss(z, embeddings)
        counts = torch.bincount(codes, minlength=len(self.N)).to(z.dtype)
        if self.training:
            self._follow(rows, codes, counts)
        through = (embeddings - z).detach() + z
        return Quantised(through, codes.view(z.shape[0], *z.shape[2:]), commitment, perplexity(counts))

    def nearest(self, rows: Tensor) -> Tensor:
        """Latents float [N, D] -> the codes with the least squared distance, int64 [N]; the first among equals."""
        lengths = (self.embeddings**2).sum(1)
        found = [
            ((part**2).sum(1, keepdim=True) - 2 * part @ self.embeddings.T + lengths).argmin(1)
            for part in rows.split(_ROWS_AT_ONCE)
        ]
        return torch.cat(found)

    def vectors(self, codes: Tensor) -> Tensor:
        """int64 [B, T, H, W] -> float [B, D, T, H, W]"""
        return functional.embedding(codes, self.embeddings).movedim(-1, 1)

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def _begin(self, rows: Tensor) -> None:
        drawn = self._drawn(rows)
        self.embeddings.copy_(drawn)
        self.z_avg.copy_(drawn)
        self.N.fill_(1)

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def _follow(self, rows: Tensor, codes: Tensor, counts: Tensor) -> None:
        sums = torch.zeros_like(self.z_avg).index_add_(0, codes, rows)
        self.N.mul_(DECAY).add_(counts, alpha=1 - DECAY)
        self.z_avg.mul_(DECAY).add_(sums, alpha=1 - DECAY)
        total = self.N.sum()
        smoothed = (self.N + _LAPLACE) / (total + len(self.N) * _LAPLACE) * total
        used = (self.least_use <= self.N)[:, None]
        self.embeddings.copy_(torch.where(used, self.z_avg / smoothed[:, None], self._drawn(rows)))

    def _drawn(self, rows: Tensor) -> Tensor:
        """K of the latents, each at most once; where there are fewer, they are repeated with a little noise."""
        wanted, dim = self.embeddings.shape
        if len(rows) < wanted:
            rows = rows.repeat(-(-wanted // len(rows)), 1)
            rows = rows + torch.randn_like(rows) * (0.01 / dim**0.5)
        return rows[torch.randperm(len(rows))[:wanted].to(rows.device)]


def perplexity(counts: Tensor) -> Tensor:
    """How many codes are in use, if they were used evenly: exp(entropy) of counts float [K], a scalar 1..K.

    >>> round(float(perplexity(torch.tensor([5.0, 5.0, 0.0, 0.0]))), 3)
    2.0
    """
    shares = counts / counts.sum().clamp(min=1)
    return torch.exp(-(shares * torch.log(shares + 1e-10)).sum())
