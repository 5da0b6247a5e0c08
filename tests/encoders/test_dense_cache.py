"""Dense features kept: found again by content, whole or not at all, within bounds, whoever is killed."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from lightmeter.encoders import dense_cache
from lightmeter.encoders.dense_cache import FeatureCache
from lightmeter.encoders.dense_pixels import Pixels


@dataclass(frozen=True)
class Counted(Pixels):
    """Pixels that count how often they are asked, and stop after some."""

    asked = []  # noqa: RUF012
    stop_after = None

    @property
    def spec(self):
        return "counted"

    def features(self, clips, at):
        if Counted.stop_after is not None and sum(Counted.asked) >= Counted.stop_after:
            raise KeyboardInterrupt
        Counted.asked.append(len(clips))
        return super().features(clips, at)


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(Counted, "asked", [])
    monkeypatch.setattr(Counted, "stop_after", None)
    return Counted(patch=4)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "dense")


def clips(count=5, seed=0, frames=3):
    return np.random.default_rng(seed).integers(0, 256, (count, frames, 8, 8, 3), np.uint8)


AT = np.array([0, 1, 2, 1, 0])


def test_the_second_time_nothing_is_encoded(cache, counted):
    first = cache.features(counted, clips(), AT)
    again = cache.features(counted, clips(), AT)
    assert sum(counted.asked) == 5
    np.testing.assert_array_equal(again["pixels"], Pixels(patch=4).features(clips(), AT)["pixels"])
    assert isinstance(first["pixels"], np.memmap)
    assert not again["pixels"].flags.writeable


def test_the_same_frames_are_found_wherever_they_lie(cache, counted):
    cache.features(counted, clips(), AT)
    alone = clips()[np.arange(5), AT][:, None]  # pictures instead of clips
    cache.features(counted, alone, np.zeros(5, np.int64))
    assert sum(counted.asked) == 5
    cache.features(Counted(patch=4, frames=3, clip="real"), clips(), AT)  # motion looks at more
    assert sum(counted.asked) == 10


@pytest.mark.parametrize(
    "change", [{"clips": clips(seed=1)}, {"at": np.roll(AT, 1)}, {"patch": 2}, {"augmentation": "flip,copy=1"}]
)
def test_anything_else_is_another_request(cache, counted, change):
    cache.features(counted, clips(), AT)
    other = Counted(patch=change.get("patch", 4))
    cache.features(other, change.get("clips", clips()), change.get("at", AT),
                   augmentation=change.get("augmentation", ""))  # fmt: skip
    assert sum(counted.asked) == 10


def test_it_says_whether_frames_were_augmented(cache, counted):
    cache.features(counted, clips(), AT)
    cache.features(counted, clips(seed=1), AT, augmentation="flip,copy=1")
    plain, flipped = (
        cache.about(counted, clips(), AT),
        cache.about(counted, clips(seed=1), AT, augmentation="flip,copy=1"),
    )
    assert (plain["augmented"], plain["augmentation"]) == (False, "")
    assert (flipped["augmented"], flipped["augmentation"]) == (True, "flip,copy=1")
    assert plain["fingerprint"] == counted.fingerprint
    assert cache.about(counted, clips(seed=2), AT) is None


def test_a_stopped_run_goes_on_where_it_stopped(cache, counted, monkeypatch):
    monkeypatch.setattr(dense_cache, "BLOCK", 2)
    monkeypatch.setattr(Counted, "stop_after", 4)
    with pytest.raises(KeyboardInterrupt):
        cache.features(counted, clips(), AT)
    assert counted.asked == [2, 2]
    monkeypatch.setattr(Counted, "stop_after", None)
    told = []
    made = cache.features(counted, clips(), AT, tell=told.append)
    assert counted.asked == [2, 2, 1]
    assert told == ["encoded 5 of 5 frames"]
    np.testing.assert_array_equal(made["pixels"], Pixels(patch=4).features(clips(), AT)["pixels"])


def test_a_damaged_file_is_made_again(cache, counted):
    made = cache.features(counted, clips(), AT)["pixels"]
    path = next(cache.folder.glob("*/pixels.npy"))
    want = np.array(made)
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.unlink()
    path.write_bytes(whole)
    np.testing.assert_array_equal(cache.features(counted, clips(), AT)["pixels"], want)
    assert sum(counted.asked) == 10


@pytest.mark.parametrize("damage", ["about", "short", "none"])
def test_half_a_request_is_no_request(cache, counted, damage):
    cache.features(counted, clips(), AT)
    about = next(cache.folder.glob("*/about.json"))
    if damage == "about":
        about.write_text("{")
    elif damage == "short":
        (about.parent / "pixels.npy").write_bytes(b"\x93NUMPY")
    else:
        (about.parent / "pixels.npy").unlink()
    cache.features(counted, clips(), AT)
    assert sum(counted.asked) == 10
    assert json.loads(next(cache.folder.glob("*/about.json")).read_text())["rows"] == 5


def test_what_was_used_longest_ago_makes_room(tmp_path, counted):
    one = FeatureCache(tmp_path / "dense")
    one.features(counted, clips(), AT)
    each = one.size_bytes
    cache = FeatureCache(tmp_path / "dense", most_bytes=int(2.5 * each))
    for seed in (1, 2):
        cache.features(counted, clips(seed=seed), AT)
        path = cache.folder / dense_cache._Request(counted, clips(seed=seed), AT, "", print).key / "about.json"
        os.utime(path, (seed, seed))
    cache.features(counted, clips(seed=3), AT)  # 0 was used now, 1 and 2 long ago
    assert cache.about(counted, clips(seed=1), AT) is None
    assert cache.about(counted, clips(seed=3), AT) is not None
    assert cache.size_bytes <= cache.most_bytes


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path, counted):
    cache = FeatureCache(tmp_path / "dense", most_bytes=100)
    made = cache.features(counted, clips(), AT)
    assert made["pixels"].shape == (5, 48, 2, 2)
    assert cache.size_bytes == 0


def test_a_folder_that_others_may_write_to_is_not_used(cache, counted, caplog):
    cache.folder.mkdir()
    cache.folder.chmod(0o777)
    cache.features(counted, clips(), AT)
    assert "may be written by others" in caplog.text
    assert list(cache.folder.iterdir()) == []


KILLED = """
import os, sys
import numpy as np
from lightmeter.encoders import dense_cache
from lightmeter.encoders.dense_cache import FeatureCache
from lightmeter.encoders.dense_pixels import Pixels
from pathlib import Path
dense_cache.BLOCK = 2
clips = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8, 3), np.uint8)
def tell(text):
    if text.startswith("encoded 4"):
        os.kill(os.getpid(), 9)
FeatureCache(Path(sys.argv[1])).features(Pixels(patch=4), clips, np.array([0, 1, 2, 1, 0]), tell=tell)
"""


def test_a_killed_run_loses_a_block_at_most(cache, monkeypatch):
    ended = subprocess.run([sys.executable, "-c", KILLED, str(cache.folder)], check=False)
    assert ended.returncode == -9
    monkeypatch.setattr(dense_cache, "BLOCK", 2)
    told = []
    made = cache.features(Pixels(patch=4), clips(), AT, tell=told.append)
    assert told == ["encoded 5 of 5 frames"]
    np.testing.assert_array_equal(made["pixels"], Pixels(patch=4).features(clips(), AT)["pixels"])
    assert not list(cache.folder.glob("*.part"))
