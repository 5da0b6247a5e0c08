"""Selections: each by hand, against a slow version or scikit-learn, and the laws of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_material import GivenMaterial, drawn, grey
from sklearn.cluster import KMeans
from sklearn.neighbors import LocalOutlierFactor

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Condenser
from lightmeter.condense.selecting.by_class import classes_of
from lightmeter.condense.selecting.centroid import Centroid, mean_picture
from lightmeter.condense.selecting.herding import Herding, herd
from lightmeter.condense.selecting.k_center import KCenter, spread
from lightmeter.condense.selecting.k_medoid import KMedoid
from lightmeter.condense.selecting.lowest_loss import LowestLoss
from lightmeter.condense.selecting.random_rows import Random
from lightmeter.errors import InvalidValueError
from lightmeter.parts import build

KEEPS = [
    Random(), Herding(), Herding("pixels", unit=False), KCenter(), KCenter(outliers=0.2), KMedoid(starts=2),
    KMedoid("latents", unit=False, outliers=0.1, starts=2), KMedoid(how="mini-batch", components=2, starts=2),
    LowestLoss(),
]  # fmt: skip
ALL = [*KEEPS, Centroid(starts=2), Centroid("teacher", unit=True, outliers=0.2, starts=2)]


def line(*values):
    return np.array(values, np.float32)[:, None]


def one_class(*values, losses=None):
    rows = line(*values)
    material = GivenMaterial(grey([0] * len(rows)), dict.fromkeys(("teacher", "pixels"), rows))
    material.given_losses = None if losses is None else np.array(losses, np.float32)
    return material


@pytest.mark.parametrize("condenser", ALL, ids=lambda each: each.spec)
class TestEveryOne:
    def test_is_rebuilt_by_its_spelling(self, condenser):
        assert build(condenser.spec, "condenser") == condenser
        assert isinstance(condenser, Condenser)

    @settings(max_examples=5)
    @given(seed=st.integers(0, 999), per_class=st.integers(1, 12))
    def test_gives_as_many_as_asked_for(self, condenser, seed, per_class):
        material = drawn(seed, per_class=12)
        made = condenser.condense(material, per_class, seed=seed)
        assert made.labels.tolist() == np.repeat(np.arange(3), per_class).tolist()
        assert made.notes == () or all("outliers" in note for note in made.notes)
        for label, own in zip(made.labels, made.members, strict=bool(made.members)):
            assert (material.images.labels[own] == label).all()
        stood = np.concatenate(made.members) if made.members else np.zeros(0)
        assert len(set(stood.tolist())) == len(stood), "nothing is stood for twice"
        if condenser.makes:
            assert made.rows is None
            for picture, own in zip(made.images, made.members, strict=True):
                np.testing.assert_array_equal(picture, np.rint(material.images.images[own].mean(axis=0)))
        else:
            assert len(set(made.rows.tolist())) == 3 * per_class
            np.testing.assert_array_equal(made.images, material.images.images[made.rows])
            np.testing.assert_array_equal(made.labels, material.images.labels[made.rows])
            assert all(row in own for row, own in zip(made.rows, made.members, strict=bool(made.members)))

    def test_says_the_same_twice(self, condenser):
        one, again = (condenser.condense(drawn(5), 4, seed=3) for _ in range(2))
        np.testing.assert_array_equal(one.images, again.images)
        assert [each.tolist() for each in one.members] == [each.tolist() for each in again.members]

    def test_small_and_empty_classes_are_said(self, condenser):
        labels = [0] * 30 + [2] * 3 + [3] * 30 + [4] * 3
        rows = np.random.default_rng(0).normal(size=(66, 4)).astype(np.float32)
        kinds = dict.fromkeys(("teacher", "pixels", "latents"), rows)
        material = GivenMaterial(grey(labels, ["ant", "bee", "cat", "dog", "eel"]), kinds, rows[:, 0])
        made = condenser.condense(material, 5, seed=0)
        assert np.bincount(made.labels).tolist() == [5, 0, 3, 5, 3]
        assert made.notes[:2] == (
            "bee: 5 pictures a class were asked for, there are none",
            "cat, eel: 5 pictures a class were asked for, there are 3",
        )
        np.testing.assert_array_equal(made.images[5:8], material.images.images[30:33])

    def test_refuses_none(self, condenser):
        with pytest.raises(InvalidValueError, match="per_class must be 1 or more, got 0"):
            condenser.condense(drawn(0), 0, seed=0)


def test_random_is_a_draw_and_its_beginning():
    material = drawn(0, classes=2, per_class=30)
    ten, five = (set(Random().condense(material, count, seed=1).rows.tolist()) for count in (10, 5))
    assert five < ten
    other = set(Random().condense(material, 10, seed=2).rows.tolist())
    assert other != ten
    counts = np.bincount(
        np.concatenate([Random().condense(material, 3, seed=seed).rows for seed in range(400)]), minlength=60
    )
    assert counts.min() >= 15, "each is drawn about 40 times in 400"
    assert counts.max() <= 70


def test_herding_by_hand():
    """Mean 3. First 2, as near as 4 and before it; then 6 − 2 = 4; then 9 − 6 = 3, to which 1 is nearest; then 5."""
    assert herd(line(0, 1, 2, 4, 8), 5).tolist() == [2, 3, 1, 4, 0]


def test_herding_in_the_slowest_way():
    rows = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    mean, picked = rows.mean(axis=0, dtype=float), []
    for _ in range(12):
        left = [each for each in range(40) if each not in picked]
        picked.append(
            min(left, key=lambda each: np.linalg.norm(mean - rows[[*picked, each]].astype(float).mean(axis=0)))
        )
    assert herd(rows, 12).tolist() == picked


def test_herding_scales_features_when_told():
    material = one_class(1, 5, -1, 4, 4.5)
    assert Herding(unit=False).condense(material, 1, seed=0).rows.tolist() == [3], "mean 2.7"
    assert Herding().condense(material, 1, seed=0).rows.tolist() == [0], "1, 1, −1, 1, 1: mean 0.6, the first of four"


def test_k_center_by_hand():
    """Mean 4 of 0, 1, 3, 4, 12: row 3, then 12 (8 away), then 0 (4 away), then 1 (1 from 0; 3 is 1 from 4): row 1."""
    picked, owner = spread(line(0, 1, 3, 4, 12), 4)
    assert picked.tolist() == [3, 4, 0, 1]
    assert owner.tolist() == [2, 3, 0, 0, 1]
    assert spread(line(2, 2, 2), 3)[0].tolist() == [0, 1, 2], "equal rows go by row"


def test_k_center_covers_within_twice_the_best():
    rows = np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)
    picked, owner = spread(rows, 6)
    apart = np.linalg.norm(rows[:, None] - rows[picked], axis=2)
    np.testing.assert_array_equal(owner, apart.argmin(axis=1))
    reach = apart.min(axis=1).max()
    best = KMeans(6, n_init=10, random_state=0).fit(rows)
    another = np.linalg.norm(rows[:, None] - best.cluster_centers_, axis=2).min(axis=1).max()
    assert reach <= 2 * another


def test_k_center_leaves_outliers_out():
    values = [*np.linspace(0, 1, 29), 50.0]
    material = one_class(*values)
    assert 29 in KCenter(unit=False).condense(material, 2, seed=0).rows
    found = KCenter(unit=False, outliers=0.05).condense(material, 2, seed=0)
    assert 29 not in found.rows
    assert 29 not in np.concatenate(found.members)


def test_k_medoid_by_hand():
    found = KMedoid(unit=False).condense(one_class(0, 1, 2, 10, 12), 2, seed=0)
    assert sorted(found.rows.tolist()) == [1, 3]
    assert sorted(each.tolist() for each in found.members) == [[0, 1, 2], [3, 4]]


def test_k_medoid_is_scikit_learns_outliers_and_clusters():
    rows = np.random.default_rng(2).standard_t(2, size=(80, 6)).astype(np.float32)
    material = GivenMaterial(grey([0] * 80), {"latents": rows})
    found = KMedoid("latents", unit=False, outliers=0.1).condense(material, 5, seed=7)
    stays = np.flatnonzero(LocalOutlierFactor(n_neighbors=10, contamination=0.1).fit_predict(rows) == 1)
    theirs = KMeans(5, n_init=10, random_state=7).fit(rows[stays])
    for cluster, own in enumerate(found.members):
        np.testing.assert_array_equal(own, stays[theirs.labels_ == cluster])
        apart = ((rows[own] - theirs.cluster_centers_[cluster]) ** 2).sum(axis=1)
        assert found.rows[cluster] == own[apart.argmin()]


def test_lowest_loss_by_hand():
    found = LowestLoss().condense(one_class(0, 0, 0, 0, losses=[3, 1, 2, 1]), 3, seed=0)
    assert found.rows.tolist() == [1, 3, 2]


def test_centroids_by_hand():
    material = one_class(0, 1, 10, 13, 13)
    material.images = grey([0] * 5, values=[0, 1, 10, 13, 13])
    found = Centroid().condense(material, 2, seed=0)
    assert found.rows is None
    by_value = sorted(
        (int(image[0, 0, 0]), own.tolist()) for image, own in zip(found.images, found.members, strict=True)
    )
    assert by_value == [(0, [0, 1]), (12, [2, 3, 4])], "0.5 is rounded to even"


def test_a_mean_picture_does_not_overflow():
    white = np.full((3000, 1, 1, 3), 255, np.uint8)
    assert mean_picture(white, np.arange(3000)).tolist() == [[[255, 255, 255]]]


def test_what_too_few_inliers_leave_is_said():
    found = KMedoid(unit=False, outliers=0.5).condense(one_class(*range(12)), 10, seed=0)
    assert len(found) == 10
    assert found.notes == ("c0: 2 outliers were taken out and not 6, so that 10 pictures stay",)


def test_many_small_classes_are_one_sentence():
    material = drawn(0, classes=9, per_class=2)
    notes = Random().condense(material, 5, seed=0).notes
    assert notes == ("c0, c1, c2, c3, c4 and 4 more: 5 pictures a class were asked for, there are 2",)


def test_thousands_of_classes():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3000), 3))
    images = ImageSet.of(np.zeros((9000, 1, 1, 1), np.uint8), labels, [f"c{each}" for each in range(3000)])
    rows = np.random.default_rng(1).normal(size=(9000, 4)).astype(np.float32)
    assert [label for label, own in classes_of(images) if len(own) == 3] == list(range(3000))
    found = Herding().condense(GivenMaterial(images, {"teacher": rows}), 2, seed=0)
    assert len(set(found.rows.tolist())) == 6000


@pytest.mark.parametrize("wrong", ["k-center/outliers=0.6", "k-medoid/outliers=-0.1", "centroid/outliers=2.0"])
def test_wrong_shares_are_refused(wrong):
    with pytest.raises(InvalidValueError, match="outliers must be 0 to 0.5"):
        build(wrong, "condenser")
