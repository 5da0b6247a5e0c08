"""Windows of clips: which frames they show, and what is drawn when."""

import numpy as np
import pytest

from lightmeter.encoders.pretraining.windows import Cut, Draw, Footage, Window
from lightmeter.errors import InvalidValueError
from lightmeter.media.clip_set import ClipSet
from lightmeter.media.moving_shapes import moving_shapes


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
    others = moving_shapes(3, frames=6, size=16, seed=77)
    assert Footage.of(clips, held_out=others).held_out is others.frames
    parts = (footage, Footage.of(clips), Footage.of(clips, share=0.4, seed=1), Footage.of(clips, held_out=others))
    assert len({each.fingerprint for each in parts}) == 4
    assert footage.size == (16, 16)


def test_the_clips_say_which_scenes_are_held_out(clips, footage):
    """Without a seed: the same for every run on them, and of a smaller share a part of it; others for other clips."""
    again = Footage.of(clips, share=0.4)
    np.testing.assert_array_equal(again.held_out, footage.held_out)
    assert again.fingerprint == footage.fingerprint
    less = {each.tobytes() for each in Footage.of(clips, share=0.2).held_out}
    assert less < {each.tobytes() for each in footage.held_out}
    places = set()
    for seed in range(8):
        other = moving_shapes(10, frames=2, size=16, clips_a_scene=2, seed=seed)
        kept = {each.tobytes() for each in Footage.of(other, share=0.2).held_out}
        places.add(tuple(row for row, each in enumerate(other.frames) if each.tobytes() in kept))
    assert len(places) > 1


def test_what_is_learnt_from_is_not_held_out(clips):
    with pytest.raises(InvalidValueError, match="got those that are learnt from"):
        Footage.of(clips, held_out=clips)
    others = moving_shapes(3, frames=6, size=16, seed=77)
    frames = np.concatenate([others.frames, clips.frames[4:5]])
    mixed = ClipSet.of(frames, np.arange(4))
    with pytest.raises(InvalidValueError, match="got clip 4 in both"):
        Footage.of(clips, held_out=mixed)
    begins_alike = clips.frames[4:5].copy()
    begins_alike[0, 1:] = 0
    assert Footage.of(clips, held_out=ClipSet.of(begins_alike, np.zeros(1, np.int64))).held_out is not None


@pytest.mark.parametrize(("data", "fits"), [
    ("A dev=0.1", True), ("A", False), ("A dev=0.2", False), ("A B", False), ("A 0.1 3", False), ("C dev=0.2", True),
    ("C", True), ("", True), (None, True),
])  # fmt: skip
def test_what_a_run_before_has_seen(data, fits):
    """Of a share of A that is held out: only what held out the same is known not to have learnt from it."""
    frames = np.zeros((1, 2, 4, 4, 3), np.uint8)
    mine = Footage(frames, frames, "A dev=0.1")
    if fits:
        mine.check_unseen(data, "it")
    else:
        with pytest.raises(InvalidValueError, match="must be new to it"):
            mine.check_unseen(data, "it")
    Footage(frames, None, "A").check_unseen(data, "it")
    two = Footage(frames, frames, "D A")
    if str(data).startswith("A"):
        with pytest.raises(InvalidValueError, match="must be new to it"):
            two.check_unseen(data, "it")
    else:
        two.check_unseen(data, "it")


def test_clips_that_do_not_go_together(clips):
    with pytest.raises(InvalidValueError, match=r"must be \[6, 16, 16, 3\]"):
        Footage(clips.frames, clips.frames[:, :5], "")
    with pytest.raises(InvalidValueError, match="got none"):
        Footage(clips.frames[:0], None, "")
