"""Diagnostics: use of codes, flicker, ranks and gaps worked by hand."""

import numpy as np
import pytest
import torch

from lightmeter.encoders.pretraining.diagnostics import (
    conditioning_gap,
    diagnosed_codes,
    flicker,
    ranks,
    standing_windows,
)
from lightmeter.encoders.pretraining.tokenizer import seen_pixels
from lightmeter.errors import InvalidValueError
from lightmeter.parts import build


def grid(*moments):
    """One window of two places: codes by moment."""
    return np.array(moments, np.int64).reshape(1, -1, 1, 2)


def test_use_of_codes():
    codes = grid((3, 3), (3, 5))
    found = diagnosed_codes(codes, 8, np.zeros(codes.shape, bool), grid((3, 3), (3, 3)))
    assert (found["count"], found["used"], found["most_used"]) == (8, 2, 0.75)
    assert found["perplexity"] == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    assert found["flicker"] == 0.25
    for moves, standing in ((np.zeros((1, 2, 2, 1), bool), codes), (np.zeros(codes.shape, bool), codes[:, :1])):
        with pytest.raises(InvalidValueError, match="alike"):
            diagnosed_codes(codes, 8, moves, standing)


def test_flicker_is_of_places_that_stay():
    codes, standing = grid((1, 1), (2, 1), (2, 4)), grid((1, 1), (2, 2), (3, 3))
    moves = np.zeros((1, 3, 1, 2), bool)
    assert flicker(codes, standing, moves) == 0.5
    moves[0, 2] = True
    assert flicker(codes, standing, moves) == 0.25
    moves[0, 1, 0, 1] = True
    assert flicker(codes, standing, moves) == 0, "codes of two moments may differ"
    assert flicker(codes, standing, np.ones_like(moves)) is None
    assert flicker(codes[:, 1:2], standing[:, 1:2], moves[:, 1:2] & False) == 0.5, "one moment has a flicker too"


def test_a_window_that_stands_still_does_not_flicker(footage):
    """Whatever its codes say of the moment they are of; noise on it does."""
    task = build("vqvae/frames=4,hiddens=8,layers=1,downsample=[2,4,4],dim=4,codes=16,of=frames").task(footage, seed=0)
    with torch.no_grad():
        latents = task.net.eval().latents(seen_pixels(torch.from_numpy(footage.learn[:, :4]), "frames"))
        rows = latents.movedim(1, -1).flatten(0, -2)
        task.net.codebook.embeddings.copy_(rows[:: len(rows) // 16][:16])
    tokens = task.tokenizer()
    windows = standing_windows(footage.learn[:, :4])
    assert windows.shape == footage.learn[:, :4].shape
    assert (windows == footage.learn[:, :1]).all()
    codes, moves = tokens.codes(windows), np.zeros((len(windows), *tokens.grid), bool)
    assert flicker(codes, tokens.codes(standing_windows(windows)), moves) == 0
    assert (codes[:, 1:] != codes[:, :-1]).any(), "though its codes differ from moment to moment"
    noise = np.random.default_rng(0).integers(0, 60, windows.shape, np.uint8)
    noisy = np.minimum(windows, 195) + noise
    assert flicker(tokens.codes(noisy), tokens.codes(standing_windows(noisy)), moves) > 0


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
