"""What is asked is done or refused, never dropped; what is shown cannot steer a terminal."""

from __future__ import annotations

import json
import os

import click
import pytest
from click.testing import CliRunner
from media_folder import gallery, picture

from lightmeter.cli import index as index_module
from lightmeter.cli import main as main_module
from lightmeter.cli.main import COMMANDS, cli
from lightmeter.cli.options import emit, say, size_bytes
from lightmeter.errors import InvalidValueError

QUICK = ["--encoder", "color-histogram", "--words", "", "--engine", "inline"]
HOSTILE = "evil\x1b[2J\x9b31m.png"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A library and its media: two colours, a name that is no UTF-8, a name that would clear the screen."""
    folder = tmp_path_factory.mktemp("refusals")
    media = gallery(folder / "media", per_colour=1)
    picture(media / "plain.png", "red", seed=41).rename(os.fsdecode(os.fsencode(media) + b"/raw-\xff.png"))
    picture(media / "plain.png", "red", seed=42).rename(media / HOSTILE)
    assert run("index", media, "--library", folder / "l", *QUICK).exit_code == 0
    return folder / "l", media


def run(*args):
    return CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)


def safe(text):
    assert not any((ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160 for char in text), repr(text)
    return text


def test_json_holds_any_name_in_ascii(made):
    library, media = made
    done = run("search", "--kind", "image", "--json", "--library", library)
    assert done.exit_code == 0
    assert done.stdout.isascii()
    safe(done.stdout)
    names = {os.path.basename(json.loads(line)["path"]) for line in done.stdout.splitlines()[:-1]}
    assert {os.fsdecode(b"raw-\xff.png"), HOSTILE} <= names, "and reads back as the very name"


def test_emit_writes_to_a_strict_stream(capfd, monkeypatch):
    emit([{"path": "\udcff\x9b"}], "toy/1")
    assert json.loads(capfd.readouterr().out) == {"schema": "lightmeter.toy/1", "path": "\udcff\x9b"}


def test_a_plan_shows_names_safely(made, tmp_path):
    _, media = made
    done = run("index", media, "--library", tmp_path / "new", *QUICK, "--dry-run", "-v")
    assert "would read" in safe(done.stdout)
    assert "[2J" in done.stdout


def test_fsck_shows_problems_safely(monkeypatch, tmp_path):
    from lightmeter.library import fsck

    told = fsck.Health((fsck.Problem("catalogue", "b\x1b[2J\x9b31m"),), 0, 1, 1)
    monkeypatch.setattr(fsck, "fsck", lambda *args, **kwargs: told)
    done = run("fsck", "--library", tmp_path)
    assert done.exit_code == 4
    assert "[2J" in safe(done.stdout)


@pytest.mark.parametrize(
    "error",
    [
        InvalidValueError(f"PATH must be in the library, got {HOSTILE}"),
        click.UsageError(f"no such thing: {HOSTILE}"),
        FileNotFoundError(2, "No such file", HOSTILE),
    ],
)
def test_errors_cannot_steer_the_terminal(monkeypatch, capsys, error):
    def fails(**_):
        raise error

    monkeypatch.setattr(main_module.cli, "main", fails)
    with pytest.raises(SystemExit):
        main_module.main()
    assert "evil" in safe(capsys.readouterr().err)


def test_talk_cannot_steer_the_terminal(capsys):
    say(f"left out: {HOSTILE}")
    assert "evil" in safe(capsys.readouterr().err)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "-1"])
@pytest.mark.parametrize("option", ["--silent-limit", "--every", "--fps"])
def test_times_are_finite_and_above_zero(tmp_path, option, value):
    done = run("index", tmp_path, "--library", tmp_path / "l", option, value)
    assert done.exit_code == 2
    assert option in done.stderr
    assert not (tmp_path / "l").exists()


@pytest.mark.parametrize("command", [["duplicates"], ["tag"]])
def test_a_score_is_a_number(made, command):
    assert run(*command, "--at-least", "nan", "--library", made[0]).exit_code == 2


@pytest.mark.parametrize("size", ["1e400", "nan", "infGB", "big", ""])
def test_sizes_are_sizes(size):
    with pytest.raises(click.BadParameter, match="must be a size"):
        size_bytes(size)


def test_ctrl_c_once_ends_a_watch(made, monkeypatch):
    monkeypatch.setattr(index_module, "_index", lambda *_: 130)
    done = run("index", made[1], "--library", made[0], *QUICK, "--watch", "--every", "0.01")
    assert done.exit_code == 130


def test_remove_narrows(made):
    library, media = made

    def would_go(*args):
        done = run("remove", *args, "--dry-run", "--json", "--library", library)
        return sorted(os.path.basename(json.loads(line)["path"]) for line in done.stdout.splitlines())

    assert would_go(media / "red-0.png") == ["red-0.png"]
    assert would_go(media / "red-0.png", "--kind", "image") == ["red-0.png"]
    assert would_go(media / "red-0.png", "--kind", "video") == []
    assert would_go(media / "red-0.png", "--missing") == []
    assert would_go("--path", "*red*", "--path", "*red-0*") == ["red-0.png"]
    assert len(would_go("--kind", "image")) == 6


SAYS_MORE = {"index", "status", "export", "import", "recognise", "extract"}


@pytest.mark.parametrize("name", COMMANDS)
def test_only_verbs_that_say_more_take_v(name):
    command = cli.get_command(click.Context(cli), name)
    commands = command.commands if isinstance(command, click.Group) else {name: command}
    for own, each in commands.items():
        assert any(param.name == "verbose" for param in each.params) == (own in SAYS_MORE)


def test_labels_by_hand_answer_in_json(made):
    library, media = made
    done = run("tag", "--set", "holiday", media / "red-0.png", "--json", "--library", library)
    [told] = map(json.loads, done.stdout.splitlines())
    assert (told["path"], told["set"], told["unset"]) == (str(media / "red-0.png"), ["holiday"], [])
    assert done.stderr == ""


@pytest.mark.parametrize("more", [["--kind", "image"], ["--labels", "x"], ["--at-least", "0.1"], ["--most", "2"]])
def test_labels_by_hand_refuse_what_they_would_drop(made, more):
    done = run("tag", "--set", "x", made[1] / "red-0.png", *more, "--library", made[0])
    assert done.exit_code == 2
    assert more[0] in done.stderr


@pytest.mark.parametrize("labels", ["", " , ", "@{empty}"])
def test_no_labels_are_no_wish_for_the_built_in_ones(made, tmp_path, labels):
    (tmp_path / "empty").write_text("\n\n")
    done = run("tag", "--labels", labels.format(empty=tmp_path / "empty"), "--library", made[0])
    assert done.exit_code == 2
    assert "must hold a word" in done.stderr


def test_show_refuses_what_it_would_drop(made, tmp_path):
    library, media = made
    done = run("show", media / "red-0.png", "--kind", "image", "--library", library, "--out", tmp_path / "a.png")
    assert done.exit_code == 2
    assert "--kind" in done.stderr
    assert not (tmp_path / "a.png").exists()
    assert run("show", media / "red-0.png", "--strip", "--columns", "3", "--out", tmp_path / "a.png").exit_code == 2


def test_a_strip_has_as_many_frames_as_asked(monkeypatch, tmp_path):
    from lightmeter.library import showing

    asked = []
    monkeypatch.setattr(showing, "strip_of", lambda path, out, count: asked.append(count) or count)
    for more in ([], ["-k", "40"], ["-k", "3"]):
        assert run("show", "v.mp4", "--strip", "--out", tmp_path / "s.png", *more).exit_code == 0
    assert asked == [8, 40, 3]


@pytest.mark.parametrize("verb", ["info", "status"])
def test_a_network_disk_is_named(made, monkeypatch, verb):
    monkeypatch.setattr("lightmeter.library.connect.file_system", lambda folder: "nfs4")
    assert "note: " in run(verb, "--library", made[0]).stdout
    assert "nfs4" in run(verb, "--library", made[0], "--json").stdout.splitlines()[0]
    monkeypatch.undo()
    assert "note" not in run(verb, "--library", made[0]).stdout
