"""Cost: what a piece of work took, and `measure()`, which finds out."""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from lightmeter.errors import InvalidValueError
from lightmeter.meter.energy import Energy
from lightmeter.meter.gpu import watch_gpu
from lightmeter.meter.processes import Proc
from lightmeter.meter.units import bytes_text, count_text, seconds_text

_PEAKS = ("peak_bytes", "gpu_peak_bytes")
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What one piece of work took. None means: not known here; it is never guessed.

    wall_s: seconds by the clock · cpu_s: seconds of all cores together · peak_bytes: most memory held at once
    read_bytes: bytes got from files and pipes · macs: multiply-accumulates, where a part states them
    size_bytes: bytes of the files that must be kept to do it again · gpu_s, gpu_peak_bytes: the same on the GPU
    joules: drawn by the whole machine's processors meanwhile
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    read_bytes: int | None = None
    macs: int | None = None
    size_bytes: int | None = None
    gpu_s: float | None = None
    gpu_peak_bytes: int | None = None
    joules: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and not value >= 0:
                raise InvalidValueError(f"{field.name} must be 0 or more, got {value}")

    def plus(self, other: Cost) -> Cost:
        """This work and then that: peaks are the larger, all else adds; unknown plus anything is unknown.

        `size_bytes` adds too: merge the steps of a pipeline with it, not repeated runs of one model.
        """
        return Cost(**{name: _joined(name, getattr(self, name), getattr(other, name)) for name in COST_FIELDS})

    def shared_by(self, count: int) -> Cost:
        """The cost of one of `count` equal pieces: peaks and sizes stay, all else divides."""
        if count < 1:
            raise InvalidValueError(f"count must be 1 or more, got {count}")
        values = {name: getattr(self, name) for name in COST_FIELDS}
        for name in ("wall_s", "cpu_s", "gpu_s", "joules"):
            values[name] = values[name] if values[name] is None else values[name] / count
        for name in ("read_bytes", "macs"):
            values[name] = values[name] if values[name] is None else round(values[name] / count)
        return Cost(**values)

    def as_json(self) -> dict[str, float | int]:
        """What is known, by name; unknown fields are absent."""
        return {name: getattr(self, name) for name in COST_FIELDS if getattr(self, name) is not None}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Cost:
        """The inverse of `as_json`; fields of a newer version are refused."""
        unknown = sorted(set(values) - set(COST_FIELDS))
        missing = [name for name in COST_FIELDS[:3] if name not in values]
        if unknown or missing:
            raise InvalidValueError(
                f"a cost must have {', '.join(COST_FIELDS)}, got unknown {unknown}, missing {missing}"
            )
        return cls(**values)

    def text(self) -> str:
        """One line for people.

        >>> Cost(0.84, 0.79, 312_000_000).text()
        '0.84 s · 0.79 CPU-s · 312 MB'
        """
        parts = [seconds_text(self.wall_s), cpu_text(self.cpu_s), bytes_text(self.peak_bytes)]
        if self.gpu_s is not None:
            parts.append(f"{self.gpu_s:.2f} GPU-s")
        if self.gpu_peak_bytes is not None:
            parts.append(f"{bytes_text(self.gpu_peak_bytes)} GPU")
        if self.macs is not None:
            parts.append(f"{count_text(self.macs)}MAC" if self.macs >= 1000 else f"{self.macs} MAC")
        if self.joules is not None:
            parts.append(f"{self.joules:.3g} J")
        return " · ".join(parts)


COST_FIELDS = tuple(field.name for field in dataclasses.fields(Cost))
NOTHING = Cost(0.0, 0.0, 0, 0, 0, 0, 0.0, 0, 0.0)
"""Costs nothing and knows it: the neutral element of `Cost.plus`."""


def cpu_text(cpu_s: float) -> str:
    """CPU time for people, as `0.79 CPU-s`."""
    return (
        seconds_text(cpu_s).removesuffix("s").rstrip() + " CPU-s" if 0.1 <= cpu_s < 59 else f"{seconds_text(cpu_s)} CPU"
    )


def _joined(name: str, mine: Any, theirs: Any) -> Any:
    if mine is None or theirs is None:
        return None
    return max(mine, theirs) if name in _PEAKS else mine + theirs


