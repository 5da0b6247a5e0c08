"""docs/ensembles.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lightmeter.heads.platt import sigmoid

PAGE = Path(__file__).parents[2] / "docs" / "ensembles.md"


def test_ensembles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), left)  # our own page
    model, why = left["model"], left["why"]
    assert model.label_names == ("cat", "dog", "bird")
    assert np.array_equal(left["scores"], model.scores(model.view(left["examples"]).batch(np.arange(5))))
    assert np.allclose(sigmoid(why.blocks.sum(axis=0) + why.base), why.chances, atol=1e-5)
