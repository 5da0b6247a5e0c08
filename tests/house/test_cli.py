"""The command line as a house: cheap help, one line a command, docs that cover it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from lightmeter.cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "diffusers", "ray", "cv2", "av", "onnxruntime", "onnx", "matplotlib", "PIL", "numpy")


def modules_after(code: str) -> list[str]:
    script = f"import sys\n{code}\nprint([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return eval(done.stderr.strip().splitlines()[-1])


def test_help_loads_nothing_heavy():
    assert modules_after("from lightmeter.cli.main import cli\ncli.main(['--help'], standalone_mode=False)") == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_loads_nothing_heavy(name):
    code = f"from lightmeter.cli.main import cli\ncli.main([{name!r}, '--help'], standalone_mode=False)"
    assert set(modules_after(code)) <= {"numpy"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says(name):
    command = cli.get_command(click.Context(cli), name)
    assert command.name == name
    assert command.help.partition("\n")[0].strip() == COMMANDS[name][1]
    assert "lightmeter" in (command.epilog or ""), "help shows an example"


def test_docs_are_what_the_code_says():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_part_has_a_page():
    for part in (ROOT / "src" / "lightmeter").iterdir():
        if part.is_dir() and part.name not in ("__pycache__", "cli", "nets"):
            assert (ROOT / "docs" / f"{part.name}.md").exists(), part.name


def test_results_say_where_they_come_from():
    for path in (ROOT / "docs" / "results").glob("*.json"):
        record = json.loads(path.read_text())
        assert {"schema", "date", "seed", "machine"} <= set(record), path.name


def test_docs_name_no_missing_result():
    import re

    for page in (*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"):
        for name in re.findall(r"results/([\w.-]+\.json)", page.read_text()):
            assert (ROOT / "docs" / "results" / name).exists(), f"{page.name} names results/{name}"
