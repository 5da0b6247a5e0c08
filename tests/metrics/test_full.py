"""Average precision without a cut: scikit-learn's where nothing ties, blind to shards and order."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.full import FullScores
from lightmeter.metrics.ranking import VideoScores
from lightmeter.types import Labels


def drawn(seed, videos=120, classes=15, levels=None):
    rng = np.random.default_rng(seed)
    truth = rng.random((videos, classes)) < 0.15
    truth[:, 4] = False
    logits = rng.normal(size=truth.shape) + 2 * truth
    scores = np.argsort(np.argsort(logits, axis=None)).reshape(truth.shape) / truth.size
    scores = scores if levels is None else np.floor(scores * levels) / levels
    return scores.astype(np.float32), truth, Labels.of([np.flatnonzero(row).tolist() for row in truth], classes)


def test_it_is_scikit_learns_where_nothing_ties():
    from sklearn.metrics import average_precision_score

    scores, truth, labels = drawn(0)
    got = FullScores(15).update(scores, labels).result()
    labelled = truth.any(axis=0)
    per_class = average_precision_score(truth[:, labelled], scores[:, labelled], average=None)
    np.testing.assert_allclose(got.per_class[labelled], per_class, rtol=1e-12)
    assert np.isnan(got.per_class[4])
    assert got.map == pytest.approx(per_class.mean(), rel=1e-12)
    assert got.micro == pytest.approx(average_precision_score(truth.ravel(), scores.ravel()), rel=1e-12)
    assert (got.videos, got.labels) == (120, truth.sum())


@pytest.mark.parametrize("levels", [None, 3])
def test_with_all_classes_kept_it_is_the_streamed_one(levels):
    scores, _, labels = drawn(1, levels=levels)
    full, kept = FullScores(15).update(scores, labels).result(), VideoScores(15, top=15).update(scores, labels)
    np.testing.assert_allclose(full.per_class, kept.average_precisions(), rtol=1e-12)
    assert full.micro == pytest.approx(kept.result().gap, rel=1e-12)
    cut = VideoScores(15, top=3).update(scores, labels).result().map
    assert cut < full.map  # what is cut off is missed


def test_shards_order_and_state():
    scores, _, labels = drawn(2, levels=10)
    whole = FullScores(15).update(scores, labels)
    mixed = np.random.default_rng(0).permutation(120)
    parts = [FullScores(15).update(scores[some], labels.take(some)) for some in np.array_split(mixed, 3)]
    for other in (parts[0].merge(parts[1]).merge(parts[2]), FullScores.from_state(whole.state())):
        got, expected = other.result(), whole.result()
        assert (got.map, got.micro, got.videos) == (expected.map, expected.micro, 120)
        np.testing.assert_array_equal(got.per_class, expected.per_class)
    assert len(parts[0]) == 40
    assert whole.size_bytes == 4 * 120 * 15
    assert np.isnan(whole.result(micro=False).micro)


def test_of_nothing_and_what_it_refuses():
    empty = FullScores(3).result()
    assert np.isnan(empty.map)
    assert np.isnan(empty.micro)
    with pytest.raises(InvalidValueError, match="logits"):
        FullScores(1).update(np.array([[2.0]], np.float32), Labels.of([[]], 1))
    with pytest.raises(InvalidValueError, match="scores to merge must be of 3 classes"):
        FullScores(3).merge(FullScores(4))
    with pytest.raises(InvalidValueError, match="lacks labels, offsets"):
        FullScores.from_state({"scores": np.zeros((2, 2), np.float32)})
