"""What holds for every engine: done once, resumed, lazy, and the same result inline and local."""

import itertools
import json
import re
import signal
import sys
import threading
from pathlib import Path

import pytest
from engine_toys import Square, TableSink, Unopenable, tasks_of

from lightmeter.engines import Inline, Ledger, Limits, Local, Report, Task, run
from lightmeter.engines.local import LOOK_EVERY_S
from lightmeter.errors import InvalidValueError, MissingAssetError, WorkerError
from lightmeter.parts import build

ENGINES = [Inline(), Local(workers=2)]


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        yield ledger


def squares(count, without=()):
    return [(f"k{n:05d}", n * n, b"%d" % n) for n in range(count) if n not in without]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: type(e).__name__)
class TestEveryEngine:
    def test_is_rebuilt_by_its_spec(self, engine):
        assert build(engine.spec) == engine

    def test_does_all_once_then_resumes_to_nothing(self, engine, ledger):
        sink = TableSink(ledger.connection)
        first = run(Square(), tasks_of(30), sink, ledger=ledger, engine=engine, batch_size=7)
        assert (first.done, first.failed, first.skipped, first.stopped) == (30, 0, 0, False)
        again = run(Square(), tasks_of(33), sink, ledger=ledger, engine=engine, batch_size=7)
        assert (again.done, again.skipped) == (3, 30)
        assert sink.squares() == squares(33)
        assert ledger.leases() == []

    def test_another_fingerprint_is_another_work(self, engine, ledger):
        sink = TableSink(ledger.connection)
        for version in (1, 2):
            assert run(Square(version=version), tasks_of(3), sink, ledger=ledger, engine=engine).done == 3
        assert len(sink.squares()) == 6

    def test_quarantines_exceptions_with_their_neighbours_kept(self, engine, ledger):
        poisons = {1: "raises", 8: "exits", 9: "returns_two", 11: "returns_none", 14: "unpicklable", 15: "rejects"}
        poisons |= {17: "refused"}
        sink, events = TableSink(ledger.connection), []
        report = run(
            Square(), tasks_of(20, poisons), sink, ledger=ledger, engine=engine, batch_size=8, events=events.append
        )
        assert sink.squares() == squares(20, without=poisons)
        assert report.reasons == {"exception": 5, "rejected:truncated": 1, "rejected:empty": 1}
        refusals = sink.refusals()
        assert set(refusals) == {f"k{n:05d}" for n in poisons}
        assert re.fullmatch(r"ValueError: boom \(engine_toys\.py:\d+ in raises\)", refusals["k00001"][1])
        assert refusals["k00001"][::2] == ("exception", 2)
        assert "one outcome a task, in order, got 2 for 1" in refusals["k00009"][1]
        assert "k00014.square must be a number" in refusals["k00014"][1]
        assert refusals["k00015"] == ("rejected:truncated", "half of it is gone", 1)
        assert {
            key: (f.reason, f.detail, f.attempts) for key, f in ledger.failed("square/version=1").items()
        } == refusals
        assert sorted(event.key for event in events if event.kind == "failure") == sorted(refusals)
        later = run(Square(), tasks_of(20, poisons), sink, ledger=ledger, engine=engine)
        assert (later.done, later.failed, later.skipped, later.quarantined) == (0, 0, 13, 7)
        ledger.forget(ledger.failed("square/version=1"))
        assert run(Square(), tasks_of(20), sink, ledger=ledger, engine=engine).done == 7
        assert sink.squares() == squares(20)

    def test_arrays_come_through(self, engine, ledger):
        sink = TableSink(ledger.connection)
        run(Square(), tasks_of(3, dict.fromkeys(range(3), "arrays")), sink, ledger=ledger, engine=engine)
        assert [(square, len(row)) for _, square, row in sink.squares()] == [(0, 24), (1, 24), (4, 24)]

    def test_tells_what_happens(self, engine, ledger):
        events = []
        sink = TableSink(ledger.connection)
        run(Square(), tasks_of(10), sink, ledger=ledger, engine=engine, batch_size=5, events=events.append)
        lines = [json.loads(json.dumps(event.as_json())) for event in events]
        assert [line["event"] for line in lines] == ["start", "batch", "batch", "done"]
        assert [line["done"] for line in lines] == [0, 5, 10, 10]
        assert lines[0]["detail"] == "square/version=1"

    def test_takes_tasks_lazily_from_an_endless_source(self, engine, ledger):
        sink = TableSink(ledger.connection)
        pulled, ahead = 0, []

        def endless():
            nonlocal pulled
            for n in itertools.count():
                pulled += 1
                yield Task(f"k{n:05d}", {"n": n})

        def watch(event):
            ahead.append(pulled - event.counts.done)

        stop = lambda: bool(ahead) and len(sink.squares()) >= 60  # noqa: E731
        report = run(Square(), endless(), sink, ledger=ledger, engine=engine, batch_size=4, events=watch, stop=stop)
        assert report.stopped
        assert report.done >= 60
        assert max(ahead) <= 4 * (getattr(engine, "workers", 1) + 1)
        assert sink.squares() == squares(report.done)

    def test_stops_from_another_thread_and_goes_on(self, engine, ledger):
        """Outside the main thread there is no Ctrl-C, only the callable."""
        sink, stop, reports = TableSink(ledger.connection), threading.Event(), []

        def stop_soon(event):
            if event.counts.done >= 8:
                stop.set()

        report = run(
            Square(), tasks_of(40), sink, ledger=ledger, engine=engine, batch_size=4, events=stop_soon, stop=stop.is_set
        )
        assert report.stopped
        assert 8 <= report.done < 40

        def in_thread():
            with Ledger.open(folder) as own:
                own_sink = TableSink(own.connection)
                reports.append(run(Square(), tasks_of(40), own_sink, ledger=own, engine=engine, batch_size=4))
                reports.append(own_sink.squares())

        folder = _folder(ledger) / "thread"
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        assert reports[0].done == 40
        assert reports[1] == squares(40)
        assert run(Square(), tasks_of(40), sink, ledger=ledger, engine=engine).done == 40 - report.done
        assert sink.squares() == squares(40)

    def test_a_batch_whose_sink_fails_is_not_done(self, engine, ledger):
        sink = FullDisk(ledger.connection)
        with pytest.raises(OSError, match="disk full"):
            run(Square(), tasks_of(12), sink, ledger=ledger, engine=engine, batch_size=4)
        kept = len(sink.squares())
        assert kept == len(ledger.done("square/version=1")) < 12
        assert ledger.leases() == []
        sink.room = 99
        assert run(Square(), tasks_of(12), sink, ledger=ledger, engine=engine).done == 12 - kept
        assert sink.squares() == squares(12)

    def test_an_error_of_the_tasks_is_raised_and_leaves_nothing_behind(self, engine, ledger):
        def broken():
            yield from tasks_of(9)
            raise OSError("folder is gone")

        with pytest.raises(OSError, match="folder is gone"):
            run(Square(), broken(), TableSink(ledger.connection), ledger=ledger, engine=engine, batch_size=4)
        assert ledger.leases() == []
        assert ledger.connection.execute("SELECT state FROM engine_runs").fetchall() == [("broken",)]

    def test_a_missing_asset_is_named_to_the_user(self, engine, ledger):
        with pytest.raises(MissingAssetError, match="lightmeter assets add minilm"):
            run(Unopenable("missing"), tasks_of(3), TableSink(ledger.connection), ledger=ledger, engine=engine)

    def test_nothing_to_do_starts_nobody(self, engine, ledger):
        report = run(Unopenable(), [], TableSink(ledger.connection), ledger=ledger, engine=engine)
        assert report == Report(wall_s=report.wall_s, cost_s=report.cost_s)


