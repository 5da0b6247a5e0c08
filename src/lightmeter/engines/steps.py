"""Learning step by step, so that it can be stopped or killed at any moment and goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from lightmeter.engines.checkpoints import Checkpoints
from lightmeter.engines.stop import Stop
from lightmeter.errors import RejectedFileError
from lightmeter.types import Array


class Learner(Protocol):
    """What learns. Its step must depend on its state and the step's number alone."""

    def step(self, number: int) -> None:
        """Learn once; steps are counted from 0."""
        ...

    def state(self) -> Mapping[str, Array]:
        """All that the next step depends on."""
        ...

    def restore(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Take up a state after so many steps."""
        ...


def take_steps(
    learner: Learner,
    steps: int,
    stop: Stop,
    *,
    checkpoints: Checkpoints | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> None:
    """Learn to the end, from the last checkpoint on where there is one, and keep the end.

    tell: hears after every step how many are done, and how many were done by an earlier call.
    Ctrl-C ends it after the step in flight with KeyboardInterrupt, its state written.
    Raises RejectedFileError for a checkpoint that does not fit.
    """
    finished = None if checkpoints is None else checkpoints.finished(0)
    if finished is not None:
        learner.restore(finished, steps)
        return
    start = _resumed(learner, steps, checkpoints)
    for number in range(start, steps):
        learner.step(number)
        done = number + 1
        if tell is not None:
            tell(done, start)
        if done == steps:
            break
        if checkpoints is not None and (stop.asked() or checkpoints.due):
            checkpoints.keep(0, done, learner.state())
        if stop.asked():
            raise KeyboardInterrupt
    if checkpoints is not None:
        checkpoints.finish(0, learner.state())


def _resumed(learner: Learner, steps: int, checkpoints: Checkpoints | None) -> int:
    """The step to go on from."""
    found = None if checkpoints is None else checkpoints.latest(0)
    if found is None:
        return 0
    arrays, done = found
    if done >= steps:
        raise RejectedFileError("damaged", f"a checkpoint must be within {steps} steps, got {done}: start --anew")
    learner.restore(arrays, done)
    return done
