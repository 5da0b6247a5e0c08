"""VideoGPT's prior: the codes of a clip one after the other, given its first frame; names of the public checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightmeter.errors import InvalidValueError
from lightmeter.nets.frame_resnet import FrameResNet, FrameResNetPlan
from lightmeter.nets.grid_position import GridPosition
from lightmeter.nets.multi_head import MultiHead
from lightmeter.nets.prior_cache import LayerCache
from lightmeter.nets.sparse_attention import BLOCK, blocks_of, sparse_mask

PriorAttention = Literal["full", "sparse"]
MOST_TOKENS = 16_384
"""Tokens of a clip: a mask of so many takes 1 GB."""
PUBLISHED_CONDITIONER = FrameResNetPlan()
"""What the public code conditions on frames with, whatever the size of the transformer."""
_LEAST_VARIANCE = 1e-30


@dataclass(frozen=True, slots=True)
class PriorPlan:
    """Sizes of a prior; the defaults are those of the published `bair_gpt`, without its VQ-VAE.

    grid: code cells along T, H, W · codes, dim: of the codebook whose vectors are read · width, layers, heads: of the
    transformer, width a multiple of 3 and of heads · conditioner: of the frame's net, None for none
    frames: what the conditioner sees, frames, height and width in pixels · dropout: of what blocks add
    attention_dropout: of attention weights, full attention only, as in the public code
    """

    grid: tuple[int, int, int] = (4, 32, 32)
    codes: int = 2048
    dim: int = 256
    width: int = 576
    layers: int = 8
    heads: int = 4
    attention: PriorAttention = "sparse"
    conditioner: FrameResNetPlan | None = PUBLISHED_CONDITIONER
    frames: tuple[int, int, int] = (1, 64, 64)
    dropout: float = 0.2
    attention_dropout: float = 0.3

    def __post_init__(self) -> None:
        if len(self.grid) != 3 or min(*self.grid, self.codes, self.dim, self.layers, self.heads) < 1:
            raise InvalidValueError(f"grid, codes, dim, layers and heads must be 1 or more, got {self}")
        if self.tokens > MOST_TOKENS:
            raise InvalidValueError(f"a prior must have at most {MOST_TOKENS:,} code cells a clip, got {self.grid}")
        if self.width < 1 or self.width % 3 or self.width % self.heads:
            raise InvalidValueError(f"width must be a multiple of 3 and of {self.heads} heads, got {self.width}")
        if self.attention not in get_args(PriorAttention):
            raise InvalidValueError(f"attention must be full or sparse, got {self.attention!r}")
        if not (0 <= self.dropout < 1 and 0 <= self.attention_dropout < 1):
            raise InvalidValueError(f"dropouts must be 0 to below 1, got {self.dropout} and {self.attention_dropout}")
        if self.attention == "sparse":
            blocks_of(self.grid)
        if self.conditioner is not None:
            self._check_conditioner(self.conditioner)

    def _check_conditioner(self, conditioner: FrameResNetPlan) -> None:
        if conditioner.dim % 3 or conditioner.dim % self.heads:
            raise InvalidValueError(
                f"the conditioner's dim must be a multiple of 3 and of {self.heads} heads, got {conditioner.dim}"
            )
        if len(self.frames) != 3 or min(self.frames) < 1 or any(size % conditioner.stride for size in self.frames[1:]):
            raise InvalidValueError(f"frames must be counts in multiples of {conditioner.stride}, got {self.frames}")

    @property
    def tokens(self) -> int:
        """Code cells of a clip."""
        return math.prod(self.grid)

    @property
    def cond_grid(self) -> tuple[int, int, int]:
        """Cells of the conditioner's map along T, H, W; all 0 without one."""
        if self.conditioner is None:
            return (0, 0, 0)
        frames, height, width = self.frames
        return frames, height // self.conditioner.stride, width // self.conditioner.stride

    def macs(self) -> int:
        """Multiply-accumulates of one clip seen whole (all logits at once), its frame included.

        Attention is paid in full, masked or not.
        """
        tokens, wide = self.tokens, self.width
        each = tokens * (12 * wide * wide + 2 * tokens * wide)
        total = tokens * wide * (self.dim + self.codes)
        if self.conditioner is not None:
            frames, height, width = self.frames
            cells, deep = math.prod(self.cond_grid), self.conditioner.dim
            total += self.conditioner.macs(height, width, frames)
            each += tokens * wide * (wide + deep) + cells * deep * (wide + deep) + tokens * cells * (wide + deep)
        return total + self.layers * each


