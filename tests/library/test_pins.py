"""A library and an encoder whose model was fitted anew at the same place: rows of the two are never mixed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from media_folder import QUICK, picture

from lightmeter.encoders.by_path import pinned
from lightmeter.errors import LightmeterError
from lightmeter.library import indexing
from lightmeter.library.indexing import index
from lightmeter.library.searching import search
from lightmeter.library.store import open_library
from lightmeter.parts import build

pytest.importorskip("torch")


def fit(folder, seed):
    import numpy as np

    from lightmeter.heads.examples import ArrayExamples, Block
    from lightmeter.heads.net_head import net_head
    from lightmeter.heads.training import Adam, fit_net
    from lightmeter.types import Labels

    rows = np.random.default_rng(0).random((8, 8), np.float32)
    block = Block("visual", "features", 8, build("color-histogram/bins=2").spec)
    examples = ArrayExamples(
        (block,), {"visual": rows}, list("abcdefgh"), ("x", "y"), Labels.of([[at % 2] for at in range(8)], 2)
    )
    fit_net(net_head("keyword-mlp/widths=[6]"), examples, training=Adam(epochs=1, batch=8), seed=seed).save(folder)


@pytest.fixture
def learnt(tmp_path):
    fit(tmp_path / "m", seed=0)
    for at, colour in enumerate(("red", "blue")):
        picture(tmp_path / "media" / f"{colour}.png", colour, seed=at)
    return build(f"learnt/model='{tmp_path / 'm'}'")


def indexed(tmp_path, learnt):
    return index([tmp_path / "media"], tmp_path / "l", dataclasses.replace(QUICK, encoders=(learnt.spec,)))


def specs(tmp_path):
    with open_library(tmp_path / "l") as library:
        return [series.spec for series in library.all_series()]


def found(tmp_path):
    with open_library(tmp_path / "l") as library:
        return [Path(hit.path).name for hit in search(library, str(tmp_path / "media" / "red.png"), k=2).hits]


def test_a_model_fitted_anew_is_another_encoder(learnt, tmp_path):
    assert indexed(tmp_path, learnt).done == 2
    old = pinned(learnt).spec
    assert specs(tmp_path) == [old]
    assert indexed(tmp_path, learnt).unchanged == 2
    assert found(tmp_path)[0] == "red.png"
    fit(tmp_path / "m", seed=1)
    with pytest.raises(LightmeterError, match="must have the sha256"):
        found(tmp_path)
    assert indexed(tmp_path, learnt).done == 2, "read again"
    assert specs(tmp_path) == [old, pinned(learnt).spec]
    assert found(tmp_path)[0] == "red.png"


def test_a_library_from_before_still_answers(learnt, tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(indexing, "pinned", lambda encoder: encoder)
        assert indexed(tmp_path, learnt).done == 2
    assert specs(tmp_path) == [f"learnt/model='{tmp_path / 'm'}'"]
    assert found(tmp_path)[0] == "red.png"
    assert indexed(tmp_path, learnt).done == 2, "nobody knows whether the model is the one of then"
    assert len(specs(tmp_path)) == 2
