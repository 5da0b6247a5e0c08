"""Protocols: their numbers are those of the table, epoch by epoch."""

import math

import numpy as np
import pytest
import torch

from lightmeter.condense.scoring.course import Course
from lightmeter.condense.scoring.presets import Minimax, Quick, Rded
from lightmeter.errors import InvalidValueError, SpecError
from lightmeter.parts import build

SPECS = [
    "minimax-hard", "minimax-hard/size=224,changes=dsa,mix=0.5,epochs=1000", "rded-soft", "quick",
    "rded-soft/mix=mixup,labels=own,factor=2,batch=100", "quick/steps=7,flip=false",
]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
def test_specs_come_back(spec):
    made = build(spec, "protocol")
    assert build(made.spec, "protocol") == made
    assert build(made.spec) == made, "names are unique over all kinds"


@pytest.mark.parametrize("spec", SPECS)
def test_students_are_specs(spec):
    for each in build(spec, "protocol").students:
        assert build(each, "student").spec == each


@pytest.mark.parametrize(
    ("per_class", "epochs"),
    [
        (1, 3000),
        (2, 2000),
        (10, 2000),
        (11, 1500),
        (50, 1500),
        (51, 1000),
        (200, 1000),
        (201, 500),
        (500, 500),
        (501, 300),
    ],
)
def test_minimax_epochs(per_class, epochs):
    assert Minimax().epochs_of(per_class, 10) == epochs
    assert Minimax().epochs_of(per_class, 99) == epochs


@pytest.mark.parametrize(
    ("per_class", "epochs"), [(1, 2000), (10, 1300), (50, 1000), (100, 600), (500, 300), (501, 200)]
)
def test_minimax_epochs_of_a_hundred_classes(per_class, epochs):
    assert Minimax().epochs_of(per_class, 100) == epochs


