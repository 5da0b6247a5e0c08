"""The page on masks runs as it stands."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "masks.md"


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    left: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), left)  # our own page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["BAIR", "FRAMES", "MASKS", "masks.json"]


def test_the_page_names_what_the_readers_say():
    said = PAGE.read_text("utf-8")
    folder = PAGE.parents[1] / "src" / "lightmeter" / "media"
    for name in ("labelling", "mask_files", "mask_json", "mask_pixels", "rle"):
        for code in re.findall(r'RejectedFileError\(\s*"([a-z-]+)"', (folder / f"{name}.py").read_text("utf-8")):
            known = {"no-masks", "too-short", "too-large", "unknown-format", "not-a-picture"}
            assert code in known or f"`{code}`" in said, (name, code)
