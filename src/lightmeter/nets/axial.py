"""Axial attention over clips, and the residual block of VideoGPT's VQ-VAE that is made of it."""

from __future__ import annotations

from torch import Tensor, nn

from lightmeter.nets.multi_head import MultiHead
from lightmeter.nets.same_padding import SamePadConv3d

AXIAL_HEADS = 2
"""Heads of the VQ-VAE's attention: written into the public code."""


class AxialAttention(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """[B, C, T, H, W] -> [B, C, T, H, W]: the sum of three attentions, along W, along H and along T.

    Cost: 12·C² + 2·C·(T + H + W) MACs a cell, where full attention has 4·C² + 2·C·THW.
    Source: Ho et al. 2019, arXiv:1912.12180, whose axes follow each other; VideoGPT (Yan et al. 2021,
    arXiv:2104.10157) adds them up.
    """

    def __init__(self, dim: int, *, heads: int = AXIAL_HEADS) -> None:
        super().__init__()
        self.attn_w = MultiHead(dim, heads=heads)
        self.attn_h = MultiHead(dim, heads=heads)
        self.attn_t = MultiHead(dim, heads=heads)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, T, H, W] -> the same shape"""
        x = x.movedim(1, -1)
        mixed = _along(self.attn_w, x, 3) + _along(self.attn_h, x, 2) + _along(self.attn_t, x, 1)
        return mixed.movedim(-1, 1)


def _along(attention: MultiHead, x: Tensor, axis: int) -> Tensor:
    """One axis of [B, T, H, W, C] attended, all others taken as batch."""
    rows = x.movedim(axis, -2)
    return attention(rows.flatten(0, -3)).view(rows.shape).movedim(-2, axis)


def axial_macs(dim: int, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of AxialAttention on one clip of this shape (T, H, W)."""
    frames, height, width = shape
    return frames * height * width * (12 * dim * dim + 2 * dim * sum(shape))


class AttentionResidual(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """x + (norm, relu, 3³ to C/2, norm, relu, 1³ to C, norm, relu, axial attention): [B, C, T, H, W] -> the same.

    C must be even.  Source: VideoGPT, appendix A, and its public code, videogpt/vqvae.py.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.block = nn.Sequential(
            nn.BatchNorm3d(dim),
            nn.ReLU(),
            SamePadConv3d(dim, half, 3, bias=False),
            nn.BatchNorm3d(half),
            nn.ReLU(),
            SamePadConv3d(half, dim, 1, bias=False),
            nn.BatchNorm3d(dim),
            nn.ReLU(),
            AxialAttention(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, T, H, W] -> the same shape"""
        return x + self.block(x)


def residual_macs(dim: int, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of AttentionResidual on one clip of this shape (T, H, W)."""
    frames, height, width = shape
    return frames * height * width * 28 * dim * (dim // 2) + axial_macs(dim, shape)
