"""The fast probabilistic network: by hand, against the obvious version, and against what its kernel must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pnn_reference import density, scores

from lightmeter.errors import InvalidValueError
from lightmeter.heads.pnn import FourierPnn, FourierPnnModel
from lightmeter.parts import build

TWO = np.array([[-1.0], [-1.0], [1.0], [1.0]]), np.array([0, 0, 1, 1])


def mixture(seed, rows, dim, classes, apart=1.0):
    centres = np.random.default_rng(99).standard_normal((classes, dim)) * apart
    drawn = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), drawn.integers(0, classes, rows - classes)])
    return (centres[y] + drawn.standard_normal((rows, dim))).astype(np.float32), y


def test_is_rebuilt_by_its_spec():
    for recipe in (FourierPnn(), FourierPnn(scale=1.0, weights="fejer", sequential=True, ratio=0.8)):
        assert build(recipe.spec, "head") == recipe


def test_worked_by_hand():
    # mean 0, deviation 1: half the z-score puts class 0 at −½ and class 1 at ½; J = 3, w = (¾, ½, ¼)/3
    model = FourierPnn(scale=0.5).fit(*TWO)
    # at ½: class 1 ½ + ¼ + 1/6 + 1/12 = 1; class 0, π away: ½ − ¼ + 1/6 − 1/12 = 1/3
    # at 0: both are π/2 away, cosines 0, −1, 0: ½ − 1/6 = 1/3. At 7: clipped to ½
    at = np.array([[1.0], [-1.0], [0.0], [7.0]])
    third = math.log(1 / 3)
    np.testing.assert_allclose(model.scores(at), [[third, 0], [0, third], [third, third], [third, 0]], atol=1e-6)
    assert model.predict(at).tolist()[:2] == [1, 0]
    assert model.macs == 2 * 3 * 1 * 2
    # the density itself: ½ + ¾ + ½ + ¼ = 2 at home, ½ − ¾ + ½ − ¼ = 0 away, held at 1e-8
    fejer = FourierPnn(scale=0.5, weights="fejer").fit(*TWO)
    np.testing.assert_allclose(fejer.scores(at[:1]), [[math.log(1e-8), math.log(2)]], rtol=1e-2)


def test_equal_scores_go_to_the_lowest_class():
    assert FourierPnn().fit(np.zeros((4, 3)), np.array([2, 1, 1, 2])).predict(np.ones((2, 3))).tolist() == [1, 1]


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(2, 5), st.sampled_from(["published", "fejer"]),
    st.sampled_from([0.2, 0.33, 1.0]), st.booleans(),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_it_is_the_obvious_version(seed, dim, classes, weights, scale, sequential):
    x, y = mixture(seed, 12, dim, classes)
    queries, _ = mixture(seed + 1, 6, dim, classes)
    model = FourierPnn(scale=scale, weights=weights, sequential=sequential, ratio=0.95).fit(x, y)
    found, macs = model.scores_and_macs(queries[:3])
    for at in range(3):
        ratio = 0.95 if sequential else None
        expected, pairs = scores(
            queries[at].tolist(), x.tolist(), y.tolist(), scale=scale, weights=weights, ratio=ratio
        )  # fmt: skip
        # near the floor of 1e-8, float32 sums of terms near 1 decide what is left: a thousandth a feature is theirs
        floor = 1e-4 if weights == "published" else 0.3 * dim
        np.testing.assert_allclose(found[at], expected, rtol=1e-4, atol=floor)
        if weights == "published":
            assert macs[at] == pairs * model.coefficients.shape[2]


@pytest.mark.parametrize("own", [[0.0], [-0.4, 0.1, 0.1]])
def test_fejers_weights_make_a_density(own):
    # a Fourier series over a period of 2 whose mean is ½: it integrates to 1, and Fejér's kernel is never negative
    at = np.linspace(-1, 1, 401)[:-1]
    p = np.array([density(z, own, 7, "fejer") for z in at])
    assert p.mean() * 2 == pytest.approx(1, abs=1e-6)
    squares = [(np.sin(4 * np.pi * (at - t)) / np.sin(np.pi * (at - t) / 2 + 1e-300)) ** 2 / 16 for t in own]
    usable = np.all([np.abs(at - t) > 1e-6 for t in own], axis=0)
    np.testing.assert_allclose(p[usable], np.mean(squares, axis=0)[usable], atol=1e-6)
    published = np.array([density(z, own, 7, "published") for z in at])
    np.testing.assert_allclose(published, (1 - 1 / 7) / 2 + p / 7, atol=1e-7)


def test_scores_of_a_batch_are_those_of_its_rows_however_it_is_cut(monkeypatch):
    x, y = mixture(0, 80, 50, 4)
    for sequential in (False, True):
        model = FourierPnn(sequential=sequential).fit(x, y)
        whole, spent = model.scores_and_macs(x)
        for at in (0, 33):
            alone, macs = model.scores_and_macs(x[at : at + 1])
            np.testing.assert_allclose(alone[0], whole[at], rtol=1e-5, atol=1e-5)
            assert macs[0] == spent[at]
        monkeypatch.setattr("lightmeter.heads.pnn._MOST_AT_ONCE", 999)
        np.testing.assert_allclose(model.scores(x), whole, rtol=1e-5, atol=1e-5)


def test_sequential_spends_less_and_agrees():
    x, y = mixture(1, 300, 256, 20)
    queries, truth = mixture(2, 100, 256, 20)
    plain, short = (FourierPnn(sequential=each).fit(x, y) for each in (False, True))
    _, spent = short.scores_and_macs(queries)
    assert spent.mean() < 0.5 * plain.macs
    assert (plain.scores_and_macs(queries)[1] == plain.macs).all()
    assert (plain.predict(queries) == truth).mean() > 0.95
    assert (short.predict(queries) == plain.predict(queries)).mean() > 0.95
    assert np.isneginf(short.scores(queries)).any(axis=1).all()
    assert np.isfinite(short.scores(queries)).any(axis=1).all()


def test_size_depends_on_classes_and_not_on_rows():
    few, many = (FourierPnn().fit(*mixture(3, rows, 10, 5)) for rows in (50, 135))
    assert few.size_bytes == many.size_bytes
    assert few.macs == 2 * 3 * 10 * 5
    assert FourierPnn().fit(*mixture(3, 5 * 64, 10, 5)).macs == 2 * 4 * 10 * 5


def test_classes_without_rows_and_features_that_never_vary():
    x, y = mixture(4, 40, 6, 2, apart=3.0)
    model = FourierPnn().fit(x, y * 2)
    assert np.isneginf(model.scores(x)[:, 1]).all()
    assert set(model.predict(x).tolist()) <= {0, 2}
    constant = np.concatenate([x, np.full((40, 2), 0.1, np.float32)], axis=1)
    padded = FourierPnn().fit(constant, y * 2)
    moved = constant + np.array([0] * 6 + [5] * 2, np.float32)
    # each adds the same to all classes: the differences between classes are as before
    for rows in (constant, moved):
        np.testing.assert_allclose(
            np.diff(padded.scores(rows)[:, ::2]), np.diff(model.scores(x)[:, ::2]), rtol=1e-3, atol=1e-3
        )
    one = FourierPnn(sequential=True).fit(x, np.zeros(40, int))
    assert one.predict(x).tolist() == [0] * 40


def test_what_is_kept_scores_alike(tmp_path):
    x, y = mixture(5, 40, 33, 3)
    model = FourierPnn(sequential=True, scale=0.2).fit(x, y)
    model.save(tmp_path)
    again = FourierPnnModel.load(tmp_path)
    assert again.recipe == model.recipe
    assert np.array_equal(again.scores(x), model.scores(x))


def test_what_is_wrong_is_said():
    for options, text in [
        ({"scale": 0.0}, "scale must be above 0"),
        ({"ratio": 1.0}, "ratio must be above 0 and below 1"),
    ]:
        with pytest.raises(InvalidValueError, match=text):
            FourierPnn(**options)
    with pytest.raises(InvalidValueError, match=r"y must be \[2\], got \[3\]"):
        FourierPnn().fit(np.ones((2, 2)), np.zeros(3, int))
    with pytest.raises(InvalidValueError, match="x must be finite"):
        FourierPnn().fit(np.full((2, 2), np.nan), np.zeros(2, int))
    with pytest.raises(InvalidValueError, match=r"x must be \[N, 1\], got \[1, 2\]"):
        FourierPnn().fit(*TWO).scores(np.ones((1, 2)))
