"""Grids of probes: every cell once, kept, resumed; controls, tasks, labels, intervals; what cannot be run says so."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lightmeter.encoders.dense import FeatureSet
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.segmenting import probing
from lightmeter.heads.segmenting.cells import Cell, CellResult, by_row, paired_intervals, pooled_scores
from lightmeter.heads.segmenting.probed import Probed, probed_clips
from lightmeter.heads.segmenting.probing import IMAGE, SCRATCH, grid, run_cells
from lightmeter.heads.segmenting.probing_once import drawn_rows, on_one_grid
from lightmeter.heads.segmenting.resizing import resized_masks, resized_numbers
from lightmeter.media.clip_set import labelled_frames, split_by_group
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.media.rle import Rle

FEW = "mask-training/steps=4,batch=8"
CELL = Cell("pixels/patch=2", "linear-patch", FEW)


@pytest.fixture(scope="module")
def clips():
    return moving_shapes(18, frames=3, size=16, seed=0)


@pytest.fixture(scope="module")
def sets(clips):
    whole = probed_clips(clips, ["robot", "depth", "flow"], seed=0)
    rest, test = split_by_group(whole.groups, count=3, seed=0)
    known = whole.take(rest)
    learn, valid = split_by_group(known.groups, count=2, seed=0)
    return known.take(learn), known.take(valid), whole.take(test)


def robot(cell=CELL, **changed):
    return replace(cell, task="robot", **changed)


def test_tasks_are_of_the_same_frames(clips):
    whole = probed_clips(clips, ["robot", "objects", "moving", "depth", "flow"], per_clip=2, seed=3)
    moving = labelled_frames(clips, what="moving", per_clip=2, seed=3)
    assert (whole.frames.at == moving.at).all()
    assert (whole.answer("moving") == moving.masks).all()
    row = 5
    clip, at = row // 2, int(moving.at[row])
    assert (whole.answer("robot")[row] == (clips.labels[clip, at] == 1)).all()
    assert (whole.answer("objects")[row] == (clips.labels[clip, at] >= 2)).all()
    assert (whole.answer("flow")[row] == clips.flow[clip, at].astype(np.float32)).all()
    assert (whole.answer("depth")[row] == clips.depth[clip, at].astype(np.float32)).all()


@pytest.mark.parametrize(("tasks", "said"), [(["mask"], "must be one of robot"), (["sky"], "got 'sky'")])
def test_a_wrong_task(clips, tasks, said):
    with pytest.raises(InvalidValueError, match=said):
        probed_clips(clips, tasks)


def test_clips_without_what_is_asked(clips):
    with pytest.raises(InvalidValueError, match="task flow must have clips that hold it"):
        probed_clips(replace(clips, flow=None), ["flow"])


def test_a_grid_begins_with_what_all_is_compared_with():
    cells = grid(["pixels/patch=2", "random/width=8"], ["linear-patch", "fc-conv"], seeds=(0, 1), labels=(5, 0))
    assert (cells[0].encoder, cells[0].head, cells[0].seed, cells[0].labels) == ("pixels/patch=2", "linear-patch", 0, 5)
    assert len(cells) == len(set(cells))
    controls = {(each.encoder, each.head, each.control) for each in cells if each.control}
    assert controls == {
        ("", "", "mean"), ("pixels/patch=2", "linear-patch", "noise"), ("pixels/patch=2", "linear-patch", "shuffled"),
    }  # fmt: skip
    assert {each.encoder for each in cells} == {"pixels/patch=2", "random/width=8", "random", IMAGE, SCRATCH[0], ""}
    assert {each.encoder for each in grid(["random"], ["fc-conv"])} == {
        "random", "pixels/patch=4", IMAGE, SCRATCH[0], "",
    }  # fmt: skip
    assert {(each.encoder, each.head) for each in grid(["pixels"], ["fc-conv"], controls=False)} == {
        ("pixels", "fc-conv")
    }
    of_depth = grid(["pixels"], ["fc-conv"], tasks=("depth",))
    assert {(each.head, each.control) for each in of_depth} == {("patch-ridge", ""), ("", "mean")}
    assert {each.encoder for each in of_depth} == {"pixels", "random", IMAGE, ""}


def test_learning_from_nothing_and_an_image_encoder_are_controls():
    cells = grid(["random/width=8"], ["linear-patch", "fc-conv"], seeds=(0, 1), labels=(5,))
    assert [(each.seed, each.labels) for each in cells if (each.encoder, each.head) == SCRATCH] == [(0, 5), (1, 5)]
    assert {each.head for each in cells if each.encoder == SCRATCH[0]} == {SCRATCH[1]}
    assert {each.head for each in cells if each.encoder == IMAGE} == {"linear-patch", "fc-conv"}
    for own in ("dino/folder=/mine", "lite-maps/maps=[stage1]"):
        assert IMAGE not in {each.encoder for each in grid(["random", own], ["fc-conv"])}, "the user's is in its place"


def test_controls_learn(sets):
    made = run_cells([robot(encoder=SCRATCH[0], head=SCRATCH[1]), robot(encoder=IMAGE)], *sets)
    assert not any(each.refused for each in made)
    assert made[0].cost.head_parameters > 100_000


def test_weights_that_are_missing_leave_the_grid_whole():
    assert {each.encoder for each in grid(["dino/folder=/nowhere"], ["fc-conv"])} == {
        "dino/folder=/nowhere", "pixels/patch=4", "random", SCRATCH[0], "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [{"control": "none"}, {"task": "sky"}, {"labels": -1}, {"control": "mean"}, {"encoder": ""}, {"seed": -1}],
)
def test_a_wrong_cell(wrong):
    with pytest.raises(InvalidValueError, match="must"):
        replace(CELL, **wrong)


def test_cells_are_kept_and_not_run_again(sets, tmp_path, monkeypatch):
    cells = [robot(), robot(seed=1), Cell(training="", task="robot", control="mean"), robot(control="noise"),
             robot(control="shuffled")]  # fmt: skip
    heard = []
    made = run_cells(cells, *sets, folder=tmp_path, tell=lambda result, again: heard.append(again))
    assert [each.cell for each in made] == cells
    assert heard == [False] * 5
    assert len(list(tmp_path.glob("*.json"))) == 5
    monkeypatch.setattr(probing, "answered", None)  # whoever learns now fails
    again = run_cells(cells[::-1], *sets, folder=tmp_path)[::-1]
    for one, other in zip(made, again, strict=True):
        assert json.dumps(one.as_json()) == json.dumps(other.as_json())
        assert (one.rows == other.rows).all()
    assert made[0].iou != made[3].iou
    assert made[2].cost.encoder_parameters == made[2].cost.macs == 0
    assert made[0].cost.head_parameters == 4 * 12 + 4
    assert made[0].quality["pictures"] == len(sets[2]) == len(made[0].rows)


def test_the_same_seed_gives_the_same(sets):
    one, other = (run_cells([robot()], *sets)[0] for _ in range(2))
    assert (one.rows == other.rows).all()
    assert one.shown == other.shown
    mask = Rle.from_text(16, 16, one.shown[0][1]).mask()
    assert mask.sum() == one.rows[one.shown[0][0], 1]  # as many pixels as were counted as found


def test_a_cell_of_other_data_is_run(sets, tmp_path):
    run_cells([robot()], *sets, folder=tmp_path)
    run_cells([robot()], sets[0].take(np.arange(4)), *sets[1:], folder=tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_a_damaged_file_is_named(sets, tmp_path):
    run_cells([robot()], *sets, folder=tmp_path)
    (file,) = tmp_path.glob("*.json")
    file.write_text(file.read_text()[:100])
    with pytest.raises(RejectedFileError, match=f"{file.name} must be a cell as it was written"):
        run_cells([robot()], *sets, folder=tmp_path)


def test_what_cannot_be_run_says_why_and_is_not_kept(sets, tmp_path):
    cells = [
        robot(encoder="dino/folder=/nowhere"), robot(encoder="random/width=8,maps=[down2,down4]"), robot(labels=99),
        robot(head="linear-patchy"), robot(),
    ]  # fmt: skip
    made = run_cells(cells, *sets, folder=tmp_path)
    assert [bool(each.refused) for each in made] == [True] * 4 + [False]
    assert "maps of one stride" in made[1].refused
    assert "labels must be at most" in made[2].refused
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert list(by_row(made)) == [robot()]


def test_sets_that_share_a_scene(sets):
    with pytest.raises(InvalidValueError, match="train and test must not share a scene"):
        run_cells([robot()], sets[0], None, sets[0])


def test_labelled_frames_will_do(clips):
    frames = labelled_frames(clips, seed=0)
    some, others = split_by_group(frames.groups, count=3, seed=0)
    made = run_cells([CELL], frames.take(some), None, frames.take(others))[0]
    assert made.cell.task == "mask"
    assert (made.frames, made.valid_frames, made.quality["threshold"]) == (len(some), 0, 0.0)


def test_fewer_labels_are_nested_and_calibrate_on_no_more(sets):
    few, more = drawn_rows(12, 4, 7), drawn_rows(12, 8, 7)
    assert set(few) < set(more)
    assert (drawn_rows(12, 0, 7) == np.arange(12)).all()
    assert list(drawn_rows(12, 4, 8)) != list(few)
    made = run_cells([robot(labels=2), robot()], *sets)
    assert [(each.frames, each.valid_frames) for each in made] == [(2, 2), (len(sets[0]), len(sets[1]))]


@pytest.mark.parametrize(("task", "measure"), [("depth", "abs_rel"), ("flow", "epe_px")])
def test_numbers_a_pixel(sets, task, measure, tmp_path):
    cells = [Cell("pixels/patch=2", "patch-ridge", "", task=task), Cell(training="", task=task, control="mean")]
    made = run_cells(cells, *sets, folder=tmp_path)
    assert not any(each.refused for each in made)
    for each in made:
        assert each.value == each.quality[measure] > 0
        assert pooled_scores([each]).result().as_json()[measure] == pytest.approx(each.value)
    own, less = paired_intervals([[made[0]], [made[1]]], sets[2].groups, rounds=20)[1]
    assert own[measure].value == pytest.approx(made[1].value)
    assert less[measure].value == pytest.approx(made[1].value - made[0].value)
    assert run_cells(cells, *sets, folder=tmp_path)[0].rows.dtype == np.float64


@pytest.mark.parametrize("size", [16, 18, 33])
@pytest.mark.parametrize("encoder", ["pixels/patch=4", IMAGE])
def test_numbers_of_encoders_that_take_another_size(encoder, size):
    """What is the same everywhere is answered exactly, in the truth's own units, at the truth's own size."""
    clips = moving_shapes(8, frames=2, size=size, seed=0)
    flow = np.broadcast_to(np.float16([2.0, -1.0]), clips.flow.shape)
    depth = np.full_like(clips.depth, 1.5)
    whole = probed_clips(replace(clips, flow=flow, depth=depth), ["depth", "flow"], seed=0)
    rest, test = split_by_group(whole.groups, count=2, seed=0)
    cells = [Cell(encoder, "patch-ridge", "", task=task) for task in ("depth", "flow")]
    for each in run_cells(cells, whole.take(rest), None, whole.take(test)):
        assert not each.refused
        assert each.value == pytest.approx(0, abs=1e-6)
        assert (each.quality["height"], each.quality["width"]) == (size, size)


@pytest.mark.parametrize("kinds", [(), (2,)])
def test_numbers_there_and_back(kinds):
    numbers = np.random.default_rng(0).normal(size=(2, 5, 7, *kinds)).astype(np.float32)
    twice = resized_masks(numbers, 10, 14)
    assert twice.shape == (2, 10, 14, *kinds)
    np.testing.assert_array_equal(twice[:, 1::2, ::2], numbers)
    np.testing.assert_allclose(resized_numbers(twice, 5, 7), numbers, rtol=1e-6)
    assert resized_numbers(numbers, 5, 7) is numbers


def test_the_mean_depth_by_hand(sets):
    train, _, test = sets
    made = run_cells([Cell(training="", task="depth", control="mean")], train, None, test)[0]
    guess, truth = train.answer("depth").mean(axis=0, dtype=np.float64), test.answer("depth").astype(np.float64)
    assert made.value == pytest.approx((np.abs(guess - truth) / truth).mean(), rel=1e-6)


def test_seeds_are_pooled_and_pairs_share_them(sets):
    cells = [robot(seed=seed) for seed in (0, 1)] + [robot(head="linear-global", seed=1)]
    made = run_cells(cells, *sets)
    one, other = by_row(made).values()
    (own, none), (theirs, less) = paired_intervals([one, other], sets[2].groups, rounds=30)
    both, union = sum(each.rows[:, 0].sum() for each in one), sum(
        (each.rows[:, 1] + each.rows[:, 2] - each.rows[:, 0]).sum() for each in one
    )  # fmt: skip
    assert own["iou"].value == pytest.approx(both / union)
    assert not none
    assert theirs["iou"].value == pooled_scores(other).result().iou
    assert less["iou"].value == pytest.approx(theirs["iou"].value - pooled_scores(one[1:]).result().iou)
    with pytest.raises(InvalidValueError, match="a seed in common"):
        paired_intervals([one[:1], other], sets[2].groups)


def test_an_encoder_that_learns_too(sets):
    tuned = robot(encoder="random/width=8", training=f"{FEW},fine_tune=0.1")
    made = run_cells([tuned, replace(tuned, training=FEW)], *sets)
    assert not made[0].refused
    assert (made[0].rows != made[1].rows).any()


def test_copies_are_made_of_what_is_learnt_from(sets):
    made = run_cells([robot(training=f"{FEW},copies=2,flip=true", labels=5)], *sets)[0]
    assert (made.refused, made.frames) == ("", 5)


def test_maps_of_several_strides_on_one_grid():
    inputs = {"fine": FeatureSet("fine", 1, 2), "own": FeatureSet("own", 1, 4), "far": FeatureSet("far", 1, 8)}
    fine = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    maps = {"fine": fine, "own": np.zeros((1, 1, 2, 2), np.float32), "far": np.full((1, 1, 1, 1), 7, np.float32)}
    sets, made = on_one_grid(inputs, maps)
    assert {each.stride for each in sets.values()} == {4}
    assert made["fine"].tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert made["far"].tolist() == [[[[7, 7], [7, 7]]]]
    assert made["own"] is maps["own"]
    with pytest.raises(InvalidValueError, match="divide one another"):
        on_one_grid({"a": FeatureSet("a", 1, 3), "b": FeatureSet("b", 1, 4)}, {"a": fine, "b": fine})


def test_answers_are_held_to_their_form(clips):
    frames = labelled_frames(clips, seed=0)
    with pytest.raises(InvalidValueError, match="a task must be one of"):
        Probed(frames, {"sky": frames.masks})
    with pytest.raises(InvalidValueError, match="answers of depth must be float32"):
        Probed(frames, {"depth": frames.masks})
    with pytest.raises(InvalidValueError, match="got depth"):
        Probed.of(frames).answer("depth")


def test_json_of_another_schema():
    with pytest.raises(ValueError, match="schema must be"):
        CellResult.from_json({"schema": "other/1"})
