from __future__ import annotations

import json

import numpy as np
import pytest
from galleries import mixture

from lightmeter.errors import InvalidValueError
from lightmeter.search.auto import Budget, Choice, choose_index, roofline_s

QUICK = Budget(budget_s=0.2, candidates=("granular", "granular/kappa=0.0,granules=[16]", "brute"))


@pytest.fixture(scope="module")
def rows():
    return mixture(np.random.default_rng(0), 600, 64).astype(np.float32)


@pytest.fixture(scope="module")
def choice(rows):
    return choose_index(rows, plan=QUICK)


def test_it_takes_the_cheapest_that_agrees_often_enough(choice):
    good = [trial for trial in choice.trials if trial.quality >= 0.99]
    assert {trial.candidate for trial in choice.trials} == set(QUICK.candidates)
    assert choice.spec == min(good, key=lambda trial: trial.cost.cpu_s).candidate
    by = {trial.candidate: trial.quality for trial in choice.trials}
    assert by["granular"] == by["brute"] == 1


def test_a_lower_bar_may_take_a_cheaper_one(rows):
    strict = choose_index(rows, plan=QUICK)
    loose = choose_index(rows, plan=Budget(at_least=0.01, budget_s=0.2, candidates=QUICK.candidates))
    price = {trial.candidate: trial.cost.cpu_s for trial in loose.trials}
    assert price[loose.spec] == min(price.values())
    assert strict.at_least == 0.99


def test_with_labels_a_linear_head_competes(rows):
    labels = np.arange(600) % 3
    choice = choose_index(rows, labels=labels, plan=QUICK)
    assert "ridge" in {trial.candidate for trial in choice.trials}
    assert choice.agreement == "label agreement"
    assert hasattr(choice.of_indexes().recipe(), "metric"), "a head has no distances: among indexes alone"


def test_agreement_is_with_the_neighbours_of_queries_like_those_to_come(rows):
    asked = mixture(np.random.default_rng(1), 40, 64)
    choice = choose_index(rows, asked=asked, k=3, plan=QUICK)
    assert {trial.candidate: trial.quality for trial in choice.trials}["brute"] == 1


def test_rows_that_ask_do_not_find_themselves():
    """Where bounds say nothing, no index is fast; rows that found themselves at once used to say that granular was."""
    rng = np.random.default_rng(0)
    x, fresh = np.abs(rng.standard_normal((1500, 256))), np.abs(rng.standard_normal((200, 256)))
    plan = Budget(budget_s=0.5, candidates=("granular", "brute"))
    own, asked = choose_index(x, plan=plan), choose_index(x, asked=fresh, plan=plan)
    prices = [{trial.candidate: trial.others["query_s"] for trial in each.trials} for each in (own, asked)]
    ratio = [each["granular"] / each["brute"] for each in prices]
    assert 0.4 < ratio[0] / ratio[1] < 2.5


def test_costs_are_measured(choice):
    for trial in choice.trials:
        assert trial.cost.peak_bytes > trial.cost.size_bytes
        assert trial.cost.cpu_s >= trial.others["query_s"]


def test_what_would_break_the_budget_is_named_with_its_price(rows):
    many = np.concatenate([rows + np.float32(0.01 * at) for at in range(5)])
    plan = Budget(budget_s=0.02, candidates=("granular", "granular/granules=[64],alpha=0.01"))
    choice = choose_index(many, plan=plan)
    assert len(choice.trials) == 1
    [(spec, why)] = choice.skipped.items()
    assert "alpha" in spec
    assert "CPU-s: raise the budget" in why
    assert any("not tried" in line for line in choice.said())


def test_it_says_what_a_scan_needs_at_least(choice, rows):
    assert choice.roofline_s > rows.nbytes / 1e12
    assert "needs at least" in choice.said()[0]
    assert roofline_s(rows) < 1


def test_it_is_remembered_until_the_gallery_has_changed_much(choice):
    again = Choice.from_json(json.loads(json.dumps(choice.as_json())))
    assert again.recipe() == choice.recipe()
    assert again.frontier.points[0].candidate == choice.frontier.points[0].candidate
    assert again.fits(700, 64, batch=1, at_least=0.99)
    for rows, dim, batch, at_least in ((721, 64, 1, 0.99), (479, 64, 1, 0.99), (600, 65, 1, 0.99), (600, 64, 9, 0.99),
                                       (600, 64, 1, 0.9)):  # fmt: skip
        assert not again.fits(rows, dim, batch=batch, at_least=at_least)


def test_another_library_here_is_a_reason_to_measure_again(choice, monkeypatch):
    monkeypatch.setattr("lightmeter.search.auto.peers_here", lambda: ("something new",))
    assert not choice.fits(600, 64, batch=1, at_least=0.99)


def test_one_row_agrees_with_itself():
    choice = choose_index(np.ones((1, 8)), labels=np.zeros(1, np.int64), plan=QUICK)
    assert choice.trials[0].quality == 1


def test_a_bar_that_nothing_reaches_is_said_so(rows):
    plan = Budget(budget_s=0.2, candidates=("granular/kappa=0.0,granules=[16]",))
    choice = choose_index(rows, plan=plan)
    if choice.trials[0].quality < 0.99:
        assert "not the 99.0% asked for" in choice.said()[1]


def test_the_table_marks_the_chosen_one(choice):
    told = choice.rows_text()
    assert [row["index"] for row in told if row[""] == "chosen"] == [choice.spec]


@pytest.mark.parametrize(("option", "value"), [("at_least", 0), ("at_least", 1.1), ("batch", 0), ("budget_s", 0)])
def test_a_budget_must_make_sense(option, value):
    with pytest.raises(InvalidValueError, match="must be"):
        Budget(**{option: value})
