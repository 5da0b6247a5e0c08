"""Nothing is fetched, and the core needs no torch: held where it runs, workers included, and where it is written."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from media_folder import gallery, sound, video

ROOT = Path(__file__).resolve().parents[2] / "src" / "lightmeter"
NETWORK = {
    "socket", "socketserver", "ssl", "urllib", "http", "ftplib", "smtplib", "imaplib", "poplib", "telnetlib", "xmlrpc",
    "asyncio", "requests", "httpx", "aiohttp", "urllib3", "huggingface_hub", "websockets",
}  # fmt: skip
STARTS_PROGRAMS = {"assets/getting.py", "engines/process.py", "meter/record.py", "meter/roofline.py"}
"""pip, npm and apt of `lightmeter assets add`; our own workers; `git rev-parse`; the roofline's child of our own."""

GUARD = """
import os, sys

class Forbidden(BaseException):
    pass

def heard(event, args):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")):
        os.write(report, f"network {event}\\n".encode())
        raise Forbidden(event)

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            os.write(report, f"import {name}\\n".encode())
            raise Forbidden(name)
        return None

report = os.open(os.environ["GUARD_REPORT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(report, f"guarded {os.getpid()}\\n".encode())
sys.addaudithook(heard)
sys.meta_path.insert(0, NoTorch())
"""

VERBS = """
import json, sys
from lightmeter.cli.main import cli
for args in json.loads(sys.argv[1]):
    try:
        cli.main(args, standalone_mode=False)
    except SystemExit as end:
        assert not end.code, (args, end.code)
"""


@pytest.fixture
def guarded(tmp_path):
    """Runs Python code where every process forbids sockets and torch; gives its end and what the guards heard."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    report = tmp_path / "report"
    source = str(ROOT.parent)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path / 'guard'}{os.pathsep}{source}", "GUARD_REPORT": str(report)}

    def run(code, *args):
        command = [sys.executable, "-c", code, *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
        return done, report.read_text().splitlines()

    return run


@pytest.mark.parametrize(
    ("code", "word"),
    [("import socket; socket.socket()", "network"), ("import torch", "import"), ("import transformers.x", "import")],
)
def test_the_guard_bites(guarded, code, word):
    done, heard = guarded(code)
    assert done.returncode != 0
    assert heard[-1].startswith(word)


def test_verbs_open_no_socket_and_need_no_torch(guarded, tmp_path):
    media = gallery(tmp_path / "media", per_colour=1)
    video(media / "clip.mp4", ["red", "blue"])
    sound(media / "tone.wav", 440)
    red, library = str(media / "red-0.png"), ["--library", str(tmp_path / "l")]
    encoders = ["--encoder", "color-histogram", "--encoder", "efficientnet-lite", "--encoder", "log-mel"]
    verbs = [
        ["index", str(media), *encoders, "--words", "", "--engine", "local/workers=1"],
        ["index", str(media), *encoders, "--words", "", "--engine", "inline", "--dry-run"],
        ["search", red], ["search", str(media / "tone.wav")], ["search", "--kind", "image"],
        ["tag"], ["tag", "--set", "x", red], ["tag", "--set", "y", str(media / "blue-0.png")],
        ["recognise", str(tmp_path / "l"), red],
        ["filter", "sobel", red, "o.png"], ["show", "--out", "sheet.png"], ["duplicates"], ["info"], ["info", red],
        ["status"], ["remove", red], ["gc"], ["fsck"], ["assets", "list"],
    ]  # fmt: skip
    done, heard = guarded(
        VERBS,
        json.dumps([[*verb, *(library if verb[0] not in ("assets", "filter", "recognise") else [])] for verb in verbs]),
    )
    assert done.returncode == 0, done.stderr
    guards = [line for line in heard if line.startswith("guarded")]
    assert heard == guards, "no process opened a socket or asked for torch"
    assert len(guards) >= 2, "the worker was guarded too"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_knows_the_network(path):
    found = imports(path)
    assert not found & NETWORK
    if str(path.relative_to(ROOT)) not in STARTS_PROGRAMS:
        assert "subprocess" not in found
        assert "os.system" not in path.read_text("utf-8")
