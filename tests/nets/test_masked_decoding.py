import itertools
import math

import pytest
import torch

from lightmeter.errors import InvalidValueError
from lightmeter.nets.masked_decoding import decode_masked, drawn_hidden, hidden_share, masked_loss


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_drawn_masks_follow_the_cosine():
    hidden = drawn_hidden(4000, (4, 5, 5), generator=seeded(0))
    shares = hidden.flatten(1).float().mean(1)
    assert int(hidden.flatten(1).sum(1).min()) >= 1
    # P(share <= s) = P(progress >= 2/pi acos s) = 1 - 2/pi acos s; the mean of cos(pi/2 r) is 2/pi
    assert float(shares.mean()) == pytest.approx(2 / math.pi, abs=0.02)
    assert float((shares <= 0.5).float().mean()) == pytest.approx(1 - 2 / math.pi * math.acos(0.5), abs=0.03)
    assert float(hidden.float().mean(0).std()) < 0.02  # no place is preferred
    assert torch.equal(hidden, drawn_hidden(4000, (4, 5, 5), generator=seeded(0)))


def test_loss_counts_hidden_places_only():
    logits = torch.zeros(1, 2, 1, 1, 4)
    logits[0, 0, 0, 0, 3] = 50.0
    codes = torch.tensor([3, 1]).view(1, 2, 1, 1)
    first = torch.tensor([True, False]).view(1, 2, 1, 1)
    assert float(masked_loss(logits, codes, first)) == pytest.approx(0, abs=1e-6)
    assert float(masked_loss(logits, codes, ~first)) == pytest.approx(math.log(4))
    assert float(masked_loss(logits, codes)) == pytest.approx(math.log(4) / 2)
    assert float(masked_loss(logits, codes, ~first, smoothing=0.1)) == pytest.approx(math.log(4))


@pytest.mark.parametrize("steps", [1, 3, 8, 60])
def test_each_step_fixes_some_and_keeps_them(steps):
    grid, seen = (3, 4, 5), []

    def guess(codes, hidden):
        seen.append((codes.clone(), hidden.clone()))
        return torch.randn((*codes.shape, 7), generator=seeded(len(seen)))

    made = decode_masked(guess, 2, grid, steps=steps, generator=seeded(0))
    assert len(seen) == steps
    lefts = [int(hidden[0].sum()) for _, hidden in seen]
    assert lefts[0] == 60
    assert all(after < before for before, after in itertools.pairwise(lefts))
    assert all(left <= math.ceil(60 * hidden_share(step / steps)) for step, left in enumerate(lefts))
    for codes, hidden in seen:
        assert torch.equal(codes[~hidden], made[~hidden])  # what was fixed stays
    assert int(made.min()) >= 0
    assert int(made.max()) < 7


def test_the_surest_are_fixed_first():
    def guess(codes, hidden):
        logits = torch.zeros(1, 4, 1, 1, 3)
        logits[0, :, 0, 0, 2] = torch.tensor([1.0, 4.0, 2.0, 3.0])
        order.append(hidden.flatten().tolist())
        return logits

    order = []
    assert decode_masked(guess, 1, (4, 1, 1), steps=4, temperature=0).flatten().tolist() == [2, 2, 2, 2]
    assert order == [
        [True, True, True, True],
        [True, False, True, True],
        [True, False, True, False],
        [True, False, False, False],
    ]


def test_one_step_draws_from_the_softmax():
    logits = torch.tensor([0.0, math.log(3.0)])
    made = decode_masked(lambda codes, hidden: logits.expand(*codes.shape, 2), 1, (4000,), steps=1, generator=seeded(0))
    assert float(made.float().mean()) == pytest.approx(0.75, abs=0.03)


def test_however_cold_the_likeliest_wins():
    logits = torch.tensor([5.0, 9.0, 8.0])
    for temperature in (1e-7, 1e-40, 1e-300):
        made = decode_masked(
            lambda codes, hidden: logits.expand(*codes.shape, 3), 1, (50,), steps=2, temperature=temperature,
            generator=seeded(0),
        )  # fmt: skip
        assert made.unique().tolist() == [1]


def test_wrong_numbers_are_refused():
    with pytest.raises(InvalidValueError, match="1 to the 4 places, got 5"):
        decode_masked(lambda codes, hidden: codes, 1, (4,), steps=5)
    with pytest.raises(InvalidValueError, match="0 or more, got -1"):
        decode_masked(lambda codes, hidden: codes, 1, (4,), steps=1, temperature=-1)
