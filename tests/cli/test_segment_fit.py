"""`lightmeter segment fit`, `predict`, `probe`: from frames and masks to masks; what is refused, and how."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as Pillow

from lightmeter.cli.main import cli
from lightmeter.media.clip_set import write_part
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.media.write import write_frames, write_image
from lightmeter.types import Image

SMALL = ("--encoder", "random/width=8", "--head", "deep-conv/width=8,blocks=1,first=8,last=4",
         "--training", "mask-training/steps=40,batch=16,lr=0.02", "--size", "32")  # fmt: skip
TINY = ("--encoder", "pixels/patch=2", "--head", "linear-patch", "--training", "mask-training/steps=3,batch=8")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path / "cache"))


def run(*arguments, code=0):
    done = CliRunner().invoke(cli, ["segment", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        if code:
            return str(done.exception)
        raise done.exception
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Frames, masks and clips of one kind: bright squares on noise."""
    place = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for row in range(16):
        pixels, mask = rng.integers(0, 100, (40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)
        y, x = rng.integers(0, 28, 2)
        mask[y : y + 12, x : x + 12] = 255
        pixels[mask > 0] += np.uint8(140)
        write_image(Image(pixels), place / "frames" / f"f{row}.png")
        (place / "masks").mkdir(exist_ok=True)
        Pillow.fromarray(mask).save(place / "masks" / f"f{row}.png")
    write_part(place / "clips", 0, moving_shapes(16, frames=3, size=16, seed=0))
    return place


def test_from_frames_and_masks_to_masks(folder, tmp_path):
    model = tmp_path / "model"
    done = run("fit", folder / "frames", folder / "masks", "--out", model, *SMALL)
    assert "held out: IoU 0." in done.stdout
    assert "CPU-ms a frame" in done.stdout
    assert "on the mean mask" in done.stdout
    assert "learnt from 13 frames before" in run(
        "fit", folder / "frames", folder / "masks", "--out", model, *SMALL
    ).stdout  # fmt: skip
    done = run("predict", model, folder / "frames", "--out", tmp_path / "out")
    assert done.stdout.count("% inside") == 16
    shared = []
    for row in range(16):
        with (
            Pillow.open(tmp_path / "out" / f"f{row}.mask.png") as one,
            Pillow.open(folder / "masks" / f"f{row}.png") as two,
        ):
            found, true = np.asarray(one) > 0, np.asarray(two) > 0
        shared.append((found & true).sum() / (found | true).sum())
    assert np.mean(shared) > 0.6
    assert (tmp_path / "out" / "f3.overlay.png").stat().st_size > 500


def test_masks_as_json_lines(folder, tmp_path):
    run("fit", folder / "clips", "robot", "--out", tmp_path / "m", *TINY)
    write_frames(moving_shapes(1, frames=4, size=16, seed=3).frames[0], tmp_path / "v.mp4", fps=4)
    rows = [json.loads(line) for line in run(
        "predict", tmp_path / "m", folder / "frames" / "f0.png", tmp_path / "v.mp4", "--out", tmp_path / "o", "--json",
    ).stdout.splitlines()]  # fmt: skip
    assert [each["time_s"] for each in rows] == [None, 0.0, 0.25, 0.5, 0.75]
    assert {each["schema"] for each in rows} == {"lightmeter.segment.predict/1"}
    assert rows[0]["mask"]["size"] == [40, 40]
    assert 0 <= rows[0]["inside"] <= 1
    assert not any(each["again"] for each in rows)
    again = run("predict", tmp_path / "m", tmp_path / "v.mp4", folder / "frames" / "f0.png", "--out", tmp_path / "o")
    assert again.stdout.count("answered before") == 2
    assert "2 files were answered by this model before" in again.stderr
    assert "2 skipped" in again.stderr


def test_json_of_a_fit(folder, tmp_path):
    row = json.loads(run(
        "fit", folder / "clips", "objects", "--out", tmp_path / "m", *TINY, "--head", "linear-global", "--json", "-q"
    ).stdout)  # fmt: skip
    assert row["schema"] == "lightmeter.segment.fit/1"
    assert len(row["candidates"]) == 2
    assert any(each["frontier"] for each in row["candidates"])
    assert all(each["cost_a_frame"]["cpu_s"] > 0 and each["fit_cost"]["cpu_s"] > 0 for each in row["candidates"])
    assert (row["frames"], row["held_out"]) == (12, 4)


def test_motion_is_its_own_teacher(tmp_path):
    rng = np.random.default_rng(0)
    still = rng.integers(0, 120, (32, 32, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    frames = np.stack([still] * 60)
    for at in range(60):
        frames[at, 20:40, at : at + 12] = 230
    write_frames(frames, tmp_path / "street.mp4", fps=4, crf=5)
    done = run("fit", tmp_path / "street.mp4", "motion", "--out", tmp_path / "m", *SMALL, "--group-s", 3)
    assert "held out: IoU 0." in done.stdout


def test_some_files_that_cannot_be_read(folder, tmp_path):
    run("fit", folder / "clips", "robot", "--out", tmp_path / "m", *TINY, "--valid", 0)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    done = run(
        "predict", tmp_path / "m", folder / "frames" / "f0.png", tmp_path / "bad.png", tmp_path / "none.png", "--out",
        tmp_path / "o", code=3,
    )  # fmt: skip
    assert "bad.png: unreadable" in done.stderr
    assert "none.png: missing: nothing at" in done.stderr
    assert "f0.png: " in done.stdout
    assert sorted(each.name for each in (tmp_path / "o").rglob("*.*")) == [
        "f0.mask.png",
        "f0.overlay.png",
        "masks.json",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda masks: Pillow.fromarray(np.zeros((20, 40), np.uint8)).save(masks / "f3.png"), "f3.png must be 40 x 40"),
        (lambda masks: Pillow.fromarray(np.arange(1600, dtype=np.uint8).reshape(40, 40)).save(masks / "f4.png"),
         "f4.png must hold 0 and 1"),
        (lambda masks: (masks / "f5.png").unlink(), "the frame f5 has no mask"),
        (lambda masks: (masks / "f6.png").write_bytes(b"GIF89a"), "f6.png: the header of the gif cannot be read"),
    ],
)  # fmt: skip
def test_bad_masks_are_named(folder, tmp_path, change, said):
    masks = tmp_path / "masks"
    masks.mkdir()
    for each in (folder / "masks").iterdir():
        (masks / each.name).write_bytes(each.read_bytes())
    change(masks)
    assert said in run("fit", folder / "frames", masks, "--out", tmp_path / "m", *TINY, "--size", "16", code=1)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--encoder", "dino/folder=/nowhere"), "/nowhere"),
        (("--encoder", "dinosaur"), "dinosaur"),
        (("--head", "mask-unet/levels=99"), "levels must be 0 to 6"),
        (("--training", "adam"), "adam"),
        (("--sweep", "lr"), "must be option=value;value"),
        (("--sweep", "depth=1;2"), "options must be of"),
    ],
)
def test_wrong_parts_are_named(folder, tmp_path, options, said):
    assert said in run("fit", folder / "clips", "robot", "--out", tmp_path / "m", *TINY[:-2], *options, code=1)


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        ("clips robot", ("--draws", 3), "--draws is for --sweep"),
        ("clips robot", ("--sweep", "lr=1;2", "--draws", 3), "--draws is for --how random"),
        ("clips robot", ("--price", "macs"), "--price is for several candidates"),
        ("clips robot", ("--partial",), "--partial is for masks in files"),
        ("clips robot", ("--group-s", 3), "--group-s is for `motion` in one video"),
        ("clips robot", ("--context", 3), "--context is for pictures and videos"),
        ("frames masks", ("--per-clip", 3), "--per-clip is for sets of clips"),
        ("frames masks", ("--size", "9x"), "must be pixels, as 128"),
        ("frames masks", ("--wanted", "a"), "must be whole numbers"),
    ],
)
def test_options_that_would_do_nothing(folder, tmp_path, data, options, said):
    frames, masks = data.split()
    masks = folder / masks if masks == "masks" else masks
    assert said in run("fit", folder / frames, masks, "--out", tmp_path / "m", *TINY, *options, code=2).output


