"""Simulated clips: the same bits in any batch; labels, depth and flow are those of the pictures."""

import time

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, LightmeterError, MissingExtraError, UnknownNameError
from lightmeter.media.sawyer import clips as module
from lightmeter.media.sawyer import render
from lightmeter.media.sawyer.clips import Look, sawyer_clips
from lightmeter.media.sawyer.pushing import Pushing, UnstableError, unlogged
from lightmeter.media.sawyer.scene import FAMILIES, draw_scene


def test_a_tiny_clip(mujoco):
    clips = sawyer_clips(1, Look(frames=2, size=16, shadow=0))
    assert clips.frames.shape == (1, 2, 16, 16, 3)
    assert {0, 1} <= set(np.unique(clips.labels).tolist())
    assert clips.actions.shape == (1, 2, 4)
    assert clips.sentences[0]


@pytest.fixture(scope="module")
def clips(mujoco):
    return sawyer_clips(6, Look(frames=8), seed=3)


@pytest.mark.slow
def test_what_a_set_holds(clips):
    assert clips.frames.shape == (6, 8, 64, 64, 3)
    assert clips.scenes.tolist() == [0, 0, 1, 1, 2, 2]
    assert 0.02 < (clips.labels == 1).mean() < 0.2
    assert 0 < (clips.labels == 255).mean() < 0.1
    assert set(np.unique(clips.labels)) >= {0, 1, 2, 3, 255}
    assert clips.frames.std() > 30
    assert len(set(clips.sentences)) > 3
    assert all(each.startswith(("the ", "nothing")) for each in clips.sentences)


@pytest.mark.slow
def test_a_clip_is_the_same_in_any_batch(clips):
    some = sawyer_clips(2, Look(frames=8), seed=3, first=3)
    assert some.fingerprint == clips.take([3, 4]).fingerprint
    assert sawyer_clips(1, Look(frames=8), seed=4, first=3).fingerprint != clips.take([3]).fingerprint


@pytest.mark.slow
def test_the_flow_leads_to_the_next_frame(clips):
    down, right = np.mgrid[:64, :64]
    kept = count = error = still_error = 0.0
    for clip in range(len(clips)):
        for frame in range(7):
            flow = clips.flow[clip, frame].astype(float)
            x, y = np.rint(right + flow[..., 0]).astype(int), np.rint(down + flow[..., 1]).astype(int)
            moves = np.hypot(*np.moveaxis(flow, -1, 0)) > 1
            moves &= (x >= 0) & (x < 64) & (y >= 0) & (y < 64)
            kept += (clips.labels[clip, frame + 1][y[moves], x[moves]] == clips.labels[clip, frame][moves]).sum()
            now, then = clips.frames[clip, frame].astype(float), clips.frames[clip, frame + 1].astype(float)
            error += np.abs(then[y[moves], x[moves]] - now[moves]).sum()
            still_error += np.abs(then[moves] - now[moves]).sum()
            count += moves.sum()
    assert count > 2000
    assert kept / count > 0.9
    assert error < 0.7 * still_error


@pytest.mark.slow
def test_what_stands_still_has_no_flow(clips):
    assert not clips.flow[(clips.labels == 0) | (clips.labels == 255)].any()
    assert not clips.flow[:, -1].any()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda each: each.name)
def test_depth_is_in_metres(mujoco, family):
    """Of the table's top, which is the plane z = 0, each pixel's depth is known from the camera alone."""
    pushing = Pushing(mujoco, draw_scene(family, np.random.default_rng(1)))
    pushing.begin(np.random.default_rng(2))
    with render.Canvas(mujoco, 64) as canvas, canvas.painter(pushing.model) as painter:
        shot = painter.shot(pushing.data)
        eye, turn, focal = painter._view()
    down, right = np.mgrid[:64, :64]
    ray = np.stack([right + 0.5 - 32, 32 - down - 0.5, np.full((64, 64), -focal)], -1) / focal @ turn.T
    depth_m = -eye[2] / ray[..., 2]
    point = eye + ray * depth_m[..., None]
    table = (np.abs(point[..., 0]) < 0.3) & (np.abs(point[..., 1] - 0.6) < 0.22) & (shot.labels == 0)
    assert table.sum() > 300
    np.testing.assert_allclose(shot.depth_m[table], depth_m[table], atol=0.002)


