"""What `lightmeter fit` says before it learns, and of data that nobody can learn from."""

from __future__ import annotations

import re
import shlex
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from test_commands import run

from lightmeter.cli.main import cli

FAST = ("--training", "adam/lr=0.03,batch=40,epochs=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """OUT/train and OUT/test, generated: 160 and 40 videos of 20 classes."""
    folder = tmp_path_factory.mktemp("data")
    assert run("yt8m", "generate", folder, "--videos", 200, "--classes", 20, "-q")[0] == 0
    return folder


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--head", "nextvlad"), "nextvlad must read one block of frames or more"),
        (("--class-shard", 5), "clip_by=variable"),
        (("--class-shard", 5, "--engine", "inline"), "clip_by=variable"),
        (("--class-shard", 5, "--engine", "inline", "--training", "adam/clip_by=class,distil=0.5"), "leave distil out"),
        (("--training", "adam/distil=0.5"), "give a --teacher too"),
        (("--head", "keyword-mlp", "--training", "adam/clip_by=class"), "take clip_by=variable"),
    ],
)
def test_what_is_refused_is_told_without_advice_on_steps(data, tmp_path, options, said):
    done = CliRunner().invoke(cli, ["fit", str(data / "train"), "--out", str(tmp_path / "m"), *map(str, options)])
    assert said in str(done.exception)
    assert done.stderr == ""


def test_the_advice_on_steps_can_be_pasted(data, tmp_path):
    nested = ("--training", "adam/epochs=1,loss=(logit-adjusted/tau=1.0)")
    for more in ((), ("--class-shard", 10, "--engine", "inline")):
        training = (nested[0], nested[1] + ",clip_by=class") if more else nested
        code, _, err = run("fit", data / "train", "--out", tmp_path / f"m{len(more)}", *training, *more)
        assert code == 0, err
        assert err.count("too few to learn much") == 1
        advice = re.search(r"try (--training .+)", err).group(1)
        option, spec = shlex.shlex(advice, posix=True, punctuation_chars=True)  # `(` and `)` unquoted are words
        assert (option, "loss=(logit-adjusted/" in spec) == ("--training", True)


def test_data_that_are_no_numbers_are_told_not_the_rate(data, tmp_path):
    """A set of which one video has a NaN: nothing learns from it, nor is asked about it."""
    shutil.copytree(data / "test", tmp_path / "set")
    values = np.load(tmp_path / "set" / "00000.visual.npy")
    values[3, 7] = np.nan
    np.save(tmp_path / "set" / "00000.visual.npy", values)
    code, _, err = run("fit", tmp_path / "set", "--out", tmp_path / "m", *FAST, "-q")
    assert (code, "visual must be finite, got NaN or infinity in 1 of the 40 examples" in err) == (1, True), err
    assert run("fit", data / "train", "--out", tmp_path / "model", *FAST, "-q")[0] == 0
    sound = ("fit", data / "train", "--out", tmp_path / "sound", "--head", "label-ridge", "--blocks", "audio", "-q")
    assert run(*sound)[0] == 0
    assert run("ensemble", tmp_path / "model", tmp_path / "sound", "--out", tmp_path / "both", "-q")[0] == 0
    for asked in (tmp_path / "model", tmp_path / "both"):
        for command in (("predict", "--top", 3), ("evaluate",), ("predict", "--explain")):
            code, _, err = run(command[0], asked, tmp_path / "set", *command[1:], "-q")
            assert (code, "must be numbers, got NaN" in err) == (1, True), (asked, command, err)
    forest = ("--by", "forest-votes/trees=10", "--data", tmp_path / "set", "--out", tmp_path / "forest", "-q")
    code, _, err = run("ensemble", tmp_path / "model", tmp_path / "sound", *forest)
    assert (code, "got NaN of member 1, moe/" in err) == (1, True), err
