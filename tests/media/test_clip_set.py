"""Clips on disk are the clips that were written; labelled frames and splits keep their promises."""

import json

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.media.clip_set import (
    ClipSet,
    LabelledFrames,
    labelled_frames,
    open_clips,
    part_about,
    split_by_group,
    write_part,
)  # fmt: skip
from lightmeter.media.labelled_clips import open_any_clips
from lightmeter.media.stacked_rows import StackedRows


def some_clips(count=5, length=4, side=6, seed=0) -> ClipSet:
    rng = np.random.default_rng(seed)
    pixels = (count, length, side, side)
    labels = rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), pixels)
    flow = rng.normal(0, 1, (*pixels, 2)).astype(np.float16)
    flow[:, -1] = 0
    return ClipSet.of(
        rng.integers(0, 256, (*pixels, 3), np.uint8), np.arange(count) // 2, labels=labels,
        depth=rng.uniform(0.5, 2, pixels).astype(np.float16), flow=flow,
        actions=rng.normal(0, 1, (count, length, 4)).astype(np.float32),
        sentences=tuple(f"thing {row} moves" for row in range(count)),
    )  # fmt: skip


def assert_same(a: ClipSet, b: ClipSet) -> None:
    for name in ("frames", "scenes", "labels", "depth", "flow", "actions"):
        np.testing.assert_array_equal(np.asarray(getattr(a, name)), np.asarray(getattr(b, name)), err_msg=name)
    assert (a.sentences, a.fingerprint) == (b.sentences, b.fingerprint)


@pytest.mark.parametrize("cut", [[5], [2, 3], [1, 1, 3]])
def test_clips_come_back_however_they_are_cut(tmp_path, cut):
    clips, at = some_clips(), 0
    for number, count in enumerate(cut):
        write_part(tmp_path, number, clips.take(np.arange(at, at + count)), {"seed": 3})
        at += count
    assert_same(open_clips(tmp_path, check=True), clips)
    assert part_about(tmp_path, 0) == {"seed": 3}
    assert part_about(tmp_path, len(cut)) is None


def test_what_is_not_known_is_not_there(tmp_path):
    bare = ClipSet.of(np.zeros((2, 1, 4, 4, 3), np.uint8), np.array([0, 1]))
    write_part(tmp_path, 0, some_clips(2, 1, 4))
    write_part(tmp_path, 0, bare)  # leaves nothing of what stood there before
    back = open_clips(tmp_path)
    assert back.labels is back.depth is back.flow is back.actions is None
    assert back.sentences == ()
    assert sorted(path.name for path in (tmp_path / "part-00000").iterdir()) == ["frames.npy", "part.json"]


def test_a_part_without_its_json_does_not_exist(tmp_path):
    clips = some_clips()
    write_part(tmp_path, 0, clips)
    write_part(tmp_path, 1, clips)
    (tmp_path / "part-00001" / "part.json").unlink()
    assert len(open_clips(tmp_path)) == 5
    (tmp_path / "part-00000" / "part.json").unlink()
    with pytest.raises(MissingAssetError, match="lightmeter segment simulate"):
        open_clips(tmp_path)


def test_missing_parts_are_told(tmp_path):
    told = []
    for number in (0, 3):
        write_part(tmp_path, number, some_clips())
    assert len(open_clips(tmp_path, tell=told.append)) == 10
    assert told == [f"{tmp_path} lacks 2 of 4 parts (1, 2): what made it goes on when it is run again"]
    for number in (1, 2):
        write_part(tmp_path, number, some_clips(), parts=20)
    assert len(open_clips(tmp_path, tell=told.append)) == 20
    assert "lacks 16 of 20 parts (4, 5, 6, 7, 8 …)" in told[1], "as their maker promised"
    open_clips(tmp_path)
    found = open_any_clips(tmp_path)
    assert (found.state, found.notes) == ("damaged", (told[1],))


def test_a_write_that_fails_leaves_no_part(tmp_path, monkeypatch):
    write_part(tmp_path, 0, some_clips())

    def full(*arguments, **options):
        raise OSError("no room")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError):
        write_part(tmp_path, 0, some_clips(seed=1))
    assert part_about(tmp_path, 0) is None


