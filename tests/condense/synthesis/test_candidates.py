"""Which candidate is kept."""

import numpy as np
import pytest

from lightmeter.condense.synthesis.candidates import cross_entropies, kept_candidates
from lightmeter.errors import InvalidValueError

EAST, NORTH, WEST = [1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]


def test_by_hand():
    """First: the least loss, 0.1, which looks east. Then with apart 1: east again 0.2 + 1, north 0.9 + 0, west 2 - 1.

    Then of north 0.5 + 1 (north is kept), east 0.4 + 1 (east is), west 1.2 + 0 (unlike both): west.
    """
    losses = np.array([[0.3, 0.1, 0.2], [0.2, 0.9, 2.0], [0.5, 0.4, 1.2]])
    features = np.array([[NORTH, EAST, WEST], [EAST, NORTH, WEST], [NORTH, EAST, WEST]])
    np.testing.assert_array_equal(kept_candidates(losses, features), [1, 0, 1])
    np.testing.assert_array_equal(kept_candidates(losses, features, apart=1.0), [1, 1, 2])


def test_far_apart_beats_any_loss():
    losses = np.array([[0.0, 1.0], [0.0, 50.0]])
    features = np.array([[EAST, NORTH], [EAST, NORTH]])
    np.testing.assert_array_equal(kept_candidates(losses, features, apart=100.0), [0, 1])


def test_the_first_of_equals_and_features_of_zeros():
    np.testing.assert_array_equal(kept_candidates(np.zeros((2, 3)), np.zeros((2, 3, 4)), apart=1.0), [0, 0])


def test_more_candidates_never_cost_loss():
    chance = np.random.default_rng(0)
    losses, features = chance.random((6, 9)), chance.normal(size=(6, 9, 5))
    kept = [losses[np.arange(6), kept_candidates(losses[:, :n], features[:, :n])].sum() for n in range(1, 10)]
    assert kept == sorted(kept, reverse=True)


def test_cross_entropies_are_logs_of_shares():
    logits = np.array([[0.0, np.log(3.0)], [1000.0, 0.0]])
    np.testing.assert_allclose(cross_entropies(logits, 0), [np.log(4.0), 0.0], atol=1e-12)
    np.testing.assert_allclose(cross_entropies(logits, 1), [np.log(4 / 3), 1000.0])


def test_shapes_and_weights_must_fit():
    with pytest.raises(InvalidValueError, match="features must be"):
        kept_candidates(np.zeros((2, 3)), np.zeros((2, 2, 4)))
    with pytest.raises(InvalidValueError, match="apart"):
        kept_candidates(np.zeros((2, 3)), np.zeros((2, 3, 4)), apart=-1.0)
