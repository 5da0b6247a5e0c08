"""Mixture of experts as the starter writes it: a softmax over the last, tiny axis, one class beside the other."""

from __future__ import annotations

import torch
from torch import nn


class NaiveMoe(nn.Module):
    """google/youtube-8m, `MoeModel`: gates dim → classes·(m + 1) without bias, experts dim → classes·m."""

    def __init__(self, dim, classes, experts):
        super().__init__()
        self.classes, self.experts = classes, experts
        self.gates = nn.Linear(dim, classes * (experts + 1), bias=False)
        self.answers = nn.Linear(dim, classes * experts)

    def forward(self, x):
        gates = self.gates(x).view(-1, self.classes, self.experts + 1).softmax(dim=-1)
        answers = torch.sigmoid(self.answers(x).view(-1, self.classes, self.experts))
        return (gates[..., : self.experts] * answers).sum(dim=-1)

    def take(self, moe):
        """Take the weights of a mixture-major one."""
        gates = self.experts + 1
        with torch.no_grad():
            self.gates.weight.copy_(moe.weight[:gates].transpose(0, 1).reshape(-1, moe.dim))
            self.answers.weight.copy_(moe.weight[gates:].transpose(0, 1).reshape(-1, moe.dim))
            self.answers.bias.copy_(moe.bias.T.reshape(-1))
        return self


def starter_loss(p, y):
    """google/youtube-8m, `CrossEntropyLoss`: ε = 1e-5, summed over classes, mean over the batch."""
    return -(y * torch.log(p + 1e-5) + (1 - y) * torch.log(1 - p + 1e-5)).sum(dim=1).mean()
