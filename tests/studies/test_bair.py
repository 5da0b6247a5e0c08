"""The study of seed 001: all of its rows run on moving shapes, nothing is learnt twice, what is not run says why."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.cells import Cell
from lightmeter.heads.segmenting.probed import Probed
from lightmeter.heads.segmenting.probing import run_cells
from lightmeter.media.bair import write_bair
from lightmeter.media.clip_set import ClipSet, open_clips, write_part
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.meter.record import read_results
from lightmeter.metrics.bootstrap import Interval
from lightmeter.parts import build
from lightmeter.studies.bair import BAIR, SIZES
from lightmeter.studies.bair_data import BairSet, simulated, user_set
from lightmeter.studies.bair_rows import (
    AIMS,
    GRID,
    LABELS,
    LOSSES,
    RIDGE,
    SEED,
    SHIFT,
    TABLE,
    TASKS,
    rows_of,
    seed_rows,
)
from lightmeter.studies.bair_running import Running
from lightmeter.studies.bair_sharing import slug, taken
from lightmeter.studies.bair_targets import TARGETS, Target, judged, verdicts
from lightmeter.studies.declared import Asked, study_called
from lightmeter.studies.published import published

pytest.importorskip("torch")

SMOKE = SIZES["smoke"]


@pytest.mark.parametrize("scale", ["smoke", "cpu", "paper"])
def test_every_published_row_has_one_of_ours(scale):
    sizes = SIZES[scale]
    ours = [row for row in seed_rows(sizes) if row.printed]
    assert [row.printed for row in ours] == list(published(TABLE).rows)
    assert {row.seeds for row in ours} == {sizes.seeds}
    assert sizes.low in sizes.labels
    blocks = {row.block for row in rows_of(sizes)}
    assert blocks == {SEED, GRID, AIMS, LABELS, TASKS, SHIFT}  # losses are added when their rates are chosen
    assert study_called("bair") is BAIR


def test_the_seeds_rows_read_as_the_specification_says():
    rows = {row.printed: row for row in seed_rows(SIZES["paper"]) if row.printed}
    names = published(TABLE).rows
    assert SIZES["paper"].seeds == SIZES["cpu"].seeds == 5
    assert rows[names[0]].control == "noise"
    assert [rows[name].encoder for name in names] == [
        *["prior's tokens"] * 4, *["frame conditioner"] * 4, "pixels, full size",
    ]  # fmt: skip
    assert [rows[name].head.partition("/")[0] for name in names] == [
        "light-conv", "linear-global", "light-conv", "mask-unet", "linear-dual", "fc-conv", "attention-conv",
        "attention-conv", "mask-unet",
    ]  # fmt: skip
    assert "fine_tune=0.1" in rows[names[7]].training
    assert "fine_tune" not in rows[names[6]].training


@pytest.mark.parametrize("scale", ["smoke", "cpu", "paper"])
def test_every_row_is_spelled_as_its_parts_are_built(scale):
    for row in rows_of(SIZES[scale]):
        if row.head and row.head != RIDGE:
            build(row.head, "mask-head")
            build(row.training, "mask-training")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bair")


@pytest.fixture(scope="module")
def result(folder):
    return BAIR.run_in(Asked(), folder)


class TestSmoke:
    def test_all_rows_run_but_the_shift(self, result):
        lost = [each for each in result.outcomes if not each.ran]
        assert {each.why for each in lost} == {"no other family of scenes at this scale"}
        assert {each.row.block for each in lost} == {SHIFT}
        assert len(result.of(LOSSES)) == 18
        assert len(result.of(GRID)) == len(SMOKE.singles) * len(SMOKE.heads.grid)
        assert all(0 <= cell.iou <= 1 for each in result.of(SEED) for cell in each.results)
        assert {len(each.results) for each in result.of(SEED) if each.row.printed} == {2}

    def test_says_all_of_it(self, result):
        text = result.text()
        for name in published(TABLE).rows:
            assert name in text
        for said in (
            "0.83(Baseline)", "not run: shift: frozen", "no quality here means anything", "3.8 billion weights",
            "Losses × optimisers", "Label efficiency", "depth AbsRel", "Effective rank", "nats, wrong frame",
            *(target.says for target in TARGETS if target.asked),
        ):  # fmt: skip
            assert said in text
        assert len(verdicts(result)) == len(TARGETS)

    def test_rows_are_json_with_intervals_and_published_cells(self, result):
        rows = json.loads(json.dumps(result.json_rows(), allow_nan=False))
        printed = [row["published"]["printed"] for row in rows if row.get("published")]
        assert printed == [cell.printed for cell in published(TABLE).cells]
        ran = [row for row in rows if row.get("state") == "run"]
        assert all(row["low"] <= row["high"] and row["seeds"] for row in ran)

    def test_is_written_with_pictures(self, result, tmp_path):
        files = result.write(tmp_path)
        assert [path.name.removeprefix("study-bair-smoke") for path in files] == [
            ".txt", ".json", "-masks.png", "-labels.png", "-pretraining.png",
        ]  # fmt: skip
        record = read_results(files[1])
        assert record.data_hash == result.whole.data_hash
        assert set(record.notes["nets"]) == {"vqvae", "prior", "own", "image"}

    def test_a_futures_strip_is_taken_along(self, result, tmp_path):
        from lightmeter.studies.bair_pictures import pictures

        (tmp_path / "strip.png").write_bytes(b"a strip")
        made = pictures(replace(result, folders={"own": tmp_path}), tmp_path / "out", "study")
        assert made[-1].name == "study-future-own.png"
        assert made[-1].read_bytes() == b"a strip"

    def test_goes_on_where_it_was(self, result, folder, monkeypatch):
        from lightmeter.heads.segmenting import probing
        from lightmeter.nets.descent import Descent

        def never(*_: object, **__: object) -> None:
            raise AssertionError("nothing is learnt again")

        monkeypatch.setattr(probing, "answered", never)
        monkeypatch.setattr(Descent, "step", never)
        again = BAIR.run_in(Asked(), folder)
        assert _without_prices(again.json_rows()) == _without_prices(result.json_rows())


def _without_prices(rows):
    return [{name: each for name, each in row.items() if name != "seeds"} for row in rows]


# -- sets -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return simulated(SMOKE.counts, tmp_path_factory.mktemp("shapes"), seed=3, tell=lambda _text: None)


def test_no_scene_is_in_two_parts_and_pretraining_sees_none_that_is_asked(shapes):
    scenes = {name: set(part.groups.tolist()) for name, part in shapes.parts.items()}
    pretrained = set(shapes.clips.scenes.tolist())
    assert not scenes["test"] & pretrained
    assert not scenes["valid"] & pretrained
    assert not scenes["valid"] & scenes["test"]
    assert scenes["train"] <= pretrained
    assert len(shapes.parts["train"]) == SMOKE.counts.labels


def test_shifted_scenes_are_none_of_those_that_were_learnt_from(tmp_path):
    counts = replace(SMOKE.counts, clips=12, valid=2, test=2, labels=6, shift="shapes", shifted=4)
    whole = simulated(counts, tmp_path, seed=3, tell=lambda _text: None)
    scenes = [set(part.groups.tolist()) for part in whole.parts.values()]
    assert len(scenes) == 4
    assert sum(map(len, scenes)) == len(set.union(*scenes))
    cell = Cell(training="", task="robot", control="mean")
    (made,) = run_cells([cell], whole.parts["train"], whole.parts["valid"], whole.parts["shift"])
    assert 0 <= made.iou <= 1


def test_rows_of_more_labels_than_frames_are_not_run(shapes, tmp_path):
    running = Running(Asked(seeds=1), replace(SMOKE, labels=(5, 60), low=5), shapes, tmp_path)
    assert {row.labels for row in running.why} == {60}
    assert {row.seeds for row in running.rows if row.block == AIMS} == {1}
    assert set(running.why.values()) == {"only 20 frames to learn from"}


def test_all_tasks_are_asked_of_the_same_frames(shapes):
    test = shapes.parts["test"]
    assert set(test.answers) == {"robot", "objects", "moving", "depth", "flow"}
    far = np.hypot(*np.moveaxis(test.answer("flow"), -1, 0)) > 0.5
    np.testing.assert_array_equal(test.answer("moving") == 1, far)
    assert not ((test.answer("robot") == 1) & (test.answer("objects") == 1)).any()


def test_frames_and_masks_of_the_user(tmp_path):
    from PIL import Image

    clips = moving_shapes(8, frames=1, size=32, clips_a_scene=1, seed=1)
    for name in ("frames", "masks"):
        (tmp_path / name).mkdir()
    for row in range(8):
        Image.fromarray(clips.frames[row, 0]).save(tmp_path / "frames" / f"{row}.png")
        mask = np.uint8(255) * (clips.labels[row, 0] == 1)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{row}.png")
    made = user_set(tmp_path, seed=0)
    assert made.parts["test"].frames.masks.shape[1:] == (64, 64)
    assert sum(map(len, made.parts.values())) == 8
    assert made.clips is None
    assert "clips" in made.no_clips
    with pytest.raises(InvalidValueError, match="5 scenes or more, got 2"):
        _few(tmp_path, 2)


@pytest.fixture
def mine(tmp_path):
    """Frames and masks of a user, of clips that tests then write beside them: every clip is a scene, named once."""
    from PIL import Image

    clips = moving_shapes(10, frames=6, size=64, clips_a_scene=1, seed=1)
    for row in range(10):
        for name, pixels in (("frames", clips.frames[row, 2]), ("masks", np.uint8(255) * (clips.labels[row, 2] == 1))):
            path = tmp_path / name / f"{row}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
    return tmp_path, clips


def _held(whole):
    """Numbers of the clips that a valid or test frame is of."""
    return sorted(int(name) for part in ("valid", "test") for name in whole.parts[part].frames.names)


def _bair(folder, clips):
    write_bair(folder / "clips", {"aux1": clips.frames}, clips.actions, split="train")
    write_bair(folder / "clips", {"aux1": clips.frames[:3]}, clips.actions[:3], split="test")
    return 6


def _hdf5(folder, clips):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "clips.hdf5", "w") as file:
        for split, some in (("train", clips.frames), ("test", clips.frames[:3])):
            file[f"{split}_data"] = some.reshape(-1, 64, 64, 3)
            file[f"{split}_idx"] = np.arange(len(some)) * 6
    return 4


def _one_hdf5_in_a_folder(folder, clips):
    (folder / "clips").mkdir()
    length = _hdf5(folder, clips)
    (folder / "clips.hdf5").rename(folder / "clips" / "bair.hdf5")
    return length


def _simulated(folder, clips):
    write_part(folder / "clips", 0, clips, parts=2)
    return 6


@pytest.mark.parametrize("write", [_bair, _hdf5, _one_hdf5_in_a_folder, _simulated])
def test_clips_of_the_user_are_pretrained_on_but_for_those_that_are_asked(mine, write):
    folder, clips = mine
    length = write(folder, clips)
    made = user_set(folder, seed=0, frames=4)
    kept = [row for row in range(10) if row not in _held(made)]
    assert len(kept) == 7
    np.testing.assert_array_equal(np.asarray(made.clips.frames), clips.frames[kept, :length])
    assert made.clips.scenes.tolist() == kept
    np.testing.assert_array_equal(made.clips.frames[np.array([3, 1])], clips.frames[kept][[3, 1], :length])
    assert "7 clips to pretrain on" in made.said
    assert "3 of 10 clips are of scenes that hold a valid or test frame and are left out" in made.said
    assert ("lacks 1 of 2 parts" in made.said) == (write is _simulated)
    assert made.data_hash != user_set(folder, seed=1, frames=4).data_hash


def test_all_clips_of_a_scene_that_is_asked_are_left_out(mine):
    folder, clips = mine
    write_part(folder / "clips", 0, ClipSet.of(clips.frames, np.arange(10) // 5))
    made = user_set(folder, seed=0)
    assert {row // 5 for row in _held(made)} == {0, 1}
    assert made.clips is None
    assert made.no_clips == ("10 of 10 clips are of scenes that hold a valid or test frame: add clips of other scenes")
    other = moving_shapes(10, frames=6, size=64, seed=7)
    write_part(folder / "clips", 0, other)
    assert len(user_set(folder, seed=0).clips) == 10


def test_videos_of_the_user_are_cut_into_windows(mine, tmp_path_factory):
    from PIL import Image

    from lightmeter.media.video import FrameReader
    from lightmeter.media.write import write_frames

    folder, clips = mine
    for row in range(10):
        video = folder / "clips" / f"v{row}.mp4"
        write_frames(np.kron(clips.frames[row], np.ones((1, 2, 2, 1), np.uint8)), video, fps=10)
        shown = [frame for _, frame in FrameReader(video, fps=None)]
        Image.fromarray(shown[2]).save(folder / "frames" / f"{row}.png")
        mask = np.uint8(255) * np.kron(clips.labels[row, 2] == 1, np.ones((2, 2), np.uint8))
        Image.fromarray(mask).save(folder / "masks" / f"{row}.png")
    made = user_set(folder, seed=0, frames=3)
    assert made.clips.frames.shape == (14, 3, 64, 64, 3)
    assert "6 of 20 clips are of scenes that hold a valid or test frame" in made.said


def test_clips_in_two_places_are_refused(mine):
    folder, clips = mine
    _hdf5(folder, clips)
    _simulated(folder, clips)
    with pytest.raises(InvalidValueError, match=r"must be in one place, got clips, clips.hdf5"):
        user_set(folder, seed=0)


def test_the_study_asks_for_clips_as_long_as_its_windows(monkeypatch, tmp_path):
    asked = []

    def stop(folder, **how):
        asked.append((folder, how))
        raise InvalidValueError("no further")

    monkeypatch.setattr("lightmeter.studies.bair.user_set", stop)
    for scale, frames in (("cpu", 8), ("paper", 16)):
        with pytest.raises(InvalidValueError, match="no further"):
            BAIR.run_in(Asked(scale, data=tmp_path, seed=3), tmp_path)
        assert asked.pop() == (tmp_path, {"seed": 3, "frames": frames})


def _few(folder, count):
    for name in ("frames", "masks"):
        for path in sorted((folder / name).iterdir())[count:]:
            path.unlink()
    return user_set(folder, seed=0)


def test_paper_needs_data():
    with pytest.raises(InvalidValueError, match="--scale paper needs --data"):
        BAIR.run(Asked("paper"))


def test_other_studies_read_no_checkpoint(tmp_path):
    for name in ("ann", "yt8m"):
        with pytest.raises(InvalidValueError, match="leave --checkpoint out"):
            study_called(name).run(Asked(checkpoint=tmp_path))


# -- encoders -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_pretrained_says_why_in_every_row_and_in_the_losses(shapes, tmp_path):
    from lightmeter.studies.bair_running import Running

    bare = BairSet("bare", shapes.parts, None, "a test", "none", no_clips="there are none")
    running = Running(Asked(), SMOKE, bare, tmp_path)
    assert running._group("prior's tokens")
    lost = [running._outcome(row) for row in running.rows if row.encoder == "prior's tokens"]
    assert {each.why for each in lost} == {"clips must be there to pretrain on: there are none"}
    assert {each.row.block for each in lost} == {SEED, LOSSES}


def test_a_checkpoint_takes_the_place_of_pretraining(shapes, tmp_path):
    from lightmeter.studies.bair_encoders import FRAME, Encoders

    bare = replace(shapes, clips=None)
    named = tmp_path / "bair_gpt.ckpt"
    named.write_bytes(b"no checkpoint at all")
    with pytest.raises(ValueError, match=r"bair_gpt\.ckpt"):
        Encoders(Asked(checkpoint=named), bare, SMOKE.recipes, tmp_path).get(FRAME)


def test_image_self_supervision_sees_every_frame_standing_still():
    from lightmeter.studies.bair_encoders import standing

    clips = moving_shapes(3, frames=2, size=16, seed=0).frames
    still = standing(clips, 4)
    assert still.shape == (6, 4, 16, 16, 3)
    for row in range(6):
        for at in range(4):
            np.testing.assert_array_equal(still[row, at], clips[row // 2, row % 2])


def test_two_calls_share_the_work_by_locks(tmp_path):
    path = tmp_path / "locks" / slug("Prior's tokens, all maps")
    assert path.name == "prior-s-tokens-all-maps"
    first = taken(path)
    assert first is not None
    assert taken(path) is None
    first.release()
    second = taken(path)
    assert second is not None
    second.release()


# -- aims and pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "low", "high", "other", "least", "verdict"),
    [
        (0.81, 0.78, 0.83, "", 0.80, "met"),
        (0.79, 0.78, 0.83, "", 0.80, "missed"),
        (0.05, 0.01, 0.08, "untrained", 0.0, "met"),
        (0.05, 0.00, 0.08, "untrained", 0.0, "not shown"),
        (-0.02, -0.03, -0.011, "U-Net", -0.01, "missed"),
        (-0.005, -0.009, 0.01, "U-Net", -0.01, "met"),
        (-0.005, -0.02, 0.01, "U-Net", -0.01, "not shown"),
    ],
)
def test_verdicts_by_hand(value, low, high, other, least, verdict):
    assert judged(Interval(value, low, high, 0.0, 100), Target("an aim", "frozen", other, least)) == verdict


def test_an_overlay_by_hand():
    from lightmeter.studies.bair_pictures import FOUND, MISSED, WRONG, overlay

    frame = np.full((1, 5, 3), 100, np.uint8)
    found, true = np.array([[1, 0, 1, 0, 1]]), np.array([[1, 1, 0, 0, 255]])
    made = overlay(frame, found, true)[0]
    for at, colour in enumerate((FOUND, MISSED, WRONG)):
        np.testing.assert_array_equal(made[at], np.round(40 + 0.6 * np.array(colour)))
    np.testing.assert_array_equal(made[3:], frame[0, 3:])


def test_clips_are_found_again(tmp_path):
    told: list[str] = []
    small = replace(SMOKE.counts, clips=12, valid=2, test=4, labels=4)
    one = simulated(small, tmp_path, seed=0, tell=told.append)
    assert len(told) == 1
    again = simulated(small, tmp_path, seed=0, tell=told.append)
    assert len(told) == 1
    assert one.data_hash == again.data_hash
    (place,) = tmp_path.iterdir()
    assert len(open_clips(place)) == 12
    assert isinstance(one.parts["train"], Probed)
