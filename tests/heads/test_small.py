"""Classifiers of every net are saved and loaded, and kept within a budget of bytes at a stated loss."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.classifier import Classifier, Part
from lightmeter.heads.examples import ArrayExamples, Block
from lightmeter.heads.small import FORMATS, Small, check_budget, kept_in, shrink, try_formats
from lightmeter.heads.training import Adam, Plan, fit_net
from lightmeter.parts import build
from lightmeter.types import Labels

CLASSES = 6
SPECS = {
    "frames": [
        "dbof/clusters=64,hidden=32,frames=4", "lstm/cells=20,layers=2", "netvlad/clusters=8,hidden=64",
        "nextvlad/clusters=8,hidden=64,groups=4", "attention/queries=2,inner=16,hidden=64",
    ],
    "features": ["moe/experts=2", "keyword-mlp/widths=[64,32]", "chain/links=1,cells=16"],
    "tokens": ["text-cnn/vectors=90,dim=12,widths=3,filters=30,hidden=40"],
}  # fmt: skip
ALL = [(kind, spec) for kind, specs in SPECS.items() for spec in specs]


def examples(kind, count=40, seed=0):
    """Videos whose label is the largest of the first numbers of sight, or the first word."""
    chance = np.random.default_rng(seed)
    told = chance.integers(0, CLASSES, count)
    signs = np.eye(CLASSES, 200, dtype=np.float32)[told] * 4
    if kind == "frames":
        frames = [signs[i] + chance.normal(size=(chance.integers(1, 6), 200)).astype(np.float32) for i in range(count)]
        blocks = (Block("visual", "frames", 200), Block("title", "features", 8))
        values = {"visual": frames, "title": chance.normal(size=(count, 8)).astype(np.float32)}
    elif kind == "features":
        blocks, values = (Block("visual", "features", 200),), {"visual": signs + chance.normal(size=signs.shape)}
        values["visual"] = values["visual"].astype(np.float32)
    else:
        blocks, words = (Block("title", "tokens", 7),), chance.integers(7, 90, (count, 7)).astype(np.int32)
        words[:, 0] = told + 1
        values = {"title": words}
    return ArrayExamples(
        blocks, values, [f"v{i}" for i in range(count)], tuple("abcdef"), Labels.of([[each] for each in told], CLASSES)
    )


def fresh(kind, spec, seed=0):
    """A classifier that has learnt nothing yet; the blocks are those of `examples(kind)`."""
    torch.manual_seed(seed)
    head, blocks = build(spec, "head"), examples(kind, 2).blocks
    state = head.net(blocks, CLASSES).state_dict()
    return Classifier(head, blocks, tuple("abcdef"), (Part(0, CLASSES, {n: v.numpy() for n, v in state.items()}),))


def scores(classifier, data):
    return classifier.scores(classifier.view(data).batch(np.arange(len(data))))


@pytest.mark.parametrize(("kind", "spec"), ALL)
class TestEveryNet:
    def test_is_saved_and_loaded(self, kind, spec, tmp_path):
        first, data = fresh(kind, spec), examples(kind)
        first.save(tmp_path)
        again = Classifier.load(tmp_path)
        assert again.head == first.head
        assert again.size_bytes == first.size_bytes
        np.testing.assert_array_equal(scores(again, data), scores(first, data))
        if kind != "features" or not spec.startswith("moe"):
            assert again.hidden(again.view(data).batch(np.arange(5))).shape[0] == 5

    @pytest.mark.parametrize("format", FORMATS)
    def test_is_kept_in_every_format(self, kind, spec, format, tmp_path):
        full, data = fresh(kind, spec), examples(kind)
        small = kept_in(full, format)
        assert small.head == Small(full.head, format)
        assert build(small.head.spec, "head") == small.head
        assert small.size_bytes < full.size_bytes
        np.testing.assert_allclose(scores(small, data), scores(full, data), atol=0.001 if format == "float16" else 0.1)
        small.save(tmp_path)
        again = Classifier.load(tmp_path)
        assert again.size_bytes == small.size_bytes
        assert again.macs == full.macs
        np.testing.assert_array_equal(scores(again, data), scores(small, data))

    def test_learns(self, kind, spec):
        data, head = examples(kind, 64), build(spec, "head")
        made = fit_net(head, data, training=Adam(lr=0.01, batch=16, epochs=6, decay=1.0), seed=1)
        hits = scores(made, data)[data.labels.dense()]
        others = scores(made, data)[~data.labels.dense()]
        assert hits.mean() > others.mean() + 0.1

    def test_learns_the_same_again(self, kind, spec):
        data, head = examples(kind, 24), build(spec, "head")
        recipe = Adam(lr=0.01, batch=8, epochs=2)
        straight = fit_net(head, data, training=recipe, seed=1)

        again = fit_net(head, data, training=recipe, seed=1)
        for name, array in again.parts[0].arrays.items():
            np.testing.assert_array_equal(array, straight.parts[0].arrays[name], err_msg=name)


def test_what_is_kept_has_the_size_that_its_format_says():
    full = fresh("features", "moe/experts=2")
    weight = full.parts[0].arrays["moe.weight"]
    assert weight.shape == (5, CLASSES, 200)
    rest = full.size_bytes - weight.nbytes
    sizes = {format: kept_in(full, format).size_bytes - rest for format in FORMATS}
    assert sizes == {
        "float16": 2 * weight.size, "int8": weight.size + 4 * 5 * CLASSES,
        "uniform": weight.size + 1024, "quantile": weight.size + 1024, "kmeans": weight.size + 1024,
    }  # fmt: skip


def test_the_budget_is_kept_by_the_format_that_changes_least():
    full, data = fresh("features", "chain/links=1,cells=16"), examples("features")
    tried = {trial.format: trial for trial in try_formats(full, data)}
    assert list(tried) == ["float32", *FORMATS]
    assert tried["float32"].divergence == tried["float32"].bound == 0
    assert all(trial.divergence > 0 for name, trial in tried.items() if name != "float32")
    assert tried["float16"].divergence < tried["int8"].divergence
    half = shrink(full, tried["float16"].size_bytes, data)
    assert half.head.format == "float16"
    assert half.about["shrunk"]["divergence"] == tried["float16"].divergence
    budget = tried["float16"].size_bytes - 1
    best = min(
        (trial for trial in tried.values() if trial.size_bytes <= budget),
        key=lambda each: (each.divergence, each.size_bytes),
    )
    made = shrink(full, budget, data)
    assert made.head.format == best.format
    assert made.size_bytes == best.size_bytes <= budget


def test_what_fits_stays_as_it_is_and_what_cannot_is_refused():
    full, data = fresh("features", "moe/experts=1"), examples("features")
    assert shrink(full, full.size_bytes, data) is full
    with pytest.raises(InvalidValueError, match=r"the budget must be \d+ bytes or more for this model, got 100: allow"):
        shrink(full, 100, data)
    with pytest.raises(InvalidValueError, match="one item at least"):
        shrink(full, 100, examples("features", 0))


def test_small_is_made_never_fitted_and_never_twice():
    full, data = fresh("features", "moe/experts=1"), examples("features")
    small = kept_in(full, "int8")
    with pytest.raises(InvalidValueError, match=r"small must be made of what has learnt: fit moe/.*, then shrink it"):
        fit_net(small.head, data)
    with pytest.raises(InvalidValueError, match="head must be a network that is not small yet"):
        kept_in(small, "float16")
    with pytest.raises(InvalidValueError, match="head must be a network"):
        build("small/head=(ridge)", "head")


def test_a_format_that_cannot_hold_a_weight_is_left_out():
    full, data = fresh("features", "moe/experts=1"), examples("features")
    full.parts[0].arrays["moe.weight"][0, 0, 0] = 1e6
    assert "float16" not in {trial.format for trial in try_formats(full, data, rows=5)}
    with pytest.raises(InvalidValueError, match="within ±65504"):
        kept_in(full, "float16")


def test_classes_that_were_learnt_apart_are_kept_apart(tmp_path):
    full, data = fresh("features", "moe/experts=2"), examples("features")
    arrays = full.parts[0].arrays
    parts = tuple(
        Part(
            first,
            last,
            {"moe.weight": arrays["moe.weight"][:, first:last], "moe.bias": arrays["moe.bias"][:, first:last]},
        )
        for first, last in ((0, 4), (4, 6))
    )
    apart = Classifier(full.head, full.blocks, full.label_names, parts)
    small = kept_in(apart, "int8")
    np.testing.assert_array_equal(scores(small, data), scores(kept_in(full, "int8"), data))
    small.save(tmp_path)
    np.testing.assert_array_equal(scores(Classifier.load(tmp_path), data), scores(small, data))


def test_forged_codes_are_refused(tmp_path):
    small = kept_in(fresh("features", "moe/experts=1"), "int8")
    arrays = dict(small.parts[0].arrays)
    for name, forged in (
        ("moe.weight/codes", arrays["moe.weight/codes"][:-1]),
        ("moe.weight/codes", arrays["moe.weight/codes"].astype(np.float32)),
        ("moe.weight/scale", arrays["moe.weight/scale"] * np.nan),
    ):
        Classifier(small.head, small.blocks, small.label_names, (Part(0, CLASSES, arrays | {name: forged}),)).save(
            tmp_path
        )
        with pytest.raises(RejectedFileError):
            Classifier.load(tmp_path)


def test_a_text_cnn_loads_without_the_file_of_its_vectors_whole_and_small(tmp_path):
    from lightmeter.encoders.word_vectors import WordVectors

    table = np.random.default_rng(0).normal(size=(91, 5)).astype(np.float32)
    table[0] = 0
    WordVectors(tuple(f"word{at}" for at in range(90)), table).save(tmp_path / "vectors")
    spec = f"text-cnn/vectors='{tmp_path}/vectors',dim=5,widths=3,filters=30,hidden=40"
    full, data = fresh("tokens", spec), examples("tokens")
    small = kept_in(full, "kmeans")
    full.save(tmp_path / "full")
    small.save(tmp_path / "small")
    (tmp_path / "vectors").rename(tmp_path / "gone")
    np.testing.assert_array_equal(scores(Classifier.load(tmp_path / "full"), data), scores(full, data))
    np.testing.assert_array_equal(scores(Classifier.load(tmp_path / "small"), data), scores(small, data))


def test_the_page_runs():
    page = (Path(__file__).parents[2] / "docs" / "nets.md").read_text("utf-8")
    left = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "nets.md", "exec"), left)  # our own page
    assert left["scores"].shape == (2, 5)
    assert left["work"] > 0
    assert left["small"].size_bytes <= left["full"].size_bytes // 3
    assert left["small"].head.spec.startswith("small/head=(moe/")
    assert len(left["tried"]) == 6


@pytest.mark.parametrize(("kind", "spec"), ALL)
def test_the_least_size_is_known_before_anything_is_learnt(kind, spec):
    full, data = fresh(kind, spec), examples(kind)
    least = min(each.size_bytes for each in try_formats(full, data, rows=2))
    check_budget(full.head, full.blocks, CLASSES, least)
    with pytest.raises(InvalidValueError, match=f"must be {least} bytes or more for this model, got {least - 1}:"):
        check_budget(full.head, full.blocks, CLASSES, least - 1)


def test_the_least_size_of_classes_that_are_kept_apart():
    head, data = build("moe/experts=2", "head"), examples("features")
    training = Adam(batch=40, epochs=1, clip_by="class")
    parts = fit_net(head, data, training=training, plan=Plan(class_shard=4))
    least = min(each.size_bytes for each in try_formats(parts, data, rows=2))
    with pytest.raises(InvalidValueError, match=f"must be {least} bytes"):
        check_budget(head, data.blocks, CLASSES, 1, ranges=[(0, 4), (4, 6)])
