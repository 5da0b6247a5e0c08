"""Three-way galleries whose thresholds are calibrated, whose rows come and go, and that are saved and forged."""

from __future__ import annotations

import numpy as np
import pytest
from three_way_cases import RULE_NAMES, assert_equal, labelled_mixture

from lightmeter.assets.saving import load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.search.rules import RULES
from lightmeter.search.three_way import FittedThreeWay, ThreeWay

# -- thresholds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_thresholds_by_false_positives_keep_their_rate_at_every_level(rule):
    x, labels, queries, asked = labelled_mixture(8, queries=300)
    fitted = ThreeWay(rule=rule, m=8, components=24).fit(x, labels)
    chosen = fitted.calibrated(queries, asked, "false-positives", rate=0.02)
    scores, answers = fitted.level_scores(queries)
    for level, threshold in enumerate(chosen.thresholds):
        sure = RULES[rule].sure(scores[:, level], threshold)
        assert sure.any()
        assert np.sum(sure & (answers[:, level] != asked)) <= 6
    assert fitted.thresholds != chosen.thresholds


def test_the_grid_takes_the_cheapest_of_the_most_accurate():
    x, labels, queries, asked = labelled_mixture(9, queries=60)
    fitted = ThreeWay(m=4, components=24, defer=True).fit(x, labels)
    chosen = fitted.calibrated(queries, asked, "grid")
    runs = {
        each: ThreeWay(m=4, components=24, threshold=each).fit(x, labels).decide(queries)
        for each in (0.2, 0.4, 0.7, chosen.thresholds[0], 0.95)
    }
    errors = {each: np.mean(run.labels != asked) for each, run in runs.items()}
    best = runs[chosen.thresholds[0]]
    assert errors[chosen.thresholds[0]] == min(errors.values())
    assert all(
        runs[each].multiply_adds.mean() >= best.multiply_adds.mean() or errors[each] > min(errors.values())
        for each in runs
    )


@pytest.mark.parametrize("thresholds", ["grid", "false-positives", "step-up"])
def test_thresholds_chosen_in_fit_come_from_held_out_halves(thresholds):
    rows = 150 if thresholds == "grid" else 600
    x, labels, queries, _ = labelled_mixture(10, rows=rows)
    recipe = ThreeWay(m=8, components=24, thresholds=thresholds, rate=0.1)
    fitted = recipe.fit(x, labels)
    assert len(fitted) == rows
    assert fitted.thresholds != (0.7,) * 3
    assert fitted.thresholds == recipe.fit(x, labels).thresholds
    assert (fitted.decide(queries).labels >= 0).all()
    with pytest.raises(InvalidValueError, match="every class has one row"):
        recipe.fit(x, np.arange(rows))


def test_thresholds_are_one_a_level():
    with pytest.raises(InvalidValueError, match="thresholds must be 1, one a level, got 2"):
        ThreeWay().fit(np.eye(3)).with_thresholds([0.5, 0.5])


# -- changing and keeping ----------------------------------------------------------------------------------------------


def test_added_rows_answer_and_removed_rows_do_not():
    x, labels, queries, _ = labelled_mixture(11)
    fitted = ThreeWay(m=4, components=16).fit(x[:90], labels[:90])
    assert fitted.add(x[90:], labels[90:]).tolist() == list(range(90, 120))
    assert fitted.decide(x[90:]).ids.tolist() == list(range(90, 120))
    fitted.remove(np.arange(0, 120, 2))
    assert len(fitted) == 60
    found = fitted.decide(queries)
    assert (found.ids % 2 == 1).all()
    assert (labels[found.ids] == found.labels).all()
    assert fitted.add(x[:1], np.array([77])).tolist() == [120]
    assert fitted.decide(x[:1]).labels.tolist() == [77]
    with pytest.raises(InvalidValueError, match="got 4: it was never given or removed"):
        fitted.remove(np.array([4]))
    with pytest.raises(InvalidValueError, match="labels must be given as in fit"):
        fitted.add(x[:1])
    with pytest.raises(InvalidValueError, match="these are equal: fit all anew"):
        ThreeWay().fit(np.ones((2, 3))).add(np.eye(3))


