"""The roofline of this machine: how fast memory and arithmetic are here, measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightmeter
from lightmeter.errors import InvalidValueError, LightmeterError, UnknownNameError, nearest
from lightmeter.meter.machine import last_cache_bytes, memory_bytes, usable_cores

_LEAST_ARRAY_BYTES = 64 << 20
_MOST_ARRAY_BYTES = 1 << 30


@dataclass(frozen=True)
class Roof:
    """Rates with so many threads. read, triad: GB/s (10^9 bytes) · gemm: 10^9 operations a second, by precision."""

    threads: int
    read_gb_s: float
    triad_gb_s: float
    gemm_gflop_s: Mapping[str, float]

    def least_s(self, *, macs: float, moved_bytes: float = 0.0, precision: str = "fp32") -> float:
        """The least time a work of so many MACs and bytes can take: the slower of arithmetic and memory (reading).

        Source: Williams, Waterman, Patterson, "Roofline", CACM 2009.

        >>> Roof(1, 10.0, 8.0, {"fp32": 100.0}).least_s(macs=1e9, moved_bytes=1e8)
        0.02
        """
        if precision not in self.gemm_gflop_s:
            raise UnknownNameError(f"no rate for precision {precision!r}{nearest(precision, self.gemm_gflop_s)}")
        return max(2 * macs / (self.gemm_gflop_s[precision] * 1e9), moved_bytes / (self.read_gb_s * 1e9))


@dataclass(frozen=True)
class Roofline:
    """Roofs with one thread and with all usable cores; `absent` says why a precision has no rate."""

    single: Roof
    all: Roof
    absent: Mapping[str, str]
    array_bytes: int
    gemm_size: int

    def as_json(self) -> dict[str, Any]:
        """All of it, for records."""
        return asdict(self)

    def rows(self) -> list[dict[str, Any]]:
        """One row a rate, for tables: what, unit, with one thread, with all."""
        one, many = f"{self.single.threads} thread", f"{self.all.threads} threads"
        rows: list[dict[str, Any]] = [
            {"what": "memory, read", "unit": "GB/s", one: self.single.read_gb_s, many: self.all.read_gb_s},
            {"what": "memory, triad", "unit": "GB/s", one: self.single.triad_gb_s, many: self.all.triad_gb_s},
        ]
        for precision, rate in self.single.gemm_gflop_s.items():
            unit = "GOP/s" if precision == "int8" else "GFLOP/s"
            what = f"matrix product, {precision}"
            rows.append({"what": what, "unit": unit, one: rate, many: self.all.gemm_gflop_s[precision]})
        return rows


def roofline(*, budget_s: float = 1.5, gemm_size: int = 512) -> Roofline:
    """Measure this machine, now; nothing is estimated, looked up or cached.

    single: one thread. all: as many threads as there are usable cores, each with work of its own.
    read: dot products over one array of four times the last cache (64 MB to 1 GB, at most an eighth of memory).
    triad: a = b + 3 c over the same array in three parts, bytes as STREAM counts them (no write-allocate).
    gemm: square products of `gemm_size`; fp32 and fp64 in numpy's BLAS, int8 (u8 x s8), fp16 and bf16 in onnxruntime as
    it runs them: where it has no kernel of its own for a type, its casts to fp32 are part of the figure.
    Each rate is the best of several rounds, as STREAM does it: what the machine can do, not what it does when busy.

    Cost: `budget_s` and a second to start; runs in one child process, with BLAS held to one thread a worker.
    """
    if not 0 < budget_s <= 600 or not 16 <= gemm_size <= 8192:
        raise InvalidValueError(
            f"budget_s must be in 0 to 600 and gemm_size in 16 to 8192, got {budget_s} and {gemm_size}"
        )
    cores = usable_cores()
    array_bytes = min(
        max(4 * (last_cache_bytes() or 0), _LEAST_ARRAY_BYTES), _MOST_ARRAY_BYTES, (memory_bytes() or 1 << 30) // 8
    )
    settings = {"threads": [1, cores], "array_bytes": array_bytes, "gemm_size": gemm_size, "budget_s": budget_s}
    found = _in_child(settings, timeout_s=60 + 10 * budget_s)
    single, many = (_roof(threads, found["rates"], at) for at, threads in enumerate((1, cores)))
    return Roofline(single, many, found["absent"], array_bytes, gemm_size)


def _roof(threads: int, rates: Mapping[str, list[float]], at: int) -> Roof:
    gemms = {name: rate[at] for name, rate in rates.items() if name not in ("read", "triad")}
    return Roof(threads, rates["read"][at], rates["triad"][at], gemms)


def _in_child(settings: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
    """Run `kernels.main` in a fresh interpreter: only there can BLAS still be told to use one thread."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
    home = str(Path(lightmeter.__file__).parent.parent)
    search = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-c", "from lightmeter.meter.kernels import main; main()", json.dumps(settings)]
    environment = {**os.environ, **one, "PYTHONPATH": search}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)
    except subprocess.TimeoutExpired as error:
        raise LightmeterError(
            f"the roofline took over {timeout_s:.0f} s: try again when the machine is free"
        ) from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise LightmeterError(f"the roofline could not be measured: {last}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
