"""k-means: laws, scikit-learn, weights equal to repeats."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.assets.saving import load_model, save_model
from lightmeter.encoders.codebook import Codebook, KMeans, spread_of
from lightmeter.errors import InvalidValueError, RejectedFileError


def clouds(seed, clusters=6, each=20, dim=5):
    chance = np.random.default_rng(seed)
    centres = chance.normal(0, 6, (clusters, dim))
    return (np.repeat(centres, each, axis=0) + chance.normal(0, 1, (clusters * each, dim))).astype(np.float32)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 9))
def test_weights_are_repeats(seed, clusters):
    rows = clouds(seed, each=8)
    counts = np.random.default_rng(seed).integers(0, 5, len(rows))
    recipe = KMeans(clusters, seed=seed)
    weighted, repeated = recipe.fit(rows, counts), recipe.fit(np.repeat(rows, counts, axis=0))
    np.testing.assert_allclose(weighted.centres, repeated.centres, rtol=1e-4, atol=1e-4)
    tokens = np.repeat(rows, counts, axis=0)
    assert spread_of(rows, weighted, counts) == pytest.approx(spread_of(tokens, weighted))


def test_centres_are_the_means_of_their_rows():
    rows = clouds(1)
    book = KMeans(5).fit(rows)
    chosen = book.assign(rows)
    for at in range(5):
        np.testing.assert_allclose(book.centres[at], rows[chosen == at].mean(axis=0), rtol=1e-4, atol=1e-4)


def test_it_is_as_good_as_scikit_learns():
    from sklearn.cluster import KMeans as Theirs

    rows, weights = clouds(2, clusters=12), np.random.default_rng(0).integers(1, 9, 240)
    ours = min(spread_of(rows, KMeans(12, seed=seed).fit(rows, weights), weights) for seed in range(4))
    theirs = Theirs(12, n_init=4, random_state=0).fit(rows, sample_weight=weights).inertia_ / weights.sum()
    assert ours <= theirs * 1.02


def test_more_rounds_never_cost_more():
    rows = clouds(3, clusters=10)
    costs = [spread_of(rows, KMeans(8, rounds=rounds).fit(rows)) for rounds in (1, 2, 4, 8, 16)]
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(costs))


def test_a_centre_that_nobody_chose_moves():
    from lightmeter.encoders.codebook import _fill_empty

    chosen, cost = np.array([0, 0, 0, 2]), np.array([1.0, 9.0, 2.0, 50.0])
    _fill_empty(chosen, cost, 4)
    assert chosen.tolist() == [0, 1, 3, 2], "the dearest row that leaves company behind goes first"


def test_as_many_clusters_as_rows():
    rows = np.eye(4, dtype=np.float32)
    book = KMeans(4).fit(rows)
    assert sorted(map(tuple, book.centres.tolist())) == sorted(map(tuple, rows.tolist()))
    with pytest.raises(InvalidValueError, match="at least 5 different ones"):
        KMeans(5).fit(np.concatenate([rows, rows]))
    with pytest.raises(InvalidValueError, match="at least 1 different"):
        KMeans(1).fit(rows, np.zeros(4))


def test_nearest_by_either_metric_is_the_slow_ones():
    chance = np.random.default_rng(4)
    book, rows = Codebook(chance.normal(size=(40, 30)).astype(np.float32)), chance.normal(size=(500, 30))
    apart = rows[:, None] - book.centres
    l1, l2 = np.abs(apart).sum(axis=2).argmin(axis=1), (apart**2).sum(axis=2).argmin(axis=1)
    assert (book.assign(rows, "l1") == l1).all()
    assert (book.assign(rows, "l2") == l2).all()
    assert 0.05 < (l1 != l2).mean() < 0.6, "which one is asked for matters"
    by_one = np.concatenate([book.assign(row[None], "l1") for row in rows[:20]])
    assert (by_one == l1[:20]).all()


def test_equal_centres_go_to_the_lowest():
    book = Codebook(np.array([[1, 0], [-1, 0]], np.float32))
    assert book.assign(np.zeros((1, 2)), "l1").tolist() == book.assign(np.zeros((1, 2)), "l2").tolist() == [0]


def test_same_seed_same_bits():
    rows = clouds(5)
    np.testing.assert_array_equal(KMeans(7, seed=3).fit(rows).centres, KMeans(7, seed=3).fit(rows).centres)
    assert (KMeans(7, seed=3).fit(rows).centres != KMeans(7, seed=4).fit(rows).centres).any()


def test_saved_loaded_and_forged(tmp_path):
    book = KMeans(3).fit(clouds(6))
    book.save(tmp_path, vectors="glove")
    np.testing.assert_array_equal(Codebook.load(tmp_path).centres, book.centres)
    arrays, about = load_model(tmp_path)
    assert about["vectors"] == "glove"
    for change in ({"clusters": 4}, {"dim": 4}, {"kind": "knn"}):
        save_model(tmp_path, arrays, about | change)
        with pytest.raises(RejectedFileError):
            Codebook.load(tmp_path)


@pytest.mark.parametrize(
    ("rows", "weights", "match"),
    [
        (np.zeros(3), None, r"rows must be \[N, D\]"),
        (np.full((3, 2), np.nan), None, "rows must be finite"),
        (np.ones((3, 2)), np.array([1, -1, 1]), "0 or more"),
        (np.ones((3, 2)), np.ones(2), "weights must be"),
    ],
)
def test_bad_rows_are_refused(rows, weights, match):
    with pytest.raises(InvalidValueError, match=match):
        KMeans(2).fit(rows, weights)


def test_bad_options_are_refused():
    with pytest.raises(InvalidValueError, match="at least 1"):
        KMeans(0)
    with pytest.raises(InvalidValueError, match="metric must be l1 or l2"):
        Codebook(np.zeros((1, 2), np.float32)).assign(np.zeros((1, 2)), "cosine")
