"""Configuration files: the user's may set everything, a folder's nothing that does harm; mistakes are one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from media_folder import gallery

from lightmeter.cli.configured import HARMLESS, ConfigurationError, configured_defaults
from lightmeter.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes the user's file and the folder's file, and stands in the folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)

    def write(user=None, project=None):
        if user is not None:
            (tmp_path / "config" / "lightmeter").mkdir(parents=True, exist_ok=True)
            (tmp_path / "config" / "lightmeter" / "config.toml").write_text(user)
        if project is not None:
            (tmp_path / "lightmeter.toml").write_text(project)

    return write


def defaults():
    return configured_defaults(click.Context(cli))


def refusal(*args):
    """What `main` says to a usage error: one line, code 2."""
    script = "import sys\nfrom lightmeter.cli.main import main\nmain()"
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_folder_cannot_make_index_write_elsewhere(config, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("dear\n")
    gallery(tmp_path / "media", per_colour=1)
    config(project=f'[index]\nevents = "{victim}"\n')
    done = CliRunner().invoke(cli, ["index", "media", "--encoder", "color-histogram", "--words", ""])
    assert done.exit_code == 2
    assert "index.events may not be set by a folder's file" in done.stderr
    assert str(tmp_path / "config" / "lightmeter" / "config.toml") in done.stderr, "the way out is named"
    assert victim.read_text() == "dear\n"


DANGEROUS = [
    'library = "/x"', 'search.sheet = "x.png"', 'show.out = "x.png"', 'demo.out = "/home"', 'import.into = "/x"',
    'index.encoder = "clip/folder=x"', 'index.words = "clip/folder=x"', 'index.engine = "local/workers=9999"',
    "index.silent-limit = 1e9", 'index.memory-limit = "999GB"', "index.watch = true", "fsck.repair = true",
    "remove.missing = true", 'remove.kind = "image"', 'kind = "image"', 'tag.labels = "@/etc/passwd"',
    'tag.set = "x"', 'tag.unset = "x"', "index.retry = true",
]  # fmt: skip


@pytest.mark.parametrize("line", DANGEROUS)
def test_what_a_folder_may_not_set(config, line):
    config(project=line)
    with pytest.raises(ConfigurationError, match="may not be set by a folder's file"):
        defaults()


@pytest.mark.parametrize("line", DANGEROUS)
def test_the_user_may(config, line):
    config(user=line)
    assert defaults()


def test_nothing_that_a_folder_may_set_takes_a_path():
    for name in cli.list_commands(click.Context(cli)):
        for param in cli.get_command(click.Context(cli), name).params:
            if max(param.opts, key=len).lstrip("-") in HARMLESS and isinstance(param, click.Option):
                assert not isinstance(param.type, click.Path | click.File), (name, param.name)


def test_the_page_names_what_a_folder_may_set_and_odd_variables():
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert ", ".join(f"`{key}`" for key in sorted(HARMLESS)) in page
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        for param in (*command.params, *(p for c in getattr(command, "commands", {}).values() for p in c.params)):
            flag = max(param.opts, key=len)
            if isinstance(param, click.Option) and flag.lstrip("-").replace("-", "_") != param.name:
                assert f"`{flag}` → `{param.name.upper()}`" in page


def test_flags_variables_folder_user_in_this_order(config, tmp_path):
    gallery(tmp_path / "media", per_colour=2)
    quick = ["--encoder", "color-histogram", "--words", "", "--engine", "inline"]
    config(user='library = "l"\nk = 4\n[search]\nk = 3\n')
    assert CliRunner().invoke(cli, ["index", "media", *quick]).exit_code == 0
    assert (tmp_path / "l").exists()

    def hits(*args, env=None):
        done = CliRunner().invoke(cli, ["search", "--kind", "image", "--json", *args], env=env)
        assert done.exit_code == 0, done.stderr
        return len(done.stdout.splitlines()) - 1

    assert hits() == 3, "a table stands above the top"
    config(project="k = 2")
    assert hits() == 2, "the folder above the user"
    assert hits(env={"LIGHTMETER_SEARCH_K": "5"}) == 5
    assert hits("-k", "6", env={"LIGHTMETER_SEARCH_K": "5"}) == 6


def test_keys_are_spelled_like_flags(config):
    config(user='json = true\n[index]\nencoder = "log-mel"\n[search]\ntagged = ["a", "b"]\nmin-size = "1kB"\n'
                '[export]\nformat = "lance"\n[tag]\nat-least = 0.5\n[assets.list]\njson = false\n')  # fmt: skip
    told = defaults()
    assert told["index"] == {"as_json": True, "encoders": ["log-mel"]}
    assert told["search"]["tags"] == ["a", "b"]
    assert told["search"]["min_bytes"] == "1kB"
    assert told["export"]["form"] == "lance"
    assert told["tag"]["at_least"] == "0.5"
    assert told["assets"]["list"]["as_json"] is False
    assert told["assets"]["verify"]["as_json"] is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("index = 5", "must be a table"),
        ("sreach = 5", "is no option"),
        ("[sreach]\nk = 5", "is no option"),
        ("[search]\nquieet = true", "search.quieet is no option: did you mean 'quiet'"),
        ("[search]\nfps = 1", "search.fps is no option"),
        ("[search]\nas_json = true", "is no option"),
        ("json = 1", "must be true or false"),
        ("k = [1]", "must be text or a number"),
        ("k = true", "must be text or a number"),
        ("[assets]\nlist = 1", "must be a table"),
        ("not toml =", "must be TOML"),
        ("a = " + "[" * 5000, "must be TOML"),
        ("# " + "x" * 70000, "must be at most"),
        ('"\\u001b[2J" = 1', "is no option"),
    ],
)
def test_mistakes_are_one_line(config, text, says):
    config(project=text)
    told = refusal("search", "a cat")
    assert says in told
    assert "\x1b" not in told
    assert "lightmeter.toml" in told


def test_values_are_held_to_the_options_type(config):
    config(project="[search]\nk = 0")
    assert CliRunner().invoke(cli, ["search", "a cat"]).exit_code == 2
    config(project="[index]\nfps = nan")
    done = CliRunner().invoke(cli, ["index", "."])
    assert done.exit_code == 2
    assert "finite" in done.stderr


def test_a_wish_in_a_file_is_no_demand(config, tmp_path):
    """Defaults of the user neither forbid `show FILE` and `--strip` nor make a bare `remove` take everything."""
    gallery(tmp_path / "media", per_colour=1)
    config(user='kind = "image"\ncolumns = 3\n')
    quick = ["--encoder", "color-histogram", "--words", "", "--engine", "inline"]
    assert CliRunner().invoke(cli, ["index", "media", *quick]).exit_code == 0
    assert CliRunner().invoke(cli, ["show", "media/red-0.png"]).exit_code == 0
    assert CliRunner().invoke(cli, ["remove"]).exit_code == 2
    [facts] = map(json.loads, CliRunner().invoke(cli, ["info", "--json"]).stdout.splitlines())
    assert facts["items"] == 4
