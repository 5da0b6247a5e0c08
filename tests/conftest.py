"""Fixtures for every part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Callable[[str], Path]:
    """`data_folder("tuxpaint-stamps")`: where that asset lies, or a skip that says how to get it."""
    from lightmeter.assets.finding import find_or_none
    from lightmeter.assets.table import asset_called

    def folder(name: str) -> Path:
        path = find_or_none(name)
        if path is None:
            pytest.skip(f"asset {name} is not here: `{asset_called(name).command}`")
        return path

    return folder
