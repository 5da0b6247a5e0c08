"""Binomial bounds are SciPy's, and cover as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.metrics import binomial_cdf, fewest_without_error, lower_bound, upper_bound, wilson


@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0.001, 0.999))
@settings(max_examples=100, deadline=None)
def test_the_tail_is_scipys(n, share, rate):
    from scipy.stats import binom

    most = int(share * n)
    # below 1e-200 SciPy loses digits (2e-8 at 23 of 1,525 at .375); ours are right there by 40-digit sums
    assert binomial_cdf(most, n, rate) == pytest.approx(binom.cdf(most, n, rate), rel=1e-8, abs=1e-200)


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.5, 0.999))
@settings(max_examples=60, deadline=None)
def test_bounds_are_quantiles_of_beta(n, share, certainty):
    from scipy.stats import beta

    errors = int(share * n)
    high = beta.ppf(certainty, errors + 1, n - errors) if errors < n else 1.0
    low = beta.ppf(1 - certainty, errors, n - errors + 1) if errors else 0.0
    assert upper_bound(errors, n, certainty) == pytest.approx(high, rel=1e-8)
    assert lower_bound(errors, n, certainty) == pytest.approx(low, rel=1e-7, abs=1e-12)


def test_by_hand():
    assert binomial_cdf(1, 3, 0.5) == pytest.approx(4 / 8)
    assert binomial_cdf(0, 2, 0.1) == pytest.approx(0.81)
    assert upper_bound(0, 1, 0.95) == pytest.approx(0.95)  # (1 − p) = 0.05
    assert upper_bound(0, 2, 0.75) == pytest.approx(0.5)  # (1 − p)² = 0.25
    assert lower_bound(2, 2, 0.75) == pytest.approx(0.5)


@pytest.mark.parametrize(("rate", "sure"), [(0, 1.0), (1, 0.0)])
def test_rates_at_the_ends(rate, sure):
    assert binomial_cdf(2, 5, rate) == sure
    assert binomial_cdf(5, 5, rate) == 1.0


def test_nothing_tried_says_nothing():
    assert (upper_bound(0, 0), lower_bound(0, 0), wilson(0, 0)) == (1.0, 0.0, (0.0, 1.0))


@pytest.mark.parametrize(("errors", "n"), [(0, 10), (3, 10), (10, 10), (57, 60)])
def test_wilson_is_scipys(errors, n):
    from scipy.stats import binomtest

    reference = binomtest(errors, n).proportion_ci(0.9, "wilson")
    assert wilson(errors, n, 0.9) == pytest.approx((reference.low, reference.high), abs=1e-12)


@pytest.mark.parametrize("rate", [0.003, 0.02, 0.3])
def test_the_upper_bound_fails_no_more_often_than_it_says(rate):
    errors = np.random.default_rng(0).binomial(400, rate, 3000)
    bounds = {k: upper_bound(int(k), 400, 0.9) for k in np.unique(errors)}
    failed = np.mean([bounds[k] < rate for k in errors])
    assert failed <= 0.1 + 3 * np.sqrt(0.09 / 3000)


@pytest.mark.parametrize(("rate", "certainty"), [(0.01, 0.95), (0.05, 0.9), (0.5, 0.5), (0.001, 0.99)])
def test_the_fewest_is_the_fewest(rate, certainty):
    fewest = fewest_without_error(rate, certainty)
    assert upper_bound(0, fewest, certainty) <= rate + 1e-12
    assert upper_bound(0, fewest - 1, certainty) > rate


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: binomial_cdf(3, 2, 0.1), "0 to n = 2, got 3"),
        (lambda: binomial_cdf(1, 2, 1.1), "rate must be 0 to 1"),
        (lambda: upper_bound(1, 2, 1.0), "certainty must be between"),
        (lambda: wilson(-1, 2), "got -1"),
        (lambda: fewest_without_error(0.0), "rate must be between"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InvalidValueError, match=words):
        call()
