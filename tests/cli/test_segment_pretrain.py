"""`lightmeter segment pretrain`: a tokenizer, a predictor on it, words and JSON."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lightmeter.cli.main import cli
from lightmeter.media.clip_set import open_clips, write_part
from lightmeter.media.video import read_clip
from lightmeter.media.write import write_image
from lightmeter.types import Image

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
    assert "codes: count 16, used" in done.stderr
    assert "mean PSNR of frames after the first: recoded" in done.stderr
    assert "steps/s" in done.stderr
    held_out = tmp_path / "held-out"
    run("simulate", held_out, "--scenes", "shapes", "--frames", 5, "--size", 16, "--clips", 8, "--seed", 9, "-q")
    asked = ("pretrain", clips, "--out", tmp_path / "f", "--net", FUTURE, "--tokens", tmp_path / "t")
    row = json.loads(run(*asked, "--held-out", held_out, "--json", "-q").stdout)
    assert row["schema"] == "lightmeter.segment.pretrain/1"
    assert (row["again"], row["clips"], row["held_out_clips"]) == (False, 8, 8)
    assert row["learnt"]["step"] == row["held_out"]["step"] == 3
    assert row["steps_per_s"] > 0
    assert row["cost"]["cpu_s"] > 0
    assert set(row["diagnostics"]) == {"codes", "effective_rank", "conditioning"}
    told = row["diagnostics"]["conditioning"]
    assert told["right_nats"] != told["blank_nats"]
    assert len(row["samples"]["psnr_db"]["frozen"]) == 3
    again = run(*asked, "--held-out", held_out)
    assert "learnt from 8 clips before" in again.stderr
    assert "steps/s" not in again.stderr
    assert "by the frame: right nats" in again.stderr
    _drawn(tmp_path / "f", clips, tmp_path)


def _drawn(model, clips, out):
    """`segment sample` with that model: of a picture, and of clips, which are scored."""
    write_image(Image(np.full((30, 40, 3), 90, np.uint8)), out / "picture.png")
    asked = ("sample", model, out / "picture.png", "--count", 2)
    assert "2 clips of 4 frames" in run(*asked, "--out", out / "clip.mp4").stderr
    assert read_clip(out / "clip.mp4").value.frames.shape == (4, 16, 32, 3)
    row = json.loads(run("sample", model, clips, "--out", out / "strip.png", "--count", 3, "--json", "-q").stdout)
    assert (row["schema"], row["clips"], row["frames"]) == ("lightmeter.segment.sample/1", 3, 4)
    assert set(row["scores"]["frechet"]) == {"features", "predicted", "recoded", "frozen"}
    assert (out / "strip.png").read_bytes().startswith(b"\x89PNG")
    assert "must end in .png or .mp4" in run(*asked, "--out", out / "clip.gif", code=2).output
    assert "for a folder of clips" in run(*asked, "--out", out / "a.png", "--features", "pixels", code=2).output


def refused(*arguments):
    """What is said of what cannot be."""
    return str(run(*arguments, code=1).exception)


def test_tokens_that_do_not_go(clips, tmp_path):
    """Those that have seen what is held out now, and those that lie where the net is written."""
    run("pretrain", clips, "--out", tmp_path / "t", "--net", VQVAE, "--steps", 1, "--dev", 0.3, "--seed", 5, "-q")
    asked = ("pretrain", clips, "--net", FUTURE, "--tokens", tmp_path / "t", "-q")
    assert "must be new to the tokens in" in refused(*asked, "--out", tmp_path / "f", "--dev", 0.5)
    assert "--tokens must lie outside" in refused(*asked, "--out", tmp_path / "t", "--dev", 0.3, "--anew")
    assert (tmp_path / "t" / "model.json").exists()
    run(*asked, "--out", tmp_path / "f", "--dev", 0.3, "--seed", 7)


def test_what_does_not_go(clips, tmp_path):
    out = ("pretrain", clips, "--out", tmp_path / "t")
    assert "give one of them" in run(*out, "--net", VQVAE, "--held-out", clips, "--dev", 0.1, code=2).output
    assert "Missing option '--net'" in run(*out, code=2).output
    assert "got those that are learnt from" in refused(*out, "--net", VQVAE, "--held-out", clips)
    from lightmeter.errors import InvalidValueError

    write_part(tmp_path / "half", 0, open_clips(clips), parts=2)
    assert "lacks 1 of 2 parts (1)" in run("pretrain", tmp_path / "half", *out[2:], "--net", FUTURE, code=1).stderr
    assert isinstance(run(*out, "--net", FUTURE, code=1).exception, InvalidValueError | SystemExit)