class Meter:
    """A running measurement; `.cost` is there after its `with` block ended, also when it ended by an exception."""

    def __init__(self, *, tree: bool, samples_hz: float) -> None:
        self._tree, self._pause_s = tree, 1 / samples_hz
        self._proc, self._energy, self._done = Proc(), Energy(), threading.Event()
        self._peak_bytes, self._sampler_cpu_s = 0, 0.0
        self._cost: Cost | None = None

    @property
    def cost(self) -> Cost:
        """What the block took."""
        if self._cost is None:
            raise InvalidValueError(
                "cost must be read after the `with measure()` block, got a read inside it: move it out"
            )
        return self._cost

    def __enter__(self) -> Meter:
        if self._done.is_set() or hasattr(self, "_thread"):
            raise InvalidValueError("a meter measures one block: call measure() again for the next")
        self._gpu = watch_gpu()
        below = self._below()
        self._sample(below)
        self._maxrss = self._lifetime_peaks()
        self._thread = threading.Thread(target=self._keep_sampling, name="lightmeter-meter", daemon=True)
        self._thread.start()
        self._own_before = self._proc.own_bytes
        self._read_before = self._read_bytes(below)
        self._cpu_before = self._cpu_s(below)
        self._wall_before = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gpu_s, gpu_peak_bytes = self._gpu.stop() if self._gpu else (None, None)
        wall_s = time.perf_counter() - self._wall_before
        self._done.set()
        self._thread.join()
        below = self._below()
        cpu_s = self._cpu_s(below) - self._cpu_before
        own_bytes = self._proc.own_bytes - self._own_before
        read_after = self._read_bytes(below)
        known = self._read_before is not None and read_after is not None
        self._sample(below)
        self._cost = Cost(
            wall_s=wall_s,
            cpu_s=max(0.0, cpu_s - self._sampler_cpu_s),
            peak_bytes=max(self._peak_bytes, *self._risen_peaks()),
            read_bytes=max(0, (read_after or 0) - (self._read_before or 0) - own_bytes) if known else None,
            gpu_s=gpu_s,
            gpu_peak_bytes=gpu_peak_bytes,
            joules=self._energy.total(),
        )

    def _below(self) -> list[int]:
        return self._proc.descendants(os.getpid()) if self._tree else []

    def _cpu_s(self, below: Sequence[int]) -> float:
        """CPU of the tree so far. Children move from `living` to `reaped` with all they used: differences are right."""
        if not self._tree:
            return time.process_time()
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        living = sum(self._proc.cpu_s(pid) for pid in below)
        return time.process_time() + reaped.ru_utime + reaped.ru_stime + living

    def _read_bytes(self, below: Sequence[int]) -> int | None:
        """Bytes read by the tree so far; the kernel adds a reaped child's to its parent's, as with CPU time."""
        mine = self._proc.read_bytes(os.getpid())
        return None if mine is None else mine + sum(self._proc.read_bytes(pid) or 0 for pid in below)

    def _lifetime_peaks(self) -> list[int]:
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN) if self._tree else (resource.RUSAGE_SELF,)
        return [resource.getrusage(each).ru_maxrss * _RSS_UNIT_BYTES for each in who]

    def _risen_peaks(self) -> list[int]:
        """Lifetime peaks that rose inside the block: those happened between samples. Without /proc all we have."""
        after = self._lifetime_peaks()
        if not self._peak_bytes:
            return after
        return [now for now, before in zip(after, self._maxrss, strict=True) if now > before] or [0]

    def _sample(self, below: Sequence[int]) -> None:
        self._peak_bytes = max(self._peak_bytes, self._proc.tree_bytes(os.getpid(), below))
        self._energy.sample()

    def _keep_sampling(self) -> None:
        """Sample until told to stop, resting at least fifty times as long as a sample takes."""
        pause_s = self._pause_s
        while not self._done.wait(pause_s):
            start_s = time.thread_time()
            self._sample(self._below())
            pause_s = max(self._pause_s, 50 * (time.thread_time() - start_s))
        self._sampler_cpu_s = time.thread_time()


def measure(*, tree: bool = True, samples_hz: float = 20.0) -> Meter:
    """Measure a `with` block: `with measure() as meter: …`, then `meter.cost`.

    wall_s: monotonic clock. GPU work of torch is waited for on entry and exit.
    cpu_s: user + system time of all threads of this process, of reaped children (exact to a microsecond) and of living
    descendants (from /proc, in ticks of 10 ms). A descendant whose parent died before reaping it is lost.
    peak_bytes: most memory held at one moment, what was held before the block included. A process alone: its resident
    set; with descendants: the sum of proportional sets (shared pages count once). Sampled `samples_hz` times a second,
    less often when a sample takes long; a rise of the kernel's own peak (ru_maxrss of this process, or of one reaped
    child) is never missed.
    read_bytes: bytes got from read calls, by the tree (`rchar` of /proc/PID/io): page cache and pipes included, memory-
    mapped files not. None where /proc does not say.
    gpu_s, gpu_peak_bytes: see `gpu.GpuWatch`; None unless torch uses CUDA when the block begins
    (`torch.cuda.init()` before it makes sure).
    joules: see `energy.Energy`; None unless the counters are readable.  macs, size_bytes: parts state them, None here.
    tree=False leaves descendants out.

    The sampler's own CPU time and reads are taken off. Cost: below 1 ms of CPU a block
    (`docs/results/meter-overhead.json`) and, as the sampler rests, under 2 % of one core.
    """
    if not 0 < samples_hz <= 1000:
        raise InvalidValueError(f"samples_hz must be in 0 to 1000, got {samples_hz}")
    return Meter(tree=tree, samples_hz=samples_hz)
