"""Multi-head attention with VideoGPT's names: queries from one place, keys and values from the same or another."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class MultiHead(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """softmax(q kᵀ / sqrt(d)) v by heads: queries [B, N, dim], source [B, S, dim_from] -> [B, N, dim].

    Only the last projection has a bias. Keys are dim / heads wide, values dim_from / heads.
    layers: of the whole stack; the last projection starts that much smaller, as in the public code
    Cost: N·dim² + 2·S·dim_from·dim + N·dim_from·dim + N·S·(dim + dim_from) MACs, about.
    Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 1; names of VideoGPT's public code, videogpt/attention.py.
    """

    def __init__(self, dim: int, dim_from: int | None = None, *, heads: int, layers: int = 1) -> None:
        super().__init__()
        dim_from = dim if dim_from is None else dim_from
        self.heads = heads
        self.w_qs = nn.Linear(dim, heads * (dim // heads), bias=False)
        self.w_ks = nn.Linear(dim_from, heads * (dim // heads), bias=False)
        self.w_vs = nn.Linear(dim_from, heads * (dim_from // heads), bias=False)
        self.fc = nn.Linear(heads * (dim_from // heads), dim)
        for layer in (self.w_qs, self.w_ks, self.w_vs):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.normal_(self.fc.weight, std=(dim * layers) ** -0.5)

    def keys_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, dim_from] -> keys and values, [B, heads, S, d] each: what a cache keeps."""
        return self._split(self.w_ks(source)), self._split(self.w_vs(source))

    def attend(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> Tensor:
        """Queries [B, N, dim] over made keys and values -> [B, N, dim]; mask: float [N, S], added to q kᵀ / sqrt(d)."""
        mixed = functional.scaled_dot_product_attention(
            self._split(self.w_qs(x)), keys, values, attn_mask=mask, is_causal=causal, dropout_p=dropout
        )
        return self.fc(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """Everything sees everything: [B, N, dim], [B, S, dim_from] (the same by default) -> [B, N, dim]."""
        return self.attend(x, *self.keys_values(x if source is None else source))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
