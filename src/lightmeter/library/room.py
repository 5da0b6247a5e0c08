"""How much memory a worker may take, from the weights that it reads: the one place where that is decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lightmeter.engines.limits import Limits
from lightmeter.errors import WorkerError

_BESIDE_BYTES = 500_000_000


def room_bytes(encoders: Sequence[Any]) -> int:
    """What a worker with these encoders may take where nobody said: the engines' default, or more for large weights.

    Twice the weights, since a file is in memory while it becomes a network, and 0.5 GB for all else.
    """
    weights_bytes = sum(int(encoder.size_bytes) for encoder in encoders)
    return max(Limits().memory_bytes, 2 * weights_bytes + _BESIDE_BYTES)


@contextmanager
def naming_the_limit(encoders: Sequence[Any], limits: Limits) -> Iterator[None]:
    """Add to a worker that cannot start what memory its encoders need, where it may take less."""
    try:
        yield
    except WorkerError as error:
        needed = room_bytes(encoders)
        if limits.memory_bytes >= needed:
            raise
        raise WorkerError(
            f"workers must start, and may take {limits.memory_bytes / 1e9:.1f} GB where the weights of their encoders "
            f"need about {needed / 1e9:.1f} GB: say --memory-limit {-(-needed // 100_000_000) / 10:.1f}GB, or leave it "
            f"out (the worker said: {error})"
        ) from error
