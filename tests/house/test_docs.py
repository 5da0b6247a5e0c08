"""Pages name files that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
_PROGRAM = re.compile(r"(?<![\w./-])(?:benchmarks|examples|tests)/[\w/-]+\.py\b")
_RESULT = re.compile(r"(?<![\w./-])(?:docs/)?(results/[\w/-]+\.(?:json|txt|png))\b")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def files_of(text: str, page: Path) -> set[Path]:
    """Files of this project that a page names: programs and results by their place, all others by a link."""
    programs = {ROOT / name for name in _PROGRAM.findall(text)}
    results = {ROOT / "docs" / name for name in _RESULT.findall(text)}
    return programs | results | {page.parent / target for target in _LINK.findall(text) if ":" not in target}


@pytest.mark.parametrize("page", PAGES, ids=lambda each: str(each.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page):
    named = files_of(page.read_text("utf-8"), page)
    assert not sorted(str(each.relative_to(ROOT)) for each in named if not each.exists())


def test_names_are_found():
    text = "`python benchmarks/a_b.py` ([x](results/x.json), `docs/results/y.txt`) [z](../z.md#part) https://a.b/tests/c.py"
    found = {each.relative_to(ROOT).as_posix() for each in files_of(text, ROOT / "docs" / "page.md")}
    assert found == {"benchmarks/a_b.py", "docs/results/x.json", "docs/results/y.txt", "docs/../z.md"}
