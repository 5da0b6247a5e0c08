"""Pages whose Python blocks can be run as they stand, from the first to the last."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def run_page(name, folder, monkeypatch):
    """All names that the page's Python blocks leave behind."""
    monkeypatch.chdir(folder)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 1
    left: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, name, "exec"), left)  # our own page
    return left


def test_heads(tmp_path, monkeypatch):
    left = run_page("heads.md", tmp_path, monkeypatch)
    kept = left["RidgeModel"].load(tmp_path / "who-is-who").predict(left["new_features"])
    assert np.mean(kept == left["new_labels"]) > 0.8
    assert sorted(each.name for each in (tmp_path / "who-is-who").iterdir()) == ["model.json", "model.safetensors"]


def test_fusion(tmp_path, monkeypatch):
    left = run_page("fusion.md", tmp_path, monkeypatch)
    assert left["fused"].answer == 7
    assert left["fused"].frames == 20
    assert left["found"].odds < np.inf, left["found"].reason
    decided = left["made"].decide(
        left["model"].predict(left["queries"]), left["distance_ratio"](left["model"].distances(left["queries"])),
        unknown=-1,
    )  # fmt: skip
    assert left["made"].said()
    assert set(decided[10:]) == {-1}, "strangers are not answered"
    assert (decided[:10] == np.arange(10)).sum() > 5


def test_a_track_in_the_place_of_distances_is_refused():
    from lightmeter.errors import InvalidValueError
    from lightmeter.search.fusion import Track
    from lightmeter.search.stopping import calibrate_odds

    with pytest.raises(InvalidValueError, match=r"tracks must be arrays of class distances \[T, C\], got Track"):
        calibrate_odds([Track(np.ones((3, 2)))])
