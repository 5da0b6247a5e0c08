"""k-means: scikit-learn's to the bit, mini-batches nearly as good, equal rows, no empty cluster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from lightmeter.condense import clusters as module
from lightmeter.condense.clusters import Clusters, k_means
from lightmeter.condense.rows import RowsOf
from lightmeter.errors import InvalidValueError


def clouds(seed, clusters=5, each=40, dim=8, apart=4.0):
    chance = np.random.default_rng(seed)
    centres = chance.normal(0, apart, (clusters, dim))
    rows = np.repeat(centres, each, axis=0) + chance.normal(0, 1, (clusters * each, dim))
    return chance.permutation(rows).astype(np.float32)


def inertia(rows, found: Clusters):
    return sum(((rows[own] - centre) ** 2).sum() for own, centre in zip(found.members, found.centres, strict=True))


def holds(rows, found, count):
    """The laws of `Clusters`."""
    assert found.centres.shape == (count, rows.shape[1])
    assert found.centres.dtype == np.float32
    assert sorted(np.concatenate(found.members).tolist()) == list(range(len(rows)))
    assert all(len(own) and (np.diff(own) > 0).all() for own in found.members)
    assert len(set(found.medoids.tolist())) == count
    for own, medoid, centre in zip(found.members, found.medoids, found.centres, strict=True):
        apart = ((rows[own].astype(np.float64) - centre) ** 2).sum(axis=1)
        assert medoid == own[apart.argmin()]


def test_by_hand():
    rows = np.array([[0.0], [1.0], [2.0], [10.0], [12.0]])
    found = k_means(rows, 2, seed=0)
    order = np.argsort(found.centres[:, 0])
    assert found.centres[order, 0].tolist() == [1.0, 11.0]
    assert [found.members[each].tolist() for each in order] == [[0, 1, 2], [3, 4]]
    assert found.medoids[order].tolist() == [1, 3], "10 and 12 are as far: the first"


@pytest.mark.parametrize("seed", [0, 3])
def test_full_is_scikit_learns_to_the_bit(seed):
    rows = clouds(seed, apart=1.0)
    theirs = KMeans(7, n_init=10, random_state=seed).fit(rows)
    found = k_means(rows, 7, seed=seed)
    np.testing.assert_array_equal(found.centres, theirs.cluster_centers_)
    for cluster, own in enumerate(found.members):
        np.testing.assert_array_equal(own, np.flatnonzero(theirs.labels_ == cluster))
    holds(rows, found, 7)


@settings(max_examples=20)
@given(st.integers(0, 99), st.integers(1, 6), st.sampled_from(["full", "mini-batch"]), st.sampled_from([0, 2]))
def test_laws(seed, count, how, components):
    rows = clouds(seed, clusters=3, each=7, dim=4)
    found = k_means(rows, count, seed=seed, starts=2, how=how, components=components)
    holds(rows, found, count)
    if how == "mini-batch" or components:
        for own, centre in zip(found.members, found.centres, strict=True):
            np.testing.assert_allclose(centre, rows[own].mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["full", "mini-batch"])
@pytest.mark.parametrize("components", [0, 1])
def test_equal_rows_make_no_empty_cluster(how, components):
    same = np.ones((6, 3), np.float32)
    holds(same, k_means(same, 4, seed=0, how=how, components=components), 4)
    two = np.repeat([[0.0, 0.0], [5.0, 5.0]], 3, axis=0).astype(np.float32)
    found = k_means(two, 3, seed=0, how=how, components=components)
    holds(two, found, 3)
    assert sorted(map(len, found.members)) == [1, 2, 3]


def test_as_many_clusters_as_rows():
    rows = clouds(1, each=2)
    assert sorted(k_means(rows, 10, seed=0).medoids.tolist()) == list(range(10))


def test_mini_batches_of_a_sample_come_near(monkeypatch):
    monkeypatch.setattr(module, "MOST_FULL", 120)
    monkeypatch.setattr(module, "_MOST_A_BATCH", 50)
    rows = clouds(4, clusters=6, each=70, apart=2.0)
    best = KMeans(6, n_init=10, random_state=0).fit(rows).inertia_
    found = k_means(rows, 6, seed=0)
    assert inertia(rows, found) <= 1.02 * best
    few = k_means(rows[:120], 6, seed=0)
    np.testing.assert_array_equal(few.centres, KMeans(6, n_init=10, random_state=0).fit(rows[:120]).cluster_centers_)


def test_batches_move_centres_as_running_means():
    centres, weights = np.array([[0.0], [10.0]]), np.array([1.0, 3.0])
    module._move(centres, weights, np.array([[2.0], [4.0]]), np.array([0, 0]))
    assert centres.ravel().tolist() == [2.0, 10.0]
    assert weights.tolist() == [3.0, 3.0]


def test_components_leave_noise_out():
    chance = np.random.default_rng(0)
    signal = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], 20, axis=0)
    rows = np.concatenate([signal, chance.normal(0, 0.5, (60, 30))], axis=1).astype(np.float32)
    found = k_means(rows, 3, seed=0, components=2)
    assert sorted(tuple(own.tolist()) for own in found.members) == [
        tuple(range(start, start + 20)) for start in (0, 20, 40)
    ]


@pytest.mark.parametrize("how", ["full", "mini-batch"])
def test_rows_on_disk_in_half_precision(tmp_path, how):
    rows = clouds(2).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    at = np.arange(0, 200, 2)
    here, there = k_means(rows[at], 5, seed=1, how=how), k_means(RowsOf(mapped, at), 5, seed=1, how=how)
    np.testing.assert_array_equal(here.centres, there.centres)
    np.testing.assert_array_equal(here.medoids, there.medoids)


def test_the_seed_decides():
    rows = clouds(3, apart=0.5)
    for how in ("full", "mini-batch"):
        one, again, other = (k_means(rows, 9, seed=seed, starts=1, how=how) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one.centres, again.centres)
        assert not np.array_equal(one.centres, other.centres)


@pytest.mark.parametrize(
    ("count", "options", "what"),
    [(6, {}, "6 or more, got 5"), (0, {}, "count"), (2, {"how": "fast"}, "how"), (2, {"starts": 0}, "starts")],
)
def test_wrong_wishes_are_refused(count, options, what):
    with pytest.raises(InvalidValueError, match=what):
        k_means(np.zeros((5, 2)), count, seed=0, **options)
