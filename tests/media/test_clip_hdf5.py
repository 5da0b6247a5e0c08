"""Both HDF5 layouts as h5py writes them: rows when asked, fingerprints of the content, links refused."""

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.media import clip_hdf5
from lightmeter.media.clip_hdf5 import Hdf5Options, hdf5_splits, is_hdf5, open_hdf5
from lightmeter.media.clip_set import ClipSet
from lightmeter.media.limits import MediaLimits

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (6, 5, 4, 7, 3), np.uint8)
ACTIONS = RNG.normal(0, 1, (6, 5, 4)).astype(np.float32)


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=True if np.ndim(array) > 3 else None)
    return path


def videogpt(path, split="train", **more):
    flat = {f"{split}_data": FRAMES.reshape(-1, 4, 7, 3), f"{split}_idx": np.arange(6) * 5}
    return write(path, **flat, **{f"{split}_actions": ACTIONS.reshape(-1, 4).astype(np.float64)}, **more)


def paper(path):
    return write(path, frames=FRAMES.transpose(0, 4, 1, 2, 3), actions=ACTIONS)


@pytest.mark.parametrize("make", [videogpt, paper])
@pytest.mark.parametrize("check", [True, False])
def test_clips_come_back(tmp_path, make, check):
    path = make(tmp_path / "bair.hdf5")
    assert is_hdf5(path)
    found = open_hdf5(path, Hdf5Options(check=check))
    clips = found.value
    assert found.notes == ()
    assert clips.frames.shape == FRAMES.shape
    np.testing.assert_array_equal(np.asarray(clips.frames), FRAMES)
    np.testing.assert_array_equal(clips.frames[[4, 1, 4]], FRAMES[[4, 1, 4]])
    np.testing.assert_array_equal(clips.frames[[4, 1], [0, 3]], FRAMES[[4, 1], [0, 3]])
    np.testing.assert_array_equal(clips.actions[2:], ACTIONS[2:])
    plain = ClipSet.of(FRAMES, np.arange(6), actions=ACTIONS)
    assert (clips.fingerprint == plain.fingerprint) == check


def test_splits(tmp_path):
    path = videogpt(tmp_path / "a.h5", test_data=FRAMES[0, :3], test_idx=np.array([0]))
    with pytest.raises(InvalidValueError, match="split must be one of test, train"):
        open_hdf5(path)
    with pytest.raises(InvalidValueError, match="got valid"):
        open_hdf5(path, Hdf5Options(split="valid"))
    found = open_hdf5(path, Hdf5Options(split="test")).value
    np.testing.assert_array_equal(found.frames[0], FRAMES[0, :3])
    assert found.actions is None
    assert hdf5_splits(path) == ("test", "train")
    assert hdf5_splits(videogpt(tmp_path / "b.h5")) == ("train",)
    assert hdf5_splits(paper(tmp_path / "c.h5")) == ()


def test_clips_of_several_lengths(tmp_path):
    flat = FRAMES.reshape(-1, 4, 7, 3)
    path = write(tmp_path / "a.h5", train_data=flat, train_idx=np.array([0, 3, 10, 28]))  # of 3, 7, 18 and 2 frames
    with pytest.raises(InvalidValueError, match="clips of 2 to 18 frames need one length"):
        open_hdf5(path)
    found = open_hdf5(path, Hdf5Options(frames=3, clips_a_scene=2))
    assert found.notes == ("1 of 4 clips are left out: shorter than 3 frames",)
    np.testing.assert_array_equal(np.asarray(found.value.frames), np.stack([flat[:3], flat[3:6], flat[10:13]]))
    assert found.value.scenes.tolist() == [0, 0, 1]
    with pytest.raises(InvalidValueError, match="1 to 18 here, got 19"):
        open_hdf5(path, Hdf5Options(frames=19))


def test_the_first_frames_of_paper_clips(tmp_path):
    path = paper(tmp_path / "a.h5")
    found = open_hdf5(path, Hdf5Options(frames=2)).value
    np.testing.assert_array_equal(np.asarray(found.frames), FRAMES[:, :2])
    np.testing.assert_array_equal(np.asarray(found.actions), ACTIONS[:, :2])
    with pytest.raises(InvalidValueError, match="1 to 5"):
        open_hdf5(path, Hdf5Options(frames=6))


def test_actions_that_do_not_fit_are_left_out_and_said(tmp_path):
    path = write(tmp_path / "a.h5", frames=FRAMES.transpose(0, 4, 1, 2, 3), actions=ACTIONS[:, :4])
    found = open_hdf5(path)
    assert found.value.actions is None
    assert found.notes == ("actions are left out: they must be numbers [6, 5, A], got [6, 4, 4]",)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"frames": FRAMES}, r"frames must be uint8 \[N, 3, T, H, W\]"),
        ({"frames": FRAMES.transpose(0, 4, 1, 2, 3).astype(np.float32)}, "got float32"),
        ({"pictures": FRAMES}, "got only pictures"),
        ({"train_data": FRAMES[0]}, "must hold train_idx"),
        ({"train_data": FRAMES, "train_idx": [0]}, r"\[M, H, W, 3\]"),
        ({"train_data": FRAMES[0], "train_idx": [0.5]}, "whole numbers"),
        ({"train_data": FRAMES[0], "train_idx": [3, 2]}, "must rise"),
        ({"train_data": FRAMES[0], "train_idx": [0, 5]}, "must rise"),
        ({"train_data": FRAMES[0], "train_idx": [-1, 2]}, "must rise"),
    ],
)
def test_other_layouts_are_refused(tmp_path, arrays, says):
    path = write(tmp_path / "a.h5", **arrays)
    with pytest.raises(RejectedFileError, match=says):
        open_hdf5(path)


