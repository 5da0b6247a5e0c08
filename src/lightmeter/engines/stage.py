"""What a run is made of: tasks in, results and failures out, a stage between them and a sink behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lightmeter.errors import InvalidValueError

Beat = Callable[[], None]
"""Says "I am alive" and so resets the silent timer. Cheap: call it once an item, a frame or a step."""


@dataclass(frozen=True, slots=True)
class Task:
    """One item of work. key: names it for ever · payload: what the stage needs: picklable, small (paths, numbers)."""

    key: str
    payload: dict[str, Any]

    def __post_init__(self) -> None:
        try:
            self.key.encode()
        except UnicodeEncodeError:
            raise InvalidValueError(
                f"key must be text that UTF-8 can hold, got {self.key!r}: escape or hash it"
            ) from None


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What became of a task. value: arrays, numbers, text, bytes, None, lists and dicts of these (Arrow-shaped)."""

    key: str
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task has no result.

    reason: `exception`, `timeout`, `memory`, `signal`, `exit`, or `rejected:CODE` when the stage refused it
    detail: a sentence or a few; the worker's last words when it died
    attempts: how often it was tried alone
    """

    key: str
    reason: str
    detail: str
    attempts: int = 1


class Stage(Protocol):
    """A pure function of a batch: same task, same result, whatever else is in the batch.

    It is pickled to the workers, so its class must live in a module that can be imported there (not `__main__`) and
    must be cheap to make; `open` loads what is heavy, once a worker.
    """

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results: the stage, its version, its options."""
        ...

    def open(self) -> None:
        """Load models and the like."""
        ...

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """One outcome a task, in order. It may raise, hang or die: the batch is then bisected."""
        ...


class Sink(Protocol):
    """Takes what a batch gave, inside the ledger's open transaction.

    It must not commit. Files that it writes must be durable when it returns: the commit comes right after.
    """

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        """Keep the outcomes of one batch."""
        ...