def test_predict_says_what_it_needs(folder, tmp_path):
    (tmp_path / "m").mkdir()
    assert "name a picture, a video or a folder" in run("predict", tmp_path / "m", code=2).output
    assert "name it with --out" in run("predict", tmp_path / "m", folder / "frames", code=2).output
    assert "is for DATA" in run("predict", tmp_path / "m", "--onnx", "x", "--crf", 3, code=2).output
    assert "a model must hold model.json" in run("predict", tmp_path / "m", "--onnx", tmp_path / "x", code=1)


@pytest.mark.slow
def test_onnx_from_the_command_line(folder, tmp_path):
    run("fit", folder / "clips", "robot", "--out", tmp_path / "m", *TINY)
    row = json.loads(run("predict", tmp_path / "m", "--onnx", tmp_path / "m.onnx", "--json").stdout)
    assert (row["schema"], row["frames"], row["height"]) == ("lightmeter.segment.onnx/1", 1, 16)
    assert row["apart"] < 1e-3
    assert row["size_bytes"] == (tmp_path / "m.onnx").stat().st_size


def test_probe(folder, tmp_path):
    asked = ("probe", folder / "clips", "--out", tmp_path / "p", *TINY, "--task", "robot", "--task", "depth",
             "--labels", "4,6", "--rounds", 20)  # fmt: skip
    done = run(*asked)
    assert "95 %" in done.stdout
    assert {each.name for each in (tmp_path / "p").iterdir()} == {
        "cells", "probe.csv", "probe.json", "probe.html", "predictions.png", "labels.png",
    }  # fmt: skip
    with (tmp_path / "p" / "probe.csv").open() as file:
        rows = list(csv.DictReader(file))
    robot = [row for row in rows if row["task"] == "robot" and row["labels"] == "4"]
    assert [row["control"] for row in robot] == ["", "", "", "mean", "", "noise", "shuffled"]
    assert [row["encoder"].partition("/")[0] for row in robot] == [
        "pixels", "random", "lite-maps", "", "pixels", "pixels", "pixels",
    ]  # fmt: skip
    assert robot[4]["head"].startswith("mask-unet/")
    assert robot[0]["less_the_first"] == ""
    for row in robot[1:]:
        assert float(row["less_the_first"]) == pytest.approx(float(row["iou"]) - float(robot[0]["iou"]))
    assert all(float(row["ms"]) >= 0 and row["train_cpu_s"] for row in rows)
    record = json.loads((tmp_path / "p" / "probe.json").read_text())
    assert record["schema"] == "lightmeter.record/1"
    assert len(record["rows"]) == len(rows) == 22
    again = run(*asked, "--json")
    assert "22 skipped" in again.stderr
    assert len(again.stdout.splitlines()) == 22


