from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binom

from lightmeter.errors import InvalidValueError
from lightmeter.search.calibration import PATH, Calibration, calibrate, exact_calibration, misses_allowed

COSINES = np.random.default_rng(0).normal([0.3, 0.1], [0.1, 0.02], (200, 2))


@pytest.mark.parametrize("queries", [50, 299, 1000])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_misses_allowed_is_the_last_count_that_proves_the_rate(queries, alpha):
    allowed = misses_allowed(queries, alpha, 0.95)
    assert binom.cdf(allowed + 1, queries, alpha) > 0.05
    assert allowed == -1 or binom.cdf(allowed, queries, alpha) <= 0.05


def test_it_goes_as_far_as_the_queries_allow_and_no_further():
    seen = []

    def missed(kappas):
        seen.append(kappas)
        return 0 if len(seen) <= 12 else 1000

    found = calibrate(COSINES, missed, 1000, alpha=0.01, confidence=0.95, asked="validation queries")
    assert len(seen) == 13, "the first step that fails ends it"
    assert found.kappas == seen[11]
    assert all(later <= earlier for a, b in pairwise(seen) for earlier, later in zip(a, b, strict=True))


def test_the_steps_are_fixed_before_a_query_is_seen():
    """Whatever the queries miss, the same path is walked: else the tests would not be worth their level."""
    walked = []
    for limit in (3, 9, 40):
        seen = []
        calibrate(
            COSINES, lambda k, seen=seen, limit=limit: seen.append(k) or (0 if len(seen) < limit else 99), 500,
            alpha=0.01, confidence=0.95, asked="",
        )  # fmt: skip
        walked.append(seen)
    assert walked[0] == walked[1][: len(walked[0])]
    assert walked[1] == walked[2][: len(walked[1])]
    assert list(PATH) == sorted(PATH, reverse=True)


def test_too_few_queries_stay_exact():
    found = calibrate(COSINES, lambda _: 0, 298, alpha=0.01, confidence=0.95, asked="validation queries")
    assert found.exact
    assert "it takes 299" in found.said()


def test_said_and_kept():
    found = calibrate(COSINES, lambda _: 0, 400, alpha=0.01, confidence=0.95, asked="validation queries")
    assert "at most 1.0% misses with 95% confidence, from 400 validation queries" in found.said()
    assert Calibration.from_json(json.loads(json.dumps(found.as_json())), levels=2) == found
    assert exact_calibration(2).said() == "exact"
    own = replace(found, asked="rows of the gallery")
    assert own.said().startswith("about 1.0% misses or fewer, estimated on")
    assert replace(found, stale=True).said().startswith("exact: rows came or went")
    assert found.kappas_for(2) == (1.0, 1.0), "learnt for one neighbour"
    assert found.kappas_for(1) == found.kappas


def test_rates_must_be_rates():
    with pytest.raises(InvalidValueError, match="between 0 and 1, got 1.5 and 0.95"):
        misses_allowed(100, 1.5, 0.95)
