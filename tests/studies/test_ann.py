"""The study of approximate neighbours: by chi-squared as by L2, and what a library cannot do stands there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.search.dissimilarity import chi2
from lightmeter.search.protocol import Certificate, Neighbours
from lightmeter.studies import ann
from lightmeter.studies.ann import ANN, measured_row, rooted_row
from lightmeter.studies.candidates import certified, index_row
from lightmeter.studies.comparison import exact_labels, run_study
from lightmeter.studies.declared import Asked, study_called
from lightmeter.studies.galleries import MIXTURES, Gallery, mixture
from lightmeter.studies.published import published
from lightmeter.studies.results import _narrows, study_text, table_row


@pytest.fixture(scope="module")
def positive():
    """The smoke mixture after a ReLU, compared by chi-squared."""
    made = mixture("smoke")
    return dataclasses.replace(
        made, x=np.maximum(made.x, 0), queries=np.maximum(made.queries, 0), metric="chi2"
    )  # fmt: skip


def slow_labels(gallery):
    rows, found = gallery.x.astype(np.float64), []
    for query in gallery.queries.astype(np.float64):
        total = np.where(rows + query > 0, rows + query, 1)
        found.append(((rows - query) ** 2 / total).sum(axis=1).argmin())
    return gallery.y[found].tolist()


def test_exact_labels_by_chi_squared_are_those_of_a_loop(positive):
    assert exact_labels(positive).tolist() == slow_labels(positive)
    assert "compared by chi2" in positive.said


def test_a_scan_by_any_measure_is_exact(positive):
    fitted = measured_row("scan", ann._SCAN, "baseline").fit(positive)
    assert fitted.labels(positive.queries).tolist() == slow_labels(positive)
    told = fitted.tell(positive.queries)
    assert (told.measured, told.proven) == (120, 1)
    assert fitted.spec.endswith("metric=chi2")


def test_the_metric_is_the_gallerys():
    made = mixture("smoke")
    fitted = measured_row("perm", "permutation/check=1.0", "ours").fit(made)
    assert fitted.labels(made.queries).tolist() == exact_labels(made).tolist()
    assert "chi2" not in fitted.spec


def test_square_roots_are_within_a_factor_of_two_of_chi_squared():
    chance = np.random.default_rng(0)
    rows, query = chance.random((200, 12)) ** 3, chance.random(12) ** 3
    rows[:, :3] = 0
    apart = chi2(query, rows)
    roots = ((np.sqrt(rows) - np.sqrt(query)) ** 2).sum(axis=1)
    assert (roots <= apart * (1 + 1e-12)).all()
    assert (roots >= apart / 2 * (1 - 1e-12)).all()


def test_rooted_rows_are_exact_where_ten_are_all(positive):
    small = dataclasses.replace(
        positive, x=positive.x[:10], y=np.arange(10), classes=tuple("abcdefghij"), truth=np.full(60, -1)
    )
    fitted = rooted_row(index_row("granular", "granular", "ours"), "granular").fit(small)
    assert fitted.labels(small.queries).tolist() == slow_labels(small)
    assert fitted.spec == "granular on square roots; nearest 10 by chi2"
    assert fitted.tell(small.queries).proven is None, "proven of square roots, not of chi-squared"


def test_rooted_rows_by_l2_are_the_rows_themselves():
    made = mixture("smoke")
    row = index_row("granular", "granular", "ours")
    labels = rooted_row(row, "granular").fit(made).labels(made.queries)
    assert labels.tolist() == row.fit(made).labels(made.queries).tolist()


def test_the_rule_decides_on_square_roots(positive):
    row = next(each for each in ANN.rows if each.label == "proposed, m = 32")
    by_roots = dataclasses.replace(positive, x=np.sqrt(positive.x), queries=np.sqrt(positive.queries), metric="l2")
    rooted, plain = row.fit(positive), row.fit(by_roots)
    assert rooted.labels(positive.queries).tolist() == plain.labels(by_roots.queries).tolist()
    np.testing.assert_array_equal(rooted.confidence(positive.queries), plain.confidence(by_roots.queries))
    assert rooted.tell(positive.queries) == plain.tell(by_roots.queries)


def test_what_cannot_be_below_0_is_refused():
    with pytest.raises(InvalidValueError, match="must be 0 or more for chi2"):
        ann._by_chi2(lambda: mixture("smoke"))


def test_what_does_not_fit_a_metric_says_so(positive):
    skips = {each.label: each.skip for each in ANN.rows}
    assert "does not compare rows by chi2" in skips["ridge"](positive, "cpu")
    assert skips["faiss flat"](positive, "cpu") == ""
    other = dataclasses.replace(positive, metric="kl")
    for label in ("faiss flat", "granular, exact", "proposed, m = 32"):
        assert "not for kl" in skips[label](other, "cpu")
    assert skips["perm-sort"](other, "cpu") == ""


def test_what_is_dear_is_left_out_with_an_estimate():
    skips = {each.label: each.skip for each in ANN.rows}
    large = Gallery(
        "large", np.zeros((4000, 4096), np.float32), np.arange(4000), np.zeros((1000, 4096), np.float32),
        np.zeros(1000, np.int64), classes=tuple(map(str, range(4000))), licence="none", source="by hand", seed=0,
    )  # fmt: skip
    for label in ("SVM", "linear SVM", "KD tree", "ball tree"):
        assert "CPU-s here, and cpu allows a row 60" in skips[label](large, "cpu")
        assert skips[label](large, "paper") == ""
        assert skips[label](mixture("smoke"), "smoke") == ""


def test_nothing_is_searched_twice_for_certificates_that_are_not_there():
    asked = []

    def search(queries, *, certificates=()):
        asked.append(len(queries))
        return Neighbours(np.zeros((1, 1)), np.zeros((1, 1)), certificates)

    assert certified(search, np.zeros((7, 2))) == ()
    assert asked == [1]
    told = [Certificate(True, 0.0, 1, (1,), 1, 8)]
    assert certified(lambda queries: search(queries, certificates=told), np.zeros((7, 2))) == told
    assert asked == [1, 1, 7]


def test_rectified_mixtures_are_unit_and_never_below_0():
    size = MIXTURES["ann-vgg"]
    assert size.rectified
    small = dataclasses.replace(size, classes=20, dim=64, queries=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MIXTURES, "tiny", small)
        made = mixture("tiny")
    assert made.x.min() == 0
    np.testing.assert_allclose(np.linalg.norm(made.x, axis=1), 1, rtol=1e-5)


@pytest.fixture(scope="module")
def smoke():
    return run_study(ANN, Asked())


class TestAnn:
    def test_is_found_by_name(self):
        assert study_called("ann") is ANN

    def test_has_every_row_and_column_of_the_seed(self):
        assert {row.published for row in ANN.rows if row.published} == set(published("ann-error").rows)
        columns = [each.beside.error for each in ANN.sections(Asked("cpu")) if each.beside]
        assert sorted(columns) == sorted(published("ann-error").columns)

    def test_smoke_is_small_and_quick(self, smoke):
        assert sum(len(each.gallery.x) + len(each.gallery.queries) for each in smoke.sections) <= 300
        assert smoke.cost.cpu_s < 30, "the clock would count the neighbours' work too"

    def test_only_extras_are_missing_and_what_has_no_metric(self, smoke):
        for section in smoke.sections:
            for each in section.outcomes:
                excused = "pip install" in each.why or "does not compare rows by chi2" in each.why
                assert each.ran or excused, (each.row.label, each.why)

    def test_scans_agree_and_tell_what_they_measured(self, smoke):
        by_l2, by_chi2 = ({each.row.label: each for each in part.outcomes} for part in smoke.sections)
        for found in (by_l2, by_chi2):
            assert found["1-NN (brute force)"].agreement.value == 1
            assert 0 < found["ML-ANN"].told.measured < found["1-NN (brute force)"].told.measured
        assert by_l2["granular, exact"].agreement.value == 1
        assert by_chi2["ML-ANN"].spec == "pivots/metric=chi2"
        assert table_row(by_l2["ML-ANN"])["measured"] == f"{by_l2['ML-ANN'].told.measured:.3g}"
        assert table_row(by_l2["usearch"])["measured"] is None

    def test_the_text_has_no_column_that_is_empty(self, smoke):
        by_l2 = study_text(smoke).split("photographs")[0]
        assert "measured" in by_l2
        assert "published error %" in by_l2
        assert "published ms" not in by_l2, "the seed prints no times beside these"
        assert "frames used" not in by_l2


def test_only_levels_that_narrow_are_drawn():
    assert _narrows((40.0, 40.0, 3.5))
    assert not _narrows((5.0, 12.0)), "pivots, then all that was measured"
    assert not _narrows((40.0,))


@pytest.mark.slow
def test_cpu_takes_less_than_15_minutes():
    result = run_study(ANN, Asked("cpu"))
    assert result.cost.cpu_s < 1.5 * 15 * 60, "CPU time grows by half when neighbours use the caches"
    for section in result.sections:
        for each in section.outcomes:
            excused = ("pip install", "assets add", "does not compare rows", "CPU-s here")
            assert each.ran or any(reason in each.why for reason in excused), (each.row.label, each.why)
