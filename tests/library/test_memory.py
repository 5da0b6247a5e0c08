"""Memory stays flat: 10,000 pictures and a two-hour video, through the real command line."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def memory(monkeypatch):
    """The benchmark's own part: figures of a run stand in docs/results/ingest.json."""
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LIGHTMETER_THREADS"):
        monkeypatch.setenv(name, "1")
    from ingesting import memory

    yield memory
    for name in [each for each in sys.modules if each.partition(".")[0] == "ingesting"]:
        del sys.modules[name]


@pytest.mark.slow
def test_ten_thousand_pictures(memory, tmp_path):
    seen = memory.index(memory.many_pictures(tmp_path / "many"), tmp_path / "library")
    assert (seen["read"], seen["failed"]) == (memory.PICTURES, 0)
    assert 100_000_000 < seen["peak_rss_bytes"] < memory.MOST_BYTES


@pytest.mark.slow
def test_a_video_of_two_hours(memory, tmp_path):
    from ingesting import material

    clip = material.clip("5 s, keyframe each 1 s", tmp_path)
    memory.long_video(clip, tmp_path / "long" / "video.mp4")
    seen = memory.index(tmp_path / "long", tmp_path / "library")
    assert (seen["read"], seen["failed"]) == (1, 0)
    assert 100_000_000 < seen["peak_rss_bytes"] < memory.MOST_BYTES


def test_the_watch_sees_the_whole_tree(memory, tmp_path):
    """A few pictures: so that the slow tests cannot pass by looking away."""
    seen = memory.index(memory.many_pictures(tmp_path / "many", 8), tmp_path / "library")
    assert (seen["read"], seen["failed"]) == (8, 0)
    assert seen["processes"] >= 2
    assert seen["samples"] >= 3
    assert 100_000_000 < seen["peak_bytes"] <= seen["peak_rss_bytes"] < memory.MOST_BYTES