@pytest.mark.parametrize(
    "harm", [
        {"scenes": [0]}, {"clips": []}, {"sentences": [1]}, {"schema": "x"}, {"arrays": {"../x": "0"}},
        {"scenes": [1.5] * 5}, {"parts": "7"}, {"parts": 1 << 40},
    ],
)  # fmt: skip
def test_a_changed_json_is_refused(tmp_path, harm):
    path = write_part(tmp_path, 0, some_clips()) / "part.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **harm}))
    with pytest.raises(RejectedFileError):
        open_clips(tmp_path)


def test_changed_arrays_are_refused(tmp_path):
    part = write_part(tmp_path, 0, some_clips())
    data = bytearray((part / "labels.npy").read_bytes())
    data[-1] ^= 1
    (part / "labels.npy").write_bytes(data)
    open_clips(tmp_path)  # nothing was read yet
    with pytest.raises(RejectedFileError, match="labels"):
        open_clips(tmp_path, check=True)
    (part / "labels.npy").write_bytes(data[:-1])
    with pytest.raises(RejectedFileError, match="truncated"):
        open_clips(tmp_path)
    (part / "part.json").write_text("{")
    with pytest.raises(RejectedFileError, match="broken-header"):
        open_clips(tmp_path)


def test_parts_of_two_recipes_are_refused(tmp_path):
    write_part(tmp_path, 0, some_clips())
    write_part(tmp_path, 1, some_clips(side=8))
    with pytest.raises(RejectedFileError, match="equal type and shape"):
        open_clips(tmp_path)
    write_part(tmp_path, 1, ClipSet.of(np.zeros((2, 4, 6, 6, 3), np.uint8), np.array([0, 1])))
    with pytest.raises(RejectedFileError, match="the same arrays"):
        open_clips(tmp_path)


def test_a_clip_set_checks_its_shapes():
    clips = some_clips()
    with pytest.raises(InvalidValueError, match="labels must be"):
        ClipSet(clips.frames, clips.scenes, labels=clips.labels[:, :, :-1])
    with pytest.raises(InvalidValueError, match="one a clip"):
        ClipSet(clips.frames, clips.scenes, sentences=("one",))


def test_the_fingerprint_sees_everything():
    clips = some_clips()
    seen = {clips.fingerprint, ClipSet.of(clips.frames, clips.scenes).fingerprint}
    for name in ("frames", "labels", "depth", "flow", "actions"):
        arrays = {each: getattr(clips, each).copy() for each in ("frames", "labels", "depth", "flow", "actions")}
        arrays[name].flat[-1] = arrays[name].flat[-1] == 0
        seen.add(ClipSet.of(arrays.pop("frames"), clips.scenes, sentences=clips.sentences, **arrays).fingerprint)
    assert len(seen) == 7


# -- rows of several parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [
        3, -1, np.int64(6), np.array(2), slice(None), slice(1, 6), slice(None, None, -2), [5, 0, 5], np.array([-1, 2]),
        np.arange(7) % 2 == 0, np.array([], np.int64), (2, 1), (slice(1, 5), 2), (slice(0, 7), [0, 2]),
        (np.arange(7), np.arange(7) % 3), ([4, 1], slice(None), 0), ([4, 1], [2, 0], 1), (-2, ..., 0),
    ],
    ids=str,
)  # fmt: skip
def test_stacked_rows_read_as_numpy(key):
    whole = np.random.default_rng(0).integers(0, 99, (7, 3, 2))
    stacked = StackedRows([whole[:2], whole[2:3], whole[3:3], whole[3:]])
    np.testing.assert_array_equal(stacked[key], whole[key])
    assert type(stacked[key]) is np.ndarray


def test_stacked_rows_say_what_they_are():
    whole = np.arange(24, dtype=np.int16).reshape(6, 4)
    stacked = StackedRows([whole[:4], whole[4:]])
    assert (len(stacked), stacked.shape, stacked.dtype, stacked.ndim, stacked.size) == (6, (6, 4), np.int16, 2, 24)
    assert stacked.nbytes == whole.nbytes
    np.testing.assert_array_equal(np.asarray(stacked), whole)
    assert np.asarray(stacked, np.float32).dtype == np.float32


@pytest.mark.parametrize("key", [6, -7, [0, 6], [0.5], np.ones(5, bool)], ids=str)
def test_rows_that_are_not_there(key):
    with pytest.raises(IndexError):
        StackedRows([np.zeros((4, 2)), np.zeros((2, 2))])[key]


