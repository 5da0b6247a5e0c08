"""The engine for debugging: everything in this process, so that a debugger and a traceback reach the stage."""

from __future__ import annotations

from dataclasses import dataclass

from lightmeter.engines.attempt import attempt
from lightmeter.engines.crew import Ending, Notify
from lightmeter.engines.limits import Limits
from lightmeter.engines.plan import Batch, Blow
from lightmeter.engines.stage import Stage
from lightmeter.parts import Spelled


@dataclass(frozen=True)
class Inline(Spelled):
    """No worker at all: exceptions are bisected and quarantined, but nothing limits time or memory.

    A stage that hangs or dies takes the run with it.
    """

    def crew(self, stage: Stage, limits: Limits, notify: Notify) -> InlineCrew:
        """One hand: this process."""
        return InlineCrew(stage)


class InlineCrew:
    """Works on one batch inside `wait`."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._open = stage, False
        self._batch: Batch | None = None

    @property
    def free(self) -> int:
        """1 while nothing waits."""
        return int(self._batch is None)

    def submit(self, batch: Batch) -> None:
        """Open the stage before its first batch."""
        if not self._open:
            self._stage.open()
            self._open = True
        self._batch = batch

    def wait(self, timeout_s: float) -> list[Ending]:
        """Do the work, however long it takes."""
        if self._batch is None:
            return []
        batch, self._batch = self._batch, None
        outcome = attempt(self._stage, batch.tasks, _no_beat)
        return [Ending(batch, blow=outcome) if isinstance(outcome, Blow) else Ending(batch, outcomes=outcome)]

    def close(self, *, kill: bool) -> None:
        """Nobody to send home."""


def _no_beat() -> None:
    """Nobody listens here."""
