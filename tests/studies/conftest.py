"""What the tests of galleries share: a cache of their own, and an encoder that rejects dark pictures."""

from __future__ import annotations

import pytest
from toy_encoders import TOYS, ToyBright

from lightmeter.encoders.table import ENCODERS


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bright(monkeypatch):
    """`toy-bright`, a plug-in that takes pictures of brightness `least` or more."""
    monkeypatch.setitem(ENCODERS, "toy-bright", TOYS["toy-bright"])
    return ToyBright
