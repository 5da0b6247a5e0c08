"""The page of words runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "words.md"


def test_the_page_says_what_comes_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    left: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, "words.md", "exec"), left)  # our own page
    texts, bare, held = left["texts"], left["bare"], left["held"]
    assert texts.titles == (("cat",), (), ("dog",), ())
    assert texts.keywords == (("minecraft", "game", "red"), ("dog", "new_york"), (), ())
    assert "not English" in capsys.readouterr().out
    assert left["batch"].present.tolist() == [[True, True, True], [True, False, False]]
    assert (held.texts, held.labels, held.any) == (2, 1.0, 1.0)
    assert held.words == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert bare.keywords == (("minecraft", "red"), ("dog",), (), ())
    np.testing.assert_allclose(left["model"].scores(left["numbers"]).sum(axis=1), 1, rtol=1e-6)
    assert [block.dim for block in left["joined"].blocks] == [16, 3, 40, 384]
