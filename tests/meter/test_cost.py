"""What `measure()` sees, held against work of known size; and how costs add."""

from __future__ import annotations

import mmap
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import COST_FIELDS, NOTHING, Cost, measure
from lightmeter.meter.energy import Energy
from lightmeter.meter.processes import Proc

MEGABYTE = 1_000_000


def burn(cpu_s: float) -> None:
    end_s = time.thread_time() + cpu_s
    while time.thread_time() < end_s:
        pass


def child(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)


class TestMeasure:
    def test_sees_cpu_and_wall(self):
        with measure() as meter:
            burn(0.1)
            time.sleep(0.1)
        assert 0.095 <= meter.cost.cpu_s <= 0.14
        assert meter.cost.wall_s >= 0.195

    def test_sleep_costs_no_cpu(self):
        with measure() as meter:
            time.sleep(0.2)
        assert meter.cost.cpu_s < 0.02

    def test_counts_all_threads(self):
        with measure() as meter:
            threads = [threading.Thread(target=burn, args=(0.05,)) for _ in range(3)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        assert 0.145 <= meter.cost.cpu_s <= 0.2

    def test_counts_a_child_that_was_reaped(self):
        with measure() as meter:
            child("import time\nwhile time.process_time() < 0.2: pass").communicate()
        assert 0.19 <= meter.cost.cpu_s <= 0.32

    def test_a_child_that_lived_before_is_charged_from_the_start_of_the_block_only(self):
        process = child("import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nwhile True: pass")
        assert process.stdout
        process.stdout.readline()
        with measure() as meter:
            process.kill()
            process.communicate()
        assert meter.cost.cpu_s < 0.15

    def test_counts_a_child_that_still_lives(self):
        process = child("import time\nwhile True: pass")
        try:
            with measure() as meter:
                time.sleep(0.4)
            with measure(tree=False) as alone:
                time.sleep(0.1)
        finally:
            process.kill()
            process.communicate()
        assert meter.cost.cpu_s > 0.03
        assert alone.cost.cpu_s < 0.05

    def test_sees_memory_that_was_given_back(self):
        with measure() as before:
            pass
        with measure() as meter:
            block = mmap.mmap(-1, 80 * MEGABYTE)  # new pages: malloc may hand out what it kept of earlier tests
            for _ in range(80):
                block.write(b"1" * MEGABYTE)
            time.sleep(0.12)
            block.close()
        assert 70 * MEGABYTE < meter.cost.peak_bytes - before.cost.peak_bytes < 100 * MEGABYTE

    def test_sees_memory_of_children(self):
        with measure() as meter:
            child(f"import time; x = b'1' * {100 * MEGABYTE}; time.sleep(0.2)").communicate()
        assert meter.cost.peak_bytes > 100 * MEGABYTE

    def test_a_spike_between_samples_is_not_missed(self):
        with measure(samples_hz=0.1) as before:
            pass
        with measure(samples_hz=0.1) as meter:
            bytearray(b"1") * (400 * MEGABYTE)
        assert meter.cost.peak_bytes - before.cost.peak_bytes > 200 * MEGABYTE

    def test_counts_bytes_read_and_not_its_own_reading(self, tmp_path):
        (tmp_path / "file").write_bytes(b"x" * 3 * MEGABYTE)
        with measure() as meter:
            (tmp_path / "file").read_bytes()
            time.sleep(0.15)
        if meter.cost.read_bytes is None:
            pytest.skip("/proc does not say how much was read here")
        assert 3 * MEGABYTE <= meter.cost.read_bytes < 3.01 * MEGABYTE

    def test_nothing_costs_next_to_nothing(self):
        with measure() as meter:
            pass
        assert meter.cost.wall_s < 0.5
        assert meter.cost.cpu_s < 0.01
        assert (meter.cost.read_bytes or 0) < 2000

    def test_knows_the_cost_of_what_failed(self):
        meter = measure()
        with pytest.raises(KeyError), meter:
            raise KeyError
        assert meter.cost.wall_s > 0

    def test_nests(self):
        with measure() as outer:
            burn(0.03)
            with measure() as inner:
                burn(0.03)
        assert outer.cost.cpu_s > inner.cost.cpu_s >= 0.025

    def test_is_not_read_early_nor_used_twice(self):
        meter = measure()
        with pytest.raises(InvalidValueError, match="after the `with measure"):
            _ = meter.cost
        with meter:
            pass
        with pytest.raises(InvalidValueError, match="one block"):
            meter.__enter__()
        with pytest.raises(InvalidValueError, match="samples_hz"):
            measure(samples_hz=0)

    def test_leaves_no_thread_behind(self):
        with measure():
            assert any(each.name == "lightmeter-meter" for each in threading.enumerate())
        assert not any(each.name == "lightmeter-meter" for each in threading.enumerate())


class TestProc:
    def test_without_proc_everything_is_unknown(self, tmp_path):
        proc = Proc(root=str(tmp_path))
        assert proc.descendants(1) == []
        assert proc.read_bytes(1) is None
        assert proc.cpu_s(1) == 0.0
        assert proc.tree_bytes(1, []) == proc.tree_bytes(1, [2]) == 0

    def test_reads_numbers_behind_a_hostile_command_name(self, tmp_path):
        (tmp_path / "7").mkdir()
        fields = " ".join(str(number) for number in range(4, 40))
        (tmp_path / "7" / "stat").write_text(f"7 (a) 9 (b) S {fields}")
        ticks = (14 + 15 + 16 + 17) / 100  # fields 14 to 17 of proc(5): utime, stime, cutime, cstime
        assert Proc(root=str(tmp_path)).cpu_s(7) == pytest.approx(ticks)


class TestEnergy:
    def domain(self, root, name, label, microjoules, runs_over):
        (root / name).mkdir()
        (root / name / "name").write_text(f"{label}\n")
        (root / name / "energy_uj").write_text(f"{microjoules}\n")
        (root / name / "max_energy_range_uj").write_text(f"{runs_over}\n")

    def test_adds_packages_and_counts_over_the_edge(self, tmp_path):
        self.domain(tmp_path, "intel-rapl:0", "package-0", 1_000_000, 10_000_000)
        self.domain(tmp_path, "intel-rapl:1", "package-1", 9_000_000, 10_000_000)
        self.domain(tmp_path, "intel-rapl:0:0", "core", 0, 10_000_000)
        self.domain(tmp_path, "intel-rapl:2", "psys", 0, 10_000_000)
        energy = Energy(tmp_path)
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("3000000")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500000")
        (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("7000000")
        (tmp_path / "intel-rapl:2" / "energy_uj").write_text("7000000")
        assert energy.total() == pytest.approx(2.0 + 1.5)

    def test_is_unknown_without_counters_or_when_one_goes_away(self, tmp_path):
        assert Energy(tmp_path / "none").total() is None
        self.domain(tmp_path, "intel-rapl:0", "package-0", 1, 10)
        energy = Energy(tmp_path)
        (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
        assert energy.total() is None


numbers = st.integers(0, 10**12)
costs = st.builds(
    Cost, numbers, numbers, numbers, *(st.none() | numbers for _ in range(len(COST_FIELDS) - 3))
)  # whole numbers, so that sums are exact


class TestCost:
    def test_text(self):
        assert Cost(0.84, 0.79, 312_000_000).text() == "0.84 s · 0.79 CPU-s · 312 MB"
        full = Cost(75, 0.002, 10, 1, 407_000_000, 5, 0.5, 2_000_000_000, 12.34)
        assert full.text() == "1 min 15 s · 2.00 ms CPU · 10 B · 0.50 GPU-s · 2.00 GB GPU · 407 MMAC · 12.3 J"

    def test_by_hand(self):
        both = Cost(1, 2, 300, 10, None, 7).plus(Cost(2, 3, 200, 5, 6, 1))
        assert both == Cost(3, 5, 300, 15, None, 8)

    @given(costs, costs, costs)
    def test_adding_is_associative_and_commutative(self, a, b, c):
        assert a.plus(b) == b.plus(a)
        assert a.plus(b).plus(c) == a.plus(b.plus(c))
        assert a.plus(NOTHING) == a

    @given(costs)
    def test_json_round_trip_leaves_out_what_is_unknown(self, cost):
        values = cost.as_json()
        assert None not in values.values()
        assert Cost.from_json(values) == cost

    def test_shares(self):
        assert Cost(4, 2, 100, 8, 12, 50).shared_by(4) == Cost(1, 0.5, 100, 2, 3, 50)
        with pytest.raises(InvalidValueError, match="count"):
            NOTHING.shared_by(0)

    @pytest.mark.parametrize("bad", [-1.0, float("nan")])
    def test_is_never_negative(self, bad):
        with pytest.raises(InvalidValueError, match="cpu_s must be 0 or more"):
            Cost(1.0, bad, 1)

    def test_refuses_foreign_json(self):
        with pytest.raises(InvalidValueError, match=r"unknown \['beauty'\], missing \['cpu_s'\]"):
            Cost.from_json({"wall_s": 1, "peak_bytes": 2, "beauty": 3})
