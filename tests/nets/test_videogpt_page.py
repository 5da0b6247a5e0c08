"""The page docs/videogpt.md: its Python runs as it stands, and its tables say what the nets are."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "videogpt.md").read_text("utf-8")


def test_the_page_runs():
    left = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block, "videogpt.md", "exec"), left)  # our own page
    assert left["codes"].shape == (2, 2, 8, 8)
    assert left["again"].shape == left["strip"].shape == left["clips"].shape
    assert float(left["loss"].detach()) > 0
    assert left["work"] == left["net"].plan.encode_macs(8, 32, 32)


def test_its_costs_are_those_of_the_record():
    rows = json.loads((ROOT / "docs" / "results" / "video-nets.json").read_text("utf-8"))["rows"]
    shown = re.findall(r"^\| (.+?) \| ([\d.]+) \| ([\d.–]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert [each[0] for each in shown] == [row["candidate"] for row in rows]
    for (_, weights, macs, cpu_s), row in zip(shown, rows, strict=True):
        assert weights == f"{row['weights'] / 1e6:.2f}"
        assert macs == ("–" if row["macs"] is None else f"{row['macs'] / 1e9:.2f}")
        assert float(cpu_s) == float(f"{row['cpu_s']:.2g}")
