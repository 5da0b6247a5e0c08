"""What an engine must offer to `run`, so that every engine shares one ledger, one policy and one way to resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lightmeter.engines.limits import Limits
from lightmeter.engines.plan import Batch, Blow
from lightmeter.engines.stage import Failure, Result, Stage

Notify = Callable[[str, str], None]
"""Told (reason, detail) when a worker died and another takes its place."""

Outcomes = Sequence[Result | Failure]


@dataclass(frozen=True, slots=True, eq=False)
class Ending:
    """How an attempt ended: with outcomes, with a blow, or with neither (nobody has tried it: hand it out again)."""

    batch: Batch
    outcomes: Outcomes | None = None
    blow: Blow | None = None


class Crew(Protocol):
    """Hands that work on batches, one batch a hand."""

    @property
    def free(self) -> int:
        """How many batches can be handed out now."""
        ...

    def submit(self, batch: Batch) -> None:
        """Hand out a batch; only while `free` is above 0."""
        ...

    def wait(self, timeout_s: float) -> list[Ending]:
        """Attempts that ended; empty when the time is over first."""
        ...

    def close(self, *, kill: bool) -> None:
        """Send everybody home, or kill them; returns when nobody is left."""
        ...


class Engine(Protocol):
    """Where the work is done: a frozen dataclass, found in the table of engines."""

    def crew(self, stage: Stage, limits: Limits, notify: Notify) -> Crew:
        """Open a crew for one run; starting hands may wait for the first batch."""
        ...
