"""Simulated folders: stopped runs go on with the same bits, grow, are shared, and never mix two recipes."""

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, UnknownNameError
from lightmeter.media import simulate as module
from lightmeter.media.clip_set import open_clips
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.media.simulate import Wanted, label_shares, simulate

TINY = {"scenes": "shapes", "frames": 2, "size": 16}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "PART_CLIPS", 3)


def test_a_folder_is_the_row_of_its_seed(tmp_path):
    assert simulate(tmp_path, Wanted(clips=8, seed=5, **TINY)) == 0
    made = open_clips(tmp_path, check=True)
    assert made.fingerprint == moving_shapes(8, frames=2, size=16, seed=5).fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part-00000", "part-00001", "part-00002"]


def test_a_stopped_run_goes_on(tmp_path):
    heard = []

    def stop(count, kept):
        heard.append((count, kept))
        if len(heard) == 2:
            raise KeyboardInterrupt

    wanted = Wanted(clips=8, **TINY)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, wanted, tell=stop)
    told = []
    open_clips(tmp_path, tell=told.append)
    assert "lacks 2 of 3 parts (1, 2)" in told[0]
    before = (tmp_path / "part-00000" / "part.json").stat().st_mtime_ns
    heard = [None] * 5
    assert simulate(tmp_path, wanted, tell=stop) == 0
    assert heard[5:] == [(3, True), (3, False), (2, False)]
    assert (tmp_path / "part-00000" / "part.json").stat().st_mtime_ns == before
    assert open_clips(tmp_path, tell=told.append).fingerprint == moving_shapes(8, frames=2, size=16).fingerprint
    assert len(told) == 1


def test_a_folder_grows_but_does_not_shrink(tmp_path):
    simulate(tmp_path, Wanted(clips=4, **TINY))
    simulate(tmp_path, Wanted(clips=7, **TINY))
    assert open_clips(tmp_path).fingerprint == moving_shapes(7, frames=2, size=16).fingerprint
    with pytest.raises(InvalidValueError, match="more clips than 3"):
        simulate(tmp_path, Wanted(clips=3, **TINY))
    with pytest.raises(InvalidValueError, match="another count"):
        simulate(tmp_path, Wanted(clips=2, **TINY))


def test_runs_share_the_work(tmp_path):
    wanted = Wanted(clips=8, **TINY)
    assert simulate(tmp_path, wanted, share=(2, 2)) == 2
    assert simulate(tmp_path, wanted, share=(1, 2)) == 0
    assert open_clips(tmp_path).fingerprint == moving_shapes(8, frames=2, size=16).fingerprint
    for share in ((0, 2), (3, 2), (1, 4)):
        with pytest.raises(InvalidValueError, match="share"):
            simulate(tmp_path, wanted, share=share)


@pytest.mark.parametrize("other", [{"seed": 1}, {"size": 32}, {"frames": 3}, {"clips_a_scene": 1}])
def test_two_recipes_never_mix(tmp_path, other):
    simulate(tmp_path, Wanted(clips=2, **TINY))
    with pytest.raises(InvalidValueError, match=f"another {next(iter(other))}"):
        simulate(tmp_path, Wanted(clips=2, **{**TINY, **other}))


def test_wishes_are_checked():
    with pytest.raises(UnknownNameError, match="did you mean 'sawyer'"):
        Wanted(scenes="sawyr")
    with pytest.raises(InvalidValueError, match="clips"):
        Wanted(clips=0)


def test_shares_of_labels():
    shares = label_shares(np.array([[0, 1, 1, 2], [7, 255, 0, 0]], np.uint8))
    assert shares == {"robot": 0.25, "things": 0.25, "not_judged": 0.125}
