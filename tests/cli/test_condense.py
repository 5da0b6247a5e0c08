"""`lightmeter condense`: what it says, writes and refuses; on noise of 8 pixels, with ten steps of learning."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lightmeter.cli.main import cli

pytest.importorskip("torch")
FEW = ["--method", "k-medoid/features=pixels", "--per-class", "2", "--protocol", "quick/steps=4", "--engine", "inline"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    place = tmp_path_factory.mktemp("condense") / "pictures"
    draws = np.random.default_rng(0)
    for number in range(40):
        path = place / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256 >> number % 2, (8, 8, 3), np.uint8)).save(path)
    return place


def run(*args):
    return CliRunner().invoke(cli, ["condense", *map(str, args)], catch_exceptions=False)


@pytest.fixture(scope="module")
def made(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("condensed") / "out"
    return out, run(pictures, "--out", out, *FEW)


def test_it_says_what_is_kept_and_at_which_price(made):
    out, done = made
    assert done.exit_code == 0
    assert "k-medoid keeps 4 of 32 pictures (a coreset" in done.stdout
    assert "CPU-s" in done.stdout
    assert "read: 40 ok" in done.stderr
    assert len(list(out.rglob("*.png"))) == 4


def test_an_old_set_stays_unless_told(made, pictures):
    out, _ = made
    done = CliRunner().invoke(cli, ["condense", str(pictures), "--out", str(out), *FEW])
    assert "replace it with --anew" in str(done.exception)


def test_json_is_one_object(pictures, tmp_path):
    (pictures / "cat" / "broken.png").write_bytes(b"nothing")
    try:
        done = run(pictures, "--out", tmp_path / "out", *FEW, "--json", "--quiet", "--work", tmp_path / "work")
    finally:
        (pictures / "cat" / "broken.png").unlink()
    assert done.exit_code == 3, "a file could not be read"
    [told] = map(json.loads, done.stdout.splitlines())
    assert (told["schema"], told["per_class"], told["pictures"]) == ("lightmeter.condense/1", 2, 4)
    assert told["source"]["findings"] == {"broken": 1}
    assert {each["method"].partition("/")[0] for each in told["trials"]} == {"random-rows", "k-medoid"}
    assert told["cost"]["cpu_s"] > 0
    assert done.stderr == ""
    assert (tmp_path / "work").is_dir(), "what the user named stays"


def test_a_plan_and_a_dry_run_make_nothing(pictures, tmp_path):
    out = tmp_path / "out"
    dry = run(pictures, "--out", out, *FEW, "--dry-run")
    assert "would read 40 files of 2 classes\n" in dry.stdout
    assert "would try random-rows, k-medoid/features=pixels" in dry.stdout
    planned = run(pictures, "--out", out, *FEW, "--plan", "--size", "8", "--json")
    [told] = map(json.loads, planned.stdout.splitlines())
    assert (told["side"], told["budgets"], told["seeds"]) == (8, [2], 1)
    assert told["plan"]["wall_s"] == pytest.approx(sum(told["plan"]["phases"].values()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--at-least", "much"], "at_least must be an accuracy"),
        (["--at-least", "0.5", "--curve", "3"], "--curve is for one budget"),
        (["--method", "herdin"], "did you mean 'herding'"),
        (["--protocol", "herding"], "no protocol called 'herding'"),
        (["--size", "3"], "8<=x<=512"),
        (["--per-class", "0"], "x>=1"),
        (["--valid", "1"], "0<x<1"),
        (["--export", "zip"], "'npz', 'dd-ranking'"),
        (["--plan", "--dry-run"], "give one of them"),
        (["--within", "nan"], "finite"),
        (["--captions", "parrot"], "no captioner called 'parrot'"),
    ],
)
def test_what_is_refused(pictures, tmp_path, more, says):
    done = CliRunner().invoke(cli, ["condense", str(pictures), "--out", str(tmp_path / "out"), *more])
    assert done.exit_code in (1, 2)
    assert says in done.output + str(done.exception)
    assert list(tmp_path.iterdir()) == []
