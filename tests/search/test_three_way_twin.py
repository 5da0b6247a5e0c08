"""Three-way decisions are exact arithmetic: the same whatever the batch, and by the compiled kernel as by its twin."""

from __future__ import annotations

import ctypes
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from galleries import KINDS, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from three_way_cases import RULE_NAMES, assert_equal, labelled_mixture

from lightmeter.errors import InvalidValueError
from lightmeter.search.kernels import compiled
from lightmeter.search.three_way import ThreeWay
from lightmeter.search.three_way_twin import Twin


def twin_of(fitted):
    """The same gallery, decided without the compiled kernel."""
    twin = fitted.with_thresholds(fitted.thresholds)
    twin._compiled = None
    return twin


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
