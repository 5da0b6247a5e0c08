"""DM: its objective by hand, that pictures come nearer, that a killed run goes on to the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.condense.learning_pixels.dm import Dm, means_apart

torch = pytest.importorskip("torch")
TINY = Dm(steps=6, batch=8, width=4)


def test_the_objective_by_hand():
    real, made = torch.tensor([[1.0, 2.0], [3.0, 6.0]]), torch.tensor([[0.0, 1.0]])
    assert means_apart(real, made).item() == (2 - 0) ** 2 + (4 - 1) ** 2


def test_made_pictures_come_nearer_to_their_classes_mean(stripes, material):
    """Without changes, features of random networks agree only where pictures do; real ones are a long way off."""
    images = stripes(24, seed=2)
    clean = np.stack([images.images[images.labels == label].mean(axis=0) for label in (0, 1)])
    start = Dm(steps=1, batch=24, width=8, lr=1e-9, changes=()).condense(material(images), 1, seed=0)
    end = Dm(steps=20, batch=24, width=8, changes=()).condense(material(images), 1, seed=0)
    before, after = (np.abs(each.images - clean).mean() for each in (start, end))
    assert after < 0.8 * before
    assert end.labels.tolist() == [0, 1]
    assert end.rows is None


def test_same_seed_same_bits_and_a_run_that_was_killed_goes_on(stripes, material, tmp_path, monkeypatch):
    from lightmeter.condense.learning_pixels import pixels

    images = stripes(10)
    whole = TINY.condense(material(images), 2, seed=5)
    assert (whole.images == TINY.condense(material(images), 2, seed=5).images).all()
    assert (whole.images != TINY.condense(material(images), 2, seed=6).images).any()

    class KilledError(Exception):
        pass

    taken = []
    step = pixels.PixelLearner.step

    def dies(self, number):
        if number == 4 and len(taken) < 6:
            raise KilledError
        taken.append(number)
        step(self, number)

    monkeypatch.setattr(pixels.PixelLearner, "step", dies)
    monkeypatch.setattr(pixels.Checkpoints, "due", property(lambda self: True))
    with pytest.raises(KilledError):
        TINY.condense(material(images, tmp_path), 2, seed=5)
    taken += [-1, -1]
    again = TINY.condense(material(images, tmp_path), 2, seed=5)
    assert taken == [0, 1, 2, 3, -1, -1, 4, 5]
    assert (again.images == whole.images).all()
    assert (TINY.condense(material(images, tmp_path), 2, seed=5).images == whole.images).all()
    assert len(taken) == 8, "what has ended is read, not learnt again"


def test_torchs_chance_is_left_alone_and_progress_is_told(stripes, material):
    told = material(stripes(10))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    TINY.condense(told, 1, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert told.said[-1].startswith("dm, pixels: 6 of 6 steps, loss ")
