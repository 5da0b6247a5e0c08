"""Three-way decisions: each published rule worked by hand, equal to the slow version, whatever the batch."""

from __future__ import annotations

import ctypes
import dataclasses
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import three_way_reference as reference
from brute_reference import distances as brute_distances
from galleries import KINDS, drawn, mixture
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.assets.saving import load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import build
from lightmeter.search.decisions import UNKNOWN
from lightmeter.search.fixed_point import View, unit_length
from lightmeter.search.kernels import compiled
from lightmeter.search.row_store import RowStore
from lightmeter.search.rules import RULES
from lightmeter.search.three_way import FittedThreeWay, ThreeWay
from lightmeter.search.three_way_twin import Twin

RULE_NAMES = list(RULES)


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


def twin_of(fitted):
    """The same gallery, decided without the compiled kernel."""
    twin = fitted.with_thresholds(fitted.thresholds)
    twin._compiled = None
    return twin


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


# -- exact arithmetic --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("rule", RULE_NAMES)
def test_a_query_is_decided_as_if_it_were_alone(kind, rule):
    for seed in range(2):
        x, queries = drawn(kind, seed, most_rows=120, most_dim=60)
        labels = np.random.default_rng(seed).integers(9, size=len(x))
        recipe = ThreeWay(rule=rule, m=8, components=40, normalise=bool(seed))
        fitted = recipe.fit(x, labels)
        many = fitted.decide(queries)
        for at in range(len(queries)):
            one = fitted.decide(queries[at : at + 1])
            assert_equal(one, _row(many, at))
        eager = dataclasses.replace(recipe, lazy=False).fit(x, labels).decide(queries)
        assert_equal(many, eager, prices=False)
        assert (eager.bytes_read >= many.bytes_read).all()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "options", [{}, {"prune": "instance"}, {"rule": "posteriors"}, {"rule": "distance-factor"}], ids=str
)
def test_measuring_only_candidates_changes_no_decision(kind, options, monkeypatch):
    x, queries = drawn(kind, 3, most_rows=120, most_dim=60)
    labels = np.random.default_rng(3).integers(9, size=len(x))
    fitted = ThreeWay(m=8, components=40, normalise=False, **options).fit(x, labels)
    found = twin_of(fitted).decide(queries)
    monkeypatch.setattr(Twin, "_candidates", lambda self, *_: self.rows.order)
    assert_equal(found, twin_of(fitted).decide(queries))


def _row(decisions, at):
    return type(decisions)(*(getattr(decisions, f.name)[at : at + 1] for f in dataclasses.fields(decisions)))


@pytest.mark.parametrize("normalise", [True, False])
def test_products_find_what_differences_find(normalise):
    x, labels, queries, _ = labelled_mixture(3)
    fitted = ThreeWay(m=8, components=30, normalise=normalise).fit(x, labels).with_thresholds([-math.inf] * 4)
    found, distances = fitted.decide(queries), fitted.class_distances(queries)
    assert (distances.min(axis=1) == found.distances).all()
    scores, answers = fitted.level_scores(queries)
    assert (answers[:, -1] == found.labels).all()
    np.testing.assert_allclose(1 - scores[:, -1], found.confidence)


# -- kernel and twin ---------------------------------------------------------------------------------------------------


def plain():
    """The kernel as it is compiled for processors without AVX2."""
    library = compiled()
    library.lm_decide_plain.argtypes, library.lm_decide_plain.restype = library.lm_decide.argtypes, ctypes.c_int64
    return SimpleNamespace(lm_decide=library.lm_decide_plain, lm_decide_scratch=library.lm_decide_scratch)


def assert_kernel_is_twin(fitted, queries, k=3):
    if compiled() is None:
        pytest.skip("the kernels were not compiled here: there was no C compiler at installation")
    twin = twin_of(fitted)
    decided, theirs = twin.decide(queries), twin.search(queries, k)
    for library in (compiled(), plain()):
        kernel = fitted.with_thresholds(fitted.thresholds)
        kernel._compiled = library
        assert_equal(kernel.decide(queries), decided)
        ours = kernel.search(queries, k)
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.distances, theirs.distances)
        assert list(ours.certificates) == list(theirs.certificates)