def test_a_file_that_leads_to_others_is_refused(tmp_path):
    other = paper(tmp_path / "other.h5")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["frames"] = h5py.ExternalLink(str(other), "frames")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((6, 3, 5, 4, 7), np.uint8)
        layout[:] = h5py.VirtualSource(str(other), "frames", (6, 3, 5, 4, 7))
        file.create_virtual_dataset("frames", layout)
    (tmp_path / "raw").write_bytes(bytes(2520))
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        shape = (6, 3, 5, 4, 7)
        file.create_dataset("frames", shape, np.uint8, external=[(str(tmp_path / "raw"), 0, 2520)])
    for name in ("link.h5", "virtual.h5", "outside.h5"):
        with pytest.raises(RejectedFileError, match="link-outside: frames must"):
            open_hdf5(tmp_path / name)


def claims(path, layout, shape, **how):
    """A file of some hundred bytes that claims frames which nobody wrote."""
    with h5py.File(path, "w") as file:
        if layout == "paper":
            file.create_dataset("frames", shape, np.uint8, **how)
        else:
            file.create_dataset("train_data", shape, np.uint8, **how)
            file["train_idx"] = np.array([0])
    assert path.stat().st_size < 10_000
    return path


@pytest.mark.parametrize(
    ("layout", "shape", "says"),
    [
        ("paper", (2, 3, 30, 4000, 4000), "a clip of frames must be at most 266666666 bytes, got 1440000000"),
        ("videogpt", (10_000, 200, 200, 3), "a clip of train_data must be at most 266666666 bytes, got 1200000000"),
        ("paper", (1 << 40, 3, 1, 8, 8), "the limit is 10000000 frames"),
        ("paper", (90_000, 3, 1, 90_000, 1), "65500 a side"),
        ("paper", (64, 3, 30, 700, 700), "frames must be written, got 2822400000 bytes of which the file holds 0"),
        ("videogpt", (100, 64, 64, 3), "train_data must be written"),
    ],
)
def test_frames_that_nobody_wrote_are_refused_unread(tmp_path, monkeypatch, layout, shape, says):
    path = claims(tmp_path / "a.h5", layout, shape, chunks=(1, *shape[1:]) if shape[-2] > 9000 else None)
    monkeypatch.setattr("lightmeter.media.clip_hdf5._Reader.frames", None)  # whoever reads now fails
    with pytest.raises(RejectedFileError, match=f"too-large: .*{says}"):
        open_hdf5(path)


def test_pieces_too_large_to_read_are_refused(tmp_path):
    path = claims(tmp_path / "a.h5", "paper", (1, 3, 1, 4, 7), maxshape=(None,) * 5, chunks=(9, 3, 1, 6000, 6000))
    with pytest.raises(RejectedFileError, match="too-large: frames must have chunks of at most 800000000 bytes"):
        open_hdf5(path)
    path = videogpt(tmp_path / "b.h5")
    with h5py.File(path, "a") as file:
        del file["train_actions"]
        file.create_dataset("train_actions", (30, 50_000_000), np.float32)
    with pytest.raises(RejectedFileError, match="too-large: train_actions of a clip are 1000000000 bytes"):
        open_hdf5(path)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["frames"] = FRAMES.transpose(0, 4, 1, 2, 3)
    with pytest.raises(RejectedFileError, match="at most 33 bytes, got 420: take fewer frames"):
        open_hdf5(tmp_path / "c.h5", Hdf5Options(limits=MediaLimits(decode_bytes=100)))


def test_clips_are_hashed_some_bytes_at_a_time(tmp_path, monkeypatch):
    """Of large clips fewer at once than of small ones: memory is bounded by bytes, and the fingerprint is the same."""
    path, asked = paper(tmp_path / "a.h5"), []
    whole = open_hdf5(path).value.fingerprint
    frames = clip_hdf5._Reader.frames
    monkeypatch.setattr(clip_hdf5._Reader, "frames", lambda self, rows: asked.append(len(rows)) or frames(self, rows))
    monkeypatch.setattr(clip_hdf5, "_BLOCK_BYTES", 2 * (FRAMES[0].nbytes + ACTIONS[0].nbytes))
    assert open_hdf5(path).value.fingerprint == whole
    assert asked == [2, 2, 2]
    monkeypatch.setattr(clip_hdf5, "_BLOCK_BYTES", 1)
    assert open_hdf5(path).value.fingerprint == whole
    assert asked[3:] == [1] * 6


def test_damaged_and_missing_files(tmp_path):
    with pytest.raises(MissingAssetError, match="no file at"):
        open_hdf5(tmp_path / "a.h5")
    path = paper(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(RejectedFileError):
        open_hdf5(path)
    assert not is_hdf5(tmp_path)
    (tmp_path / "b.h5").write_bytes(b"none")
    assert not is_hdf5(tmp_path / "b.h5")
    with pytest.raises(InvalidValueError):
        Hdf5Options(frames=0)
