"""Fixtures for the tests of codes: a library to make them of, and searches of it."""

from __future__ import annotations

import shutil

import pytest
from coded_library import Asking, fill

from lightmeter.library import coding
from lightmeter.library.neighbours import Kept
from lightmeter.library.store import open_library


@pytest.fixture
def codes_win(monkeypatch):
    """Small series too: codes are chosen and used wherever there are some."""
    monkeypatch.setattr(coding, "choose", lambda trials, **_: trials[2])
    monkeypatch.setattr(coding, "_ASKING", 6)
    monkeypatch.setattr(Kept, "worth", lambda kept, rows, opened: kept.folder is not None)


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    place = tmp_path_factory.mktemp("filled") / "l"
    fill(place)
    return place


@pytest.fixture
def library(filled, tmp_path):
    """900 items in three shards, 1,260 rows; open for writing."""
    shutil.copytree(filled, tmp_path / "l")
    with open_library(tmp_path / "l", write=True) as opened:
        yield opened


@pytest.fixture
def asking(tmp_path, monkeypatch):
    return Asking(tmp_path, monkeypatch)
