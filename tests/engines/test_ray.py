"""Ray: the same ledger, the same results, the same way to resume. The cluster is started here, on loopback."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from engine_toys import Square, TableSink, Unopenable, tasks_of

from lightmeter.engines import Inline, Ledger, Limits, Local, run
from lightmeter.engines.ray import Ray
from lightmeter.errors import InvalidValueError, MissingAssetError, MissingExtraError, WorkerError
from lightmeter.parts import build

RUNNER = Path(__file__).with_name("engine_runner.py")


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "run") as ledger:
        yield ledger


def test_ray_is_rebuilt_by_its_spec():
    assert build(Ray(workers=3, gpus=0.5, address="auto").spec) == Ray(workers=3, gpus=0.5, address="auto")


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"threads": 0}, {"gpus": -1.0}])
def test_ray_counts_from_one(wrong):
    with pytest.raises(InvalidValueError, match="must be at least 1|must be 0 or more"):
        Ray(**wrong)


def test_without_ray_one_sentence_names_the_extra(ledger, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        MissingExtraError, match=r"^ray is needed here and not installed: pip install 'lightmeter\[ray\]'$"
    ):
        run(Square(), tasks_of(3), TableSink(ledger.connection), ledger=ledger, engine=Ray(workers=1))
    assert ledger.leases() == []


@pytest.fixture(scope="module")
def cluster():
    """Two workers on loopback for all tests below; each run joins it and leaves it."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    ray.init(
        num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False, configure_logging=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )  # fmt: skip
    yield ray
    ray.shutdown()


def outcome(folder, engine, tasks, *, stage=None, limits=None, batch_size=4):
    """Everything that a run keeps, and its report."""
    with Ledger.open(folder) as ledger:
        sink = TableSink(ledger.connection)
        report = run(
            stage or Square(), tasks, sink, ledger=ledger, engine=engine, batch_size=batch_size,
            limits=limits or Limits(silent_s=3.0),
        )  # fmt: skip
        assert ledger.leases() == []
        return sink.squares(), sink.refusals(), report


