"""Galleries with classes for the tests of three-way decisions, and what makes two decisions equal."""

from __future__ import annotations

import dataclasses

import numpy as np

from lightmeter.search.rules import RULES

RULE_NAMES = list(RULES)


def labelled_mixture(seed, rows=120, dim=30, classes=12, queries=25):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    centres = rng.standard_normal((classes, dim))
    spectrum = np.arange(1, dim + 1) ** -0.5
    x = (centres[labels] + 0.8 * rng.standard_normal((rows, dim))) * spectrum
    asked = rng.integers(classes, size=queries)
    return x, labels, (centres[asked] + 0.8 * rng.standard_normal((queries, dim))) * spectrum, asked


def assert_equal(one, other, *, prices=True):
    """All fields of two decisions, bit for bit."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "left":
            assert [each.tolist() for each in a] == [each.tolist() for each in b]
        elif prices or field.name not in ("multiply_adds", "bytes_read"):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
