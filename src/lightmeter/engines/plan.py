"""Which batch comes next: fresh ones pulled lazily, and broken ones halved until the poison item stands alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from lightmeter.engines.limits import Limits
from lightmeter.engines.stage import Failure, Task

OUTSIDE_FACTOR = 2
"""A SIGKILL or SIGTERM that we did not send says little about an item: it takes this many times more to condemn one."""


@dataclass(frozen=True, slots=True)
class Blow:
    """Why an attempt gave nothing. outside: the worker was killed by somebody else."""

    reason: str
    detail: str
    outside: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tasks that are tried together; how often a lone one failed by its own doing, and by an outside kill."""

    id: int
    tasks: tuple[Task, ...]
    attempts: int = 0
    outside: int = 0


class Plan:
    """Retries first, then fresh tasks; at most one batch is pulled ahead of those that were handed out.

    repeats: tasks left out because their key was already in flight
    fresh: takes the tasks of one pull and gives back those still to do
    """

    def __init__(
        self, tasks: Iterable[Task], batch_size: int, fresh: Callable[[Sequence[Task]], Sequence[Task]]
    ) -> None:
        self._source: Iterator[Task] = iter(tasks)
        self._fresh, self._size, self._ids = fresh, batch_size, 0
        self._pulled: deque[Task] = deque()
        self._retries: deque[Batch] = deque()
        self._dry = False
        self.keys: set[str] = set()
        self.repeats = 0

    def pull(self, stopped: Callable[[], bool]) -> None:
        """Fill the batch that is held ready, outside any transaction: the tasks may come from the same database."""
        while not self._dry and len(self._pulled) < self._size and not stopped():
            chunk = list(islice(self._source, self._size))
            self._dry = len(chunk) < self._size
            for task in self._fresh(chunk):
                if task.key in self.keys:
                    self.repeats += 1
                    continue
                self.keys.add(task.key)
                self._pulled.append(task)

    @property
    def has_next(self) -> bool:
        """Whether `next` has something."""
        return bool(self._retries or self._pulled)

    def next(self) -> Batch:
        """The batch to try now."""
        if self._retries:
            return self._retries.popleft()
        count = min(self._size, len(self._pulled))
        return self._batch(tuple(self._pulled.popleft() for _ in range(count)))

    def put_back(self, batch: Batch) -> None:
        """Take back a batch that nobody has tried."""
        self._retries.appendleft(batch)

    def settled(self, batch: Batch) -> None:
        """Forget the keys of a batch whose outcomes are kept."""
        self.keys.difference_update(task.key for task in batch.tasks)

    def broken(self, batch: Batch, blow: Blow, limits: Limits) -> Failure | None:
        """Halve the batch, or try a lone item again, or give it up: then its failure."""
        if len(batch.tasks) > 1:
            middle = len(batch.tasks) // 2
            self._retries.extendleft([self._batch(batch.tasks[middle:]), self._batch(batch.tasks[:middle])])
            return None
        own, outside = batch.attempts + (not blow.outside), batch.outside + blow.outside
        tried = own + outside
        final = (
            blow.reason.startswith("rejected:") or own >= limits.attempts or tried >= limits.attempts * OUTSIDE_FACTOR
        )
        if final:
            return Failure(batch.tasks[0].key, blow.reason, blow.detail, tried)
        self._retries.appendleft(self._batch(batch.tasks, own, outside))
        return None

    def _batch(self, tasks: tuple[Task, ...], attempts: int = 0, outside: int = 0) -> Batch:
        self._ids += 1
        return Batch(self._ids, tasks, attempts, outside)
