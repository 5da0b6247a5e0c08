"""The doors: whatever lies at a path is known and opened, or named in the refusal."""

import numpy as np
import pytest
from label_makers import film, iou, save, street
from media_makers import make_video, number_of, numbered_frame

from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.media.bair import write_bair
from lightmeter.media.clip_set import write_part
from lightmeter.media.labelled_clips import ClipOptions, Labels, clip_splits, open_any_clips, open_labelled
from lightmeter.media.labelling import LabelOptions
from lightmeter.media.limits import MediaLimits
from lightmeter.media.mask_json import MaskEntry, write_masks
from lightmeter.media.motion_masks import MotionOptions
from lightmeter.media.moving_shapes import moving_shapes


def test_all_kinds_of_sets_give_the_same_clips(tmp_path):
    h5py = pytest.importorskip("h5py")
    clips = moving_shapes(4, frames=3, size=16)
    write_part(tmp_path / "own", 0, clips)
    write_bair(tmp_path / "bair", {"aux1": clips.frames}, clips.actions)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["frames"], file["actions"] = clips.frames.transpose(0, 4, 1, 2, 3), clips.actions
    bair = tmp_path / "bair" / "softmotion30_44k" / "train"
    found = [tmp_path / "own", tmp_path / "bair", bair, bair / "traj_0_to_3.tfrecords", tmp_path / "a.hdf5"]
    for path in found:
        opened = open_any_clips(path)
        np.testing.assert_array_equal(np.asarray(opened.value.frames), clips.frames)
        np.testing.assert_array_equal(np.asarray(opened.value.actions), clips.actions)
    quick = ClipOptions(check=False, clips_a_scene=2, frames=2, split="train")
    assert open_any_clips(tmp_path / "bair", quick).value.scenes.tolist() == [0, 0, 1, 1]
    assert open_any_clips(tmp_path / "a.hdf5", quick).value.frames.shape[1] == 2
    write_bair(tmp_path / "bair", {"aux1": clips.frames}, clips.actions, split="test")
    assert [clip_splits(path) for path in found] == [(), ("test", "train"), (), (), ()]
    assert clip_splits(tmp_path / "nothing") == ()
    with pytest.raises(RejectedFileError, match="pictures of main, got 0"):
        open_any_clips(bair, ClipOptions(camera="main", check=False))
    with pytest.raises(MissingAssetError, match="no clips at"):
        open_any_clips(tmp_path / "nothing")


def test_videos_become_clips(tmp_path):
    for name, count in (("a", 9), ("b", 3), ("c", 4)):
        make_video(tmp_path / f"{name}.mp4", count)
    found = open_any_clips(tmp_path, ClipOptions(frames=4))
    assert [[number_of(frame) for frame in clip] for clip in found.value.frames] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3],
    ]  # fmt: skip
    assert found.value.scenes.tolist() == [0, 0, 2]
    assert found.notes == ("b.mp4 is left out: it has fewer than 4 frames to take",)
    thin = open_any_clips(tmp_path / "a.mp4", ClipOptions(frames=3, every=3, size=(32, 48))).value
    assert [number_of(frame) for frame in thin.frames[0]] == [0, 3, 6]
    assert thin.frames.shape == (1, 3, 32, 48, 3)
    with pytest.raises(InvalidValueError, match="give frames, such as 16"):
        open_any_clips(tmp_path)
    with pytest.raises(RejectedFileError, match="no video has 50 frames"):
        open_any_clips(tmp_path, ClipOptions(frames=50))
    make_video(tmp_path / "d.mp4", 4, size=(64, 48))
    with pytest.raises(RejectedFileError, match=r"d.mp4 is 48 x 64, the videos before it 64 x 96: give one size"):
        open_any_clips(tmp_path, ClipOptions(frames=4))
    with pytest.raises(RejectedFileError, match="need more memory"):
        open_any_clips(tmp_path, ClipOptions(frames=4, limits=MediaLimits(decode_bytes=100_000)))


def test_frames_with_masks_of_any_kind(tmp_path):
    mask = np.zeros((64, 96), np.uint8)
    mask[5:40, 9:50] = 1
    save(tmp_path / "frames" / "a.png", numbered_frame(4))
    save(tmp_path / "masks" / "a.png", mask * np.uint8(255))
    write_masks(tmp_path / "masks.json", [MaskEntry.of("a.png", mask)])
    for masks in ("masks", "masks.json"):
        found = open_labelled(tmp_path / "frames", tmp_path / masks).value
        np.testing.assert_array_equal(found.masks[0], mask)
        assert number_of(found.frames[0]) == 4
        small = open_labelled(tmp_path / "frames", tmp_path / masks, size=(32, 48)).value
        assert small.frames.shape == (1, 32, 48, 3)
        how = Labels(LabelOptions(size=(16, 24)))
        assert open_labelled(tmp_path / "frames", tmp_path / masks, how=how).value.masks.shape == (1, 16, 24)


def test_masks_of_motion(tmp_path):
    frames, truth = street(40, seed=3)
    path = film(tmp_path / "street.mp4", frames)
    found = open_labelled(path, "motion", how=Labels(motion=MotionOptions(count=4)))
    assert iou(found.value.masks, truth[[0, 13, 26, 39]]) > 0.8
    clips = open_labelled(path.parent, "motion", how=Labels(clips=ClipOptions(frames=10), per_clip=2, most=3))
    assert len(clips.value) == 6


def test_masks_that_a_simulated_set_knows(tmp_path):
    clips = moving_shapes(4, frames=3, size=16)
    write_part(tmp_path, 0, clips)
    for word in ("robot", "objects", "moving"):
        found = open_labelled(tmp_path, word, how=Labels(per_clip=2)).value
        assert found.masks.shape == (8, 16, 16)
    rows = [int(name.split()[1]) for name in open_labelled(tmp_path, "robot").value.names]
    robot = open_labelled(tmp_path, "robot", size=(16, 16)).value
    np.testing.assert_array_equal(robot.masks, clips.labels[rows, robot.at] == 1)
    assert len(open_labelled(tmp_path, "robot", how=Labels(most=2)).value) == 2
    with pytest.raises(InvalidValueError, match=r"size must be \(16, 16\)"):
        open_labelled(tmp_path, "robot", size=(8, 8))
    make_video(tmp_path / "videos.mp4", 8)
    with pytest.raises(InvalidValueError, match="need clips with labels"):
        open_labelled(tmp_path / "videos.mp4", "robot", how=Labels(clips=ClipOptions(frames=4)))
    with pytest.raises(InvalidValueError):
        ClipOptions(every=0)
