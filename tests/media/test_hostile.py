"""Every file made by hand ends as it should, quickly, and opens nothing else."""

import pytest
from hostile import ANY_REFUSAL, CASES, make
from outcomes import outcome_of

from lightmeter.media.door import name_of


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_ends_as_it_should(case, tmp_path):
    outcome = outcome_of(make(case, tmp_path))
    right = outcome in case.right or (ANY_REFUSAL in case.right and outcome not in ("ok", "damaged"))
    assert right, (outcome, sorted(case.right))


def test_there_are_at_least_forty():
    assert len({case.name for case in CASES}) == len(CASES) >= 40


def test_names_can_always_be_printed(tmp_path):
    for case in CASES:
        name = name_of(tmp_path / case.name.decode("utf-8", "surrogateescape"))
        assert name.encode("utf-8").decode() == name
        assert "\n" not in name
