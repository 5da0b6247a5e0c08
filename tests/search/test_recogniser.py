from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from lightmeter.errors import InvalidValueError
from lightmeter.parts import build
from lightmeter.search.fusion import FUSIONS, Pooling
from lightmeter.search.granular import Granular
from lightmeter.search.recogniser import UNKNOWN, Gallery, Recogniser, class_distances, named


def recogniser(vectors, labels, names, groups=None):
    vectors = np.asarray(vectors, np.float32)
    groups = np.arange(len(vectors)) if groups is None else np.asarray(groups)
    gallery = Gallery(vectors, np.asarray(labels, np.int64), tuple(names), groups)
    return Recogniser(gallery, Granular(metric="cosine").fit(vectors))


@pytest.fixture
def compass():
    """North twice, east, south-west; in the plane."""
    return recogniser([[0, 1], [0.1, 1], [1, 0], [-1, -1]], [0, 0, 1, 2], ["north", "east", "south-west"])


def test_worked_by_hand(compass):
    """The query (3, 4) / 5: 2 − 2·0.8 = 0.4 from (0, 1), less from (0.1, 1), 2 − 2·0.6 = 0.8 from east."""
    found = compass.recognise(np.array([[3.0, 4.0]]))
    nearer = 2 - 2 * (0.6 * 0.1 + 0.8) / np.sqrt(1.01)
    assert (found.label, found.guess, found.row, found.runner_up) == (0, 0, 1, 1)
    assert found.distance == pytest.approx(nearer)
    assert found.runner_up_distance == pytest.approx(0.8)
    assert found.confidence == pytest.approx(1 - nearer / 0.8)
    assert found.certificate.exact
    assert found.cpu_s > 0


def test_the_runner_up_is_found_behind_many_rows_of_one_class():
    rng = np.random.default_rng(0)
    crowd = np.array([1.0, 0]) + 0.01 * rng.standard_normal((50, 2))
    found = recogniser([*crowd, [0, 1]], [0] * 50 + [1], "ab").recognise(np.array([[1.0, 0.2]]))
    assert (found.guess, found.runner_up) == (0, 1)
    assert found.runner_up_distance == pytest.approx(2 - 2 * 0.2 / np.sqrt(1.04), rel=1e-5)


def test_one_class_has_no_runner_up():
    found = recogniser([[1, 0]], [0], ["only"]).recognise(np.array([[0.0, 1.0]]))
    assert (found.label, found.runner_up) == (0, UNKNOWN)
    assert np.isnan(found.confidence)
    assert named(found, ["only"])["confidence"] is None
    assert named(found, ["only"])["runner_up_distance"] is None


def test_a_track_is_put_together(compass):
    """Two frames point east, one north: the sum decides."""
    frames = np.array([[1, 0.1], [0, 1], [1, -0.1]])
    found = compass.recognise(frames)
    assert (found.guess, found.frames, found.row) == (1, 3, 2)
    assert compass.recognise(frames, fusion=Pooling()).guess == 1
    assert found.certificate.exact


def test_class_distances_by_hand():
    found = class_distances(np.array([[3.0, 1, 2], [0, 5, 4]]), np.array([1, 0, 1]), 3)
    assert found.tolist() == [[1, 2, np.inf], [5, 0, np.inf]]


def clustered(classes, per_class, dim=24, seed=0, noise=0.25):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, dim))
    labels = np.repeat(np.arange(classes), per_class)
    return centres, labels, centres[labels] + noise * rng.standard_normal((len(labels), dim))


def test_strangers_are_unknown_and_members_are_not():
    centres, labels, rows = clustered(30, 20)
    sure = recogniser(rows, labels, map(str, range(30))).with_unknown(risk=0.05)
    rng = np.random.default_rng(1)
    members = centres[labels[::7]] + 0.25 * rng.standard_normal((len(labels[::7]), 24))
    answers = [sure.recognise(row[None]) for row in members]
    assert np.mean([each.label == want for each, want in zip(answers, labels[::7], strict=True)]) > 0.9
    strangers = [sure.recognise(rng.standard_normal((1, 24))) for _ in range(100)]
    assert np.mean([each.label == UNKNOWN for each in strangers]) > 0.8
    assert all(each.guess >= 0 for each in strangers), "the guess stays there to be looked at"


