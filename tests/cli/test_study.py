"""`lightmeter study`: the table on stdout, talk on stderr, files only where asked."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from functools import partial

import click
import numpy as np
import pytest
from click.testing import CliRunner

from lightmeter.cli.main import cli
from lightmeter.cli.study import study
from lightmeter.errors import InvalidValueError, UnknownNameError
from lightmeter.media.write import write_image
from lightmeter.studies import comparison, declared
from lightmeter.studies.candidates import class_means_row, majority_row
from lightmeter.studies.comparison import Beside, Section, Study
from lightmeter.studies.declared import study_called
from lightmeter.studies.galleries import mixture
from lightmeter.studies.names import STUDIES
from lightmeter.studies.user_gallery import user_gallery
from lightmeter.types import Image


def sections(asked):
    if asked.data is not None:
        beside = Beside("caltech-101", "Inception v1, error", "Inception v1, time")
        make = partial(user_gallery, asked.data, encoder=asked.encoder, seed=asked.seed, tell=asked.tell)
        return [Section("mine", make, beside)]
    return [Section("mixture", lambda: mixture("smoke", seed=asked.seed))]


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    made = Study("toy", "Which is best?", (majority_row(), class_means_row()), sections, notes=("all data",),
                 gallery_notes=("mixtures",))  # fmt: skip
    monkeypatch.setitem(sys.modules, "toy_studies", types.SimpleNamespace(TOY=made))
    monkeypatch.setitem(STUDIES, "toy", "toy_studies:TOY")
    monkeypatch.setattr(study.params[0], "type", click.Choice(list(STUDIES)))


def run(*args):
    return CliRunner().invoke(cli, ["study", *map(str, args)])


def test_prints_the_table_and_talks_aside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("toy")
    assert done.exit_code == 0
    assert "class means" in done.stdout
    assert "Which is best?" in done.stdout
    assert "class means" in done.stderr
    assert run("toy", "--quiet").stderr == ""
    assert list(tmp_path.iterdir()) == [], "files only where --out says"


def test_json_is_one_object_a_row():
    rows = [json.loads(line) for line in run("toy", "--json", "--quiet").stdout.splitlines()]
    assert [row["schema"] for row in rows] == ["lightmeter.study/1"] * 2
    assert [row["row"] for row in rows] == ["most frequent class", "class means"]
    assert rows[1]["error"]["queries"] == 60


def test_seed_and_out(tmp_path):
    shares = {}
    for seed in (0, 0, 1):
        done = run("toy", "--seed", seed, "--out", tmp_path / str(seed), "--quiet", "--json")
        found = json.loads(done.stdout.splitlines()[1])["error"]["share"]
        assert shares.setdefault(seed, found) == found
    record = json.loads((tmp_path / "1" / "study-toy-smoke.json").read_text())
    assert record["seed"] == 1
    assert record["data_hash"] != json.loads((tmp_path / "0" / "study-toy-smoke.json").read_text())["data_hash"]
    assert (tmp_path / "1" / "study-toy-smoke-mixture-frontier.png").exists()


def test_data_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setitem(comparison.BUDGET_S, "paper", 0.01)
    gallery = mixture("smoke", seed=5)
    np.savez(tmp_path / "gallery.npz", x=gallery.x, y=gallery.y)
    np.savez(tmp_path / "queries.npz", x=gallery.queries, y=gallery.truth)
    done = run("toy", "--scale", "paper", "--data", tmp_path)
    assert done.exit_code == 0
    assert "120 x 256, 20 classes, 60 queries" in done.stdout
    assert "published: seed 004, Caltech-101" in done.stdout, "asked for by --scale paper"


def test_data_of_the_user_get_neither_published_numbers_nor_notes_on_our_galleries(tmp_path):
    gallery = mixture("smoke", seed=5)
    np.savez(tmp_path / "gallery.npz", x=gallery.x, y=gallery.y)
    np.savez(tmp_path / "queries.npz", x=gallery.queries, y=gallery.truth)
    done = run("toy", "--data", tmp_path, "--out", tmp_path / "out", "--quiet")
    assert done.exit_code == 0
    assert "published" not in done.stdout
    assert "not run" not in done.stdout, "rows that are published only"
    assert "note: all data" in done.stdout
    assert "mixtures" not in done.stdout
    assert json.loads((tmp_path / "out" / "study-toy-smoke.json").read_text())["notes"]["notes"] == ["all data"]
    assert "note: mixtures" in run("toy", "--quiet").stdout


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Four pictures in each of two folders."""
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path / "cache"))
    for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for at in range(4):
            pixels = np.full((9, 9, 3), colour, np.uint8) + np.uint8(at)
            write_image(Image(pixels), tmp_path / "mine" / name / f"{at}.png")
    return tmp_path / "mine"