class LateNorm(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """(x - mean)·(1/sqrt(variance) + 1e-5)·g + b over the last axis: the epsilon is added after the root.

    Source: VideoGPT's public code, videogpt/attention.py. Changed: equal numbers, of which it makes NaN, give b.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(dim))
        self.b = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """float [..., dim] -> float32 of the same shape"""
        centred = x.float() - x.float().mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True).clamp(min=_LEAST_VARIANCE)
        return (centred * (1e-5 + variance.rsqrt()) * self.g + self.b).type_as(x)


class QuickGelu(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """x·sigmoid(1.702 x).  Source: Hendrycks & Gimpel 2016, arXiv:1606.08415, §2."""

    def forward(self, x: Tensor) -> Tensor:
        """float -> float of the same shape"""
        return x * torch.sigmoid(1.702 * x)


class PriorBlock(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """x + attention back, (+ look-up in the frame), + two layers, each normed before: [B, N, width] -> the same."""

    def __init__(self, plan: PriorPlan) -> None:
        super().__init__()
        wide, each = plan.width, {"heads": plan.heads, "layers": plan.layers}
        self.looks = plan.conditioner is not None
        self.attention_dropout = plan.attention_dropout if plan.attention == "full" else 0.0
        self.drop = nn.Dropout(plan.dropout)
        self.pre_attn_norm = LateNorm(wide)
        self.attn = MultiHead(wide, **each)
        if plan.conditioner is not None:
            self.pre_enc_norm = LateNorm(wide)
            self.enc_attn = MultiHead(wide, plan.conditioner.dim, **each)
        self.pre_fc_norm = LateNorm(wide)
        self.fc_block = nn.Sequential(nn.Linear(wide, 4 * wide), QuickGelu(), nn.Linear(4 * wide, wide))

    def forward(self, x: Tensor, seen: Tensor | None, mask: Tensor | None) -> Tensor:
        """All tokens float [B, L, width], the frame's cells [B, S, dim], mask float [L, L] (None: full) -> tokens"""
        normed = self.pre_attn_norm(x)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = self.attn.attend(
            normed, *self.attn.keys_values(normed), mask=mask, causal=mask is None, dropout=dropout
        )
        x = x + self.drop(mixed)
        if self.looks:
            x = x + self.drop(self.enc_attn(self.pre_enc_norm(x), seen))
        return x + self.drop(self.fc_block(self.pre_fc_norm(x)))

    def step(self, x: Tensor, cache: LayerCache, at: int, visible: Tensor | None) -> Tensor:
        """Token `at` alone, float [B, 1, width], over what the cache holds (visible: int64 of some places) -> token"""
        normed = self.pre_attn_norm(x)
        cache.put(at, *self.attn.keys_values(normed))
        x = x + self.attn.attend(normed, *cache.upto(at, visible))
        if self.looks:
            x = x + self.enc_attn.attend(self.pre_enc_norm(x), *cache.seen)
        return x + self.fc_block(self.pre_fc_norm(x))


class _Start(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """What stands before the first token, learnt: `sos`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sos = nn.Parameter(torch.randn(dim) * 0.02)


class _Stack(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Start, positions and blocks, by their published names."""

    def __init__(self, plan: PriorPlan) -> None:
        super().__init__()
        self.right_shift = _Start(plan.width)
        self.pos_embd = GridPosition(plan.grid, plan.width)
        self.attn_nets = nn.ModuleList(PriorBlock(plan) for _ in range(plan.layers))


class VideoPrior(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Vectors of a clip's codes [B, T', h, w, dim] (and its first frames) -> logits of each code from those before it.

    Logits are float [B, T', h, w, K]; those of a cell depend on the cells before it in raster order, never on later
    ones. `table[codes]` are the vectors, table being the codebook's `embeddings`; frames are [B, 3, n, H, W] in
    -0.5..0.5. Names are those of the public checkpoints less their VQ-VAE.  Cost: `plan.macs`.
    Source: Yan et al. 2021, arXiv:2104.10157, §3.2, and github.com/wilson1yan/VideoGPT, videogpt/gpt.py. Not here:
    conditioning on a class; recomputing of activations in training.
    """

    def __init__(self, plan: PriorPlan) -> None:
        super().__init__()
        self.plan = plan
        if plan.conditioner is not None:
            self.resnet = FrameResNet(plan.conditioner)
            self.cond_pos_embd = GridPosition(plan.cond_grid, plan.conditioner.dim)
        self.fc_in = nn.Linear(plan.dim, plan.width, bias=False)
        nn.init.normal_(self.fc_in.weight, std=0.02)
        self.attn_stack = _Stack(plan)
        self.norm = LateNorm(plan.width)
        self.fc_out = nn.Linear(plan.width, plan.codes, bias=False)
        nn.init.zeros_(self.fc_out.weight)
        self._mask: Tensor | None = None

    def seen(self, frames: Tensor | None) -> Tensor | None:
        """What tokens look up: frames [B, 3, n, H, W] -> float [B, n·h·w, dim], positions added; None without a net."""
        if self.plan.conditioner is None:
            if frames is not None:
                raise InvalidValueError("this prior has no frame conditioner: give no frames")
            return None
        if frames is None or frames.ndim != 5 or tuple(frames.shape[2:]) != tuple(self.plan.frames):
            got = "none" if frames is None else list(frames.shape)
            raise InvalidValueError(f"frames must be [B, 3, {', '.join(map(str, self.plan.frames))}], got {got}")
        return self.cond_pos_embd(self.resnet(frames)).flatten(1, 3)

    def hidden(self, vectors: Tensor, seen: Tensor | None, layers: Sequence[int] | None = None) -> dict[int, Tensor]:
        """Tokens after so many blocks (0: before the first; all of them by default), float [B, T', h, w, width] each.

        No block above the last one that is asked for is run.
        """
        wanted = [self.plan.layers] if layers is None else list(layers)
        if not wanted or min(wanted) < 0 or max(wanted) > self.plan.layers:
            raise InvalidValueError(f"layers must be 0 to {self.plan.layers}, got {wanted}")
        self._check(vectors)
        x = self.fc_in(vectors).flatten(1, 3)
        start = self.attn_stack.right_shift.sos.expand(len(x), 1, -1)
        x = self.attn_stack.pos_embd(torch.cat([start, x[:, :-1]], 1).view(len(x), *self.plan.grid, -1)).flatten(1, 3)
        mask, made = self._masked(x.device), {0: x}
        for number, block in enumerate(self.attn_stack.attn_nets[: max(wanted)], start=1):
            x = block(x, seen, mask)
            if number in wanted:
                made[number] = x
        return {layer: made[layer].unflatten(1, self.plan.grid) for layer in wanted}

    def logits(self, vectors: Tensor, seen: Tensor | None) -> Tensor:
        """As `forward`, with frames that `seen` has read."""
        return self.fc_out(self.norm(self.hidden(vectors, seen)[self.plan.layers]))

    def forward(self, vectors: Tensor, frames: Tensor | None = None) -> Tensor:
        """float [B, T', h, w, dim], float [B, 3, n, H, W] or None -> logits float [B, T', h, w, K]"""
        return self.logits(vectors, self.seen(frames))

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def sample(
        self,
        table: Tensor,
        seen: Tensor | int,
        *,
        choose: Callable[[Tensor], Tensor],
        cached: bool = True,
        tell: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Codes int64 [B, T', h, w], cell after cell; switch to eval mode first.

        table: float [K, dim], the codebook's vectors · seen: what `seen` gives; without a conditioner, how many clips
        choose: logits [B, K] -> codes [B], such as `Choice(temperature=1.0)` · tell: told the cells that are done
        cached: keys and values of earlier cells are kept; without, all is computed anew at each cell, L times the work
        """
        if self.training:
            raise InvalidValueError("a prior must be in eval mode to sample: call .eval() first")
        if (self.plan.conditioner is None) != isinstance(seen, int):
            raise InvalidValueError("seen must be what `seen` gives of frames, or a count for a prior without any")
        frames = None if isinstance(seen, int) else seen
        count = seen if isinstance(seen, int) else len(seen)
        codes = torch.zeros(count, self.plan.tokens, dtype=torch.long, device=table.device)
        caches = self._caches(count, frames) if cached else []
        for at in range(self.plan.tokens):
            if cached:
                row = self._stepped(table[codes[:, at - 1]] if at else None, caches, at)
            else:
                row = self.logits(table[codes].unflatten(1, self.plan.grid), frames).flatten(1, 3)[:, at]
            codes[:, at] = choose(row)
            if tell is not None:
                tell(at + 1)
        return codes.unflatten(1, self.plan.grid)

    def _caches(self, batch: int, seen: Tensor | None) -> list[LayerCache]:
        made = []
        for block in self.attn_stack.attn_nets:
            looked = () if seen is None else block.enc_attn.keys_values(seen)
            like = self.fc_in.weight
            made.append(LayerCache(batch, self.plan.heads, self.plan.tokens, self.plan.width, like=like, seen=looked))
        return made

    def _stepped(self, before: Tensor | None, caches: list[LayerCache], at: int) -> Tensor:
        """Logits float [B, K] of cell `at`; before: the vectors of the cell before it, float [B, dim]."""
        stack = self.attn_stack
        x = stack.right_shift.sos.expand(caches[0].batch, -1) if before is None else self.fc_in(before)
        place = torch.unravel_index(torch.tensor(at), self.plan.grid)
        x = (x + torch.cat([stack.pos_embd.emb[f"d_{axis}"][each] for axis, each in enumerate(place)]))[:, None]
        mask = self._masked(x.device)
        visible = None if mask is None else (mask[at, : at + 1] == 0).nonzero()[:, 0]
        for block, cache in zip(stack.attn_nets, caches, strict=True):
            x = block.step(x, cache, at, visible)
        return self.fc_out(self.norm(x))[:, 0]

    def _masked(self, device: torch.device) -> Tensor | None:
        if self.plan.attention == "full":
            return None
        if self._mask is None or self._mask.device != device:
            self._mask = sparse_mask(self.plan.grid, block=BLOCK).to(device)
        return self._mask

    def _check(self, vectors: Tensor) -> None:
        if tuple(vectors.shape[1:]) != (*self.plan.grid, self.plan.dim):
            raise InvalidValueError(
                f"vectors must be [B, {self.plan.grid}, {self.plan.dim}], got {list(vectors.shape)}"
            )