def test_the_promised_risk_holds_on_fresh_queries():
    """Half of the queries are strangers: of those answered, at most the risk may be wrong."""
    wrong = answered = 0
    for seed in range(4):
        centres, labels, rows = clustered(40, 12, seed=seed, noise=0.7)
        known = labels < 20
        sure = recogniser(rows[known], labels[known], map(str, range(20))).with_unknown(risk=0.1, seed=seed)
        rng = np.random.default_rng(100 + seed)
        asked = rng.integers(40, size=150)
        for query, want in zip(centres[asked] + 0.7 * rng.standard_normal((150, 24)), asked, strict=True):
            found = sure.recognise(query[None])
            answered += found.label != UNKNOWN
            wrong += found.label not in (UNKNOWN, want)
    assert answered > 50
    assert binom.sf(wrong - 1, answered, 0.1) > 1e-3


def test_posteriors_are_shares(compass):
    """Distances of (3, 4) / 5: those worked above, and 2 − 2·(−1.4/√2) from south-west."""
    shares = compass.posteriors(np.array([[3.0, 4.0]]), n=2.0)[0]
    nearest = 2 - 2 * (0.6 * 0.1 + 0.8) / np.sqrt(1.01)
    weights = np.exp(-2 * np.array([nearest, 0.8, 2 + 2.8 / np.sqrt(2)]))
    np.testing.assert_allclose(shares, weights / weights.sum(), rtol=1e-5)


def test_two_searches_cost_both():
    """Eight nearest rows of one class: the runner-up takes a second search, and the certificate counts it."""
    rng = np.random.default_rng(0)
    crowd = np.concatenate([[1.0] * 50, rng.standard_normal(50) * 0.01]).reshape(2, 50).T
    made = recogniser([*crowd, [0, 1]], [0] * 50 + [1], "ab")
    found = made.recognise(np.array([[1.0, 0.2]]))
    alone = made.index.search(np.array([[1.0, 0.2]]), 8).certificates[0]
    assert found.certificate.bytes_read > alone.bytes_read


def test_copies_in_one_file_do_not_vouch_for_each_other():
    """Every file holds the same row twice: without groups each would find its copy and nothing would be wrong."""
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.standard_normal((200, 16)), 2, axis=0)
    labels = rng.integers(4, size=200).repeat(2)
    fooled = recogniser(rows, labels, "abcd").with_unknown(risk=0.2, outside=0.0)
    wary = recogniser(rows, labels, "abcd", np.arange(200).repeat(2)).with_unknown(risk=0.2, outside=0.0)
    assert fooled.rejection.answered > 100
    assert wary.rejection.answered == 0
    assert wary.recognise(rows[:1]).label == UNKNOWN


def test_refusals(compass):
    with pytest.raises(InvalidValueError, match="at least one frame"):
        compass.recognise(np.empty((0, 2)))
    with pytest.raises(InvalidValueError, match="outside must be 0 to 1"):
        compass.with_unknown(risk=0.1, outside=2)
    with pytest.raises(InvalidValueError, match="may miss: take `granular`"):
        Recogniser(compass.gallery, Granular(metric="cosine", kappa=0.5).fit(compass.gallery.vectors)).with_unknown(
            risk=0.1
        )
    with pytest.raises(InvalidValueError, match="3 classes or more"):
        recogniser([[1, 0], [0, 1]], [0, 1], "ab").with_unknown(risk=0.1)
    with pytest.raises(InvalidValueError, match=r"labels must be in 0\.\.0"):
        recogniser([[1, 0], [0, 1]], [0, 1], "a")


@pytest.mark.parametrize("spec", FUSIONS)
def test_every_fusion_has_what_it_needs(spec):
    centres, labels, rows = clustered(12, 6)
    found = recogniser(rows, labels, map(str, range(12))).recognise(
        centres[7] + 0.1 * np.random.default_rng(3).standard_normal((5, 24)), fusion=build(spec, "fusion")
    )
    assert found.guess == 7
    assert found.frames == 5 or spec == "early-map"


def test_an_exact_index_without_certificates_measured_everything(compass):
    plain = Recogniser(compass.gallery, build("brute/metric=cosine").fit(compass.gallery.vectors))
    certificate = plain.recognise(np.array([[3.0, 4.0]])).certificate
    assert (certificate.exact, certificate.refined) == (True, 4)
