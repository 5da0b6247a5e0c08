"""The page's Python runs as it stands, and its figures are those of the record."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "condense-learning.md"
RECORD = ROOT / "docs" / "results" / "condense-learning.json"


def test_blocks_run(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    left: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), left)  # our own page
    assert len(left["found"]) == 4


@pytest.mark.skipif(not RECORD.is_file(), reason="benchmarks/condense_learning.py has not been run to its end")
def test_figures_are_those_that_were_measured():
    page = PAGE.read_text("utf-8")
    for row in json.loads(RECORD.read_text("utf-8"))["rows"]:
        line = next(each for each in page.splitlines() if each.startswith(f"| `{row['method']}` |") and " ± " in each)
        assert f"{row['accuracy']:.1f} ± {row['deviation']:.1f}" in line, row["method"]
        assert f"{row['cpu_s']:.1f} s" in line, row["method"]
