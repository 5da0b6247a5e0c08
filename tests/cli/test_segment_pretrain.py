"""`lightmeter segment pretrain`: a tokenizer, a predictor on it, words and JSON."""

import json

import pytest
from click.testing import CliRunner

from lightmeter.cli.main import cli

VQVAE = "vqvae/batch=3,frames=4,hiddens=8,downsample=[2,4,4],dim=4,codes=16"
FUTURE = "future/steps=3,batch=3,width=12,layers=1,heads=2,base=8,levels=1"


def run(*arguments, code=0):
    done = CliRunner().invoke(cli, ["segment", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit) and code == 0:
        raise done.exception
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    out = tmp_path_factory.mktemp("clips")
    run("simulate", out, "--scenes", "shapes", "--frames", 5, "--size", 16, "--clips", 8, "-q")
    return out


def test_a_tokenizer_and_a_predictor(clips, tmp_path):
    done = run("pretrain", clips, "--out", tmp_path / "t", "--net", VQVAE, "--steps", 4, "--dev", 0.3)
    assert "vqvae learnt from 6 clips (loss" in done.stderr
    assert "2 clips held out: loss" in done.stderr
    assert "steps/s" in done.stderr
    asked = ("pretrain", clips, "--out", tmp_path / "f", "--net", FUTURE, "--tokens", tmp_path / "t")
    row = json.loads(run(*asked, "--held-out", clips, "--json", "-q").stdout)
    assert row["schema"] == "lightmeter.segment.pretrain/1"
    assert (row["again"], row["clips"], row["held_out_clips"]) == (False, 8, 8)
    assert row["learnt"]["step"] == row["held_out"]["step"] == 3
    assert row["steps_per_s"] > 0
    assert row["cost"]["cpu_s"] > 0
    again = run(*asked, "--held-out", clips)
    assert "learnt from 8 clips before" in again.stderr
    assert "steps/s" not in again.stderr


def test_what_does_not_go(clips, tmp_path):
    out = ("pretrain", clips, "--out", tmp_path / "t")
    assert "give one of them" in run(*out, "--net", VQVAE, "--held-out", clips, "--dev", 0.1, code=2).output
    assert "Missing option '--net'" in run(*out, code=2).output
    from lightmeter.errors import InvalidValueError

    assert isinstance(run(*out, "--net", FUTURE, code=1).exception, InvalidValueError | SystemExit)
