"""The page's Python runs as it stands, and says what it says."""

from __future__ import annotations

import re
from pathlib import Path

from lightmeter.condense.selecting.k_medoid import KMedoid

PAGE = Path(__file__).parents[2] / "docs" / "condense-selection.md"


def test_blocks_run(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    left: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), left)  # our own page
    assert len(set(left["prototypes"].tolist())) == 10
    assert left["stays"].sum() == 270
    assert left["note"] == ""
    assert left["method"] == KMedoid("latents", unit=False, outliers=0.1)
    printed = capsys.readouterr().out.strip()
    assert printed == left["first"].text + " 4.0 (('green', 2), ('red', 1), ('fins', 1))"
    assert f"# {printed}" in blocks[-1]
