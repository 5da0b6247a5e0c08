"""Run a stage over tasks: lease, work, keep, retry, quarantine, resume. All long per-item work goes through here."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from lightmeter.engines.crew import Crew, Ending, Engine
from lightmeter.engines.events import Counts, Event, EventKind, Report
from lightmeter.engines.ledger import Ledger
from lightmeter.engines.limits import Limits
from lightmeter.engines.local import Local
from lightmeter.engines.plan import Batch, Plan
from lightmeter.engines.stage import Failure, Result, Sink, Stage, Task
from lightmeter.engines.stop import Stop
from lightmeter.errors import InvalidValueError

BEAT_EVERY_S = 10.0
_TICK_S = 0.25


def run(
    stage: Stage,
    tasks: Iterable[Task],
    sink: Sink,
    *,
    ledger: Ledger,
    engine: Engine | None = None,
    limits: Limits | None = None,
    batch_size: int = 16,
    events: Callable[[Event], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Report:
    """Do every task that is not done yet, each once, and say how it went.

    tasks: pulled lazily, at most engine's workers + 1 batches ahead; a key that comes twice is done once (while the
    ledger remembers). engine: `Local()` unless given. limits: `Limits()`. events: called in this thread.
    stop: asked often; True finishes what is in flight, as the first Ctrl-C does.
    One transaction a batch holds the sink's writes and the ledger's: a crash before its commit means not done, after
    it done once. A failing task never raises here; an error of the sink, of the tasks' iterator or of open() does.
    More arguments than the house allows: each is a part of the run, and a bundle of them would only hide that.
    """
    if batch_size < 1:
        raise InvalidValueError(f"batch_size must be at least 1, got {batch_size}")
    with Stop(stop) as listener:
        return _Run(stage, sink, ledger, limits or Limits(), listener, events).work(
            engine or Local(), tasks, batch_size
        )


class _Run:
    """One call of `run`: counts, the plan, and the order in which things are written."""

    def __init__(
        self,
        stage: Stage,
        sink: Sink,
        ledger: Ledger,
        limits: Limits,
        stop: Stop,
        events: Callable[[Event], None] | None,
    ) -> None:
        self.stage, self.sink, self.ledger, self.limits, self.stop = stage, sink, ledger, limits, stop
        self.events = events
        self.fingerprint = stage.fingerprint
        self.done = self.failed = self.skipped = self.quarantined = self.restarts = self.in_flight = 0
        self.reasons: Counter[str] = Counter()
        self.told_stop = False
        self.next_beat = time.monotonic() + BEAT_EVERY_S

    def work(self, engine: Engine, tasks: Iterable[Task], batch_size: int) -> Report:
        """Begin, loop, end; whatever happens, no worker is left and the run's row says how it ended."""
        began, cpu = time.monotonic(), _cpu_s()
        self.number, self.stage_number = self.ledger.begin(self.fingerprint)
        self.plan = Plan(tasks, batch_size, self._fresh)
        self.tell("start", detail=self.fingerprint)
        crew, state = None, "broken"
        try:
            crew = engine.crew(self.stage, self.limits, self._restarted)
            state = "stopped" if self._loop(crew) else "done"
        except KeyboardInterrupt:
            state = "stopped"
        finally:
            if crew is not None:
                crew.close(kill=state != "done" and self.in_flight > 0)
            with contextlib.suppress(sqlite3.Error) if state == "broken" else contextlib.nullcontext():
                self.ledger.end(self.number, state)
        self.tell("done")
        counts = self.counts()
        return Report(
            counts.done, counts.failed, counts.skipped, counts.quarantined, dict(self.reasons), self.restarts,
            state == "stopped", time.monotonic() - began, _cpu_s() - cpu,
        )  # fmt: skip

    def _loop(self, crew: Crew) -> bool:
        """Work until nothing is left (False) or until the stop that was asked for (True)."""
        while True:
            self.plan.pull(self.stop.asked)
            stopped = self._stopped()
            if not stopped:
                self._hand_out(crew)
            if not self.in_flight:
                if stopped:
                    return True
                if not self.plan.has_next:
                    return False
                continue
            for ending in crew.wait(_TICK_S):
                self._settle(ending, crew)
            self._beat()

    def _stopped(self) -> bool:
        asked = self.stop.asked()
        if asked and not self.told_stop:
            self.told_stop = True
            self.tell("stop", detail=f"{self.in_flight} batches in flight are finished first")
        return asked

    def _hand_out(self, crew: Crew) -> None:
        """Lease and start as many batches as there are free hands."""
        while crew.free and self.plan.has_next:
            with self.ledger.transaction():
                batch = self.plan.next()
                self.ledger.claim(self.number, batch)
            self._submit(crew, batch)
            self.plan.pull(self.stop.asked)

    def _submit(self, crew: Crew, batch: Batch) -> None:
        self.in_flight += 1
        crew.submit(batch)

    def _settle(self, ending: Ending, crew: Crew) -> None:
        """Keep what an attempt gave and lease the next batch, in one transaction; only then start that batch."""
        self.in_flight -= 1
        results, failures = self._outcomes(ending)
        following: Batch | None = None
        with self.ledger.transaction():
            if results or failures:
                self.sink.write(results, failures)
                self.ledger.record(self.number, self.stage_number, [each.key for each in results], failures)
            self.ledger.release(self.number, ending.batch)
            if crew.free and self.plan.has_next and not self.stop.asked():
                following = self.plan.next()
                self.ledger.claim(self.number, following)
        if following is not None:
            self._submit(crew, following)
        self._count(ending, results, failures)

    def _outcomes(self, ending: Ending) -> tuple[list[Result], list[Failure]]:
        """Results and failures to keep now; what is to be tried again goes back into the plan."""
        if ending.outcomes is not None:
            results = [each for each in ending.outcomes if isinstance(each, Result)]
            return results, [each for each in ending.outcomes if isinstance(each, Failure)]
        if ending.blow is None:
            self.plan.put_back(ending.batch)
            return [], []
        failure = self.plan.broken(ending.batch, ending.blow, self.limits)
        return [], [failure] if failure else []

    def _count(self, ending: Ending, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        if not results and not failures:
            return
        self.plan.settled(ending.batch)
        self.done += len(results)
        self.failed += len(failures)
        self.reasons.update(failure.reason for failure in failures)
        for failure in failures:
            self.tell("failure", key=failure.key, reason=failure.reason, detail=failure.detail)
        self.tell("batch")

    def _fresh(self, tasks: Sequence[Task]) -> list[Task]:
        """Tasks that are neither done nor quarantined."""
        done, failed = self.ledger.settled(self.stage_number, [task.key for task in tasks])
        self.skipped += sum(task.key in done for task in tasks)
        self.quarantined += sum(task.key in failed and task.key not in done for task in tasks)
        return [task for task in tasks if task.key not in done and task.key not in failed]

    def _restarted(self, reason: str, detail: str) -> None:
        self.restarts += 1
        self.tell("restart", reason=reason, detail=detail)

    def _beat(self) -> None:
        if time.monotonic() >= self.next_beat:
            self.next_beat = time.monotonic() + BEAT_EVERY_S
            self.ledger.beat(self.number)

    def tell(self, kind: EventKind, *, key: str = "", reason: str = "", detail: str = "") -> None:
        """Pass on an event, outside any transaction."""
        if self.events is not None:
            self.events(Event(kind, time.time(), self.counts(), key, reason, detail))

    def counts(self) -> Counts:
        """How it stands; a key that came again while it was in flight counts as skipped."""
        return Counts(self.done, self.failed, self.skipped + self.plan.repeats, self.quarantined)


def _cpu_s() -> float:
    """CPU-seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