def test_changing_and_changing_back_decides_the_same():
    x, labels, queries, _ = labelled_mixture(12)
    fitted = ThreeWay(m=4, components=16).fit(x, labels)
    before = fitted.decide(queries)
    more = fitted.add(x[:20] + 0.01, labels[:20])
    assert (fitted.decide(x[:20] + 0.01).ids == more).all()
    fitted.remove(more)
    assert_equal(before, fitted.decide(queries))


def test_an_emptied_gallery_answers_nothing():
    fitted = ThreeWay().fit(np.eye(3))
    fitted.remove(np.arange(3))
    found, near = fitted.decide(np.eye(3)), fitted.search(np.eye(3), 2)
    assert found.labels.tolist() == found.ids.tolist() == [-1, -1, -1]
    assert np.isinf(found.distances).all()
    assert (near.ids == -1).all()
    with pytest.raises(InvalidValueError, match="a gallery must have rows"):
        fitted.class_distances(np.eye(3))
    assert fitted.add(np.eye(3)).tolist() == [3, 4, 5]
    assert fitted.decide(np.eye(3)).ids.tolist() == [3, 4, 5]


def test_no_queries_get_no_decisions():
    found = ThreeWay(m=2).fit(np.eye(5)).decide(np.empty((0, 5)))
    assert len(found) == 0
    assert found.survivors.shape == (0, 2)


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_what_is_saved_decides_the_same(rule, tmp_path):
    x, labels, queries, asked = labelled_mixture(13)
    fitted = ThreeWay(rule=rule, m=4, components=16, normalise=False).fit(x, labels)
    fitted = fitted.calibrated(queries, asked, "step-up")
    fitted.remove(np.arange(10))
    fitted.save(tmp_path)
    again = FittedThreeWay.load(tmp_path)
    assert_equal(fitted.decide(queries), again.decide(queries))
    assert again.recipe == fitted.recipe
    assert again.thresholds == fitted.thresholds
    assert again.size_bytes < fitted.size_bytes, "rows that were removed are not kept"
    assert again.add(x[:1], labels[:1]).tolist() == [120]
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(RejectedFileError, match="of one saving"):
        FittedThreeWay.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "forged"),
    [
        ("coordinates", np.zeros((20, 31), np.float32)), ("components", np.zeros((32, 64))),
        ("mean", np.zeros(63)), ("ids", np.arange(19)), ("labels", np.zeros(21, np.int64)),
        ("thresholds", np.zeros(1)), ("variances", np.full(32, np.nan)),
    ],
)  # fmt: skip
def test_a_forged_folder_is_refused_before_the_kernels_read_it(name, forged, tmp_path):
    x = np.random.default_rng(0).standard_normal((60, 64))
    ThreeWay(m=16, components=32).fit(x, np.arange(60) % 3).save(tmp_path)
    arrays, about = load_model(tmp_path)
    save_model(tmp_path, {**arrays, name: forged}, about)
    with pytest.raises(RejectedFileError, match=name):
        FittedThreeWay.load(tmp_path)


@pytest.mark.parametrize(
    "change", [{"spec": "brute"}, {"spec": "three-way/m=32"}, {"edges": [0, 99]}, {"unit": 0.0}, {"next_id": 2}]
)
def test_a_forged_description_is_refused(change, tmp_path):
    x = np.random.default_rng(0).standard_normal((60, 64))
    ThreeWay(m=16, components=32).fit(x, np.arange(60) % 3).save(tmp_path)
    arrays, about = load_model(tmp_path)
    save_model(tmp_path, arrays, {**about, **change})
    with pytest.raises(RejectedFileError):
        FittedThreeWay.load(tmp_path)
