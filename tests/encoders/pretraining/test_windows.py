"""Windows of clips: which frames they show, and what is drawn when."""

import numpy as np
import pytest

from lightmeter.encoders.pretraining.windows import Cut, Draw, Footage, Window
from lightmeter.errors import InvalidValueError


def numbered(count=3, length=7):
    """Clips whose red says which clip, whose green which frame, whose blue which column."""
    clips = np.zeros((count, length, 2, 4, 3), np.uint8)
    clips[..., 0] = np.arange(count)[:, None, None, None]
    clips[..., 1] = np.arange(length)[:, None, None]
    clips[..., 2] = np.arange(4)
    return clips


def test_a_window_shows_its_frames():
    found = Cut(3, 2).frames_of(numbered(), Window(2, 1))
    assert found.shape == (3, 2, 4, 3)
    assert found[:, 0, 0, 0].tolist() == [2, 2, 2]
    assert found[:, 0, 0, 1].tolist() == [1, 3, 5]
    assert found[0, 0, :, 2].tolist() == [0, 1, 2, 3]
    turned = Cut(3, 2).frames_of(numbered(), Window(2, 1, mirrored=True, backwards=True))
    assert turned[:, 0, 0, 1].tolist() == [5, 3, 1]
    assert turned[0, 0, :, 2].tolist() == [3, 2, 1, 0]
    np.testing.assert_array_equal(turned[::-1, :, ::-1], found)


def test_where_windows_start():
    assert Cut(3, 2).starts(7) == 3
    assert Cut(7).starts(7) == 1
    assert Cut(3, 2).fixed(numbered(), 2) == [Window(0, 1), Window(2, 1)]
    assert len(Cut(7).fixed(numbered(), 50)) == 3
    with pytest.raises(InvalidValueError, match="must have 5 frames or more for 3 frames 2 apart, got 4"):
        Cut(3, 2).starts(4)
    with pytest.raises(InvalidValueError, match="1 or more"):
        Cut(0)


def test_draws_are_a_function_of_seed_and_step():
    draw = Draw(7, 3, 4, 30, mirror=True, reverse=True, seed=5)
    windows = [draw.windows(step) for step in range(30)]
    assert windows == [draw.windows(step) for step in range(30)]
    assert windows != [Draw(7, 3, 4, 30, mirror=True, reverse=True, seed=6).windows(step) for step in range(30)]
    each = [window for step in windows for window in step]
    for at in range(0, 113, 7):
        assert sorted(window.clip for window in each[at : at + 7]) == list(range(7)), "every clip once an epoch"
    assert {window.start for window in each} == {0, 1, 2}
    assert {(window.mirrored, window.backwards) for window in each} == {(a, b) for a in (0, 1) for b in (0, 1)}
    plain = Draw(7, 3, 4, 30, mirror=False, reverse=False, seed=5).windows(3)
    assert plain == [Window(each.clip, each.start) for each in windows[3]]


def test_scenes_are_held_out_whole(clips, footage):
    assert len(footage.learn) == 6
    assert len(footage.held_out) == 4
    learnt = {each.tobytes() for each in footage.learn}
    for scene in np.unique(clips.scenes):
        assert len({each.tobytes() in learnt for each in clips.frames[clips.scenes == scene]}) == 1
    assert Footage.of(clips).held_out is None
    assert Footage.of(clips, held_out=clips).held_out is clips.frames
    prints = {each.fingerprint for each in (footage, Footage.of(clips), Footage.of(clips, share=0.4, seed=1))}
    assert len(prints) == 3
    assert footage.size == (16, 16)


def test_clips_that_do_not_go_together(clips):
    with pytest.raises(InvalidValueError, match=r"must be \[6, 16, 16, 3\]"):
        Footage(clips.frames, clips.frames[:, :5], "")
    with pytest.raises(InvalidValueError, match="got none"):
        Footage(clips.frames[:0], None, "")
