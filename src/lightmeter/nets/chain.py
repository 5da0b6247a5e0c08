"""Deep combine chain: each mixture of experts reads what the ones before it believed of the classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.nets.frames import unit
from lightmeter.nets.moe import MixtureOfExperts


class Chain(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """x -> MoE -> probabilities -> ReLU cells of length 1, joined to x -> MoE -> … -> probabilities float32 [B, K].

    join: module of (values, present) -> float [B, dim] · links: mixtures before the last; each adds `cells` numbers
    `stages` gives the probabilities of all mixtures, the answer last: a loss on every one of them is what makes the
    chain learn labels that go together.
    Cost: Σ over mixtures of (dim + i·cells)·K·(2·experts + 1), and links·K·cells MACs.
    Source: Wang et al. 2017, arXiv:1706.05150, §3 (team monkeytyping, second at YouTube-8M 2017), and their code.
    """

    def __init__(
        self, join: nn.Module, dim: int, classes: int, *, experts: int = 2, links: int = 3, cells: int = 128
    ) -> None:
        super().__init__()
        self.join = join
        self.mixtures = nn.ModuleList(MixtureOfExperts(dim + at * cells, classes, experts) for at in range(links + 1))
        self.beliefs = nn.ModuleList(nn.Linear(classes, cells) for _ in range(links))

    def _run(self, values: Mapping[str, Tensor], present: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the last mixture reads, and the probabilities of those before it."""
        x = self.join(values, present)
        supports = []
        for mixture, belief in zip(self.mixtures, self.beliefs, strict=False):
            supports.append(mixture(x))
            x = torch.cat([x, unit(functional.relu(belief(supports[-1])))], -1)
        return x, supports

    def stages(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None) -> tuple[Tensor, ...]:
        """Probabilities float32 [B, K] of every mixture, the answer last."""
        x, supports = self._run(values, present)
        return (*supports, self.mixtures[-1](x))

    def hidden(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None) -> Tensor:
        """What the last mixture reads: float [B, dim + links·cells]."""
        return self._run(values, present)[0]

    def forward(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None) -> Tensor:
        """Probabilities float32 [B, K]."""
        return self.stages(values, present, lengths)[-1]

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one item."""
        return int(sum(each.macs for each in self.mixtures) + sum(each.weight.numel() for each in self.beliefs))
