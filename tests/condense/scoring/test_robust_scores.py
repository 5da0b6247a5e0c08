"""DD-Ranking's scores from their closed forms."""

import math

import pytest

from lightmeter.condense.scoring.robust_scores import augmentation_robust, label_robust, normalised_score
from lightmeter.errors import InvalidValueError


def test_the_example_of_the_specification():
    made = label_robust(real_hard=0.88, set_hard=0.50, set_any=0.50, random_any=0.33)
    assert made.hlr == pytest.approx(0.38)
    assert made.ior == pytest.approx(0.17)
    assert made.lrs == pytest.approx((math.exp(-0.105) - math.exp(-1)) / (math.e - math.exp(-1)))
    assert made.lrs == pytest.approx(0.2265, abs=5e-5)  # percent in the exponential, as shipped, would give −0.1565


def test_ends_and_middle():
    best, worst = label_robust(0, 1, 1, 0), label_robust(1, 0, 0, 1)
    assert (best.hlr, best.ior, best.lrs) == (-1, 1, pytest.approx(1.0))
    assert (worst.hlr, worst.ior, worst.lrs) == (1, -1, pytest.approx(0.0))
    assert normalised_score(0) == pytest.approx((1 - math.exp(-1)) / (math.e - math.exp(-1)))


def test_weights():
    assert label_robust(0.9, 0.5, 0.7, 0.6, w=1.0).lrs == pytest.approx(normalised_score(0.1))
    assert label_robust(0.9, 0.5, 0.7, 0.6, w=0.0).lrs == pytest.approx(normalised_score(-0.4))
    assert augmentation_robust(0.7, 0.6, 0.5, 0.2, gamma=0.25) == pytest.approx(
        normalised_score(0.25 * 0.1 + 0.75 * 0.3)
    )


def test_percent_is_refused():
    with pytest.raises(InvalidValueError, match="set_any must be a share from 0 to 1, got 50.0: divide percent by 100"):
        label_robust(0.88, 0.5, 50.0, 0.33)
    with pytest.raises(InvalidValueError, match="gamma"):
        augmentation_robust(0.5, 0.5, 0.5, 0.5, gamma=2)