@pytest.mark.slow
def test_the_flow_of_a_known_shift(mujoco):
    """A thing that is set down 4 cm further: its flow is the way of its middle, found by projecting it by hand."""
    pushing = Pushing(mujoco, draw_scene(FAMILIES["sawyer-shift"], np.random.default_rng(5)))
    pushing.begin(np.random.default_rng(2))
    with render.Canvas(mujoco, 64) as canvas, canvas.painter(pushing.model) as painter:
        seen, data = [], pushing.data
        for number, at in enumerate(pushing._places):
            before = painter.shot(data)
            middle = np.array(data.qpos[at : at + 3])
            data.qpos[at] += 0.04
            mujoco.mj_forward(pushing.model, data)
            after = painter.shot(data)
            flow = painter.flow(before, after)
            eye, turn, focal = painter._view()
            ends = [(place - eye) @ turn for place in (middle, middle + np.array([0.04, 0, 0]))]
            (x0, y0), (x1, y1) = (focal * end[:2] / -end[2] for end in ends)
            mine = before.labels == 2 + number
            if mine.sum() >= 4:
                seen.append(number)
                np.testing.assert_allclose(np.median(flow[mine], 0), [x1 - x0, y0 - y1], atol=0.25)
            assert not flow[(before.labels == 0)].any()
    assert len(seen) >= 2


@pytest.mark.slow
def test_things_lie_apart_and_are_pushed(mujoco):
    moved = 0
    for seed in range(6):
        pushing = Pushing(mujoco, draw_scene(FAMILIES["sawyer"], np.random.default_rng(seed)))
        pushing.begin(np.random.default_rng(seed))
        start, reach = pushing.things, np.array([thing.reach_m for thing in pushing.scene.things])
        gaps = np.hypot(*np.moveaxis(start[:, None, :2] - start[None, :, :2], -1, 0)) - reach - reach[:, None]
        assert (gaps[~np.eye(len(reach), dtype=bool)] > -0.02).all(), "settling moves them a little"
        for _ in range(15):
            pushing.act(pushing.choose())
        moved += bool((np.linalg.norm(pushing.things - start, axis=1) > 0.02).any())
    assert moved >= 2


@pytest.mark.slow
def test_the_hand_goes_where_it_is_told(mujoco):
    pushing = Pushing(mujoco, draw_scene(FAMILIES["sawyer"], np.random.default_rng(0)))
    pushing.begin(np.random.default_rng(1))
    for _ in range(10):
        pushing.act(pushing.choose())
        np.testing.assert_allclose(pushing.hand, pushing.data.mocap_pos[0], atol=0.05)


@pytest.mark.slow
def test_a_simulation_that_blows_up_is_noticed(mujoco, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    pushing = Pushing(mujoco, draw_scene(FAMILIES["sawyer"], np.random.default_rng(0)))
    pushing.begin(np.random.default_rng(1))
    pushing.data.qvel[-1] = 1e12
    with unlogged(mujoco), pytest.raises(UnstableError):
        pushing.act(pushing.choose())
    assert not list(tmp_path.iterdir()), "no MUJOCO_LOG.TXT"
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_an_unstable_clip_is_drawn_again(mujoco, monkeypatch):
    look, act, calls = Look(frames=2, size=16, shadow=0), Pushing.act, []

    def unstable_once(pushing, told):
        calls.append(told)
        if len(calls) == 1:
            raise UnstableError("the simulation is unstable")
        act(pushing, told)

    calm = sawyer_clips(1, look)
    monkeypatch.setattr(Pushing, "act", unstable_once)
    again = sawyer_clips(1, look)
    assert len(calls) == 2
    assert again.fingerprint != calm.fingerprint

    def always(pushing, told):
        raise UnstableError("the simulation is unstable")

    monkeypatch.setattr(Pushing, "act", always)
    monkeypatch.setattr(module, "_MOST_DRAWS", 2)
    with pytest.raises(LightmeterError, match="unstable in 2 draws: take another seed"):
        sawyer_clips(1, look)


def test_a_missing_gl_library_is_named(monkeypatch):
    def broken(module, extra):
        raise AttributeError("'NoneType' object has no attribute 'glGetError'")

    monkeypatch.setattr(render, "need", broken)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(MissingExtraError, match="apt-get install -y --no-install-recommends libosmesa6"):
        render.load_mujoco()
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(MissingExtraError, match="MUJOCO_GL=egl does not work here: unset it"):
        render.load_mujoco()


@pytest.mark.parametrize("options", [{"frames": 0}, {"size": 8}, {"clips_a_scene": 0}, {"shadow": -1}])
def test_impossible_looks(options):
    with pytest.raises(InvalidValueError, match="must be"):
        Look(**options)
    with pytest.raises(UnknownNameError):
        Look("franka")


@pytest.mark.slow
def test_twenty_frames_a_cpu_second_with_depth(mujoco):
    sawyer_clips(1, Look(frames=2))
    start_s = time.process_time()
    sawyer_clips(8)
    assert 8 * 16 / (time.process_time() - start_s) > 20
