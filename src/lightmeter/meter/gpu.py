"""GPU time and memory, when torch already uses CUDA; torch is never imported, nor CUDA begun, for it."""

from __future__ import annotations

import sys
import threading
from typing import Any

_OPEN: list[GpuWatch] = []
_LOCK = threading.Lock()


class GpuWatch:
    """Seconds on the current stream and the peak of torch's allocator, between start and stop.

    seconds: between two events on the current device's current stream, its idle moments included: no more than the
    wall time, no less than the kernels. peak_bytes: `max_memory_allocated` summed over devices, what was held before
    included. Nested watches share the allocator's one peak counter: each reset is first folded into all open ones.
    """

    def __init__(self, torch: Any) -> None:
        self.torch, self.peak_bytes = torch, 0
        with _LOCK:
            _fold()
            _OPEN.append(self)
        torch.cuda.synchronize()
        self.begin, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.begin.record()

    def stop(self) -> tuple[float, int]:
        """(seconds, peak bytes); waits until the GPU is done."""
        self.end.record()
        self.torch.cuda.synchronize()
        with _LOCK:
            _fold()
            _OPEN.remove(self)
        return self.begin.elapsed_time(self.end) / 1000, self.peak_bytes


def watch_gpu() -> GpuWatch | None:
    """A running watch, or None when torch does not use CUDA yet: measuring must not be what opens the device."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)  # missing while torch is still being imported
    if torch is None or cuda is None or not (cuda.is_available() and cuda.is_initialized()):
        return None
    return GpuWatch(torch)


def _fold() -> None:
    """Give every open watch the peak since the last reset, then reset."""
    torch = sys.modules["torch"]
    devices = range(torch.cuda.device_count())
    peak = sum(torch.cuda.max_memory_allocated(device) for device in devices)
    for watch in _OPEN:
        watch.peak_bytes = max(watch.peak_bytes, peak)
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)