@pytest.mark.parametrize("name", ["toy", "caltech", "ann"])
def test_encoder_of_the_user(name, pictures, tmp_path, monkeypatch):
    if name != "toy":
        known = study_called(name)
        few = replace(known, rows=(majority_row(), class_means_row()))
        monkeypatch.setattr(declared, "study_called", lambda _: few)
    out = tmp_path / "out"
    done = run(name, "--data", pictures, "--encoder", "color-histogram/bins=2", "--out", out)
    assert done.exit_code == 0, done.exception
    assert "4 x 8, 2 classes, 4 queries" in done.stdout
    assert "color-histogram/bins=2" in done.stdout
    galleries = json.loads((out / f"study-{name}-smoke.json").read_text())["notes"]["galleries"]
    assert [each["source"].rpartition(", ")[2] for each in galleries.values()] == ["color-histogram/bins=2"]


def test_an_encoder_that_would_be_ignored_is_refused(tmp_path):
    done = run("toy", "--encoder", "color-histogram")
    assert isinstance(done.exception, InvalidValueError)
    assert str(done.exception).startswith("--encoder needs --data FOLDER")
    for each in ("gallery", "queries"):
        np.savez(tmp_path / f"{each}.npz", x=np.eye(2), y=[0, 1])
    done = run("toy", "--encoder", "color-histogram", "--data", tmp_path)
    assert isinstance(done.exception, InvalidValueError)
    assert str(done.exception).startswith("--encoder must be left out where gallery.npz holds features")


def test_several_seeds_that_would_be_ignored_are_refused():
    done = run("toy", "--seeds", 2)
    assert isinstance(done.exception, InvalidValueError)
    assert "toy takes one seed, got 2: leave --seeds out" in str(done.exception)
    assert run("toy", "--seeds", 0).exit_code == 2
    assert run("toy", "--seeds", 1, "--quiet").exit_code == 0


def test_several_seeds_reach_the_study(monkeypatch):
    asked = []

    def answer(what):
        asked.append(what)
        raise InvalidValueError("enough")

    monkeypatch.setattr(declared, "study_called", lambda name: types.SimpleNamespace(run=answer))
    run("yt8m", "--seeds", 3, "--seed", 5)
    assert list(asked[0].every_seed) == [5, 6, 7]


def test_an_encoder_that_is_none_is_said(pictures):
    done = run("toy", "--encoder", "colour-histogram", "--data", pictures)
    assert isinstance(done.exception, UnknownNameError)
    assert "did you mean 'color-histogram'?" in str(done.exception)


@pytest.mark.parametrize("inside", [None, "a_class"])
def test_data_without_a_gallery_are_refused(tmp_path, inside):
    if inside:
        (tmp_path / inside).mkdir()
    done = run("toy", "--data", tmp_path, "--quiet")
    assert isinstance(done.exception, InvalidValueError)
    assert done.exception.exit_code == 1
    assert str(done.exception).startswith("--data must hold ")
    assert done.stdout == ""


def test_help_lists_the_studies():
    assert "caltech" in run("--help").stdout
    assert "{caltech|faces|ann|yt8m|bair|distill|toy}" in run("--help").stdout.replace("\n", "").replace("  ", "")


def test_says_what_is_wrong(tmp_path):
    assert run("toy", "--scale", "huge").exit_code == 2
    assert run("toy", "--data", tmp_path / "none").exit_code == 2
    done = run("toys")
    assert done.exit_code == 2
    assert "'toys' is not one of 'caltech', 'faces', 'ann', 'yt8m', 'bair', 'distill', 'toy'" in done.stderr
    done = run("toy", "--scale", "paper")
    assert isinstance(done.exception, InvalidValueError)
    assert "--scale paper needs --data" in str(done.exception)