def test_probe_names_what_it_cannot_run(folder, tmp_path):
    asked = ("probe", folder / "clips", "--out", tmp_path / "p", *TINY, "--no-controls", "--rounds", 20)
    done = run(*asked, "--head", "linear-patch", "--encoder", "dino/folder=/nowhere", code=3)
    assert "/nowhere" in done.stderr
    assert "1 failed" in done.stderr
    assert "pixels/patch=2" in done.stdout


def test_probe_of_own_masks(folder, tmp_path):
    asked = ("probe", folder / "frames", "--masks", folder / "masks", "--out", tmp_path / "p", *TINY, "--size", 16)
    rows = [json.loads(line) for line in run(*asked, "--json", "--rounds", 20).stdout.splitlines()]
    assert {row["task"] for row in rows} == {"mask"}
    assert "--task is for what clips know" in run(*asked, "--task", "robot", code=2).output
    assert "--size is for --masks" in run(
        "probe", folder / "clips", "--out", tmp_path / "q", *TINY, "--size", 16, code=2
    ).output  # fmt: skip


def test_defaults_are_those_of_the_library():
    from lightmeter.cli import segment_fit
    from lightmeter.library import segmenting

    assert (segment_fit.DEFAULT_ENCODER, segment_fit.DEFAULT_HEAD) == (
        segmenting.DEFAULT_ENCODER, segmenting.DEFAULT_HEAD,
    )  # fmt: skip
