"""Masks from motion: near the truth where it is known, silent where they cannot know, refused if the camera moves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_makers import film, iou, street

from lightmeter.assets.finding import find_or_none
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.clip_set import ClipSet
from lightmeter.media.labelling import LabelOptions
from lightmeter.media.mask_pixels import resized_frame
from lightmeter.media.motion_masks import (
    MotionOptions,
    background_of,
    camera_moves,
    connected_parts,
    motion_mask,
    motion_of_clips,
    motion_of_video,
)
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.media.video import FrameReader


@pytest.mark.parametrize("noise", [0.0, 3.0, 8.0])
def test_things_that_cross_are_found(noise):
    frames, truth = street(30, noise=noise, seed=3)
    background = background_of(frames)
    masks = np.stack([motion_mask(frame, background) for frame in frames[::3]])
    assert iou(masks, truth[::3]) > (0.8 if noise > 5 else 0.9)
    assert (masks == 255).mean() < 0.02


def test_light_that_changes_is_no_motion():
    frames, truth = street(30, seed=3)
    lit = np.clip(frames[::3].astype(float) + 20, 0, 255).astype(np.uint8)
    background = background_of(frames)
    assert iou(np.stack([motion_mask(frame, background) for frame in lit]), truth[::3]) > 0.85


def test_the_background_is_the_ground():
    frames, truth = street(30, seed=3, noise=0)
    bare, _ = street(1, seed=3, noise=0)
    ground = background_of(frames).pixels
    seen = ~truth.any(0)
    np.testing.assert_allclose(ground[seen], frames[0][seen], atol=1)
    assert np.abs(ground - bare[0])[~truth[0]].mean() < 1


def test_a_video_file(tmp_path):
    frames, truth = street(40, seed=3)
    path = film(tmp_path / "street.mp4", frames)
    found = motion_of_video(path, MotionOptions(count=8, group_s=1.0), LabelOptions(context=3))
    labelled = found.value
    numbers = [int(name.split()[-1]) for name in labelled.names]
    assert numbers == [0, 6, 11, 17, 22, 28, 33, 39]
    assert labelled.clips.shape == (8, 3, 48, 64, 3)
    assert labelled.at.tolist() == [0] + [1] * 6 + [2], "in the middle of its clip"
    away = np.abs(labelled.frames[:, None].astype(int) - frames[None]).mean((2, 3, 4))
    assert away.argmin(1).tolist() == numbers, "the frame that the mask is of"
    assert iou(labelled.masks, truth[numbers]) > 0.8
    assert len(np.unique(labelled.groups)) == 4, "a group a second"
    assert len(np.unique(motion_of_video(path, MotionOptions(count=8)).value.groups)) == 1
    small = motion_of_video(path, MotionOptions(count=4), LabelOptions(size=(24, 32))).value
    assert small.masks.shape == (4, 24, 32)
    assert iou(small.masks, truth[[0, 13, 26, 39]][:, ::2, ::2]) > 0.75


def test_clips_of_a_scene_share_their_background():
    clips = moving_shapes(16, frames=16, clips_a_scene=8, seed=1)
    found = motion_of_clips(clips, per_clip=2)
    rows = [int(name.split()[1]) for name in found.value.names]
    moving = clips.labels[rows, found.value.at] >= 1  # the arm, and things that lie elsewhere in every clip
    assert iou(found.value.masks, moving) > 0.8
    assert found.value.groups.tolist() == clips.scenes[rows].tolist()
    again = motion_of_clips(clips, per_clip=2)
    assert again.value.fingerprint == found.value.fingerprint


def test_a_thing_that_is_taken_away_is_not_judged():
    frames, truth = street(30, seed=3)
    stays = np.zeros(truth.shape[1:], bool)
    stays[20:30, 20:30] = True
    frames[:18, 20:30, 20:30] = np.array([250, 240, 20]) - frames[:18, 20:30, 20:30] // 16
    background = background_of(frames)
    for row in (3, 27):  # before and after: no median knows which of the two is the bare ground
        mask = motion_mask(frames[row], background)[stays & ~truth[row]]
        assert (mask == 1).mean() < 0.05
    certain = motion_mask(frames[27], background_of(frames, MotionOptions(often=0.7)), MotionOptions(often=0.7))
    assert (certain[stays & ~truth[27]] == 1).mean() > 0.9, "unless it has to be there longer"


def test_shadows_are_not_judged():
    frames, truth = street(30, seed=3)
    background = background_of(frames)
    dark = frames[5].copy()
    dark[5:25, 30:50] = (dark[5:25, 30:50] * 0.7).astype(np.uint8)
    inside = np.zeros(truth.shape[1:], bool)
    inside[7:23, 32:48] = True
    mask = motion_mask(dark, background)[inside & ~truth[5]]
    assert (mask == 1).mean() < 0.05
    assert (mask == 255).mean() > 0.6
    bold = motion_mask(dark, background, MotionOptions(shadow=1.0))[inside & ~truth[5]]
    assert (bold == 1).mean() > 0.7


@pytest.mark.parametrize("pan", [0.25, 1.0, 3.0])
def test_a_moving_camera_is_refused(tmp_path, pan):
    frames, _ = street(40, pan=pan)
    assert camera_moves(frames) > 0.5
    with pytest.raises(RejectedFileError, match="the camera must stand still"):
        background_of(frames)


def test_a_moving_video_is_refused_by_name(tmp_path):
    path = film(tmp_path / "pan.mp4", street(20, pan=2.0)[0])
    with pytest.raises(RejectedFileError, match=r"moves: .*pan.mp4: the camera must stand still"):
        motion_of_video(path)
    with pytest.raises(RejectedFileError, match="a background needs 5"):
        motion_of_video(film(tmp_path / "short.mp4", street(4)[0]))


def test_a_fixed_camera_is_not_refused():
    assert all(camera_moves(street(30, seed=seed)[0]) < 0.1 for seed in range(5))
    blank = np.random.default_rng(0).normal(100, 5, (20, 64, 64, 3)).astype(np.uint8)
    assert camera_moves(blank) == 0, "noise is no texture"
    assert camera_moves(blank[:1]) == 0


def test_scenes_that_move_are_left_out_and_counted():
    still = np.stack([street(10, seed=seed)[0] for seed in (3, 4, 5)])
    moving = street(10, pan=3.0, seed=6)[0][None]
    clips = ClipSet.of(np.concatenate([still, moving]), np.arange(4))
    found = motion_of_clips(clips)
    assert found.value.groups.tolist() == [0, 1, 2]
    assert found.notes == ("1 of 4 scenes are left out: they move as a whole, or are too short",)
    with pytest.raises(RejectedFileError, match="2 of 3 scenes"):
        motion_of_clips(ClipSet.of(np.concatenate([still[:1], moving, moving]), np.arange(3)))


@settings(max_examples=60)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_parts_are_those_that_hang_together(mask):
    numbers, left, parts = connected_parts(mask), {tuple(each) for each in np.argwhere(mask)}, []
    while left:  # slowly, by walking
        part, ways = set(), [left.pop()]
        while ways:
            row, column = ways.pop()
            part.add((row, column))
            near = {(row + a, column + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & left
            left -= near
            ways += near
        parts.append(part)
    assert (numbers > 0).tolist() == mask.tolist()
    assert len(np.unique(numbers[mask])) == len(parts)
    assert all(len({numbers[each] for each in part}) == 1 for part in parts)


def test_options_are_checked():
    for wrong in ({"sure": 1.0}, {"count": 0}, {"often": 0.0}, {"shadow": 2.0}, {"smallest": 1.0}, {"group_s": 0.0}):
        with pytest.raises(InvalidValueError):
            MotionOptions(**wrong)


@pytest.mark.slow
def test_people_on_a_real_street():
    """vtest.avi: what we find is what OpenCV's mixture of Gaussians finds, as far as two such methods agree."""
    cv2 = pytest.importorskip("cv2")
    folder = find_or_none("opencv-doc")
    if folder is None:
        pytest.skip("needs vtest.avi: lightmeter assets add opencv-doc")
    (path,) = folder.rglob("vtest.avi")
    size = (144, 192)
    found = motion_of_video(path, MotionOptions(count=9), LabelOptions(size=size)).value
    numbers = [int(name.split()[-1]) for name in found.names]
    mixture = cv2.createBackgroundSubtractorMOG2(history=500, varThreshold=36)
    both = either = 0
    for number, (_, frame) in enumerate(FrameReader(path, fps=None)):
        theirs = mixture.apply(resized_frame(frame, size))
        if number in numbers and number > 200:  # it has to see the street for a while
            ours = found.masks[numbers.index(number)]
            people = cv2.morphologyEx((theirs == 255).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) == 1
            judged = (ours != 255) & (theirs != 127)  # their shadows
            both += ((ours == 1) & people & judged).sum()
            either += (((ours == 1) | people) & judged).sum()
    assert both / either > 0.6
    assert 0.005 < (found.masks == 1).mean() < 0.05
    assert (found.masks == 255).mean() < 0.02