def by_torch(optimizer, scheduler, epochs):
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("per_class", "epochs"), [(1, 3000), (10, 2000), (50, 1500)])
def test_minimax_rates_are_those_of_the_published_scheduler(per_class, epochs):
    course = Minimax().course(10 * per_class, per_class, 10)
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(sgd, [2 * epochs // 3, 5 * epochs // 6], gamma=0.2)
    np.testing.assert_allclose(course.rates, by_torch(sgd, schedule, epochs), rtol=1e-12)
    third = [course.rates[at] for at in (0, 2 * epochs // 3 - 1, 2 * epochs // 3, 5 * epochs // 6 - 1, 5 * epochs // 6)]
    np.testing.assert_allclose(third, [0.01, 0.01, 0.002, 0.002, 0.0004])


def test_rded_rates_end_at_half():
    course = Rded().course(100, 10, 10)
    adam = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], 1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda at: 0.5 * (1 + math.cos(math.pi * at / 300 / 2)))
    np.testing.assert_allclose(course.rates, by_torch(adam, schedule, 300), rtol=1e-12)
    assert course.rates[0] == 1e-3
    assert course.rates[150] == pytest.approx(1e-3 * 0.5 * (1 + math.sqrt(0.5)))
    assert 0.5e-3 < course.rates[-1] < 0.51e-3


def test_steps_a_unit_and_looks():
    minimax = Minimax().course(100, 10, 10)
    assert (minimax.batch, minimax.unit_steps, minimax.steps, len(minimax.looks)) == (64, 2, 4000, 100)
    assert (minimax.looks[0], minimax.looks[-1]) == (40, 4000)
    rded = Rded().course(100, 10, 10)
    assert (rded.batch, rded.unit_steps, rded.steps) == (50, 2, 600)
    assert rded.looks == (500, 520, 540, 560, 580, 600), "after epochs 250, 260 … 300: the last fifth, every tenth"
    assert Rded(epochs=5).course(100, 10, 10).looks == (10,)
    quick = Quick().course(100, 10, 10)
    assert (quick.batch, quick.steps, quick.looks) == (64, 200, (200,))
    assert Quick().course(10, 1, 10).batch == 10


@pytest.mark.parametrize(
    ("per_class", "classes", "batch"),
    [
        (1, 10, 10),
        (10, 10, 50),
        (50, 10, 100),
        (1, 100, 20),
        (10, 100, 100),
        (10, 1000, 100),
        (50, 1000, 200),
        (1, 3, 3),
    ],
)
def test_rded_batches(per_class, classes, batch):
    assert Rded().batch_of(per_class * classes, per_class, classes) == batch
    assert Rded(batch=100).batch_of(10 * 200, 10, 200) == 100, "Tiny-ImageNet's"


def test_quick_rates():
    course = Quick().course(10, 1, 10)
    assert (course.rates[65], course.rates[66], course.rates[82]) == (0.01, 0.002, 0.002)
    assert course.rates[83] == pytest.approx(0.0004)


@pytest.mark.parametrize("preset", [Minimax(), Quick()])
def test_sgd_is_the_published_one(preset):
    plan = preset.descent()
    assert (plan.optimiser, plan.momentum, plan.weight_decay, plan.clip, preset.decays_all) == (
        "sgd",
        0.9,
        5e-4,
        0,
        True,
    )


def test_adamw_spares_biases_and_norms():
    plan = Rded().descent()
    assert (plan.optimiser, plan.weight_decay, plan.clip, Rded().decays_all) == ("adamw", 0.01, 0, False)
    assert (Rded().temperature, Rded(mix="mixup").temperature) == (20, 4)


def test_an_epoch_holds_every_picture_once():
    course = Course(10, 4, (1.0, 0.5), 3, (6,))
    for epoch in range(2):
        rows = [course.rows(3 * epoch + at, seed=1) for at in range(3)]
        assert [len(each) for each in rows] == [4, 4, 2]
        assert sorted(np.concatenate(rows).tolist()) == list(range(10))
    assert not np.array_equal(course.rows(0, 1), course.rows(3, 1))
    assert not np.array_equal(course.rows(0, 1), course.rows(0, 2))
    assert [course.rate(step) for step in range(6)] == [1.0] * 3 + [0.5] * 3


def test_batches_of_single_steps_run_across_epochs():
    course = Course(10, 4, (1.0,) * 5, 1, (5,), across=True)
    rows = np.concatenate([course.rows(step, 0) for step in range(5)])
    assert np.bincount(rows).tolist() == [2] * 10


@pytest.mark.parametrize(
    "preset", [Minimax(), Minimax(changes="dsa", mix=0.5), Rded(factor=2), Rded(mix="mixup"), Quick()]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_changed_batches_repeat_by_seed(preset, channels):
    x = torch.rand(6, channels, 16, 20, generator=torch.Generator().manual_seed(0))
    one, again, other = (preset.changed(x, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.x.shape == x.shape
    assert torch.equal(one.x, again.x)
    assert not torch.equal(one.x, other.x)
    assert one.x.isfinite().all()


def test_rded_with_one_patch_a_picture_mirrors_only():
    x = torch.rand(4, 3, 8, 8)
    made = Rded(mix="none").changed(x, np.random.default_rng(0)).x
    from lightmeter.condense.scoring.pixels import standardised

    for before, after in zip(standardised(x), made, strict=True):
        assert torch.equal(before, after) or torch.equal(before.flip(2), after)


@pytest.mark.parametrize(
    ("preset", "learning", "test"),
    [(Minimax(size=24), 24, 24), (Rded(), 28, 28), (Rded(size=14), 14, 14), (Quick(), 28, 28), (Minimax(), 28, 28)],
)
def test_sizes(preset, learning, test):
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    assert preset.shown(images, learning=True).shape == (3, learning, learning, 3)
    assert preset.shown(images, learning=False).shape == (3, test, test, 3)


def test_rded_tests_on_seven_eighths():
    images = np.zeros((1, 64, 64, 1), np.uint8)
    images[:, 4:60, 4:60] = 255
    made = Rded().shown(images, learning=False)  # resized to 72, of which the middle 64: pixels from 3.6 to 60.4 remain
    assert made.shape == (1, 64, 64, 1)
    assert made[0, 2:62, 2:62].min() == 255
    assert Rded().shown(images[:, :, :50], learning=False).shape == (1, 64, 50, 1), "not square: as it is"


@pytest.mark.parametrize("spec", ["quick/mix=2.0", "rded-soft/epochs=0", "minimax-hard/looks=0", "quick/steps=-1"])
def test_senseless_options_are_refused(spec):
    with pytest.raises(InvalidValueError, match="must be"):
        build(spec, "protocol")
    with pytest.raises(SpecError):
        build("rded-soft/labels=classes", "protocol")
