"""A run that is killed at any moment goes on, and ends as one that was not."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
MAIN = "from lightmeter.cli.main import main; main()"


@pytest.mark.slow
def test_condense_survives_kill(tmp_path):
    draws = np.random.default_rng(0)
    for number in range(300):
        path = tmp_path / "set" / f"c{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        low = 60 * (number % 3)
        Image.fromarray(draws.integers(low, low + 80, (16, 16, 3), np.uint8)).save(path)

    def command(out):
        return [
            sys.executable, "-c", MAIN, "condense", str(tmp_path / "set"), "--out", str(tmp_path / out), "--per-class",
            "3", "--method", "herding", "--protocol", "quick/steps=60", "--seeds", "2", "--quiet",
        ]  # fmt: skip

    for seconds in (1, 2, 3, 4, 5, 6, 7, 8):
        if (tmp_path / "out").exists():
            break
        try:
            subprocess.run(command("out"), timeout=seconds, check=True)  # past its time it is killed
        except subprocess.TimeoutExpired:
            assert not (tmp_path / "out").exists()
    if not (tmp_path / "out").exists():
        subprocess.run(command("out"), check=True)
    subprocess.run(command("whole"), check=True)
    killed, whole = (json.loads((tmp_path / name / "provenance.json").read_text()) for name in ("out", "whole"))
    assert [each["source"] for each in killed["images"]] == [each["source"] for each in whole["images"]]
    assert killed["accuracy"] == whole["accuracy"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out", "set", "whole"]
