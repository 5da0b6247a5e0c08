"""Why an answer: worked by hand on networks whose logits are sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.heads.contributions import contributions, strongest
from lightmeter.heads.ensemble import EnsembleClassifier, Mean
from lightmeter.heads.examples import ArrayExamples, Batch, Block
from lightmeter.heads.label_ridge import LabelRidge
from lightmeter.heads.platt import sigmoid
from lightmeter.heads.training import Adam, fit_net
from lightmeter.parts import build
from lightmeter.types import Labels

SIGHT, SOUND, TITLE = Block("sight", "frames", 2), Block("sound", "features", 2), Block("title", "tokens", 4)


@dataclass
class Sum:
    """Logit of class k: the sums of all frames, the sound and the numbers of the words, column k (words: all)."""

    blocks: tuple[Block, ...] = (SIGHT, SOUND, TITLE)
    classes: int = 2
    most: int = 0

    def scores(self, batch):
        self.most = max(self.most, len(batch))
        logits = np.zeros((len(batch), 2))
        for row in range(len(batch)):
            for at, block in enumerate(self.blocks):
                own = batch.values[block.name][row] * batch.present[row, at]
                if block.kind == "frames":
                    own = own[: batch.lengths[row]].sum(axis=0)
                logits[row] += own / 10 if block.kind != "tokens" else own.sum() / 10
        return sigmoid(logits).astype(np.float32)


def item(present=(True, True, True)):
    frames = np.array([[[1, 0], [2, -3], [0, 4], [9, 9]]], np.float32)
    values = {
        "sight": frames, "sound": np.array([[5, -6]], np.float32), "title": np.array([[7, 2, 0, 0]], np.int32)
    }  # fmt: skip
    return Batch(values, np.array([present]), np.array([3]))


def test_of_a_sum_every_difference_is_its_part():
    made = contributions(Sum(), item(), [1, 0])
    assert np.allclose(made.blocks * 10, [[1, 3], [-6, 5], [9, 9]], atol=1e-3)
    assert np.allclose(made.seconds * 10, [[0, 1], [-3, 2], [4, 0]], atol=1e-3)
    assert np.allclose(made.words["title"] * 10, [[7, 7], [2, 2]], atol=1e-3)
    assert made.numbers["title"].tolist() == [7, 2]
    assert np.allclose(made.chances, sigmoid(np.array([0.4, 1.7])), atol=1e-6)
    assert not made.exact


def test_what_is_absent_adds_nothing():
    made = contributions(Sum(), item((True, False, False)), [0])
    assert made.blocks[1:].tolist() == [[0.0], [0.0]]
    assert made.words == {}


def test_models_without_frames_have_no_seconds():
    model = Sum(blocks=(SOUND,))
    made = contributions(model, Batch({"sound": np.array([[5, -6]], np.float32)}, np.ones((1, 1), bool)), [0])
    assert made.seconds is None
    assert made.blocks[0, 0] == pytest.approx(0.5, abs=1e-4)


def test_many_seconds_are_asked_some_at_a_time():
    model = Sum(blocks=(SIGHT,))
    frames = np.random.default_rng(0).normal(size=(1, 300, 2)).astype(np.float32)
    made = contributions(model, Batch({"sight": frames}, np.ones((1, 1), bool), np.array([300])), [0, 1])
    assert np.allclose(made.seconds * 10, frames[0], atol=1e-2)
    assert model.most == 64


def test_the_strongest_help_and_come_first():
    assert strongest(np.array([0.1, -2.0, 0.5, 0.0, 0.5]), 3).tolist() == [2, 4, 0]
    assert strongest(np.array([-1.0, 0.0]), 3).tolist() == []


def examples(count=80):
    chance = np.random.default_rng(0)
    sight, sound = (chance.normal(size=(count, 3)).astype(np.float32) for _ in range(2))
    hits = np.stack([sight[:, 0] > 0, sound[:, 0] > 0], axis=1)
    blocks = (Block("sight", "features", 3), Block("sound", "features", 3))
    labels = Labels.of([np.flatnonzero(row) for row in hits], 2)
    return ArrayExamples(
        blocks, {"sight": sight, "sound": sound}, [str(at) for at in range(count)], ("a", "b"), labels
    )  # fmt: skip


def test_parts_of_a_ridge_add_up_to_its_logit():
    data = examples()
    model = LabelRidge().fit(data)
    batch = data.batch(np.array([3]))
    made = contributions(model, batch, [0, 1])
    assert made.exact
    logit = made.blocks.sum(axis=0) + made.base
    assert np.allclose(sigmoid(logit), model.scores(batch)[0], atol=1e-5)
    assert abs(made.blocks[0, 0]) > 5 * abs(made.blocks[1, 0])
    clipped = contributions(LabelRidge(chance="clip").fit(data), batch, [0, 1])
    assert not clipped.exact


@pytest.mark.parametrize("several", [False, True], ids=["network", "ensemble"])
def test_networks_are_asked_without_each_block(several):
    data = examples()
    model = fit_net(build("moe/experts=1"), data, training=Adam(lr=0.1, batch=20, epochs=6, precision="float32"))
    model = EnsembleClassifier((model, model), Mean()) if several else model
    batch = model.view(data).batch(np.array([5]))
    made = contributions(model, batch, [0])
    without = model.view(data, without=["sight"]).batch(np.array([5]))
    p, q = (model.scores(each)[0, 0].astype(float) for each in (batch, without))
    assert made.blocks[0, 0] == pytest.approx(np.log(p / (1 - p)) - np.log(q / (1 - q)), abs=1e-5)


@pytest.mark.parametrize(("classes", "said"), [([], "0 to 1"), ([2], "0 to 1"), ([-1], "0 to 1")])
def test_classes_that_are_none_are_refused(classes, said):
    with pytest.raises(InvalidValueError, match=said):
        contributions(Sum(), item(), classes)


def test_one_item_at_a_time():
    data = examples()
    with pytest.raises(InvalidValueError, match="one item"):
        contributions(LabelRidge().fit(data), data.batch(np.arange(2)), [0])
