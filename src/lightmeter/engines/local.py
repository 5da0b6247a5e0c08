"""The default engine: supervised worker processes on this machine."""

from __future__ import annotations

import os
import pickle
import selectors
import time
from dataclasses import dataclass, field
from typing import Any

from lightmeter import errors
from lightmeter.engines.attempt import check_outcomes
from lightmeter.engines.crew import Ending, Notify
from lightmeter.engines.limits import Limits
from lightmeter.engines.plan import Batch, Blow
from lightmeter.engines.process import Worker
from lightmeter.engines.stage import Failure, Result, Stage
from lightmeter.engines.wire import unpack_plain
from lightmeter.errors import InvalidValueError, LightmeterError, WorkerError
from lightmeter.parts import Spelled

LOOK_EVERY_S = 0.05
STARTS_OWN, STARTS_OUTSIDE = 3, 20
"""How many workers in a row may die while starting: by themselves, or killed by somebody else."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Local(Spelled):
    """Worker processes over pipes: no sockets, no fork; a dead one is replaced, and all die with this process.

    workers: processes · threads: for each of them
    Cost: a start of Python and of the stage a worker, then two small messages and one commit a batch.
    """

    workers: int = field(default_factory=cores)
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def crew(self, stage: Stage, limits: Limits, notify: Notify) -> LocalCrew:
        """Workers start with their first batch."""
        return self.crew_of(pickled(stage), limits, notify)

    def crew_of(self, stage: bytes, limits: Limits, notify: Notify) -> LocalCrew:
        """The same for a stage that `pickled` packed, perhaps on another machine."""
        return LocalCrew(self, stage, limits, notify)


def pickled(stage: Stage) -> bytes:
    """A stage as it travels to its workers.  Raises InvalidValueError where it cannot."""
    if type(stage).__module__ == "__main__":
        name = type(stage).__qualname__
        raise InvalidValueError(
            f"a stage must live in a module that workers can import, got __main__.{name}: move it to a file"
        )
    try:
        return pickle.dumps(stage, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InvalidValueError(f"a stage must be picklable, got {error}: load what is not in open()") from error


class LocalCrew:
    """The supervisor: hands out batches, listens, looks after limits, replaces the dead."""

    def __init__(self, engine: Local, stage: bytes, limits: Limits, notify: Notify) -> None:
        self._engine, self._stage, self._limits, self._notify = engine, stage, limits, notify
        self._workers: list[Worker] = []
        self._endings: list[Ending] = []
        self._selector = selectors.DefaultSelector()
        self._starts_own = self._starts_outside = 0
        self._next_look = 0.0

    @property
    def free(self) -> int:
        """Idle workers, and places for workers that are not started."""
        idle = sum(worker.batch is None for worker in self._workers)
        return idle + self._engine.workers - len(self._workers)

    def submit(self, batch: Batch) -> None:
        """Give a batch to an idle worker, or to a new one."""
        try:
            body = pickle.dumps(batch.tasks, protocol=5)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise InvalidValueError(
                f"a task's payload must be picklable, got {error} near {batch.tasks[0].key!r}"
            ) from error
        idle = next((each for each in self._workers if each.batch is None and not each.has_exited()), None)
        worker = idle or self._hire()
        worker.give(batch, body)
        self._watch(worker)

    def _hire(self) -> Worker:
        try:
            worker = Worker(self._stage, self._limits, self._engine.threads)
        except OSError as error:
            raise WorkerError(f"a worker must start, got {error}: free memory or processes and run again") from error
        self._workers.append(worker)
        self._selector.register(worker.results_fd, selectors.EVENT_READ, worker)
        self._selector.register(worker.words_fd, selectors.EVENT_READ, worker)
        return worker

    def _watch(self, worker: Worker) -> None:
        """Wake up for writing only while something waits to be written."""
        watched = worker.tasks_fd in self._selector.get_map()
        if worker.has_mail and not watched:
            self._selector.register(worker.tasks_fd, selectors.EVENT_WRITE, worker)
        elif watched and not worker.has_mail:
            self._selector.unregister(worker.tasks_fd)

    # -- waiting ------------------------------------------------------------------------------------------------------

    def wait(self, timeout_s: float) -> list[Ending]:
        """Listen until an attempt ends or the time is over; look after limits meanwhile."""
        deadline = time.monotonic() + timeout_s
        while True:
            heard = {key.data for key, _ in self._selector.select(LOOK_EVERY_S)}
            for worker in heard:
                self._attend(worker)
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + LOOK_EVERY_S
                self._look()
            if self._endings or time.monotonic() >= deadline:
                endings, self._endings = self._endings, []
                return endings

    def _attend(self, worker: Worker) -> None:
        worker.flush()
        self._watch(worker)
        if not worker.listen() and worker.words_fd in self._selector.get_map():
            self._selector.unregister(worker.words_fd)  # it closed its stdout and stderr, or died
        bodies, ended = worker.receive()
        for body in bodies:
            self._read(worker, body)
        if ended or worker.breach:
            self._lose(worker)

    def _look(self) -> None:
        for worker in list(self._workers):
            worker.look()
            if worker.breach or worker.has_exited():
                self._attend(worker)
                if worker in self._workers:  # its pipe is held open by something that it started
                    self._lose(worker)

    def _read(self, worker: Worker, body: bytes) -> None:
        worker.heard()
        try:
            kind, *rest = unpack_plain(body)
            ending = ending_of(worker.batch, kind, *rest) if kind in ("outcomes", "raised") else None
        except Exception as error:  # noqa: BLE001 - whatever a broken worker sends is a failure of its batch
            worker.kill("exception", f"the worker sent what cannot be understood ({type(error).__name__}: {error})")
            return
        if ending is not None:
            self._end(worker, ending)
        elif kind == "ready" and not worker.ready:
            worker.begin()
            self._starts_own = self._starts_outside = 0
        elif kind == "unopened" and not worker.ready:
            raise _opening_error(*map(str, rest))

    def _end(self, worker: Worker, ending: Ending) -> None:
        """An attempt ended with the worker alive; after running out of memory it is replaced all the same."""
        worker.batch = None
        self._endings.append(ending)
        if ending.blow and ending.blow.reason == "memory":
            worker.kill(ending.blow.reason, ending.blow.detail)

    def _lose(self, worker: Worker) -> None:
        """Bury a worker; its batch goes back, with the cause if the worker had begun."""
        for each in worker.files:
            if each in self._selector.get_map():
                self._selector.unregister(each)
        blow = worker.cause_of_death()
        self._workers.remove(worker)
        if worker.batch is not None:
            self._endings.append(Ending(worker.batch, blow=blow if worker.ready else None))
        if not worker.ready:
            self._count_start(blow)
        self._notify(blow.reason, blow.detail)

    def _count_start(self, blow: Blow) -> None:
        self._starts_outside += blow.outside
        self._starts_own += not blow.outside
        if self._starts_own >= STARTS_OWN or self._starts_outside >= STARTS_OUTSIDE:
            died = self._starts_own + self._starts_outside
            raise WorkerError(f"workers must start, got {died} in a row that died while starting: {blow.detail}")

    def close(self, *, kill: bool) -> None:
        """Close the pipes, so that idle workers leave, or kill all; returns when they are reaped."""
        self._selector.close()
        for worker in self._workers:
            if kill:
                worker.kill("stopped", "the run was stopped")
            else:
                worker.dismiss()
        for worker in self._workers:
            worker.cause_of_death()
        self._workers.clear()


def ending_of(batch: Batch | None, kind: str, number: int, *rest: Any) -> Ending:
    """Read the end of an attempt; it must be of the batch that the worker has, and of nothing else."""
    if batch is None or number != batch.id:
        raise InvalidValueError(f"outcomes must be of the batch in hand, got number {number}")
    if kind == "raised":
        reason, detail = map(str, rest)
        return Ending(batch, blow=Blow(reason, detail))
    outcomes = [Result(*each) if len(each) == 2 else Failure(*each) for each in rest[0]]
    check_outcomes(batch.tasks, outcomes)
    return Ending(batch, outcomes=outcomes)


def _opening_error(name: str, text: str, detail: str) -> LightmeterError:
    """The error that open() raised: one of ours keeps its class and its words."""
    known = getattr(errors, name, None)
    if isinstance(known, type) and issubclass(known, LightmeterError) and known is not errors.RejectedFileError:
        return known(text)
    return WorkerError(f"the stage must open, got {detail}: run it with engine inline to see where")
