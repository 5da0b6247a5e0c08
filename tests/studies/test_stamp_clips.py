"""Stamps as clips: rendered alike each time, no frame twice, variants in one fold."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from lightmeter.errors import MissingAssetError
from lightmeter.media.write import write_image
from lightmeter.studies.stamp_clips import SECONDS, clip_of, folds_of, seconds_of, stamp_clips, stamps_listed
from lightmeter.types import Image, Sound


@pytest.fixture
def folder(tmp_path):
    """Nine dogs, two of them variants, and a cat whose folder is too small to be a label; one has a sound."""
    rng = np.random.default_rng(0)
    for at in range(9):
        place = tmp_path / "animals" / "dogs" / f"dog{'abcdefghh'[at]}{at}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_image(Image(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)), place)
        place.with_suffix(".txt").write_text(f"Dog number {at}.\nfr.utf8=Un chien.\n", encoding="utf-8")
    cat = tmp_path / "animals" / "cat.png"
    alpha = np.zeros((16, 16, 4), np.uint8)
    alpha[4:12, 4:12] = (200, 0, 0, 255)
    Pillow.fromarray(alpha).save(cat)
    cat.with_suffix(".txt").write_text("A cat.\n", encoding="utf-8")
    (tmp_path / "animals" / "dogs" / "doga0_mirror.png").write_bytes(cat.read_bytes())
    (tmp_path / "animals" / "dogs" / "doga0_mirror.txt").write_text("Turned.\n", encoding="utf-8")
    (tmp_path / "animals" / "dogs" / "nameless.png").write_bytes(cat.read_bytes())
    return tmp_path


def test_stamps_are_listed_with_titles_labels_and_groups(folder):
    stamps = stamps_listed(folder)
    assert [stamp.key for stamp in stamps][:2] == ["animals/cat", "animals/dogs/doga0"]
    assert len(stamps) == 10  # no twin, none without a caption
    assert stamps[1].title == "Dog number 0."
    assert stamps[1].labels == ("animals", "animals/dogs")
    groups = {stamp.key: stamp.group for stamp in stamps}
    assert groups["animals/dogs/dogh7"] == groups["animals/dogs/dogh8"]
    assert len(set(groups.values())) == 9


def test_a_clip_follows_from_key_and_seed(folder):
    picture = folder / "animals" / "cat.png"
    clip = clip_of(picture, "cat")
    assert clip.frames.shape == (SECONDS, 256, 256, 3)
    assert np.array_equal(clip.frames, clip_of(picture, "cat").frames)
    assert not np.array_equal(clip.frames, clip_of(picture, "dog").frames)
    assert not np.array_equal(clip.frames, clip_of(picture, "cat", seed=1).frames)
    assert len({frame.tobytes() for frame in clip.frames}) == SECONDS
    red = (clip.frames[..., 0] > 150) & (clip.frames[..., 1] < 60)
    assert (red.reshape(SECONDS, -1).sum(axis=1) > 1000).all()  # the stamp is in every frame, its ground is not


def test_examples_hold_frames_labels_and_what_is_absent(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path / "cache"))
    made = stamp_clips(stamps_listed(folder), visual="color-histogram/bins=2")
    assert made.examples.label_names == ("animals", "animals/dogs")
    assert len(made.examples) == len(made.titles) == len(made.groups) == 10
    batch = made.examples.batch(np.arange(10))
    assert batch.values["visual"].shape == (10, SECONDS, 8)
    assert batch.labels.dense().sum(axis=0).tolist() == [10, 9]
    assert not batch.present[:, 1].any()  # none has a sound
    again = stamp_clips(stamps_listed(folder), visual="color-histogram/bins=2")
    assert again.examples.fingerprint == made.examples.fingerprint


def test_a_sound_is_cut_into_the_seconds_of_its_clip():
    short, long = (Sound(np.full(length, 0.5, np.float32), 100) for length in (150, 5_000))
    assert [float(each.samples.sum()) for each in seconds_of(short)] == [50, 25, 0, 0, 0, 0]
    assert [len(each.samples) for each in seconds_of(long)] == [100] * SECONDS


def test_folds_keep_groups_whole_and_are_even():
    groups = np.repeat(np.arange(50), [3] * 20 + [1] * 30)
    folds = folds_of(groups, 5)
    assert np.bincount(folds).tolist() == [18] * 5
    assert all(len(set(folds[groups == each])) == 1 for each in range(50))
    assert not np.array_equal(folds, folds_of(groups, 5, seed=1))


def test_the_real_stamps():
    try:
        stamps = stamps_listed()
    except MissingAssetError as error:
        pytest.skip(str(error))
    assert len(stamps) == 785
    assert sum(stamp.sound is not None for stamp in stamps) == 131
