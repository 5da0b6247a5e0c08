"""Ridge for several labels: the closed forms against the slow way, growing against a fit of everything."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from lightmeter.assets.saving import load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.answering import load_answering
from lightmeter.heads.examples import ArrayExamples, Block, Chosen
from lightmeter.heads.label_ridge import LabelRidge, joined
from lightmeter.heads.platt import Platt, sigmoid, smoothed
from lightmeter.metrics.calibration import Calibration
from lightmeter.metrics.ranking import VideoScores
from lightmeter.parts import build
from lightmeter.types import Labels

K = 4


def examples(count=50, dims=(6, 3), seed=0, noise=0.7):
    """Labels lie in directions of their own; some blocks of some items are absent."""
    chance = np.random.default_rng(seed)
    ways = np.random.default_rng(99).normal(size=(K, sum(dims)))
    hits = chance.random((count, K)) < np.array([0.5, 0.3, 0.2, 0.1])
    hits[:K] |= np.eye(K, dtype=bool)
    rows = (hits @ ways + noise * chance.normal(size=(count, sum(dims)))).astype(np.float32)
    blocks = tuple(Block(name, "features", dim) for name, dim in zip(("sight", "sound"), dims, strict=True))
    present = chance.random((count, 2)) < 0.9
    values = {"sight": rows[:, : dims[0]], "sound": rows[:, dims[0] :]}
    ids = [f"v{at}" for at in range(count)]
    return ArrayExamples(
        blocks, values, ids, tuple("abcd"), Labels.of([np.flatnonzero(row) for row in hits], K), present
    )


def whole(data):
    return data.batch(np.arange(len(data)))


@pytest.mark.parametrize("normalise", ["block", "whole", "none"])
def test_blocks_are_joined_as_networks_join_them(normalise):
    from lightmeter.nets.joined import Joined

    data = examples()
    batch = whole(data)
    net = Joined(data.blocks, normalise)
    theirs = net({name: torch.from_numpy(each) for name, each in batch.values.items()}, torch.from_numpy(batch.present))
    assert np.allclose(joined(batch, data.blocks, normalise), theirs.numpy(), atol=1e-6)


@pytest.mark.parametrize("dims", [(6, 3), (60, 30)], ids=["more rows", "more features"])
def test_margins_are_scikit_learns(dims):
    data = examples(dims=dims)
    model = LabelRidge(l2=0.5).fit(data)
    x = joined(whole(data), data.blocks, "block")
    theirs = Ridge(alpha=0.5).fit(x, np.where(data.labels.dense(), 1.0, -1.0))
    assert np.allclose(model.margins(whole(data)), theirs.predict(x), atol=1e-5)


@pytest.mark.parametrize("dims", [(6, 3), (60, 30)], ids=["more rows", "more features"])
def test_leaving_out_in_closed_form_is_leaving_out(dims):
    data = examples(count=20, dims=dims)
    margins, hits = LabelRidge().fit(data).left_out()
    assert np.array_equal(hits, data.labels.dense())
    for row in (0, 7, 19):
        without = LabelRidge(chance="clip").fit(Chosen.of(data, rows=np.delete(np.arange(20), row)))
        assert np.allclose(without.margins(data.batch(np.array([row])))[0], margins[row], atol=1e-5)


@pytest.mark.parametrize("dims", [(6, 3), (60, 30)], ids=["more rows", "more features"])
def test_a_new_label_is_a_fit_with_it(dims):
    data = examples(dims=dims)
    names, labels = data.label_names, data.labels
    bare = replace(data, label_names=names[:3], labels=Labels.of([np.flatnonzero(r) for r in labels.dense()[:, :3]], 3))
    grown = LabelRidge().fit(bare).with_label("d", np.flatnonzero(labels.dense()[:, 3]))
    assert grown.label_names == names
    assert np.array_equal(grown.labels.dense(), labels.dense())
    fitted = LabelRidge().fit(data)
    assert np.allclose(grown.margins(whole(data)), fitted.margins(whole(data)), atol=1e-5)
    assert np.allclose(grown.scores(whole(data)), fitted.scores(whole(data)), atol=0.05)  # another common sigmoid
    assert len(LabelRidge().fit(bare).label_names) == 3


def test_added_examples_are_a_fit_of_all():
    data = examples()
    parts = [Chosen.of(data, rows=rows) for rows in (np.arange(40), np.arange(40, 50))]
    grown = LabelRidge().fit(parts[0]).add(parts[1])
    fitted = LabelRidge().fit(data)
    assert np.allclose(grown.margins(whole(data)), fitted.margins(whole(data)), atol=1e-5)
    assert np.allclose(grown.calibrated().scores(whole(data)), fitted.scores(whole(data)), atol=1e-4)
    own = [grown.with_label("e", np.array([3, 45])), fitted.with_label("e", np.array([3, 45]))]
    assert np.allclose(*[each.margins(whole(data)) for each in own], atol=1e-5)


def test_scores_are_chances_and_keep_the_order():
    data = examples(400)
    test = examples(2000, seed=1)
    platt, clip = (LabelRidge(chance=how).fit(data) for how in ("platt", "clip"))
    errors = {}
    for model in (platt, clip):
        calibration, quality = Calibration(K), VideoScores(K)
        scores = model.scores(whole(test))
        assert scores.dtype == np.float32
        assert 0 <= scores.min() <= scores.max() <= 1
        calibration.update(scores, test.labels)
        quality.update(scores, test.labels)
        errors[model.head.chance] = (calibration.ece(), quality.result().gap)
    assert errors["platt"][0] < 0.03 < errors["clip"][0]
    assert errors["platt"][1] > errors["clip"][1] - 0.01
    margins = platt.margins(whole(test))
    for label in range(K):
        order = np.argsort(margins[:, label], kind="stable")
        assert (np.diff(platt.scores(whole(test))[order, label]) >= 0).all()


def test_a_label_of_few_examples_rises_with_its_margin():
    data = examples()
    model = LabelRidge().fit(data).with_label("rare", np.array([5]))
    assert model.platt.slope[-1] > 0
    assert model.scores(whole(data))[:, 4].argmax() == model.margins(whole(data))[:, 4].argmax()


def test_a_new_label_takes_milliseconds():
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(2000, 256)).astype(np.float32)
    data = ArrayExamples(
        (Block("x", "features", 256),), {"x": rows}, [str(at) for at in range(2000)], ("a", "b"),
        Labels.of([[at % 2] for at in range(2000)], 2),
    )  # fmt: skip
    model = LabelRidge().fit(data)
    start_s = time.process_time()
    for at in range(5):
        model = model.with_label(f"n{at}", np.arange(at, 2000, 50))
    assert (time.process_time() - start_s) / 5 < 0.1  # measured 0.01; a fit takes 0.5


def test_it_is_kept_and_grows_on(tmp_path):
    data = examples()
    model = LabelRidge().fit(data).add(examples(6, seed=5))
    model.save(tmp_path / "grows")
    again = load_answering(tmp_path / "grows")
    assert np.array_equal(again.scores(whole(data)), model.scores(whole(data)))
    more = [each.with_label("e", np.array([1, 2])) for each in (again, model)]
    assert np.array_equal(*[each.scores(whole(data)) for each in more])
    assert build(model.head.spec) == model.head
    for chance in ("platt", "clip"):
        done = LabelRidge(grows=False, chance=chance).fit(data)
        done.save(tmp_path / chance)
        kept = load_answering(tmp_path / chance)
        assert np.array_equal(kept.scores(whole(data)), done.scores(whole(data)))
        assert kept.size_bytes == done.size_bytes < model.size_bytes
        with pytest.raises(InvalidValueError, match="grows=true"):
            kept.with_label("e", np.array([1]))


def test_what_cannot_be_learnt_is_refused():
    data = examples()
    with pytest.raises(InvalidValueError, match="must have labels"):
        LabelRidge().fit(replace(data, labels=None))
    frames = ArrayExamples((Block("f", "frames", 2),), {"f": [np.zeros((1, 2))]}, ["v"], ("a",), Labels.of([[0]], 1))
    with pytest.raises(InvalidValueError, match="label-ridge must read features"):
        LabelRidge().fit(frames)
    model = LabelRidge().fit(data)
    for name, rows, said in (("a", [1], "name of its own"), ("e", [], "0 to 49"), ("e", [50], "0 to 49")):
        with pytest.raises(InvalidValueError, match=said):
            model.with_label(name, np.array(rows, np.int64))
    with pytest.raises(InvalidValueError, match="labels of the model"):
        model.add(replace(data, label_names=("a", "b", "c", "z")))
    with pytest.raises(InvalidValueError, match="l2"):
        LabelRidge(l2=0)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, about: arrays.update(slope=-arrays["slope"]),
        lambda arrays, about: arrays.update(rows=arrays["rows"][:-1]),
        lambda arrays, about: arrays.update(classes=arrays["classes"] + np.int32(9)),
        lambda arrays, about: arrays.update(room=arrays["room"] * 0),
        lambda arrays, about: about.update(label_names=["a"]),
        lambda arrays, about: about.update(sha256_of="0"),
        lambda arrays, about: about["blocks"][0].update(kind="frames"),
        lambda arrays, about: about["blocks"][0].update(dim=7),
        lambda arrays, about: about.update(spec="label-ridge/l2=2"),
        lambda arrays, about: about.update(about=[]),
    ],
)
def test_forged_models_are_refused(change, tmp_path):
    LabelRidge().fit(examples()).save(tmp_path)
    arrays, about = load_model(tmp_path)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    change(arrays, about)
    save_model(tmp_path, arrays, about)
    with pytest.raises(RejectedFileError):
        load_answering(tmp_path)


# -- sigmoids -------------------------------------------------------------------------------------------------------


def test_one_class_alone_is_logistic_regression():
    chance = np.random.default_rng(0)
    scores = chance.normal(size=(300, 1))
    hits = chance.random((300, 1)) < sigmoid(2 * scores - 1)
    made = Platt.fit(scores, hits)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    targets = smoothed(hits)[:, 0]
    theirs.fit(  # targets between 0 and 1: each item twice, weighed
        np.concatenate([scores, scores]), np.repeat([1, 0], 300), np.concatenate([targets, 1 - targets])
    )
    assert np.allclose(made.common, [theirs.coef_[0, 0], theirs.intercept_[0]], atol=1e-4)


def test_a_class_that_knows_nothing_keeps_a_rising_sigmoid():
    scores = np.random.default_rng(0).normal(size=(200, 3))
    hits = scores > 0
    hits[:, 2] = scores[:, 2] < 0
    made = Platt.fit(scores, hits)
    assert (made.slope > 0).all()
    assert made.slope[2] == pytest.approx(0.1 * made.common[0])


def test_sigmoids_do_not_overflow():
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
