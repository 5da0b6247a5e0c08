"""Every verb as a user types it: data on stdout, talk on stderr, exit codes, JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from media_folder import gallery, picture, video

from lightmeter.cli.main import COMMANDS, cli
from lightmeter.errors import LightmeterError

QUICK = ["--encoder", "color-histogram", "--words", "", "--engine", "inline"]


def run(*args, env=None):
    """The command in this process: exit code, stdout, stderr."""
    done = CliRunner().invoke(cli, [str(a) for a in args], env=env or {}, catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit):
        if isinstance(done.exception, LightmeterError):
            return done.exception.exit_code, done.stdout, str(done.exception)
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def rows(text):
    found = [json.loads(line) for line in text.splitlines()]
    assert all(row["schema"].startswith("lightmeter.") for row in found)
    return found


@pytest.fixture
def media(tmp_path):
    return gallery(tmp_path / "media", per_colour=2)


@pytest.fixture
def library(tmp_path, media):
    code, _, _ = run("index", media, "--library", tmp_path / "l", *QUICK)
    assert code == 0
    return tmp_path / "l"


def test_index_says_what_it_did(media, tmp_path):
    code, out, err = run("index", media, "--library", tmp_path / "l", *QUICK)
    assert (code, out) == (0, "")
    assert "8 items" in err
    assert "CPU" in err, "no answer without its price"
    code, out, err = run("index", media, "--library", tmp_path / "l", *QUICK, "--json", "--quiet")
    assert err == ""
    [told] = rows(out)
    assert (told["items"], told["read"], told["unchanged"]) == (8, 0, 8)
    assert told["cost"]["cpu_s"] >= 0


def test_index_ends_with_3_when_files_failed(media, tmp_path):
    (media / "zero.png").touch()
    code, _, err = run("index", media, "--library", tmp_path / "l", *QUICK)
    assert code == 3
    assert "zero.png" in err
    assert "empty" in err
    code, out, _ = run("status", "--library", tmp_path / "l", "--json")
    counts, error = rows(out)
    assert (counts["items"], counts["errors"]) == (8, {"empty": 1})
    assert error["path"].endswith("zero.png")


def test_dry_run_and_events(media, tmp_path):
    code, out, _ = run("index", media, "--library", tmp_path / "l", *QUICK, "--dry-run", "--json")
    assert (code, len(rows(out))) == (0, 8)
    assert not (tmp_path / "l").exists()
    run("index", media, "--library", tmp_path / "l", *QUICK, "--events", tmp_path / "e.jsonl")
    kinds = [json.loads(line)["event"] for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert kinds[0] == "start"
    assert kinds[-1] == "done"


def test_search_by_picture_prints_hits_and_their_judge(library, tmp_path):
    query = picture(tmp_path / "q.png", "red", seed=500)
    code, out, err = run("search", query, "--library", library, "-k", 2)
    assert code == 0
    assert out.splitlines()[1].split()[1].endswith(("red-0.png", "red-1.png"))
    assert "near enough from" in err
    code, out, _ = run("search", query, "--library", library, "-k", 2, "--json")
    *hits, summary = rows(out)
    assert all("red" in hit["path"] for hit in hits)
    assert "path" not in summary
    assert summary["sources"][0]["threshold"] <= hits[-1]["score"]
    assert summary["cost"]["wall_s"] > 0


def test_search_by_filter_alone_and_sheet(library, tmp_path):
    code, out, _ = run("search", "--path", "*red*", "--library", library, "--sheet", tmp_path / "s.png", "--json")
    assert code == 0
    assert [os.path.basename(row["path"]) for row in rows(out)[:-1]] == ["red-0.png", "red-1.png"]
    assert (tmp_path / "s.png").exists()
    assert run("search", "--library", library)[0] == 2


def test_sizes_and_dates_filter(library):
    assert len(rows(run("search", "--min-size", "1GB", "--library", library, "--json")[1])) == 1
    assert len(rows(run("search", "--after", "2020-01-01", "--library", library, "--json")[1])) == 9
    assert run("search", "--min-size", "big", "--library", library)[0] == 2


def test_tag_by_hand_then_filter_by_it(library, media):
    code, _, err = run("tag", "--set", "holiday", media / "red-0.png", media / "blue-1.png", "--library", library)
    assert (code, err.strip()) == (0, "2 files labelled")
    found = rows(run("search", "--tagged", "holiday", "--library", library, "--json")[1])[:-1]
    assert len(found) == 2
    run("tag", "--unset", "holiday", media / "red-0.png", "--library", library)
    assert len(rows(run("search", "--tagged", "holiday", "--library", library, "--json")[1])) == 2
    assert run("tag", "--set", "x", "--library", library)[0] == 2
    code, _, err = run("tag", "--library", library)
    assert code == 1
    assert "--encoder efficientnet-lite" in err


def test_info_of_a_library_and_of_a_file(library, media):
    [facts] = rows(run("info", "--library", library, "--json")[1])
    assert facts["items"] == 8
    code, out, _ = run("info", media / "red-0.png", "--library", library)
    assert code == 0
    assert "kind: image" in out
    assert run("info", media / "none.png", "--library", library)[0] == 1


def test_show_draws_sheets_and_strips(library, media, tmp_path):
    assert run("show", "--library", library, "--out", tmp_path / "a.png")[0] == 0
    assert run("show", media / "red-0.png", "--out", tmp_path / "b.png")[0] == 0
    video(tmp_path / "v.mp4", ["red", "blue"])
    code, out, _ = run("show", tmp_path / "v.mp4", "--strip", "--out", tmp_path / "c.png", "--json")
    assert code == 0
    assert rows(out)[0]["shown"] >= 2
    assert run("show", "--strip")[0] == 2


def test_remove_gc_fsck(library, media):
    code, out, _ = run("remove", media / "red-0.png", "--dry-run", "--library", library, "--json")
    assert rows(out)[0]["removed"] is False
    assert run("remove", media / "red-0.png", "--library", library)[0] == 0
    assert rows(run("info", "--library", library, "--json")[1])[0]["items"] == 7
    assert run("remove", "--path", "*blue*", "--library", library)[0] == 0
    assert run("remove", "--library", library)[0] == 2
    [freed] = rows(run("gc", "--library", library, "--json")[1])
    assert freed["items"] == 3
    assert run("fsck", "--library", library)[0] == 0
    shard = next((library / "shards").rglob("*.shard"))
    data = bytearray(shard.read_bytes())
    data[-200] ^= 255
    shard.chmod(0o644)
    shard.write_bytes(data)
    assert run("fsck", "--library", library)[0] == 4
    assert run("fsck", "--repair", "--library", library)[0] == 0
    assert run("index", media, "--library", library, *QUICK)[0] == 0
    assert run("fsck", "--library", library)[0] == 0


def test_remove_takes_a_path_and_leaves_the_other_copies(library, media):
    (media / "copy.png").write_bytes((media / "red-0.png").read_bytes())
    run("index", media, "--library", library, *QUICK)
    code, out, _ = run("remove", "--path", "*/copy.png", "--dry-run", "--library", library)
    assert "copy.png" in out
    code, _, err = run("remove", "--path", "*/copy.png", "--library", library)
    assert (code, "1 paths removed, and 0 items" in err) == (0, True)
    assert run("info", media / "red-0.png", "--library", library)[0] == 0
    assert rows(run("info", "--library", library, "--json")[1])[0]["items"] == 8


def test_export_and_import_come_round(library, tmp_path):
    pytest.importorskip("pyarrow")
    assert run("export", tmp_path / "out", "--format", "parquet", "--library", library)[0] == 0
    assert run("import", tmp_path / "out", "--format", "parquet", "--library", tmp_path / "other")[0] == 0
    [facts] = rows(run("info", "--library", tmp_path / "other", "--json")[1])
    assert facts["items"] == 8


def test_duplicates(library, media):
    (media / "copy.png").write_bytes((media / "red-0.png").read_bytes())
    run("index", media, "--library", library, *QUICK)
    found = rows(run("duplicates", "--exact", "--library", library, "--json")[1])
    assert [sorted(map(os.path.basename, group["paths"])) for group in found] == [["copy.png", "red-0.png"]]


def test_assets_and_doctor():
    listed = rows(run("assets", "list", "--json")[1])
    assert {"efficientnet-lite0", "glove", "aisfx"} <= {row["name"] for row in listed}
    assert run("assets", "verify", "efficientnet-lite0")[0] == 0
    code, out, _ = run("doctor", "--no-roofline", "--json")
    [told] = rows(out)
    assert code == 0
    assert told["machine"]["cores"] >= 1
    assert any(row["package"] == "numpy" and row["version"] != "missing" for row in told["packages"])
    assert "Decoders" in run("doctor", "--no-roofline")[1]


def test_a_library_that_is_not_there_names_the_command(tmp_path):
    code, out, err = run("search", "a cat", "--library", tmp_path / "none")
    assert (code, out) == (1, "")
    assert "lightmeter index" in err


def test_the_library_comes_from_the_environment_or_a_file(library, tmp_path, monkeypatch):
    assert rows(run("info", "--json", env={"LIGHTMETER_LIBRARY": str(library)})[1])[0]["items"] == 8
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "lightmeter").mkdir(parents=True)
    (tmp_path / "config" / "lightmeter" / "config.toml").write_text(f'library = "{library}"\n[search]\nk = 3\n')
    (tmp_path / "lightmeter.toml").write_text("[search]\nk = 1\n")
    assert rows(run("info", "--json")[1])[0]["items"] == 8
    assert len(rows(run("search", "--kind", "image", "--json")[1])) == 2
    (tmp_path / "lightmeter.toml").write_text("not toml =")
    code, _, err = run("info")
    assert code == 2
    assert "must be TOML" in err


def test_a_misspelt_command_is_answered_with_the_nearest():
    code, _, err = run("serach", "a cat")
    assert code == 2
    assert "did you mean 'search'" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert "Example" in out


def test_main_turns_errors_into_one_line(tmp_path):
    script = [sys.executable, "-c", "from lightmeter.cli.main import main; main()"]
    command = [*script, "info", "--library", tmp_path / "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lightmeter: no library at")
    assert done.stderr.count("\n") == 1
    done = subprocess.run([*script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("lightmeter, version")