def test_stacked_rows_refuse_what_does_not_fit():
    with pytest.raises(InvalidValueError, match="equal type and shape"):
        StackedRows([np.zeros((4, 2)), np.zeros((2, 3))])
    with pytest.raises(InvalidValueError, match="flatten"):
        StackedRows([np.zeros((4, 2))])[np.zeros((2, 2), int)]


# -- labelled frames and splits -------------------------------------------------------------------------------------


def test_labelled_frames_are_frames_of_the_clips(tmp_path):
    clips = some_clips()
    made = labelled_frames(clips, per_clip=2, seed=1)
    assert made.clips.shape == (10, 4, 6, 6, 3)
    for row, name in enumerate(made.names):
        _, clip, _, frame = name.split()
        labels = clips.labels[int(clip), int(frame)]
        np.testing.assert_array_equal(made.masks[row], np.where(labels == 255, 255, labels == 1))
        np.testing.assert_array_equal(made.frames[row], clips.frames[int(clip), int(frame)])
        assert made.groups[row] == clips.scenes[int(clip)]
    assert len(set(made.names)) == 10
    write_part(tmp_path, 0, clips.take([0, 1]))
    write_part(tmp_path, 1, clips.take([2, 3, 4]))
    assert labelled_frames(open_clips(tmp_path), per_clip=2, seed=1).fingerprint == made.fingerprint


def test_masks_of_objects_and_of_what_moves():
    labels = np.array([[[[0, 1, 2, 9, 255, 255]]]] * 2, np.uint8).transpose(1, 0, 2, 3).repeat(2, 1)
    flow = np.zeros((1, 4, 1, 6, 2), np.float16)
    flow[0, :3, 0, [1, 3]] = 0.4, 0.4  # 0.57 pixels along the diagonal
    flow[0, :3, 0, 2] = 0.5, 0.0
    clips = ClipSet.of(np.zeros((1, 4, 1, 6, 3), np.uint8), np.zeros(1, np.int64), labels=labels, flow=flow)
    assert labelled_frames(clips, what="objects").masks.tolist() == [[[0, 0, 1, 1, 255, 255]]]
    moving = labelled_frames(clips, what="moving", per_clip=3)
    assert moving.masks.tolist() == [[[0, 1, 0, 1, 255, 255]]] * 3
    assert moving.at.tolist() == [0, 1, 2], "never the last frame, whose flow is not known"


def test_more_clips_leave_the_frames_drawn_before():
    few, many = some_clips(3), some_clips(5)
    assert labelled_frames(few, seed=4).at.tolist() == labelled_frames(many, seed=4).at.tolist()[:3]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"what": "sky"}, "one of robot"), ({"per_clip": 5}, "per_clip"), ({"per_clip": 0}, "per_clip")],
)
def test_labelled_frames_refuse(options, words):
    with pytest.raises(InvalidValueError, match=words):
        labelled_frames(some_clips(), **options)


def test_clips_without_labels_or_flow_have_no_masks():
    clips = some_clips()
    with pytest.raises(InvalidValueError, match="labels"):
        labelled_frames(ClipSet(clips.frames, clips.scenes))
    with pytest.raises(InvalidValueError, match="flow"):
        labelled_frames(ClipSet(clips.frames, clips.scenes, clips.labels), what="moving")


def test_masks_must_be_binary():
    with pytest.raises(InvalidValueError, match="0, 1 or 255, got 7 in b"):
        LabelledFrames(
            np.zeros((2, 1, 2, 2, 3), np.uint8), np.zeros(2, np.int64),
            np.array([[[0, 1], [255, 0]], [[0, 7], [0, 0]]], np.uint8), np.zeros(2, np.int64), ("a", "b"),
        )  # fmt: skip


def test_a_split_parts_no_group():
    groups = np.repeat(np.arange(10), [3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    learn, held = split_by_group(groups, share=0.3, seed=5)
    assert len(np.unique(groups[held])) == 3
    assert not set(groups[learn]) & set(groups[held])
    assert sorted([*learn, *held]) == list(range(len(groups)))
    again = split_by_group(groups, count=3, seed=5)
    np.testing.assert_array_equal(again[1], held)
    assert any(list(split_by_group(groups, count=3, seed=seed)[1]) != list(held) for seed in range(5))


@pytest.mark.parametrize("options", [{}, {"share": 0.5, "count": 1}, {"share": 1.0}, {"count": 0}, {"count": 3}])
def test_splits_that_cannot_be(options):
    with pytest.raises(InvalidValueError):
        split_by_group(np.array([0, 1, 2]), **options)