def _folder(ledger):
    return Path(ledger.connection.execute("PRAGMA database_list").fetchone()[2]).parent


class FullDisk(TableSink):
    """Writes a batch, then fails, when its room is used up."""

    room = 4

    def write(self, results, failures):
        super().write(results, failures)
        self.room -= len(results)
        if self.room < 0:
            raise OSError("disk full")


def test_a_stage_that_does_not_open_is_a_clear_error(ledger):
    with pytest.raises(WorkerError, match=r"the stage must open, got OSError: no such model \(engine_toys.py"):
        run(Unopenable(), tasks_of(3), TableSink(ledger.connection), ledger=ledger, engine=Local(1))


def test_workers_that_die_while_starting_end_the_run_with_their_last_words(ledger):
    with pytest.raises(
        WorkerError, match="3 in a row that died while starting: ended with code 5; last words: cannot load"
    ):
        run(Unopenable("dies"), tasks_of(3), TableSink(ledger.connection), ledger=ledger, engine=Local(1))


class Inner:
    """Not importable by this name in a worker: pytest gave the module another one."""

    fingerprint = "inner"


def test_a_stage_of_main_or_a_local_one_is_refused_early(ledger, monkeypatch):
    class Nested(Square):
        pass

    with pytest.raises(InvalidValueError, match="a stage must be picklable"):
        run(Nested(), tasks_of(1), TableSink(ledger.connection), ledger=ledger, engine=Local(1))
    monkeypatch.setattr(Inner, "__module__", "__main__")
    with pytest.raises(InvalidValueError, match=r"must live in a module that workers can import, got __main__\.Inner"):
        run(Inner(), tasks_of(1), TableSink(ledger.connection), ledger=ledger, engine=Local(1))


