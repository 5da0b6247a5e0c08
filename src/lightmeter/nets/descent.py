"""Gradient descent one step at a time, with all that the next step depends on at hand as arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from lightmeter.assets.saving import expect
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

Optimiser = Literal["adam", "adamw", "sgd"]
_MOMENTS = {"adam": ("exp_avg", "exp_avg_sq"), "adamw": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}
_CHANCE = 0x3A5C


@dataclass(frozen=True, slots=True)
class DescentPlan:
    """How weights follow their slopes.

    optimiser: `sgd` with momentum, `adam` (weight_decay is L2 in the slope) or `adamw` (decoupled, Loshchilov and
    Hutter 2019); what has one axis (biases, norms) does not decay · clip: longest slope of all weights together, 0: any
    """

    optimiser: Optimiser = "adamw"
    weight_decay: float = 0.01
    clip: float = 1.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if self.optimiser not in get_args(Optimiser):
            raise InvalidValueError(
                f"optimiser must be one of {', '.join(get_args(Optimiser))}, got {self.optimiser!r}"
            )
        for name, value in (("weight_decay", self.weight_decay), ("clip", self.clip)):
            if not 0 <= value < math.inf:
                raise InvalidValueError(f"{name} must be 0 or more and finite, got {value}")
        if not 0 <= self.momentum < 1:
            raise InvalidValueError(f"momentum must be 0 to below 1, got {self.momentum}")


class Descent:
    """A network and the moments of its optimiser.

    Equal states and equal losses give equal states, bit for bit, on one thread: torch's chance is set anew for each
    step, from seed and step alone.  share: of the rate, for a weight's name; 1 without it
    Memory: four times the weights, three with sgd.
    """

    def __init__(
        self, net: nn.Module, plan: DescentPlan, *, seed: int = 0, share: Callable[[str], float] | None = None
    ) -> None:
        self.net, self.plan, self.seed = net, plan, seed
        self.weights = {name: each for name, each in net.named_parameters() if each.requires_grad}
        self.optimizer = _optimizer(self.weights, plan, share or (lambda name: 1.0))
        for each in self.weights.values():
            self.optimizer.state[each] |= _fresh(each, plan.optimiser)

    def step(self, number: int, rate: float, loss: Callable[[], Tensor]) -> float:
        """One step down the slope of what `loss` gives, a scalar; returns its value before the step.

        Raises InvalidValueError where it is not finite.
        """
        torch.manual_seed(int(np.random.SeedSequence([_CHANCE, self.seed, number]).generate_state(1)[0]))
        self.optimizer.zero_grad(set_to_none=True)
        made = loss()
        value = float(made.detach())
        if not math.isfinite(value):
            raise InvalidValueError(f"the loss must stay finite, got {value} at step {number}: take a smaller lr")
        made.backward()
        if self.plan.clip:
            nn.utils.clip_grad_norm_(self.weights.values(), self.plan.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.step()
        return value

    def state(self) -> dict[str, Array]:
        """All that the next step depends on, by name; on the CPU as views: use them before the next step."""
        return {name: each.detach().cpu().numpy() for name, each in self._tensors().items()}

    def restore(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Go on from a state after so many steps.  Raises RejectedFileError for another network's."""
        with torch.no_grad():
            for name, own in self._tensors().items():
                kind = str(own.dtype).removeprefix("torch.")
                own.copy_(torch.from_numpy(expect(arrays, name, kind, *own.shape).copy()))
            for each in self.optimizer.state.values():
                if "step" in each:
                    each["step"].fill_(steps)

    def _tensors(self) -> dict[str, Tensor]:
        made = {f"net.{name}": each for name, each in self.net.state_dict().items()}
        for name, each in self.weights.items():
            for moment in _MOMENTS[self.plan.optimiser]:
                made[f"{moment}.{name}"] = self.optimizer.state[each][moment]
        return made


def rate_at(step: int, steps: int, *, lr: float, warm_up: float = 0.0, falls: bool = True) -> float:
    """The learning rate of a step, from 0 on: rises over a share of the steps, then falls as a cosine or stays.

    >>> [round(rate_at(step, 4, lr=1.0, warm_up=0.5), 3) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    rising = math.ceil(warm_up * steps)
    if step < rising:
        return lr * (step + 1) / rising
    if not falls:
        return lr
    return lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _fresh(weight: Tensor, optimiser: Optimiser) -> dict[str, Tensor]:
    """Moments before the first step: all zeros, which is what the optimisers themselves begin with."""
    made = {moment: torch.zeros_like(weight) for moment in _MOMENTS[optimiser]}
    return made if optimiser == "sgd" else {"step": torch.zeros((), device=weight.device), **made}


def _optimizer(weights: Mapping[str, Any], plan: DescentPlan, share: Callable[[str], float]) -> Any:
    """One group for each share of the rate, decayed or not."""
    groups: dict[tuple[float, bool], list[Any]] = {}
    for name, each in weights.items():
        groups.setdefault((share(name), each.ndim > 1), []).append(each)
    made = [
        {"params": each, "share": part, "weight_decay": plan.weight_decay if decays else 0.0}
        for (part, decays), each in groups.items()
    ]
    if plan.optimiser == "sgd":
        return torch.optim.SGD(made, lr=0.0, momentum=plan.momentum)
    kind = torch.optim.AdamW if plan.optimiser == "adamw" else torch.optim.Adam
    return kind(made, lr=0.0, fused=True)
