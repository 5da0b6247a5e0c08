"""The page of `segment` runs as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from lightmeter.cli.main import cli

PAGE = (Path(__file__).parents[2] / "docs" / "segment.md").read_text("utf-8")


def test_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path / "cache"))
    (block,) = [each for each in re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "simulate" in each]
    for line in block.splitlines():
        done = CliRunner().invoke(cli, shlex.split(line)[1:])
        assert done.exit_code == 0, (line, done.output, done.exception)
    assert {"sheet.mask.png", "sheet.overlay.png", "masks.json"} == {each.name for each in Path("OUT").iterdir()}
    assert Path("PROBE/probe.html").stat().st_size > 10_000
    left = {}
    for code in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(code, "segment.md", "exec"), left)  # our own page
    assert left["mask"].shape == (32, 32)
    assert not left["answers"][0].failed
    assert set(left["less"]) == {"iou", "image_iou", "boundary_f"}
    assert not any(each.refused for each in left["results"])