def test_a_payload_that_cannot_travel_is_named(ledger):
    with pytest.raises(InvalidValueError, match=r"payload must be picklable.* near 'k'"):
        run(Square(), [Task("k", {"n": lambda: 1})], TableSink(ledger.connection), ledger=ledger, engine=Local(1))


def test_a_key_must_be_text_that_a_database_holds():
    with pytest.raises(InvalidValueError, match="key must be text that UTF-8 can hold"):
        Task("caf\udce9.jpg", {})


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"threads": 0}])
def test_local_counts_from_one(wrong):
    with pytest.raises(InvalidValueError, match="must be at least 1"):
        Local(**wrong)


def test_batch_size_counts_from_one(ledger):
    with pytest.raises(InvalidValueError, match="batch_size must be at least 1, got 0"):
        run(Square(), [], TableSink(ledger.connection), ledger=ledger, batch_size=0)


def test_keys_that_come_twice_are_done_once(ledger):
    sink = TableSink(ledger.connection)
    report = run(Square(), [*tasks_of(10), *tasks_of(10)], sink, ledger=ledger, engine=Local(2), batch_size=4)
    assert (report.done, report.skipped, sink.squares()) == (10, 10, squares(10))


def test_leases_say_that_they_are_alive(ledger, monkeypatch):
    monkeypatch.setattr(sys.modules["lightmeter.engines.run"], "BEAT_EVERY_S", 0.0)
    seen = []

    class Watching(TableSink):
        def write(self, results, failures):
            seen.extend(ledger.leases())
            super().write(results, failures)

    run(Square(0.05), tasks_of(12), Watching(ledger.connection), ledger=ledger, engine=Local(1), batch_size=6)
    assert [len(lease.keys) for lease in seen] == [6, 6]
    assert max(lease.beat_s - lease.claimed_s for lease in seen) > 0.05


def test_ctrl_c_inline(ledger):
    """Once: the batch is finished. Twice: it is given up. Either way the handler is as before."""
    before, sink = signal.getsignal(signal.SIGINT), TableSink(ledger.connection)
    events = []
    for presses, done in (("interrupts_once", 4), ("interrupts_twice", 0)):
        tasks = tasks_of(12, {1: presses}) if done else tasks_of(12, {5: presses})
        report = run(Square(), tasks, sink, ledger=ledger, engine=Inline(), batch_size=4, events=events.append)
        assert (report.stopped, report.done) == (True, done)
        assert signal.getsignal(signal.SIGINT) is before
    assert [event.kind for event in events if event.kind in ("stop", "done")] == ["stop", "done", "done"]
    assert sink.squares() == squares(4)


def test_a_slow_sink_is_not_taken_for_silent_workers(ledger):
    """While the supervisor itself is busy or stopped, its workers' clocks stand (nearly) still."""

    class Slow(TableSink):
        def write(self, results, failures):
            threading.Event().wait(0.8)
            super().write(results, failures)

    limits = Limits(silent_s=0.7 + LOOK_EVERY_S, attempts=1)
    tasks = [Task(f"k{n:05d}", {"n": n}) for n in range(6)]
    report = run(Square(), tasks, Slow(ledger.connection), ledger=ledger, engine=Local(2), limits=limits, batch_size=2)
    assert (report.done, report.restarts) == (6, 0)
