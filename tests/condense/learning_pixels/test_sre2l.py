"""SRe2L: each part of the objective by hand, batches with all classes, a run that is stopped between batches."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.condense.learning_pixels.sre2l import (
    Sre2l,
    batch_norm_inputs,
    even_batches,
    random_view,
    statistics_apart,
    unevenness,
)

torch = pytest.importorskip("torch")
TINY = Sre2l(steps=5, batch=2, squeeze=5, width=4)


def test_statistics_by_hand():
    rows = torch.tensor([0.0, 2.0, 4.0, 6.0]).view(2, 1, 1, 2)  # mean 3, variance 5
    assert statistics_apart(rows, torch.tensor([1.0]), torch.tensor([9.0])).item() == pytest.approx(2 + 4)
    two = torch.cat([rows, rows], dim=1)  # lengths over channels: √(2² + 2²) + √(4² + 4²)
    apart = statistics_apart(two, torch.tensor([1.0, 1.0]), torch.tensor([9.0, 9.0]))
    assert apart.item() == pytest.approx(6 * 2**0.5)


def test_unevenness_by_hand():
    pixels = torch.tensor([[0.0, 1.0], [3.0, 5.0]]).view(1, 1, 2, 2)
    across, down, falling, rising = (1 + 4) ** 0.5, (9 + 16) ** 0.5, 5.0, 2.0
    assert unevenness(pixels).item() == pytest.approx(across + down + falling + rising)
    assert unevenness(torch.ones(3, 2, 4, 4)).item() == 0


def test_a_view_is_the_same_for_all_pictures_and_none_is_the_picture():
    picture = torch.rand(1, 1, 8, 8)
    for seed in range(10):
        torch.manual_seed(seed)
        seen = random_view(picture.expand(3, -1, -1, -1), 0.3, flip=True, jitter=2)
        assert seen.shape == (3, 1, 8, 8)
        assert torch.equal(seen[0], seen[2])
    assert torch.equal(random_view(picture, 1.0, flip=False, jitter=0), picture)


def test_only_half_of_the_views_are_mirrored():
    picture = torch.arange(4.0).view(1, 1, 1, 4)
    firsts = []
    for seed in range(100):
        torch.manual_seed(seed)
        firsts.append(random_view(picture, 1.0, flip=True, jitter=0)[0, 0, 0, 0].item())
    assert set(firsts) == {0.0, 3.0}
    assert 30 < firsts.count(3.0) < 70


def test_batches_hold_all_classes_evenly():
    labels = np.repeat(np.arange(5), 4)
    batches = even_batches(labels, 10)
    assert sorted(np.concatenate(batches).tolist()) == list(range(20))
    assert all(np.bincount(labels[each]).tolist() == [2] * 5 for each in batches)


def test_batch_norms_are_heard_in_their_order_and_hooks_go():
    from torch import nn

    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)).eval()
    pixels = torch.rand(3, 1, 2, 2)
    with batch_norm_inputs(net) as heard:
        net(pixels)
    assert [each for each, _ in heard] == [net[1], net[2]]
    assert torch.equal(heard[0][1], net[0](pixels))
    net(pixels)
    assert len(heard) == 2


def test_recovers_what_the_network_takes_for_the_classes(stripes, material):
    images = stripes(40, seed=1)
    method = Sre2l(steps=60, squeeze=60, width=8)
    small = method.condense(material(images), 3, seed=0)
    assert small.images.shape == (6, 8, 8, 1)
    assert small.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert small.soft.dtype == np.float32
    assert np.allclose(small.soft.sum(axis=1), 1, atol=1e-5)
    assert (small.soft.argmax(axis=1) == small.labels).mean() == 1
    noise = Sre2l(steps=1, lr=1e-9, squeeze=60, width=8).condense(material(images), 3, seed=0)
    assert small.soft[np.arange(6), small.labels].mean() > noise.soft[np.arange(6), noise.labels].mean()


def test_same_seed_same_bits_and_a_run_that_was_killed_goes_on(stripes, material, tmp_path, monkeypatch):
    from lightmeter.condense.learning_pixels import pixels

    images = stripes(10)
    whole = TINY.condense(material(images), 2, seed=5)
    assert (whole.images == TINY.condense(material(images), 2, seed=5).images).all()

    class KilledError(Exception):
        pass

    step, taken = pixels.PixelLearner.step, []

    def dies(self, number):
        if len(taken) == 8:
            taken.append(-1)
            raise KilledError
        taken.append(number)
        step(self, number)

    monkeypatch.setattr(pixels.PixelLearner, "step", dies)
    monkeypatch.setattr(pixels.Checkpoints, "due", property(lambda self: True))
    with pytest.raises(KilledError):
        TINY.condense(material(images, tmp_path), 2, seed=5)
    again = TINY.condense(material(images, tmp_path), 2, seed=5)
    assert taken == [0, 1, 2, 3, 4, 0, 1, 2, -1, 3, 4], "the first batch had ended, the second went on"
    assert (again.images == whole.images).all()
    assert (again.soft == whole.soft).all()
