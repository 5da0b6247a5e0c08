"""The machine, from made-up /proc and control groups, and from the real one; the roofline, briefly."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, LightmeterError, UnknownNameError
from lightmeter.meter import kernels
from lightmeter.meter.machine import cpu_quota, isa, last_cache_bytes, machine, memory_bytes, usable_cores
from lightmeter.meter.roofline import Roof, _in_child, roofline


def files(root, **texts):
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("·", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class TestMachine:
    def test_of_this_one(self):
        here = machine()
        assert json.loads(json.dumps(here)) == here
        assert 1 <= here["cores"] <= here["cores_online"]
        assert here["memory_bytes"] > 1 << 28
        assert here["cpu"]

    def test_quota_of_a_unified_group_and_of_the_groups_above(self, tmp_path):
        files(tmp_path, proc__self__cgroup="0::/a/b\n", sys__fs__cgroup__a__b__cpu·max="max 100000\n")
        assert cpu_quota(tmp_path) is None
        files(tmp_path, sys__fs__cgroup__a__cpu·max="150000 100000\n")
        assert cpu_quota(tmp_path) == 1.5
        assert usable_cores(tmp_path) == min(2, len(os.sched_getaffinity(0)))

    def test_quota_and_memory_of_groups_of_the_old_kind(self, tmp_path):
        files(
            tmp_path,
            proc__self__cgroup="4:memory:/c\n2:cpu,cpuacct:/c\n0::/\n",
            **{"sys__fs__cgroup__cpu,cpuacct__c__cpu·cfs_quota_us": "50000\n"},
            **{"sys__fs__cgroup__cpu,cpuacct__c__cpu·cfs_period_us": "100000\n"},
            sys__fs__cgroup__memory__c__memory·limit_in_bytes="1000000\n",
            proc__meminfo="MemTotal:  2000 kB\nMemFree: 1 kB\n",
        )
        assert cpu_quota(tmp_path) == 0.5
        assert usable_cores(tmp_path) == 1
        assert memory_bytes(tmp_path) == 1_000_000

    def test_no_group_at_all(self, tmp_path):
        files(tmp_path, proc__meminfo="MemTotal:  2000 kB\n")
        assert cpu_quota(tmp_path) is None
        assert memory_bytes(tmp_path) == 2_048_000

    def test_instruction_sets_in_a_fixed_order(self):
        assert isa({"flags": "fpu avx512f avx2 avx"}) == ["avx", "avx2", "avx512f"]
        assert isa({"Features": "fp sve asimd"}) == ["asimd", "sve"]
        assert isa({}) == []

    def test_largest_cache(self, tmp_path):
        base = "sys__devices__system__cpu__cpu0__cache__"
        files(tmp_path, **{f"{base}index0__size": "32K\n", f"{base}index3__size": "32M\n"})
        assert last_cache_bytes(tmp_path) == 32 << 20
        assert last_cache_bytes(tmp_path / "none") is None


class TestRoofline:
    def test_measures_this_machine(self):
        found = roofline(budget_s=0.2, gemm_size=128)
        assert found.single.threads == 1
        assert found.single.read_gb_s > 0.5
        assert found.single.triad_gb_s > 0.2
        assert {"fp32", "fp64"} <= set(found.single.gemm_gflop_s)
        assert set(found.absent) | set(found.single.gemm_gflop_s) == {"fp32", "fp64", "int8", "fp16", "bf16"}
        assert all(rate > 0.1 for rate in found.all.gemm_gflop_s.values())
        assert len(found.rows()) == 2 + len(found.single.gemm_gflop_s)
        assert json.loads(json.dumps(found.as_json()))["array_bytes"] == found.array_bytes

    def test_rates_are_units_over_time(self):
        now = iter([0.0, 10.0, 0.0, 0.0, 4.0, 4.0, 6.0, 9.0])  # a call of 10 s; rounds of 4 s and 2 s
        kernels_time = type("Clock", (), {"perf_counter": staticmethod(lambda: next(now))})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, "time", kernels_time)
            assert kernels.best_rate([lambda: None, lambda: None], 6.0, 1.0) == 6.0  # two threads, 6 units each, in 2 s

    def test_triad_and_reading_cover_all_bytes_once(self):
        buffer = np.arange(60_000, dtype=float)
        works, amount = kernels.reading(buffer, 2)
        assert amount * 2 == buffer.nbytes
        assert sum(work() for work in works) == pytest.approx(float(buffer @ buffer))
        b, c = buffer[20_000:40_000].copy(), buffer[40_000:].copy()
        (work,), amount = kernels.triad(buffer, 1)
        work()
        assert amount == buffer.nbytes
        np.testing.assert_array_equal(buffer[:20_000], b + 3 * c)

    @pytest.mark.parametrize("precision", ["int8", "fp16"])
    def test_graphs_multiply(self, precision):
        (made,) = kernels.onnx_gemm(precision, 16)()
        a = np.random.default_rng(0).integers(0, 8, (16, 16))
        b = np.random.default_rng(1).integers(0, 8, (16, 16))
        np.testing.assert_array_equal(made, a @ b)

    def test_least_time_by_hand(self):
        roof = Roof(1, 10.0, 8.0, {"fp32": 100.0})
        assert roof.least_s(macs=1e9, moved_bytes=1e9) == 0.1
        with pytest.raises(UnknownNameError, match="did you mean 'fp32'"):
            roof.least_s(macs=1, precision="fp31")

    def test_says_what_went_wrong(self):
        with pytest.raises(InvalidValueError, match="budget_s"):
            roofline(budget_s=0)
        with pytest.raises(LightmeterError, match=r"could not be measured: TypeError"):
            _in_child({"nonsense": 1}, timeout_s=60)
