"""The page on video metrics runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "video-metrics.md"


def test_the_page_runs():
    left: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block.replace("rounds=200", "rounds=20"), PAGE.name, "exec"), left)  # our own page
    quality = left["quality"]
    assert 0.3 < quality.gap_worst <= quality.gap <= quality.gap_best < 1
    assert left["difference"].clear
    assert left["difference"].low > 0
    assert len(left["bands"]) == 10
    assert np.isfinite(left["made"].threshold).any()
