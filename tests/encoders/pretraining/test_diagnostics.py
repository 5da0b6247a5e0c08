"""Diagnostics: use of codes, flicker, ranks and gaps worked by hand."""

import numpy as np
import pytest
import torch

from lightmeter.encoders.pretraining.diagnostics import conditioning_gap, diagnosed_codes, flicker, ranks
from lightmeter.errors import InvalidValueError


def grid(*moments):
    """One window of two places: codes by moment."""
    return np.array(moments, np.int64).reshape(1, -1, 1, 2)


def test_use_of_codes():
    codes = grid((3, 3), (3, 5))
    found = diagnosed_codes(codes, 8, np.zeros(codes.shape, bool))
    assert (found["count"], found["used"], found["most_used"]) == (8, 2, 0.75)
    assert found["perplexity"] == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    assert found["flicker"] == 0.5
    with pytest.raises(InvalidValueError, match="alike"):
        diagnosed_codes(codes, 8, np.zeros((1, 2, 2, 1), bool))


def test_flicker_is_of_places_that_stay():
    codes, moves = grid((1, 1), (2, 1), (2, 4)), np.zeros((1, 3, 1, 2), bool)
    assert flicker(codes, moves) == 0.5
    moves[0, 1, 0, 0] = True  # the first place moves in the middle: both of its pairs are out
    assert flicker(codes, moves) == 0.5
    moves[0, 2, 0, 1] = True
    assert flicker(codes, moves) == 0
    assert flicker(codes, np.ones_like(moves)) is None
    assert flicker(codes[:, :1], moves[:, :1]) is None, "one moment"


def test_ranks_are_pooled_over_pictures():
    line = torch.zeros(1, 3, 2, 2)
    line[0, 0] = torch.arange(4.0).reshape(2, 2)
    other = torch.zeros(1, 3, 2, 2)
    other[0, 1] = torch.arange(4.0).reshape(2, 2)
    assert ranks([{"a": line}, {"a": line}]) == {"a": pytest.approx(1)}
    assert 1.8 < ranks([{"a": line}, {"a": other}])["a"] <= 2
    deep = line[:, :, None].expand(1, 3, 5, 2, 2)
    assert ranks([{"b": deep}]) == {"b": pytest.approx(1)}


def test_the_gap_by_hand():
    """A net that pays one nat for each grey value by which the frame is off, in the one cell that moves."""
    seen = torch.tensor([0.1, 0.3, 0.5]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    moves = np.zeros((3, 1, 1, 2), bool)
    moves[..., 0] = True

    def nats(rows, frame):
        made = torch.zeros(1, 1, 1, 2)
        made[..., 0] = (frame.mean() - seen[rows].mean()).abs()
        return made

    found = conditioning_gap(nats, seen, moves)
    assert found["right_nats"] == found["right_moving_nats"] == 0
    assert found["wrong_moving_nats"] == pytest.approx((0.4 + 0.2 + 0.2) / 3)
    assert found["gap"] == pytest.approx(found["moving_gap"] / 2)
    assert found["blank_nats"] == pytest.approx(0.15)
    alone = conditioning_gap(nats, seen[:1], moves[:1] & False)
    assert set(alone) == {"right_nats", "blank_nats"}
