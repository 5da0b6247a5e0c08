"""The study of seed 002: its presets are its tables, all rows run on digits, nothing is made twice."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, UnknownNameError
from lightmeter.meter.record import read_results
from lightmeter.metrics.bootstrap import Interval
from lightmeter.parts import build
from lightmeter.studies.declared import Asked, study_called
from lightmeter.studies.distill import DISTILL, SIZES
from lightmeter.studies.distill_data import digits, padded, user_set
from lightmeter.studies.distill_presets import PRESETS, preset_called
from lightmeter.studies.distill_results import distill_json, judged, published_cell, verdicts
from lightmeter.studies.distill_rows import AIMS, METHODS, preset_rows, rows_of
from lightmeter.studies.distill_running import Figures
from lightmeter.studies.published import published

pytest.importorskip("torch")
pytest.importorskip("diffusers")


def test_presets_are_the_seeds_tables():
    told = {
        name: (each.classes, each.learnt_size, each.size, each.outliers, each.beta, each.protocol.partition("-")[0])
        for name, each in PRESETS.items()
    }
    assert told == {
        "imagewoof": (10, 512, 256, 0.0, 0.7, "minimax"),
        "imagenette": (10, 512, 256, 0.01, 0.7, "minimax"),
        "imageidc": (10, 512, 256, 0.1, 0.7, "minimax"),
        "imagenet-100": (100, 512, 256, 0.1, 0.7, "minimax"),
        "imagenet-1k": (1000, 512, 224, 0.0, 0.7, "rded"),
        "cifar-10": (10, 32, 32, 0.0, 0.8, "rded"),
        "cifar-100": (100, 32, 32, 0.0, 0.2, "rded"),
        "tiny-imagenet": (200, 64, 64, 0.0, 0.7, "rded"),
    }
    assert {(each.vlcp.strength, each.vlcp.guidance, each.vlcp.top) for each in PRESETS.values()} == {(0.7, 10.0, 30)}
    assert {len(each.students) for each in PRESETS.values()} == {1, 3}
    with pytest.raises(UnknownNameError, match="name the folder of --data after its set"):
        preset_called("imagenete")


@pytest.mark.parametrize("name", PRESETS)
def test_rows_of_a_preset_are_spelled_as_their_parts_are_built(name):
    rows = preset_rows(PRESETS[name])
    for row in rows:
        build(row.method, "condenser")
        build(row.protocol, "protocol")
        build(row.student, "student")
    assert {row.sets for row in rows if row.model == "tuned"} == {3}


@pytest.mark.parametrize(("name", "cells"), [("imagenet-100", 36), ("tiny-imagenet", 6)])
def test_every_published_cell_has_a_row_of_ours(name, cells):
    found = [published_cell(Figures(row)) for row in preset_rows(PRESETS[name])]
    printed = {(cell.row, cell.column) for cell in found if cell is not None}
    (table,) = PRESETS[name].tables
    assert printed == {(cell.row, cell.column) for cell in published(table).cells}
    assert len(printed) == cells


def test_rows_of_a_scale():
    rows = rows_of(SIZES["cpu"])
    assert len(set(rows)) == len(rows)
    assert {row.block for row in rows} == {"methods", "settings", "students", "soft labels"}
    assert {row.seeds for row in rows if row.block == METHODS} == {5}
    labels = {(row.label, row.per_class) for row in rows if (row.block, row.data) == (METHODS, "fashion-mnist")}
    assert {(each, aim.per_class) for aim in AIMS for each in (aim.row, aim.other)} <= labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distill")


@pytest.fixture(scope="module")
def result(folder):
    return DISTILL.run_in(Asked(), folder)


class TestSmoke:
    def test_all_rows_run(self, result):
        assert study_called("distill") is DISTILL
        assert all(each.ran for each in result.figures), [each.why for each in result.figures if each.why]
        for each in result.figures:
            assert each.hits.shape == (2, 500)
            assert len(each.small) == 10 * each.row.per_class
            assert (np.bincount(each.small.labels) == each.row.per_class).all()
            assert each.hits.mean() > 0.2, "a digit in ten is known by chance"
            assert (each.best >= each.hits.mean(axis=1) - 1e-12).all()
        assert result.full["digits"] > 0.5

    def test_says_all_of_it(self, result):
        text = result.text()
        for said in ("no quality here means anything", "prototypes, drawn", "less random", "MTT, DATM", "not run"):
            assert said in text
        assert {each.verdict for each in verdicts(result)} == {"not run"}

    def test_rows_are_json_with_prices(self, result):
        rows = json.loads(json.dumps(distill_json(result), allow_nan=False))
        ran = [row for row in rows if row.get("state") == "run"]
        assert len(ran) == len(result.figures)
        assert all(row["set_cost"]["cpu_s"] >= 0 and row["student_cost"]["cpu_s"] > 0 for row in ran)
        less = [row["less_random"] for row in ran if row["row"] != "random"]
        assert all(each["low"] <= each["value"] <= each["high"] for each in less)

    def test_is_written_with_pictures(self, result, tmp_path):
        files = result.write(tmp_path)
        assert [path.name.removeprefix("study-distill-smoke") for path in files] == [
            ".txt", ".json", "-digits-curves.png", "-digits-pictures.png",
        ]  # fmt: skip
        assert read_results(files[1]).seed == 0

    def test_goes_on_where_it_was(self, result, folder, monkeypatch):
        from lightmeter.studies import distill_running

        def never(*_: object, **__: object) -> None:
            raise AssertionError("nothing is learnt again")

        monkeypatch.setattr(distill_running, "score", never)
        again = DISTILL.run_in(Asked(), folder)
        for one, other in zip(result.figures, again.figures, strict=True):
            np.testing.assert_array_equal(one.hits, other.hits)
            np.testing.assert_array_equal(one.small.images, other.small.images)


def test_judged_by_the_whole_interval():
    assert judged(Interval(0.05, 0.03, 0.07, 0.95, 10), 0.02) == "met"
    assert judged(Interval(0.05, 0.01, 0.07, 0.95, 10), 0.02) == "not shown"
    assert judged(Interval(0.0, -0.01, 0.01, 0.95, 10), 0.02) == "missed"


def test_digits_are_split_class_by_class():
    made = digits(3)
    assert made.learn.size == (16, 16)
    assert len(made.learn) + len(made.test) == 1797
    assert not set(made.learn.names) & set(made.test.names)
    assert made.test.counts().min() >= 45


def test_padding_leaves_pictures_in_the_middle():
    made = padded(np.full((2, 28, 28), 7, np.uint8), 32)
    assert made.shape == (2, 32, 32)
    assert made[:, 2:30, 2:30].min() == 7
    assert made.sum() == 2 * 28 * 28 * 7


class TestAskedWrongly:
    def test_data_and_paper_go_together(self, tmp_path):
        for asked in (Asked("paper"), Asked("cpu", data=tmp_path)):
            with pytest.raises(InvalidValueError, match="goes with --scale paper"):
                DISTILL.run(asked)

    def test_an_encoder_is_not_taken(self):
        with pytest.raises(InvalidValueError, match="takes no --encoder"):
            DISTILL.run(Asked(encoder="dlib-face"))

    def test_a_folder_of_other_classes(self, tmp_path):
        from PIL import Image

        for part in ("train", "val"):
            for name in "ab":
                (tmp_path / part / name).mkdir(parents=True)
                for at in range(3):
                    pixels = np.random.default_rng([ord(name), at, len(part)]).integers(0, 256, (16, 16, 3))
                    Image.fromarray(np.uint8(pixels)).save(tmp_path / part / name / f"{at}.png")
        made = user_set(tmp_path, tmp_path / "work", size=16, classes=2, tell=lambda _: None)
        assert (len(made.learn), len(made.test)) == (6, 6)
        with pytest.raises(InvalidValueError, match="the same 10 classes, got 2 and 2"):
            user_set(tmp_path, tmp_path / "work", size=16, classes=10, tell=lambda _: None)
        with pytest.raises(InvalidValueError, match="must hold train and val"):
            user_set(tmp_path / "train", tmp_path / "work", size=16, classes=2, tell=lambda _: None)

    def test_drawing_methods_say_what_they_need_at_paper_scale(self, folder, result):
        from lightmeter.studies.distill_models import Models

        models = Models(Asked(), dict(result.sets), folder, teacher_steps=60)
        row = replace(result.figures[0].row, model="tuned")
        with pytest.raises(InvalidValueError, match="--checkpoint must name a folder of Stable Diffusion"):
            models.bench(row, 0)
