"""Siamese augmentation: each change by hand, and which are drawn."""

import numpy as np
import pytest
import torch

from lightmeter.condense.scoring import siamese as changes
from lightmeter.errors import InvalidValueError


def pictures(count=2, channels=3, side=8):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_colours_by_hand():
    x = torch.tensor([[[[1.0]], [[3.0]]], [[[1.0]], [[3.0]]]])
    assert changes.brightened(x, [0.0, 1.0]).flatten().tolist() == [0.5, 2.5, 1.5, 3.5]
    assert changes.saturated(x, [0.0, 1.0]).flatten().tolist() == [2.0, 2.0, 0.0, 4.0]
    assert changes.contrasted(x, [0.0, 1.0]).flatten().tolist() == [1.5, 2.5, 0.5, 3.5]


def test_a_scale_of_one_changes_nothing_and_a_half_doubles():
    x = pictures(1, 1, 4)
    torch.testing.assert_close(changes.scaled(x, [1.0], [1.0]), x, atol=1e-6, rtol=0)
    doubled = changes.scaled(x, [0.5], [0.5])  # the middle 2 x 2, bilinearly
    torch.testing.assert_close(
        doubled[0, 0, 0, 0], (9 * x[0, 0, 1, 1] + 3 * x[0, 0, 0, 1] + 3 * x[0, 0, 1, 0] + x[0, 0, 0, 0]) / 16
    )
    shrunk = changes.scaled(torch.ones(1, 1, 8, 8), [2.0], [2.0])
    assert shrunk[0, 0, 0].abs().sum() == 0, "nothing is beside the picture"
    torch.testing.assert_close(shrunk[0, 0, 3, 3], torch.tensor(1.0))


def test_a_quarter_turn_is_rot90():
    x = pictures(1, 2, 6)
    torch.testing.assert_close(changes.rotated(x, [np.pi / 2]), torch.rot90(x, 1, (2, 3)), atol=1e-5, rtol=0)


def test_a_hole_by_hand():
    x = torch.ones(2, 1, 4, 4)
    made = changes.holed(x, np.array([[0, 4], [2, 2]]))
    assert made[0, 0].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert made[1, 0].tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]


def test_of_the_moves_one_is_drawn_a_batch(monkeypatch):
    seen = []
    for name in ("crop", "scale", "rotate"):
        monkeypatch.setitem(changes._MOVES, name, lambda x, rng, name=name: (seen.append(name), x)[1])
    for seed in range(60):
        changes.siamese(pictures(), np.random.default_rng(seed))
    assert len(seen) == 60
    assert set(seen) == {"crop", "scale", "rotate"}


@pytest.mark.parametrize("some", [(), ("color",), ("flip", "crop"), changes.CHANGES])
def test_shapes_stay_and_seeds_repeat(some):
    x = pictures(5)
    one, again = (changes.siamese(x, np.random.default_rng(3), some) for _ in range(2))
    assert one.shape == x.shape
    assert torch.equal(one, again)
    assert torch.equal(one, x) == (not some)


def test_crops_move_up_to_an_eighth():
    x = torch.zeros(400, 1, 16, 16)
    x[:, :, 8, 8] = 1
    made = changes._crop(x, np.random.default_rng(0)).flatten(1).argmax(1)
    assert set((made // 16).tolist()) == set((made % 16).tolist()) == {6, 7, 8, 9, 10}


def test_unknown_changes_are_refused():
    with pytest.raises(InvalidValueError, match="got 'blur'"):
        changes.siamese(pictures(), np.random.default_rng(0), ("blur",))