@pytest.mark.slow
class TestOnTwoWorkers:
    def test_every_poison_ends_as_under_local(self, cluster, tmp_path):
        """Exceptions, crashes, hangs, hoarders, forgers: the same rows, the same reasons, the same words."""
        poisons = {
            1: "raises", 4: "kills_itself", 8: "exits", 9: "returns_two", 11: "segfaults", 14: "hangs", 15: "rejects",
            17: "refused", 18: "eats_memory", 19: "chatters", 20: "exits_now", 22: "arrays",
        }  # fmt: skip
        limits = Limits(silent_s=1.0, memory_bytes=1 << 28)
        there = outcome(tmp_path / "ray", Ray(workers=2), tasks_of(30, poisons), limits=limits)
        here = outcome(tmp_path / "local", Local(workers=2), tasks_of(30, poisons), limits=limits)
        assert there[0] == here[0]
        assert list(there[1]) == list(here[1])
        for key, (reason, detail, attempts) in there[1].items():
            assert (reason, attempts) == here[1][key][::2], key
            if reason != "memory":  # seen by the kernel's wall or by the watch, whichever is first
                assert _plain(detail) == _plain(here[1][key][1]), key
        assert there[2].restarts > 0

    def test_one_engine_resumes_the_work_of_another(self, cluster, tmp_path):
        assert outcome(tmp_path, Inline(), tasks_of(10))[2].done == 10
        assert outcome(tmp_path, Ray(workers=2), tasks_of(25))[2].skipped == 10
        squares, _, report = outcome(tmp_path, Local(workers=1), tasks_of(30))
        assert (report.done, report.skipped) == (5, 25)
        assert squares == [(f"k{n:05d}", n * n, b"%d" % n) for n in range(30)]

    @pytest.mark.parametrize("whom", ["worker", "actor"])
    def test_a_kill_in_mid_run_changes_nothing(self, cluster, tmp_path, whom):
        diary = tmp_path / "diary"
        diary.touch()
        stage, killed = Square(sleep_s=0.02, diary=diary), []

        def strike(event):
            if event.kind == "batch" and event.counts.done >= 12 * (len(killed) + 1) and len(killed) < 3:
                worker = int(diary.read_text().splitlines()[-1].split()[0])
                victim = worker if whom == "worker" else _parent(worker)
                killed.append(victim)
                os.kill(victim, signal.SIGKILL)

        with Ledger.open(tmp_path / "run") as ledger:
            sink = TableSink(ledger.connection)
            report = run(
                stage, tasks_of(80), sink, ledger=ledger, engine=Ray(workers=2), batch_size=4, events=strike,
                limits=Limits(silent_s=5.0),
            )  # fmt: skip
            assert sink.squares() == [(f"k{n:05d}", n * n, b"%d" % n) for n in range(80)]
            assert sink.refusals() == {}
        assert len(killed) == 3
        assert report.restarts >= 2  # a victim may have been struck between two batches
        tries = Counter(line.split()[1] for line in diary.read_text().splitlines())
        assert sum(tries.values()) > 80, "something was in flight, and was tried again"

    def test_an_error_of_open_is_raised_here(self, cluster, ledger):
        sink = TableSink(ledger.connection)
        with pytest.raises(MissingAssetError, match="lightmeter assets add minilm"):
            run(Unopenable("missing"), tasks_of(3), sink, ledger=ledger, engine=Ray(workers=1))
        with pytest.raises(WorkerError, match="3 in a row that died while starting: ended with code 5"):
            run(Unopenable("dies"), tasks_of(3), sink, ledger=ledger, engine=Ray(workers=1))

    def test_a_cluster_without_room_is_named(self, cluster, ledger):
        limits = Limits(open_s=0.5, total_s=0.5, silent_s=0.5)
        with pytest.raises(
            WorkerError, match="an actor must answer, got nothing for 2 s: the cluster has no 1 CPUs and 4"
        ):
            run(
                Square(), tasks_of(3), TableSink(ledger.connection), ledger=ledger, limits=limits,
                engine=Ray(workers=1, gpus=4),
            )  # fmt: skip

    def test_stops_and_goes_on(self, cluster, tmp_path):
        with Ledger.open(tmp_path / "run") as ledger:
            sink, seen = TableSink(ledger.connection), []
            report = run(
                Square(), tasks_of(60), sink, ledger=ledger, engine=Ray(workers=2), batch_size=4,
                events=seen.append, stop=lambda: any(event.counts.done >= 8 for event in seen),
            )  # fmt: skip
            assert report.stopped
            assert 8 <= report.done < 60
        assert outcome(tmp_path / "run", Ray(workers=2), tasks_of(60))[2].done == 60 - report.done


RUN = """
import sys
from pathlib import Path
from engine_toys import Square, TableSink, tasks_of
from lightmeter.engines import Ledger, run
from lightmeter.engines.ray import Ray

with Ledger.open(Path(sys.argv[1]), wait_s=10) as ledger:
    stage, sink = Square(sleep_s=0.02, diary=Path(sys.argv[2])), TableSink(ledger.connection)
    print(run(stage, tasks_of(120), sink, ledger=ledger, engine=Ray(workers=2), batch_size=4).done)
"""


@pytest.mark.slow
def test_its_own_cluster_ends_with_the_run_even_by_kill_9(tmp_path):
    """No cluster is named: one is started on loopback; killed with its run, it leaves nobody, and the work goes on."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    diary = tmp_path / "diary"
    diary.touch()
    path = os.pathsep.join([str(Path(__file__).parent), *(entry for entry in sys.path if entry)])
    command = [sys.executable, "-c", RUN, str(tmp_path / "run"), str(diary)]
    env = {**os.environ, "PYTHONPATH": path}
    first = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: diary.read_text().count("\n") >= 24, 120)
    workers = {int(line.split()[0]) for line in diary.read_text().splitlines()}
    family = workers | {_parent(pid) for pid in workers}
    first.kill()
    first.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), 60)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=240)
    assert 0 < int(done.stdout) < 120
    with Ledger.open(tmp_path / "run") as ledger:
        assert TableSink(ledger.connection).squares() == [(f"k{n:05d}", n * n, b"%d" % n) for n in range(120)]


def wait_until(true, longest_s):
    deadline = time.monotonic() + longest_s
    while not true():
        assert time.monotonic() < deadline, f"not within {longest_s} s"
        time.sleep(0.05)


def _plain(detail):
    """Without what differs from process to process: addresses and sizes."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", detail)[:200]


def _parent(pid):
    return int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
