"""Sums that are exact, whoever adds up: the ground under equal decisions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from galleries import KINDS, drawn, mixture
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.search.fixed_point import View, partial_distances, rows_of, unit_length, view_of
from lightmeter.search.pca import fit_basis


def viewed(x, *, normalise, components=24):
    seen = unit_length(x.astype(np.float64)) if normalise else x
    return view_of(fit_basis(seen, components), x, normalise=normalise)


@given(st.integers(0, 2**31), st.integers(1, 64), st.booleans())
@settings(max_examples=40, deadline=None)
def test_distances_are_exact(seed, m, normalise):
    x = mixture(np.random.default_rng(seed), 9, m + 1).astype(np.float32)
    view = viewed(x, normalise=normalise)
    block = view.coordinates(view.prepared(x), 0, len(view.components))
    found = partial_distances(block, np.array([4, 0, 2]), block[7])
    for row, distance in zip(block[[4, 0, 2]], found, strict=True):
        exact = sum((Fraction(float(a)) - Fraction(float(b))) ** 2 for a, b in zip(row, block[7], strict=True))
        assert Fraction(float(distance)) == exact


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("normalise", [True, False])
def test_coordinates_are_the_same_alone_among_others_and_in_pieces(kind, normalise):
    x, _ = drawn(kind, 1, most_rows=80, most_dim=90)
    view = viewed(x, normalise=normalise)
    width = len(view.components)
    whole = view.coordinates(view.prepared(x), 0, width)
    for at in range(0, len(x), 7):
        alone = view.prepared(x[at : at + 1])
        assert (view.coordinates(alone, 0, width)[0] == whole[at]).all()
        pieces = [view.coordinates(alone, d, d + 1)[0, 0] for d in range(width)]
        assert pieces == whole[at].tolist()


def test_coordinates_are_the_projections_to_float32s_precision():
    x = mixture(np.random.default_rng(0), 60, 40).astype(np.float32)
    unit = unit_length(x.astype(np.float64))
    basis, view = fit_basis(unit, 24), viewed(x, normalise=True)
    np.testing.assert_allclose(view.coordinates(view.prepared(x), 0, 24), basis.project(unit), atol=2e-7)
    plain = viewed(3 * x, normalise=False)
    expected = fit_basis(3 * x, 24).project(3 * x)
    np.testing.assert_allclose(
        plain.coordinates(plain.prepared(3 * x), 0, 24) * plain.unit, expected, atol=2e-7 * plain.unit
    )
    assert np.log2(plain.unit) % 1 == 0
    assert 0.5 < np.linalg.norm(3 * x - plain.mean, axis=1).max() / plain.unit <= 1


def test_what_is_very_far_stays_finite():
    x = mixture(np.random.default_rng(0), 20, 5).astype(np.float32) * np.float32(1e-20)
    view = viewed(x, normalise=False, components=5)
    far = view.coordinates(view.prepared(np.full((1, 5), 1e19, np.float32)), 0, 5)
    assert np.isfinite(far).all()
    assert np.abs(far).max() == np.float32(1e15)


def test_rows_know_who_belongs_together():
    rows = rows_of((np.arange(5, dtype=np.float32)[:, None],), np.array([2, 3, 5, 8, 9]), np.array([7, 1, 7, 4, 1]))
    assert rows.classes.tolist() == [1, 4, 7]
    assert rows.order.tolist() == [1, 4, 3, 0, 2]
    assert rows.of_class(2).tolist() == [0, 2]
    assert rows.members(np.array([2, 0])).tolist() == [1, 4, 0, 2]
    assert rows.energies[0].tolist() == [0, 1, 4, 9, 16]
    assert rows.longest == (4.0,)


def test_zero_rows_are_prepared_as_zeros():
    view = View(np.zeros(2), np.eye(2, dtype=np.float32), np.ones(2), 1.0, True)
    assert view.prepared(np.array([[0, 0], [3, 4]], np.float32)).tolist() == [[0, 0], pytest.approx([0.6, 0.8])]
