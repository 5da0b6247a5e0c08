"""`lightmeter segment simulate`: clips, a sheet, and the same command goes on."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from lightmeter.cli.main import cli
from lightmeter.media.clip_set import open_clips

SHAPES = ("--scenes", "shapes", "--frames", 4, "--size", 32)


def run(*arguments, code=0):
    done = CliRunner().invoke(cli, ["segment", "simulate", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def test_it_makes_clips_and_a_sheet(tmp_path):
    done = run(tmp_path, "--clips", 6, *SHAPES)
    assert "6 clips of 4 frames, 6 made" in done.stderr
    assert done.stdout == ""
    assert open_clips(tmp_path, check=True).frames.shape == (6, 4, 32, 32, 3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 6 * 192
    again = run(tmp_path, "--clips", 6, *SHAPES)
    assert "6 skipped" in again.stderr
    assert "0 made;" in again.stderr


def test_json(tmp_path):
    row = json.loads(run(tmp_path, "--clips", 3, *SHAPES, "--seed", 7, "--json", "-q").stdout)
    assert (row["schema"], row["clips"], row["made"], row["seed"]) == ("lightmeter.segment.simulate/1", 3, 3, 7)
    assert row["fingerprint"] == open_clips(tmp_path).fingerprint
    assert 0 < row["shares"]["robot"] < 0.3
    assert row["cost"]["cpu_s"] > 0


def test_shares_of_the_work(tmp_path):
    few = ("--scenes", "shapes", "--frames", 1, "--size", 16, "--clips", 60)
    assert "1 parts are left to other shares" in run(tmp_path, *few, "--share", "2/2").stderr
    assert len(open_clips(tmp_path)) == 10
    run(tmp_path, *few, "--share", "1/2")
    assert len(open_clips(tmp_path)) == 60


@pytest.mark.parametrize("share", ["2", "3/2", "0/1", "a/b", "-1/2"])
def test_a_wrong_share(tmp_path, share):
    assert "must be k/n" in run(tmp_path, *SHAPES, f"--share={share}", code=2).output