@given(
    kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31), rule=st.sampled_from(RULE_NAMES),
    instances=st.booleans(), normalise=st.booleans(), lazy=st.booleans(), defer=st.booleans(),
    m=st.integers(1, 40), classes=st.integers(1, 40), threshold=st.sampled_from([None, 0.3, 0.99, 1.0]),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_the_kernel_decides_as_its_twin(
    kind, seed, rule, instances, normalise, lazy, defer, m, classes, threshold
):  # fmt: skip
    x, queries = drawn(kind, seed, most_rows=120, most_dim=60)
    labels = np.random.default_rng(seed).integers(classes, size=len(x))
    prune = "instance" if instances and rule == "multi-level" else "class"
    recipe = ThreeWay(
        rule=rule, m=m, components=40, prune=prune, normalise=normalise, lazy=lazy, defer=defer, threshold=threshold
    )
    assert_kernel_is_twin(recipe.fit(x, labels), queries)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("rule", RULE_NAMES)
def test_the_kernel_decides_as_its_twin_on_larger_galleries(kind, rule):
    for seed in range(25):
        x, queries = drawn(kind, seed, most_rows=1500, most_dim=400)
        labels = np.random.default_rng(seed).integers(1 + seed * 20, size=len(x))
        prune = "instance" if seed % 2 and rule == "multi-level" else "class"
        recipe = ThreeWay(rule=rule, m=16 + 5 * (seed % 3), components=200, prune=prune, normalise=seed % 3 > 0)
        assert_kernel_is_twin(recipe.fit(x, labels), queries, 20)


@pytest.mark.parametrize("rule", RULE_NAMES)
@pytest.mark.parametrize("threshold", [-math.inf, math.inf, 0.0, -0.5])
def test_the_kernel_takes_any_threshold_as_its_twin_does(rule, threshold):
    x, labels, queries, _ = labelled_mixture(14)
    x = np.concatenate([x, x[:30]])
    fitted = ThreeWay(rule=rule, m=4, components=16).fit(x, np.concatenate([labels, labels[30:60]]))
    thresholds = [threshold, *fitted.thresholds[1:]]
    assert_kernel_is_twin(fitted.with_thresholds(thresholds), np.concatenate([queries, x[:5]]))


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_a_score_that_is_its_threshold_is_judged_as_by_the_twin(rule):
    """Strictly: on the threshold itself nothing is sure, a hair beside it something may be."""
    x, labels, queries, _ = labelled_mixture(15)
    fitted = ThreeWay(rule=rule, m=6, components=12).fit(x, labels)
    levels = len(fitted.thresholds)
    for at, score in enumerate(fitted.level_scores(queries[:6])[0][:, 0]):
        for threshold in (np.nextafter(score, -np.inf), score, np.nextafter(score, np.inf)):
            assert_kernel_is_twin(fitted.with_thresholds([threshold] * levels), queries[at : at + 1])
            assert_kernel_is_twin(fitted.with_thresholds([threshold] * levels), queries[:8])


def test_rows_that_are_added_far_from_the_first_are_measured_as_by_the_twin():
    x, labels, queries, _ = labelled_mixture(16)
    fitted = ThreeWay(m=7, components=20, normalise=False).fit(x, labels)
    fitted.add(np.concatenate([1e3 * x[:9], 1e19 * x[:2]]), np.arange(40, 51))
    fitted.remove(np.arange(0, 60, 3))
    assert_kernel_is_twin(fitted, np.concatenate([queries, 3 * queries, 1e3 * queries, 1e10 * queries, 1e19 * x[:2]]))


def test_decisions_are_kept_when_the_next_query_comes():
    x = np.eye(30, dtype=np.float32)
    fitted = ThreeWay().fit(x, np.arange(30))
    first, near = fitted.decide(x[3:4]), fitted.search(x[3:4], 2)
    fitted.decide(x[9:10])
    fitted.search(x[9:10], 2)
    assert (first.labels[0], near.ids[0, 0], first.left[0].tolist()) == (3, 3, [3])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("normalise", [True, False])
def test_what_is_no_number_is_refused(bad, normalise):
    fitted = ThreeWay(normalise=normalise).fit(np.eye(8))
    queries = np.eye(8)[:2]
    queries[1, 3] = bad
    for either in (fitted, twin_of(fitted)):
        for asked in (queries, queries[1:]):
            with pytest.raises(InvalidValueError, match="queries must be finite"):
                either.decide(asked)


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
