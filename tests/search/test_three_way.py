"""Three-way decisions: each published rule worked by hand and equal to the slow version; who is left, at what cost."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import three_way_reference as reference
from brute_reference import distances as brute_distances
from galleries import mixture
from three_way_cases import RULE_NAMES, labelled_mixture

from lightmeter.errors import InvalidValueError
from lightmeter.parts import build
from lightmeter.search.decisions import UNKNOWN
from lightmeter.search.fixed_point import View, unit_length
from lightmeter.search.row_store import RowStore
from lightmeter.search.rules import RULES
from lightmeter.search.three_way import FittedThreeWay, ThreeWay


def on_axes(x, labels, *, m=1, **options):
    """A gallery whose principal components are its own axes, so that cases can be worked by hand."""
    x = np.array(x, np.float32)
    recipe = ThreeWay(m=m, components=x.shape[1], normalise=False, **options)
    view = View(np.zeros(x.shape[1]), np.eye(x.shape[1], dtype=np.float32), np.ones(x.shape[1]), 1.0, False)
    width = x.shape[1]
    edges = [*range(0, width, m), width] if recipe.rule == "multi-level" else [0, m, width]
    blocks = tuple(x[:, a:b] for a, b in pairwise(edges))
    threshold = RULES[recipe.rule].threshold if recipe.threshold is None else recipe.threshold
    store = RowStore(blocks, np.arange(len(x)), np.array(labels))
    return FittedThreeWay(recipe, view, store, [threshold] * len(blocks), labelled=True)


# -- by hand ---------------------------------------------------------------------------------------------------------


def test_multi_level_by_hand():
    """Mirrored rows: x varies most (9), y less (1). The query (−2, ½) is at x-distances 1, 1, 25, 25.

    Level 1: ρ = 1, 1, 25 of three classes; ρ₁/ρ₂ = 1, and class 2 is out: 25 > 1/0.7.
    Level 2: ρ = 1 + ¼, 1 + 2¼; 1.25/3.25 = 5/13 < 0.7: one class is left.
    """
    x, labels = [[-3, 1], [-3, -1], [3, 1], [3, -1]], [0, 1, 2, 2]
    fitted = ThreeWay(m=1, components=2, normalise=False).fit(np.array(x), np.array(labels))
    np.testing.assert_allclose(fitted.view.components, [[1, 0], [0, 1]])
    np.testing.assert_allclose(fitted.view.variances, [9, 1])
    found = fitted.decide(np.array([[-2, 0.5]]))
    assert (found.labels[0], found.ids[0], found.distances[0], found.levels[0]) == (0, 0, 1.25, 2)
    assert found.survivors.tolist() == [[2, 1]]
    assert found.reliable_at.tolist() == [2]
    assert found.confidence[0] == pytest.approx(8 / 13)
    assert found.left[0].tolist() == [0]
    # projections 2 × 2; four rows × 1; two survivors × 1 (class 0; class 2 is out)
    assert found.multiply_adds.tolist() == [4 + 4 + 2]
    assert found.bytes_read.tolist() == [10 * 4]


def test_multi_level_stops_at_the_first_level_when_one_class_is_left():
    """(1, 9): x-distances 16, 16, 4, 4; 4/16 < 0.7. y is never read."""
    fitted = on_axes([[-3, 1], [-3, -1], [3, 1], [3, -1]], [0, 1, 2, 2])
    found = fitted.decide(np.array([[1.0, 9.0]]))
    assert (found.labels[0], found.ids[0], found.distances[0], found.reliable_at[0]) == (2, 2, 4, 1)
    assert found.survivors.tolist() == [[2, 0]]


def test_pruning_classes_or_instances_by_hand():
    """x-distances: row 0 (class 0) 1, row 1 (class 0) 2.25, row 2 (class 1) 1.21; y adds 9, 0 and 4.

    δ = 1.43: row 1 is out as an instance, and stays as a row of class 0. Classes: 2.25 against 5.21: class 0 by row 1.
    Instances: 10 against 5.21: class 1.
    """
    x, labels, query = [[1, 3], [1.5, 0], [1.1, 2]], [0, 0, 1], np.array([[0.0, 0.0]])
    by_class = on_axes(x, labels).decide(query)
    assert (by_class.labels[0], by_class.ids[0], by_class.survivors.tolist()) == (0, 1, [[3, 2]])
    by_row = on_axes(x, labels, prune="instance").decide(query)
    assert (by_row.labels[0], by_row.ids[0], by_row.survivors.tolist()) == (1, 2, [[2, 1]])


def test_distance_factor_by_hand():
    """x-distances 4, 9: 4/9 < 0.7 accepts class 0 though y would say class 1. 4, 4.41: y decides, 20 against 4.41."""
    fitted = on_axes([[2, 4], [3, 0]], [0, 1], rule="distance-factor")
    sure = fitted.decide(np.array([[0.0, 0.0]]))
    assert (sure.labels[0], sure.levels[0], sure.reliable_at[0], sure.distances[0]) == (0, 1, 1, 4)
    assert sure.confidence[0] == pytest.approx(5 / 9)
    unsure = on_axes([[2, 4], [2.125, 0]], [0, 1], rule="distance-factor").decide(np.array([[0.0, 0.0]]))
    assert (unsure.labels[0], unsure.levels[0], unsure.reliable_at[0]) == (1, 2, 2)
    assert unsure.survivors.tolist() == [[2, 1]]


def test_bayes_factor_by_hand():
    """0.0064 − 0.0025 = 0.0039 > 0.003 accepts class 0. 0.0049 − 0.0025 is not enough; y adds 0.01 to it: class 1."""
    query = np.zeros((1, 2))
    sure = on_axes([[0.05, 0.1], [0.08, 0]], [0, 1], rule="bayes-factor").decide(query)
    assert (sure.labels[0], sure.levels[0]) == (0, 1)
    assert sure.confidence[0] == pytest.approx(0.0039, abs=1e-7)
    unsure = on_axes([[0.05, 0.1], [0.07, 0]], [0, 1], rule="bayes-factor").decide(query)
    assert (unsure.labels[0], unsure.levels[0], unsure.reliable_at[0]) == (1, 2, 2)
    assert unsure.distances[0] == pytest.approx(0.0049, abs=1e-8)


def test_posteriors_by_hand():
    """Five classes at x = √ρ: ρ = 0.1 and four times 0.103 give p = 0.2523 > 0.24; four times 0.102 give 0.2339.

    Then y decides: 0.25 more for class 0.
    """
    for behind, wanted in ((0.103, (0, 1)), (0.102, (1, 2))):
        x = [[math.sqrt(0.1), 0.5], *[[math.sqrt(behind), 0.0]] * 4]
        found = on_axes(x, range(5), rule="posteriors").decide(np.zeros((1, 2)))
        assert (found.labels[0], found.levels[0]) == wanted
    assert found.reliable_at[0] == 2  # four classes at one place, and a fifth far behind: p = 1/4
    assert found.confidence[0] == pytest.approx(1 / (4 + math.exp(-100 * 0.248)), abs=1e-6)


def test_the_true_runner_up_is_found_where_the_published_code_misses_it():
    """Rows in this order: 1, then 1.1: the second never displaces the first, and is the runner-up all the same."""
    for rule in ("distance-factor", "multi-level"):
        found = on_axes([[1, 0], [math.sqrt(1.1), 0], [3, 0]], [0, 1, 2], rule=rule).decide(np.zeros((1, 2)))
        assert found.levels[0] == 2
        assert found.confidence[0] == pytest.approx(1 - 1 / 1.1, abs=1e-6)


# -- edges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_duplicates_of_one_class_are_sure_and_of_two_are_not(rule):
    x = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1]])
    one = ThreeWay(rule=rule, m=1).fit(x, np.array([0, 1, 1, 0, 2, 3, 4])).decide(x[:1])
    assert (one.labels[0], one.ids[0], one.distances[0]) == (0, 0, 0)
    assert one.reliable_at[0] > 0
    two = ThreeWay(rule=rule, m=1, defer=True, threshold=0.6).fit(x, np.array([7, 1, 1, 0, 2, 3, 4])).decide(x[:1])
    assert (two.labels[0], two.ids[0], two.distances[0], two.reliable_at[0]) == (UNKNOWN, 0, 0, 0)


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_ties_go_to_the_lowest_id_whatever_the_labels(rule):
    x = np.array([[0.0, 1], [1, 0], [1, 0], [0, 1]])
    found = ThreeWay(rule=rule).fit(x, np.array([9, 5, 3, 1])).decide(x)
    assert found.ids.tolist() == [0, 1, 1, 0]
    assert found.labels.tolist() == [9, 5, 5, 9]


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_one_row_one_class_and_nothing_that_varies(rule):
    one = ThreeWay(rule=rule).fit(np.array([[1.0, 2.0]]), np.array([4])).decide(np.array([[5.0, -1.0], [0.0, 0.0]]))
    assert (one.labels.tolist(), one.ids.tolist(), one.reliable_at.tolist()) == ([4, 4], [0, 0], [1, 1])
    same = ThreeWay(rule=rule, defer=True, threshold=0.9).fit(np.ones((3, 2)), np.array([4, 2, 2]))
    assert same.decide(np.ones((1, 2))).labels.tolist() == [UNKNOWN]
    rng = np.random.default_rng(0)
    lone = ThreeWay(rule=rule).fit(rng.standard_normal((5, 9)), np.full(5, 3)).decide(rng.standard_normal((2, 9)))
    assert (lone.labels.tolist(), lone.levels.tolist()) == ([3, 3], [1, 1])


def test_zero_vectors_have_their_place():
    x = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    found = ThreeWay().fit(x, np.arange(3)).decide(x)
    assert found.labels.tolist() == [0, 1, 2]
    assert found.distances.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_other_types_are_taken(dtype):
    x = (8 * mixture(np.random.default_rng(0), 40, 20)).astype(dtype)
    assert ThreeWay(normalise=False).fit(x).decide(x).ids.tolist() == list(range(40))


def test_nonsense_is_refused():
    with pytest.raises(InvalidValueError, match="m must be 1 to components, got 65 and 64"):
        ThreeWay(m=65, components=64)
    with pytest.raises(InvalidValueError, match="prune=instance is for rule=multi-level"):
        ThreeWay(rule="posteriors", prune="instance")
    with pytest.raises(InvalidValueError, match="give threshold or thresholds=grid, got both"):
        ThreeWay(threshold=0.5, thresholds="grid")
    with pytest.raises(InvalidValueError, match="threshold must be above 0 and at most 1, got 1.43"):
        ThreeWay(threshold=1.43)
    with pytest.raises(InvalidValueError, match="needs labels"):
        ThreeWay(thresholds="grid").fit(np.eye(3))
    with pytest.raises(InvalidValueError, match="labels must be whole numbers of 0 or more"):
        ThreeWay().fit(np.eye(3), np.array([0, -1, 2]))
    with pytest.raises(InvalidValueError, match="must be finite"):
        ThreeWay().fit(np.array([[np.nan]]))
    fitted = ThreeWay().fit(np.eye(3))
    with pytest.raises(InvalidValueError, match=r"queries must be \[N, 3\]"):
        fitted.decide(np.ones((1, 2)))
    with pytest.raises(InvalidValueError, match="cannot search among"):
        fitted.search(np.ones((1, 3)), among=np.array([0]))


# -- equal to the slow version -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("rule", ["posteriors", "bayes-factor", "distance-factor"])
def test_two_levels_are_the_slow_ones(rule, normalise):
    threshold = {"posteriors": 0.9, "bayes-factor": None if normalise else 0.4, "distance-factor": None}[rule]
    levels = set()
    for seed in range(3):
        x, labels, queries, _ = labelled_mixture(seed)
        recipe = ThreeWay(rule=rule, m=4, components=16, normalise=normalise, threshold=threshold)
        found = recipe.fit(x, labels).decide(queries)
        rows, asked = reference.coordinates(x, queries, 16, normalise=normalise)
        for at, query in enumerate(asked):
            wanted = reference.two_levels(rule, rows, labels.tolist(), query, 4, threshold or RULES[rule].threshold)
            assert (found.labels[at], found.ids[at], found.levels[at], found.reliable_at[at]) == wanted
            levels.add(int(found.levels[at]))
    assert levels == {1, 2}


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("prune", ["class", "instance"])
def test_multi_level_is_the_slow_one(prune, normalise):
    depths = set()
    for seed, m in ((0, 3), (1, 5), (2, 8)):
        x, labels, queries, _ = labelled_mixture(seed)
        fitted = ThreeWay(m=m, components=20, prune=prune, normalise=normalise).fit(x, labels)
        found = fitted.decide(queries)
        rows, asked = reference.coordinates(x, queries, 20, normalise=normalise)
        for at, query in enumerate(asked):
            instances = prune == "instance"
            label, row, left, sure = reference.multi_level(
                rows, labels.tolist(), query, m, 1 / 0.7, instances=instances
            )
            assert (found.labels[at], found.ids[at], found.reliable_at[at]) == (label, row, sure)
            assert found.survivors[at, : found.levels[at]].tolist() == left
            depths.add(len(left))
    assert len(depths) > 3


def test_reading_to_the_end_is_the_nearest_neighbour():
    """A threshold that never drops anyone, and all components: 1-NN on unit vectors."""
    x, labels, queries, _ = labelled_mixture(5)
    fitted = ThreeWay(m=8).fit(x, labels).with_thresholds([-math.inf] * 4)
    found = fitted.decide(queries)
    assert (found.levels == 4).all()
    for at, query in enumerate(queries):
        distances = brute_distances(x.astype(np.float32), query.astype(np.float32), "cosine")
        assert found.ids[at] == distances.argmin()
        assert found.distances[at] <= distances.min() + 1e-6
        outside = unit_length(query[None]) - fitted.view.mean
        outside = outside - outside @ fitted.view.components.T @ fitted.view.components
        assert found.distances[at] + float((outside**2).sum()) == pytest.approx(distances.min(), rel=1e-4)


# -- classes, neighbours, unknown --------------------------------------------------------------------------------------


def test_class_distances_of_some_classes_are_columns_of_all():
    x, labels, queries, _ = labelled_mixture(4)
    fitted = ThreeWay().fit(x, 3 * labels)
    whole = fitted.class_distances(queries)
    assert fitted.classes.tolist() == [3 * each for each in range(12)]
    assert (fitted.class_distances(queries, np.array([9, 0, 33])) == whole[:, [3, 0, 11]]).all()
    with pytest.raises(InvalidValueError, match="classes must be labels of rows that are there, got 4"):
        fitted.class_distances(queries, np.array([3, 4]))
    five = np.sort(fitted.posteriors(queries), axis=1)[:, -5:]
    np.testing.assert_allclose(five.sum(axis=1), 1)


def test_neighbours_come_from_what_is_left():
    x, labels, queries, _ = labelled_mixture(6)
    for rule in RULE_NAMES:
        fitted = ThreeWay(rule=rule, m=4, components=16).fit(x, labels)
        decided, found = fitted.decide(queries), fitted.search(queries, 30)
        assert not fitted.abilities.exact
        assert (found.ids[:, 0] == decided.ids).all()
        assert (found.distances[:, 0] == decided.distances).all()
        for at, certificate in enumerate(found.certificates):
            ids = found.ids[at][found.ids[at] >= 0]
            assert len(ids) == min(30, decided.survivors[at, decided.levels[at] - 1])
            assert set(labels[ids]) <= set(decided.left[at].tolist())
            assert (np.diff(found.distances[at][: len(ids)]) >= 0).all()
            assert np.isinf(found.distances[at][len(ids) :]).all()
            assert not certificate.exact
            assert certificate.survivors == tuple(decided.survivors[at, : certificate.levels])


def test_without_labels_each_row_is_its_own_class():
    x = mixture(np.random.default_rng(0), 50, 12)
    found = build("three-way/m=4").fit(x).search(x[:7], 2)
    assert found.ids[:, 0].tolist() == list(range(7))


def test_deferring_answers_unknown_where_no_level_is_sure():
    x, labels, queries, asked = labelled_mixture(7, queries=80)
    plain = ThreeWay(m=8, components=24, threshold=0.6).fit(x, labels).decide(queries)
    deferred = ThreeWay(m=8, components=24, threshold=0.6, defer=True).fit(x, labels).decide(queries)
    unsure = plain.reliable_at == 0
    assert 0 < unsure.sum() < 80
    assert (deferred.labels == np.where(unsure, UNKNOWN, plain.labels)).all()
    assert (plain.confidence[~unsure] > 0.4).all()
    assert (plain.confidence[unsure] <= 0.4).all()
    assert np.mean(plain.labels[~unsure] != asked[~unsure]) < np.mean(plain.labels[unsure] != asked[unsure])


def test_specs_build_what_they_spell():
    for recipe in (
        ThreeWay(),
        ThreeWay(rule="posteriors", threshold=0.3, defer=True),
        ThreeWay(m=32, prune="instance"),
    ):
        assert build(recipe.spec) == recipe
    assert build("three-way/rule=multi-level,m=32") == ThreeWay(m=32)


def test_lazy_projection_reads_less():
    x, labels, queries, _ = labelled_mixture(14)
    lazy, eager = (ThreeWay(m=4, components=24, lazy=each).fit(x, labels).decide(queries) for each in (True, False))
    early = lazy.levels < 6
    assert early.any()
    assert (lazy.bytes_read[early] < eager.bytes_read[early]).all()
    assert (lazy.bytes_read[~early] == eager.bytes_read[~early]).all()
