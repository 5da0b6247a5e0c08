import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from engine_toys import Square, TableSink, tasks_of

from lightmeter.engines import Failure, Inline, Ledger, run
from lightmeter.engines.plan import Batch
from lightmeter.errors import InvalidValueError, LibraryBusyError


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "run") as ledger:
        yield ledger


def fill(ledger, fingerprint="f", done=(), failures=()):
    run_number, stage = ledger.begin(fingerprint)
    with ledger.transaction():
        ledger.record(run_number, stage, done, failures)
    ledger.end(run_number, "done")
    return stage


class TestBooks:
    def test_done_and_failed_are_of_one_fingerprint(self, ledger):
        failure = Failure("bad", "timeout", "no beat", 2)
        stage = fill(ledger, done=["a", "b"], failures=[failure])
        assert ledger.failed("f") == {"bad": failure}
        assert ("a" in ledger.done("f"), "bad" in ledger.done("f"), len(ledger.done("f"))) == (True, False, 2)
        assert ledger.settled(stage, ["a", "bad", "new"]) == ({"a"}, {"bad"})
        assert ledger.failed("g") == {}
        assert len(ledger.done("g")) == 0
        assert ledger.reasons() == {"f": {"timeout": 1}}

    def test_forget_brings_keys_back(self, ledger):
        f, g = (fill(ledger, name, done=["a", "b"], failures=[Failure("c", "memory", "")]) for name in ("f", "g"))
        ledger.forget(["a", "c"], "f")
        assert (ledger.settled(f, "abc"), ledger.settled(g, "abc")) == (({"b"}, set()), ({"a", "b"}, {"c"}))
        ledger.forget(["b", "c"])
        assert ledger.settled(g, "abc") == ({"a"}, set())

    def test_a_ledger_without_runs_is_read_and_not_written(self):
        with closing(sqlite3.connect(":memory:")) as connection:
            ledger = Ledger(connection)
            ledger.forget(["a"])
            assert (ledger.failed("f"), ledger.leases(), ledger.reasons(), "a" in ledger.done("f")) == (
                {},
                [],
                {},
                False,
            )
            assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)

    def test_a_transaction_is_all_or_nothing(self, ledger):
        number, stage = ledger.begin("f")

        def crash():
            with ledger.transaction():
                ledger.record(number, stage, ["a"], [])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            crash()
        assert "a" not in ledger.done("f")

    def test_leases_of_a_run_that_died_are_given_up(self, ledger):
        number, _ = ledger.begin("f")
        with ledger.transaction():
            ledger.claim(number, Batch(1, tuple(tasks_of(2)), attempts=1))
        (lease,) = ledger.leases()
        assert (lease.run, lease.keys, lease.attempts) == (number, ("k00000", "k00001"), 1)
        ledger.beat(number)
        assert ledger.leases()[0].beat_s >= lease.beat_s
        ledger.begin("f")
        assert ledger.leases() == []
        assert ledger.connection.execute("SELECT state FROM engine_runs ORDER BY id").fetchall() == [
            ("died",),
            ("running",),
        ]

    def test_words_that_are_no_utf8_are_kept_readable(self, ledger):
        fill(ledger, failures=[Failure("a", "exception", "no file caf\udce9.jpg")])
        assert ledger.failed("f")["a"].detail == r"no file caf\udce9.jpg"

    def test_a_million_keys_take_thirty_bytes_each(self, ledger, tmp_path):
        fill(ledger, done=[f"{n:064x}" for n in range(20_000)])
        ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert (tmp_path / "run" / "ledger.sqlite").stat().st_size < 20_000 * 40


class TestOwnership:
    def test_own_ledger_is_durable(self, ledger):
        assert ledger.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert ledger.connection.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_second_process_is_told_who_is_there(self, ledger, tmp_path):
        with (
            pytest.raises(LibraryBusyError, match=f"number {os.getpid()}"),
            Ledger.open(tmp_path / "run"),
        ):
            pass

    def test_second_process_may_wait_and_a_dead_one_does_not_count(self, tmp_path):
        code = "import sys,time,pathlib;from lightmeter.engines import Ledger\n"
        code += "with Ledger.open(pathlib.Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as other:
            assert other.stdout.readline() == b"in\n"
            with pytest.raises(LibraryBusyError, match=str(other.pid)), Ledger.open(tmp_path, wait_s=0.1):
                pass
            other.kill()
            with Ledger.open(tmp_path, wait_s=5):
                pass

    @pytest.mark.parametrize("isolation", [None, "", "IMMEDIATE"])
    def test_a_lent_connection_works_in_any_isolation_and_stays_open(self, isolation):
        with closing(sqlite3.connect(":memory:", isolation_level=isolation)) as connection:
            connection.row_factory = sqlite3.Row
            sink = TableSink(connection)
            report = run(Square(), tasks_of(5), sink, ledger=Ledger(connection), engine=Inline(), batch_size=2)
            assert (report.done, len(sink.squares()), connection.in_transaction) == (5, 5, False)

    def test_an_open_transaction_is_refused(self):
        with closing(sqlite3.connect(":memory:")) as connection:
            sink = TableSink(connection)
            connection.execute("INSERT INTO squares VALUES ('x', 1, NULL)")
            with pytest.raises(InvalidValueError, match="must have no open transaction"):
                run(Square(), tasks_of(5), sink, ledger=Ledger(connection), engine=Inline())
            assert connection.in_transaction

    def test_a_library_that_knows_itself_keeps_no_done_rows(self):
        with closing(sqlite3.connect(":memory:")) as connection:
            sink, ledger = TableSink(connection), Ledger(connection, remember=False)
            for _ in range(2):
                report = run(Square(), tasks_of(4, {1: "raises"}), sink, ledger=ledger, engine=Inline())
            assert (report.done, report.skipped, report.quarantined, len(sink.squares())) == (3, 0, 1, 6)
            assert len(ledger.done(Square().fingerprint)) == 0
