"""Moving shapes: labels, depth and flow are those of the pictures, and a seed stands for one endless row of clips."""

import time

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.media.moving_shapes import moving_shapes


@pytest.fixture(scope="module")
def clips():
    return moving_shapes(12, seed=3)


def test_what_a_set_holds(clips):
    assert clips.frames.shape == (12, 16, 64, 64, 3)
    assert set(np.unique(clips.labels)) == {0, 1, 2, 3, 4}
    assert clips.scenes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert clips.actions.shape == (12, 16, 2)
    assert 0.02 < (clips.labels == 1).mean() < 0.15
    assert len(set(clips.sentences)) > 6


def test_a_clip_is_the_same_in_any_batch(clips):
    some = moving_shapes(3, seed=3, first=5)
    assert some.fingerprint == clips.take([5, 6, 7]).fingerprint
    assert moving_shapes(3, seed=4, first=5).fingerprint != some.fingerprint


def test_scenes_differ_and_clips_of_a_scene_share_their_ground(clips):
    ground = (clips.labels[0] == 0).all(0) & (clips.labels[1] == 0).all(0)
    differs = (clips.frames[0, 0][ground] != clips.frames[1, 5][ground]).any(-1)
    assert differs.mean() < 0.04, "only where a soft edge shines through"
    assert (clips.frames[0, 0] != clips.frames[2, 0]).mean() > 0.9


def test_the_flow_leads_to_the_next_frame(clips):
    """Labels and colours taken from where the flow points are those of now, but where something comes in front."""
    down, right = np.mgrid[:64, :64]
    kept = error = still_error = count = 0.0
    for clip in range(len(clips)):
        for frame in range(15):
            flow = clips.flow[clip, frame].astype(float)
            moves = np.hypot(*np.moveaxis(flow, -1, 0)) > 1
            x, y = np.rint(right + flow[..., 0]).astype(int), np.rint(down + flow[..., 1]).astype(int)
            moves &= (x >= 0) & (x < 64) & (y >= 0) & (y < 64)
            x, y = x[moves], y[moves]
            now, then = clips.frames[clip, frame].astype(float), clips.frames[clip, frame + 1].astype(float)
            kept += (clips.labels[clip, frame + 1][y, x] == clips.labels[clip, frame][moves]).sum()
            error += np.abs(then[y, x] - now[moves]).mean(1).sum()
            still_error += np.abs(then[moves] - now[moves]).mean(1).sum()
            count += moves.sum()
    assert count > 10_000
    assert kept / count > 0.93
    assert error < 0.6 * still_error


def test_what_does_not_move_has_no_flow(clips):
    assert not clips.flow[clips.labels == 0].any()
    assert not clips.flow[:, -1].any()


def test_the_arm_moves_as_it_is_told(clips):
    arm = clips.labels[:, :-1] == 1
    told = np.broadcast_to(clips.actions[:, :-1, None, None], clips.flow[:, :-1].shape)
    np.testing.assert_allclose(clips.flow[:, :-1][arm].astype(float), told[arm], atol=0.01)


def test_the_arm_is_nearer_than_the_ground(clips):
    assert clips.depth[clips.labels == 1].mean() < clips.depth[clips.labels == 0].mean()
    assert 0.5 < clips.depth.min() < clips.depth.max() <= 2.0


def test_it_pushes(clips):
    things = clips.labels >= 2
    moved = things & (np.abs(clips.flow).sum(-1) > 0.5)
    assert 0.02 < moved.sum() / things.sum() < 0.5


@pytest.mark.parametrize("options", [{"count": 0}, {"count": 1, "size": 8}, {"count": 1, "first": -1}])
def test_impossible_wishes(options):
    with pytest.raises(InvalidValueError, match="must be"):
        moving_shapes(**options)


@pytest.mark.slow
def test_three_hundred_frames_a_cpu_second():
    start_s = time.process_time()
    moving_shapes(60)
    assert 60 * 16 / (time.process_time() - start_s) > 300
