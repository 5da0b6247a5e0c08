"""What all methods that learn pixels share: where they start, how they are kept, what is changed alike."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.condense.learning_pixels.dm import Dm
from lightmeter.condense.learning_pixels.networks import Alike, changed_alike, changed_apart, depth_for, random_net
from lightmeter.condense.learning_pixels.pixels import (
    ClassBatches,
    PixelLearner,
    clamp_standard,
    from_standard,
    labels_of,
    pictures,
    shares,
    start_rows,
)
from lightmeter.condense.scoring.pixels import floats, normalised
from lightmeter.condense.scoring.siamese import CHANGES
from lightmeter.condense.selecting.herding import Herding
from lightmeter.condense.selecting.random_rows import Random
from lightmeter.errors import InvalidValueError
from lightmeter.parts import build

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_come_back_as_they_were(channels):
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, channels), np.uint8)
    assert (pictures(floats(images)) == images).all()
    assert (pictures(from_standard(normalised(images))) == images).all()


def test_what_no_picture_can_hold_is_cut():
    assert pictures(torch.tensor([-1.0, 0.25, 2.0]).view(3, 1, 1, 1)).ravel().tolist() == [0, 64, 255]
    pixels = torch.tensor([-9.0, 0.0, 9.0]).view(3, 1, 1, 1)
    clamp_standard(pixels)
    np.testing.assert_allclose(from_standard(pixels).ravel(), [0, 0.449, 1], atol=1e-6)


def test_shares_add_up_to_one():
    np.testing.assert_allclose(shares(np.float32([[0, np.log(3)], [500, 500]])), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)


def test_starts_from_pictures_that_another_method_keeps(stripes, material):
    images = stripes(6)
    told = material(images)
    rows = start_rows(told, Herding(features="pixels"), 3, seed=0)
    assert (rows == Herding(features="pixels").condense(told, 3, seed=0).rows).all()
    with pytest.raises(InvalidValueError, match="start must keep pictures of the set, got dm/"):
        Dm(start=Dm())


def test_a_class_with_fewer_pictures_starts_from_some_twice(stripes, material):
    images = stripes(6).take(np.array([0, 6, 7, 8, 9]))
    rows = start_rows(material(images), Random(), 3, seed=0)
    assert rows[:3].tolist() == [0, 0, 0]
    assert len(set(rows[3:].tolist())) == 3
    assert labels_of(images, 3).tolist() == [0, 0, 0, 1, 1, 1]


def test_batches_are_of_a_class_without_doubles_and_the_same_again(stripes):
    images = stripes(6)
    batches = ClassBatches.of(images, 4, seed=1)
    for step in range(20):
        rows = batches.at(1, step)
        assert len(set(rows.tolist())) == 4
        assert (images.labels[rows] == 1).all()
        assert (rows == batches.at(1, step)).all()
    assert len(ClassBatches.of(images, 99, seed=1).at(0, 0)) == 6


def test_all_pictures_are_changed_in_one_way():
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    moved = 0
    for seed in range(20):
        real, made = changed_alike(picture.expand(3, -1, -1, -1), picture.expand(2, -1, -1, -1), CHANGES, (seed,))
        assert torch.allclose(real, real[:1].expand_as(real))
        assert torch.allclose(made, real[:2])
        moved += not torch.allclose(real[:1], picture)
    assert moved == 20
    apart = changed_apart(picture.expand(3, -1, -1, -1), CHANGES, (0,))
    assert not torch.allclose(apart[0], apart[1])
    same = changed_alike(picture, picture, (), (0,))
    assert torch.equal(same[0], picture)


def test_numbers_that_are_alike_are_spread_over_calls():
    rng = Alike(np.random.PCG64(0))
    draws = [rng.random(3) for _ in range(5)]
    assert all(len(set(each.tolist())) == 1 for each in draws)
    assert len({each[0] for each in draws}) == 5
    assert rng.integers(7) in range(7)
    assert rng.uniform(2, 3, 4).min() >= 2
    assert rng.integers(0, 2, 4).shape == (4,)


def test_networks_differ_by_seed_and_fit_the_pictures(stripes):
    images = stripes(2)
    one, same, other = (random_net(images, 4, (0, number)) for number in (0, 0, 1))
    weights = [each.convs[0].weight for each in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert one(normalised(images.images)).shape == (4, 2)
    assert len(one.convs) == depth_for((8, 8)) == 2


class ToTarget:
    def loss(self, number, pixels):
        return (pixels - 0.5).square().sum()


def test_momentum_by_hand():
    from lightmeter.nets.descent import DescentPlan

    plan = DescentPlan("sgd", weight_decay=0.0, clip=0.0, momentum=0.5)
    learner = PixelLearner(torch.full((1, 1, 1, 1), 1.5), ToTarget(), plan, lambda _: 0.25, 0)
    learner.step(0)  # slope 2, so 1.5 − .25 · 2
    assert learner.pixels.item() == pytest.approx(1.0)
    learner.step(1)  # slope 1, velocity .5 · 2 + 1, so 1 − .25 · 2
    assert learner.pixels.item() == pytest.approx(0.5)
    assert learner.told == pytest.approx(0.95 * 1 + 0.05 * 0.25)


@pytest.mark.parametrize("name", ["dm", "idc", "sre2l"])
def test_is_rebuilt_by_its_spec(name):
    made = build(name, "condenser")
    assert build(made.spec) == made
    assert made.makes


@pytest.mark.parametrize(
    "wrong",
    [
        "dm/steps=0", "dm/lr=0.0", "dm/momentum=1.0", "dm/changes=[blur]", "dm/start=dm", "idc/factor=4",
        "idc/metric=cos", "idc/net_steps=-1", "idc/changes=[hue]", "sre2l/least=0.0", "sre2l/steps=0",
        "sre2l/smooth=-1.0", "sre2l/jitter=-1",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidValueError, match="must"):
        build(wrong, "condenser")


@pytest.mark.parametrize("spec", ["dm/steps=2,batch=4,width=4", "idc/networks=1,inner=2,batch=4,width=4,factor=2"])
def test_methods_say_what_they_cost(spec, stripes, material, monkeypatch):
    """Pictures that are shown to networks, counted: those that slopes are taken of count three times, or six."""
    from lightmeter.nets.student_conv import ConvNet

    images, method, shown = stripes(6), build(spec, "condenser"), []
    features = ConvNet.features

    def counts(self, pixels):
        twice = 2 if pixels.requires_grad and spec.startswith("idc") else 1
        shown.append(len(pixels) * twice * (3 if torch.is_grad_enabled() else 1))
        return features(self, pixels)

    monkeypatch.setattr(ConvNet, "features", counts)
    method.condense(material(images), 1, seed=0)
    at_once = 64 - len(images)  # a batch for the network is at most the set
    lacking = 3 * at_once * 2 if spec.startswith("idc") else 0
    assert method.macs((8, 8, 1), 2, 1) == (sum(shown) + lacking) * random_net(images, 4, (0,)).macs
