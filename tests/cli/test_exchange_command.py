"""`export` and `import` as commands: what they print, and code 3 where something had to be left out."""

import json

from click.testing import CliRunner
from media_folder import gallery, indexed

from lightmeter.cli.main import cli
from lightmeter.library.store import open_library


def asked(*args):
    ran = CliRunner().invoke(cli, list(map(str, args)))
    return ran.exit_code, [json.loads(line) for line in ran.stdout.splitlines()]


def test_webdataset_goes_out_and_comes_in(tmp_path):
    folder = gallery(tmp_path / "media", per_colour=2)
    indexed(folder, tmp_path / "l")
    (folder / "red-0.png").unlink()
    out, form = tmp_path / "out", ("--format", "webdataset", "--json")
    code, (told,) = asked("export", out, "--library", tmp_path / "l", *form)
    assert (code, told["items"], told["paths"], len(told["skipped"])) == (3, 7, 7, 1)
    code, (told,) = asked("import", out, "--library", tmp_path / "m", "--into", tmp_path / "media2", *form)
    assert (code, told["items"], told["skipped"]) == (0, 7, [])
    with open_library(tmp_path / "m") as library:
        assert len(library.items()) == 7


def test_imagefolder_in_words(tmp_path):
    indexed(gallery(tmp_path / "media", per_colour=1), tmp_path / "l")
    ran = CliRunner().invoke(
        cli, ["export", str(tmp_path / "o"), "--library", str(tmp_path / "l"), "--format", "imagefolder"]
    )
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "4 items, 4 paths, 0 rows, 0 left out" in ran.stderr
