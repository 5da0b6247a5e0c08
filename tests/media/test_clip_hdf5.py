"""Both HDF5 layouts as h5py writes them: rows when asked, fingerprints of the content, links refused."""

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.media.clip_hdf5 import Hdf5Options, is_hdf5, open_hdf5
from lightmeter.media.clip_set import ClipSet

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
