"""How much time and memory one attempt at a batch may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightmeter.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class Limits:
    """Breaking one kills the worker; the batch is bisected, so that an item alone has all of it.

    silent_s: longest time without a beat · total_s: longest time for one attempt at a batch
    memory_bytes: of one worker, model included: a wall in the kernel (RLIMIT_DATA) and a watch on its resident set
    attempts: how often an item that fails alone is tried before it is quarantined
    open_s: longest time to load the stage
    """

    silent_s: float = 10.0
    total_s: float = 3600.0
    memory_bytes: int = 1 << 30
    attempts: int = 2
    open_s: float = 300.0

    def __post_init__(self) -> None:
        for name in ("silent_s", "total_s", "memory_bytes", "attempts", "open_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidValueError(
                    f"{name} must be above 0 and finite, got {getattr(self, name)}: give a positive limit"
                )
