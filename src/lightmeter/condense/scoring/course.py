"""What a student goes through: which pictures at which step, at which rate, and when it is looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.engines.order import Order
from lightmeter.types import Array

_CHANCE = 0xC0125E


@dataclass(frozen=True, slots=True)
class Course:
    """All steps of one student.

    items, batch: pictures, and how many a step · rates: the learning rate of each unit, an epoch or a single step
    unit_steps: steps a unit. Of epochs: each has its own order, its last batch holds what is left. Of single steps (1
    where `across`): batches of one size run across the ends of epochs
    looks: after how many steps each the test pictures are looked at, rising; the last step is always among them
    """

    items: int
    batch: int
    rates: tuple[float, ...]
    unit_steps: int
    looks: tuple[int, ...]
    across: bool = False

    @property
    def steps(self) -> int:
        """Steps in all."""
        return len(self.rates) * self.unit_steps

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0 on."""
        return self.rates[step // self.unit_steps]

    def rows(self, step: int, seed: int) -> Array:
        """Pictures of a step, int64 [at most batch]; a function of step and seed alone."""
        if self.across:
            return Order(self.items, self.batch, -(-self.steps * self.batch // self.items), seed).rows(step)
        epoch, at = divmod(step, self.unit_steps)
        order = np.random.default_rng([_CHANCE, seed, epoch]).permutation(self.items)
        return order[at * self.batch : (at + 1) * self.batch]


def stepped(lr: float, units: int, factor: float = 0.2) -> tuple[float, ...]:
    """The rate of each unit: times `factor` from two thirds on and again from five sixths on, both rounded down.

    >>> stepped(1.0, 6, 0.5)
    (1.0, 1.0, 1.0, 1.0, 0.5, 0.25)
    """
    first, second = 2 * units // 3, 5 * units // 6
    return tuple(lr * factor ** ((unit >= first) + (unit >= second)) for unit in range(units))
