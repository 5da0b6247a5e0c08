"""The engine for many machines: the same supervised workers, each under an actor of a Ray cluster."""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightmeter import errors
from lightmeter.engines.crew import Ending, Notify
from lightmeter.engines.limits import Limits
from lightmeter.engines.local import Local, cores, ending_of, pickled
from lightmeter.engines.plan import Batch, Blow
from lightmeter.engines.stage import Failure, Result, Stage
from lightmeter.errors import InvalidValueError, LightmeterError, WorkerError
from lightmeter.parts import Spelled, need

_LONGEST_WAIT_S = 0.25
_STARTS = 5
"""How many actors in a row may die before one has answered."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's own future default: it warns otherwise
}


@dataclass(frozen=True)
class Ray(Spelled):
    """Supervised workers on a Ray cluster: one actor each, which starts, watches and replaces its worker process.

    workers: actors · threads: for each worker · gpus: of Ray's, for each actor, a fraction too
    address: of a cluster that runs, as `auto` or `ray://…`; "": one is started here on loopback, and ends with the run
    The stage's files must be readable under the same paths on every machine, and Lightmeter installed there.
    Results pass the same check as those of `local`: plain values only. Between machines Ray itself trusts its network.
    Cost: a start of Ray (seconds, 0.4 GB) and of an actor a worker; a batch more than `local` a Ray call (10 to 20 ms).
    """

    workers: int = field(default_factory=cores)
    threads: int = 1
    gpus: float = 0.0
    address: str = ""

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.gpus < 1024:
            raise InvalidValueError(f"gpus must be 0 or more, got {self.gpus}")

    def crew(self, stage: Stage, limits: Limits, notify: Notify) -> RayCrew:
        """Connects, or starts a cluster; actors start with their first batch.  Raises MissingExtraError."""
        return RayCrew(self, pickled(stage), limits, notify)


class Hand:
    """What runs as an actor: a crew of one supervised worker, beside which hostile files are opened."""

    def __init__(self, stage: bytes, limits: Limits, threads: int, path: Sequence[str]) -> None:
        sys.path.extend(entry for entry in path if entry not in sys.path)
        self._deaths: list[tuple[str, str]] = []
        self._crew = Local(1, threads).crew_of(stage, limits, lambda *death: self._deaths.append(death))

    def work(self, body: bytes) -> tuple[Any, ...]:
        """Try one batch: (kind, what, restarts), all of it plain.

        `outcomes`: results and failures as tuples · `blow`: reason, detail, outside · `untried`: the worker died while
        starting · `error`: name and text of an error that ends the run
        """
        self._deaths.clear()
        batch: Batch = pickle.loads(body)  # from our own driver
        try:
            self._crew.submit(batch)
            while not (endings := self._crew.wait(1.0)):
                pass
        except LightmeterError as error:
            return "error", (type(error).__name__, str(error)), list(self._deaths)
        [ending] = endings
        if ending.outcomes is not None:
            return "outcomes", [_plain(each) for each in ending.outcomes], list(self._deaths)
        if ending.blow is None:
            return "untried", (), list(self._deaths)
        return "blow", (ending.blow.reason, ending.blow.detail, ending.blow.outside), list(self._deaths)


def _plain(outcome: Result | Failure) -> tuple[Any, ...]:
    if isinstance(outcome, Result):
        return outcome.key, outcome.value
    return outcome.key, outcome.reason, outcome.detail, outcome.attempts


@dataclass(eq=False)
class _Actor:
    """An actor and the batch that it has. answered: whether it ever gave one back"""

    handle: Any
    batch: Batch | None = None
    answered: bool = False
    since_s: float = 0.0


class RayCrew:
    """Hands out batches to actors, and hears of those that died."""

    def __init__(self, engine: Ray, stage: bytes, limits: Limits, notify: Notify) -> None:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        self._ray = need("ray", "ray")
        self._engine, self._stage, self._limits, self._notify = engine, stage, limits, notify
        self._actors: list[_Actor] = []
        self._waiting: dict[Any, _Actor] = {}
        self._starts = 0
        self._own = False
        self._made: Any = None

    @property
    def free(self) -> int:
        """Idle actors, and places for actors that are not started."""
        return self._engine.workers - len(self._waiting)

    def submit(self, batch: Batch) -> None:
        """Give a batch to an idle actor, or to a new one."""
        try:
            body = pickle.dumps(batch, protocol=5)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise InvalidValueError(
                f"a task's payload must be picklable, got {error} near {batch.tasks[0].key!r}"
            ) from error
        actor = next((each for each in self._actors if each.batch is None), None) or self._hire()
        actor.batch, actor.since_s = batch, time.monotonic()
        self._waiting[actor.handle.work.remote(body)] = actor

    def _hire(self) -> _Actor:
        if self._made is None:
            self._connect()
        path = [entry for entry in sys.path if entry] if self._own else []
        actor = _Actor(self._made.remote(self._stage, self._limits, self._engine.threads, path))
        self._actors.append(actor)
        return actor

    def _connect(self) -> None:
        """Start a cluster on loopback, or join the one of `address` (or that this process has joined already)."""
        engine = self._engine
        if not self._ray.is_initialized():
            self._own = not engine.address
            where: dict[str, Any] = {"address": engine.address} if engine.address else {
                "num_cpus": engine.workers * engine.threads, "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
            }  # fmt: skip
            self._ray.init(log_to_driver=False, configure_logging=False, **where)
        options = {"num_cpus": engine.threads, "num_gpus": engine.gpus, "max_restarts": 0, "max_task_retries": 0}
        self._made = self._ray.remote(**options)(Hand)

    # -- waiting ------------------------------------------------------------------------------------------------------

    def wait(self, timeout_s: float) -> list[Ending]:
        """Listen until an attempt ends or the time is over."""
        if not self._waiting:
            return []
        ready, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=min(timeout_s, _LONGEST_WAIT_S))
        endings = [self._ending(reference, self._waiting.pop(reference)) for reference in ready]
        if not endings:
            self._look()
        return endings

    def _look(self) -> None:
        """An actor that gets no place in the cluster never answers; nor does one whose machine is lost."""
        longest_s = self._limits.open_s + self._limits.total_s + self._limits.silent_s
        for actor in self._waiting.values():
            if not actor.answered and time.monotonic() - actor.since_s > longest_s:
                raise WorkerError(
                    f"an actor must answer, got nothing for {longest_s:.0f} s: the cluster has no "
                    f"{self._engine.threads} CPUs and {self._engine.gpus:g} GPUs to spare, ask for fewer workers"
                )

    def _ending(self, reference: Any, actor: _Actor) -> Ending:
        batch, actor.batch = actor.batch, None
        assert batch is not None
        try:
            kind, what, deaths = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return self._lost(actor, batch, error)
        actor.answered, self._starts = True, 0
        for reason, detail in deaths:
            self._notify(str(reason), str(detail))
        if kind == "outcomes":
            return ending_of(batch, "outcomes", batch.id, what)
        if kind == "error":
            raise _known_error(*map(str, what))
        return Ending(batch, blow=Blow(*what) if kind == "blow" else None)

    def _lost(self, actor: _Actor, batch: Batch, error: Exception) -> Ending:
        """An actor is gone: its machine, its memory, somebody's kill. Another takes its place."""
        self._actors.remove(actor)
        detail = f"the actor is gone ({type(error).__name__}): {' '.join(str(error).split())[:300]}"
        self._starts += not actor.answered
        if self._starts >= _STARTS:
            raise WorkerError(f"actors must start, got {self._starts} in a row that died: {detail}") from error
        self._notify("signal", detail)
        return Ending(batch, blow=Blow("signal", detail, outside=True))

    def close(self, *, kill: bool) -> None:
        """End the actors, and the cluster where it is ours; their workers die with them."""
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._actors.clear()
        self._waiting.clear()
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()


def _known_error(name: str, text: str) -> LightmeterError:
    known = getattr(errors, name, None)
    if isinstance(known, type) and issubclass(known, LightmeterError) and known is not errors.RejectedFileError:
        return known(text)
    return WorkerError(text)
