"""Mixture of experts, a class at a time: the video-level classifier of YouTube-8M, laid out so that products rule.

For class k with m experts, gates u and experts v: p = Σ_i softmax(u_k x)_i · σ(v_ki x + b_ki), where the softmax runs
over m + 1 gates and the last of them opens to an expert that always says no.
Source: Jordan and Jacobs 1994; Abu-El-Haija et al. 2016, arXiv:1609.08675, section 5.1.3; google/youtube-8m,
`video_level_models.MoeModel` (gates without bias).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightmeter.nets.joined import Joined

TILE = 128
"""Classes that go through together: their numbers stay in the cache between the product and what follows it."""


class MixtureOfExperts(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Independent classifiers, one a class, each a mixture of logistic experts.

    forward: float [B, dim] → float32 [B, classes], probabilities in 0..1; `experts` counts those that learn.
    weight: [2·experts + 1, classes, dim], first the gates, the silent expert's last, then the experts: mixture-major,
    so that sums over a mixture run along whole planes · bias: [experts, classes]
    Classes share nothing, so any range of them can be made and trained alone: `first` and `of` say that this is the
    range first..first + classes of `of` classes; its fresh weights are those that the whole would have there.
    Under autocast the products run in its type, all else in float32.
    Fresh weights: uniform ±√(6 / (dim + outputs)), the starter's (Glorot), with outputs = of·(experts + 1) for gates
    and of·experts for experts; zeros for biases.  Cost: dim·classes·(2·experts + 1) multiply–adds a row.
    """

    def __init__(self, dim: int, classes: int, experts: int = 2, *, first: int = 0, of: int | None = None) -> None:
        super().__init__()
        self.dim, self.classes, self.experts = dim, classes, experts
        self.first, self.of = first, of or classes
        self.weight = nn.Parameter(torch.empty(2 * experts + 1, classes, dim))
        self.bias = nn.Parameter(torch.zeros(experts, classes))
        self.reset()

    def reset(self) -> None:
        """Draw fresh weights: one number of torch's global generator, from it a stream of its own for every class."""
        if self.weight.is_meta:  # weights that were learnt will be put here
            return
        base = int(torch.randint(0, 1 << 62, ()))
        gates = self.experts + 1
        limits = torch.tensor(
            [math.sqrt(6 / (self.dim + self.of * gates))] * gates
            + [math.sqrt(6 / (self.dim + self.of * self.experts))] * self.experts
        )[:, None]
        stream = torch.Generator()
        with torch.no_grad():
            for at in range(self.classes):
                stream.manual_seed(base + self.first + at)
                self.weight[:, at] = (2 * torch.rand(self.weight[:, at].shape, generator=stream) - 1) * limits
            self.bias.zero_()

    @property
    def macs(self) -> int:
        """Multiply–adds for one row."""
        return int(self.weight.numel())

    def class_axes(self) -> Mapping[str, int]:
        """Along which axis of each parameter the classes stand."""
        return {"weight": 1, "bias": 1}

    def forward(self, x: Tensor) -> Tensor:
        """Features float [B, dim] → probabilities float32 [B, classes]."""
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        made: Tensor = _Mixture.apply(x, self.weight, self.bias, kind)
        return made


class _Mixture(torch.autograd.Function):  # type: ignore[misc]
    """The mixture and its slope, tile by tile.

    Written out by hand because autograd would keep and sweep some ten arrays as large as all logits. Of a tile only the
    gates g [m + 1, B, t] and the experts' answers e [m, B, t] are kept, in one array:
    dp/d(logit of gate i) = g_i·(e_i − p), e = 0 for the silent expert; dp/d(logit of expert i) = g_i·e_i·(1 − e_i)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kind: torch.dtype) -> Tensor:
        narrow = x.to(kind)
        p, kept = x.new_empty(len(x), weight.shape[1], dtype=torch.float32), []
        for at in range(0, weight.shape[1], TILE):
            tile = slice(at, at + TILE)
            mixed, p[:, tile] = _mix(narrow, weight[:, tile].to(kind), bias[:, tile])
            if any(ctx.needs_input_grad):
                kept.append(mixed)
        ctx.save_for_backward(narrow, weight, p, *kept)
        return p

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        narrow, weight, p, *kept = ctx.saved_tensors
        experts = len(weight) // 2
        to_x = torch.zeros_like(narrow, dtype=torch.float32) if ctx.needs_input_grad[0] else None
        to_weight, to_bias = torch.empty_like(weight), weight.new_empty(experts, weight.shape[1])
        for at, mixed in zip(range(0, weight.shape[1], TILE), kept, strict=True):
            tile = slice(at, at + TILE)
            turned = _turned(mixed, p[:, tile], slopes[0][:, tile])
            to_bias[:, tile] = turned[experts + 1 :].sum(dim=1)
            turned = turned.to(narrow.dtype)
            for plane, own in enumerate(turned):
                to_weight[plane, tile] = own.T @ narrow
                if to_x is not None:
                    to_x += own @ weight[plane, tile].to(narrow.dtype)
        return to_x, to_weight, to_bias, None


def _mix(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gates and answers of a tile, float32 [2·m + 1, B, t], and its probabilities [B, t]."""
    experts = len(bias)
    mixed = x.new_empty(len(weight), len(x), weight.shape[1], dtype=torch.float32)
    for plane, own in enumerate(weight):
        if x.dtype == mixed.dtype:
            torch.mm(x, own.T, out=mixed[plane])
        else:
            mixed[plane] = x @ own.T
    gates, answers = mixed[: experts + 1], mixed[experts + 1 :]
    torch.softmax(gates, dim=0, out=gates)
    answers.add_(bias[:, None]).sigmoid_()
    return mixed, (gates[:experts] * answers).sum(dim=0)


def _turned(mixed: Tensor, p: Tensor, slope: Tensor) -> Tensor:
    """The slope to every logit of a tile: [2·m + 1, B, t], from gates and answers, p and the slope to p [B, t]."""
    experts = len(mixed) // 2
    gates, answers = mixed[: experts + 1], mixed[experts + 1 :]
    turned = torch.empty_like(mixed)
    weighed = torch.mul(gates, slope, out=turned[: experts + 1])
    torch.mul(weighed[:experts], answers, out=turned[experts + 1 :]).mul_(1 - answers)
    weighed[:experts].mul_(answers - p)
    weighed[experts].mul_(-p)
    return turned


class JoinedMoe(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Blocks joined to one vector, classified by a mixture of experts: the baseline of every table of the seed.

    forward: values by name, float [B, dim], present bool [B, M] → probabilities float32 [B, classes]
    """

    def __init__(self, joined: Joined, moe: MixtureOfExperts) -> None:
        super().__init__()
        self.joined, self.moe = joined, moe

    def forward(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Probabilities float32 [B, classes]."""
        made: Tensor = self.moe(self.joined(values, present))
        return made

    def decayed(self) -> list[nn.Parameter]:
        """What l2 weighs: the weights, not the biases."""
        return [self.moe.weight]

    def class_axes(self) -> dict[str, int]:
        """Along which axis of each parameter the classes stand."""
        return {f"moe.{name}": axis for name, axis in self.moe.class_axes().items()}

    @property
    def macs(self) -> int:
        """Multiply–adds for one item."""
        return int(self.moe.macs)
