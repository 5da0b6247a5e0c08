"""The GPU watch, on a stand-in for torch.cuda with one allocator counter: the arithmetic of nesting, not the driver."""

from __future__ import annotations

import sys
import types

import pytest

from lightmeter.meter.cost import measure
from lightmeter.meter.gpu import watch_gpu


class StandInCuda:
    """Clock and allocator that a test moves by hand."""

    def __init__(self) -> None:
        self.now_ms, self.held, self.peak, self.begun = 0.0, 0, 0, True

    def hold(self, size):
        self.held = size
        self.peak = max(self.peak, size)

    def is_available(self):
        return True

    def is_initialized(self):
        return self.begun

    def device_count(self):
        return 1

    def synchronize(self):
        pass

    def max_memory_allocated(self, _device):
        return self.peak

    def reset_peak_memory_stats(self, _device):
        self.peak = self.held

    def Event(self, enable_timing):
        assert enable_timing
        cuda = self

        class Event:
            def record(self):
                self.at_ms = cuda.now_ms

            def elapsed_time(self, end):
                return end.at_ms - self.at_ms

        return Event()


@pytest.fixture
def cuda(monkeypatch):
    torch = types.ModuleType("torch")
    torch.cuda = StandInCuda()
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch.cuda


def test_an_inner_watch_does_not_hide_the_outer_peak(cuda):
    with measure() as outer:
        cuda.hold(500)
        cuda.hold(100)
        cuda.now_ms += 1000
        with measure() as inner:
            cuda.hold(200)
            cuda.hold(50)
            cuda.now_ms += 500
    assert (inner.cost.gpu_s, inner.cost.gpu_peak_bytes) == (0.5, 200)
    assert (outer.cost.gpu_s, outer.cost.gpu_peak_bytes) == (1.5, 500)


def test_measuring_does_not_open_the_device(cuda):
    cuda.begun = False
    with measure() as meter:
        cuda.hold(5)
    assert (meter.cost.gpu_s, meter.cost.gpu_peak_bytes) == (None, None)


def test_no_watch_without_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert watch_gpu() is None
    assert "torch" not in sys.modules
