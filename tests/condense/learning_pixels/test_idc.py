"""IDC: slopes compared by hand, small pictures opened, a network that goes on where it was."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.condense.learning_pixels.idc import Idc, opened, opened_pixels, slopes_apart
from lightmeter.condense.protocol import Condensed
from lightmeter.errors import InvalidValueError

torch = pytest.importorskip("torch")
TINY = Idc(networks=2, inner=3, net_steps=1, batch=6, width=4, lr=0.01)


def test_the_objective_by_hand():
    real = [torch.tensor([[[1.0, -2.0]]]), torch.ones(2, 2), torch.ones(3)]
    made = [torch.tensor([[[0.0, 1.0]]]), torch.zeros(2, 2), torch.zeros(3)]
    assert slopes_apart(real, made).item() == 1 + 3  # of convolutions alone
    assert slopes_apart(real, made, "mse").item() == 1 + 9


def test_parts_are_opened_row_by_row_and_enlarged():
    quarters = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat_interleave(2, 0).repeat_interleave(2, 1)
    parts = opened_pixels(torch.stack([quarters, quarters * 10])[:, None], 2)
    assert parts.shape == (8, 1, 4, 4)
    assert parts.flatten(1).mean(dim=1).tolist() == [1, 2, 3, 4, 10, 20, 30, 40]
    ramp = torch.zeros(1, 1, 4, 4)
    ramp[0, 0, :2, 1] = 1.0  # the first part is 0 1 in each row: bilinear, 0 .25 .75 1
    assert opened_pixels(ramp, 2)[0, 0, 0].tolist() == [0, 0.25, 0.75, 1]
    assert torch.equal(opened_pixels(ramp, 1), ramp)


def test_slopes_flow_through_what_is_opened():
    pixels = torch.rand(1, 1, 4, 4, requires_grad=True)
    opened_pixels(pixels, 2)[3].sum().backward()
    assert (pixels.grad[0, 0, 2:, 2:] > 0).all()
    assert pixels.grad.count_nonzero() == 4


@pytest.mark.parametrize("factor", [1, 2])
def test_makes_as_many_as_asked_that_are_opened_to_more(stripes, material, factor):
    images = stripes(20, side=16)
    small = Idc(factor=factor, networks=1, inner=2, batch=6, width=4).condense(material(images), 2, seed=0)
    assert small.images.shape == (4, 16, 16, 1)
    assert small.formation == factor
    more = opened(small)
    assert len(more) == 4 * factor**2
    assert more.formation == 1
    assert (more.labels == np.repeat([0, 1], 2 * factor**2)).all()
    assert bool(small.notes) == (factor == 2)


def test_opened_keeps_soft_labels_with_their_pictures():
    soft = np.float32([[1, 0], [0.25, 0.75]])
    small = Condensed(np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1]), soft=soft, formation=2)
    assert (opened(small).soft == soft[[0, 0, 0, 0, 1, 1, 1, 1]]).all()


def test_starts_as_mosaics_of_real_pictures(stripes, material):
    images = stripes(20, side=16)
    small = Idc(factor=2, networks=1, inner=1, net_steps=0, batch=4, width=4, lr=1e-12).condense(
        material(images), 1, seed=0
    )
    start = Idc(factor=2)._start(material(images), 1, 0)
    assert np.abs(small.images.astype(int) - start).max() <= 1


def test_matching_makes_slopes_more_alike(stripes, material):
    """On one network that does not learn: the loss at the end is below that at the start."""
    told = []
    images = stripes(12)
    for steps in (1, 20):
        seen = material(images)
        method = Idc(networks=1, inner=steps, net_steps=0, batch=12, width=8, lr=0.5, changes=())
        method.condense(seen, 1, seed=0)
        told.append(float(seen.said[-1].split("loss ")[1]))
    assert told[1] < 0.9 * told[0]


def test_same_seed_same_bits_and_a_run_that_was_killed_goes_on(stripes, material, tmp_path, monkeypatch):
    from lightmeter.condense.learning_pixels import pixels

    images = stripes(10)
    whole = TINY.condense(material(images), 1, seed=5)
    assert (whole.images == TINY.condense(material(images), 1, seed=5).images).all()
    assert (whole.images != TINY.condense(material(images), 1, seed=6).images).any()

    class KilledError(Exception):
        pass

    step, alive = pixels.PixelLearner.step, [False]

    def dies(self, number):
        if number == 5 and not alive[0]:
            raise KilledError
        step(self, number)

    monkeypatch.setattr(pixels.PixelLearner, "step", dies)
    monkeypatch.setattr(pixels.Checkpoints, "due", property(lambda self: True))
    with pytest.raises(KilledError):
        TINY.condense(material(images, tmp_path), 1, seed=5)
    alive[0] = True
    assert (TINY.condense(material(images, tmp_path), 1, seed=5).images == whole.images).all()


def test_small_pictures_have_no_room_for_parts(stripes, material):
    with pytest.raises(InvalidValueError, match="leave pictures of 4 pixels"):
        Idc(factor=3).condense(material(stripes(4)), 1, seed=0)
