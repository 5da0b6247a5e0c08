"""GAP, Hit@1, PERR and mAP: worked by hand, equal to their definitions and scikit-learn, blind to shards and order."""

from __future__ import annotations

import math

import numpy as np
import pytest
import video_metrics_reference as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.ranking import VideoScores, quality_by_group
from lightmeter.types import Labels


def labels_of(truth):
    return Labels.of([np.flatnonzero(row).tolist() for row in truth], truth.shape[1])


def scored(scores, truth, top=20, batch=10**6):
    made = VideoScores(scores.shape[1], top)
    for start in range(0, len(scores), batch):
        made.update(scores[start : start + batch], labels_of(truth[start : start + batch]))
    return made


def drawn(seed, videos=40, classes=60, levels=10**6, rate=0.06):
    rng = np.random.default_rng(seed)
    truth = rng.random((videos, classes)) < rate * np.linspace(2, 0, classes)
    scores = 1 / (1 + np.exp(-(rng.normal(-2, 1.5, truth.shape) + 3 * truth)))
    return (np.round(scores * levels) / levels).astype(np.float32), truth


def test_three_videos_by_hand():
    # top 2 of each; video 2 has no label, class 3 none either; one of the labels of video 0 is cut off
    scores = np.array([[0.9, 0.5, 0.1, 0.0], [0.8, 0.6, 0.2, 0.0], [0.0, 0.7, 0.0, 0.4]], np.float32)
    labels = Labels.of([[0, 2], [1], []], 4)
    got = VideoScores(4, top=2).update(scores, labels).result()
    # ranking: .9 hit, .8, .7, .6 hit, .5, .4 -> (1/1 + 2/4) / 3 labels
    assert got.gap == got.gap_best == got.gap_worst == pytest.approx((1 + 2 / 4) / 3)
    assert got.hit_at_1 == pytest.approx(1 / 3)
    assert got.perr == pytest.approx((1 / 2 + 0 + 0) / 3)  # video 0: classes 0 and 1 for labels 0 and 2
    # class 0: .9 hit, .8 -> 1; class 1: .7, .6 hit, .5 -> 1/2; class 2: never among the top 2 -> 0; class 3 left out
    assert got.map == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert (got.videos, got.labels, got.tied_cuts) == (3, 3, 0)


def test_ties_by_hand():
    # two videos, both 0.5 at class 0, one is right: (1 + 1/2) / 2; class 1 of both 0: below, in any order
    scores = np.array([[0.5, 0.0], [0.5, 0.0]], np.float32)
    got = VideoScores(2).update(scores, Labels.of([[0], []], 2)).result()
    assert (got.gap, got.gap_best, got.gap_worst) == (pytest.approx(0.75), pytest.approx(1), pytest.approx(0.5))
    assert got.map == pytest.approx(0.75)
    # within a video the lowest class goes first, and an answer of 0 is none
    got = VideoScores(3, top=1).update(np.array([[0.5, 0.5, 0.0]], np.float32), Labels.of([[1]], 3)).result()
    assert (got.gap, got.hit_at_1, got.perr, got.tied_cuts) == (0, 0, 0, 1)
    got = VideoScores(3).update(np.array([[0.5, 0.0, 0.0]], np.float32), Labels.of([[0, 1]], 3)).result()
    # the second label and class 2 share ranks 2 and 3: precision 2/2 or 2/3
    assert (got.gap, got.perr) == (pytest.approx((1 + (1 + 2 / 3) / 2) / 2), 0.5)


def test_more_labels_than_are_kept():
    scores, truth = drawn(5, rate=0.6)
    assert truth.sum(axis=1).max() > 30
    for top in (1, 20):
        assert scored(scores, truth, top).result().perr == pytest.approx(reference.perr(scores, truth), rel=1e-12)


def test_nothing_is_nan_not_zero():
    empty = VideoScores(3).result()
    assert all(math.isnan(each) for each in (empty.gap, empty.hit_at_1, empty.perr, empty.map))
    assert (empty.videos, empty.labels) == (0, 0)
    assert empty.as_json()["gap"] is None
    unlabelled = VideoScores(3).update(np.full((2, 3), 0.5, np.float32), Labels.of([[], []], 3)).result()
    assert math.isnan(unlabelled.gap)
    assert math.isnan(unlabelled.map)
    assert (unlabelled.hit_at_1, unlabelled.perr) == (0, 0)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 20, 100]), st.sampled_from([2, 10, 10**6]))
@settings(max_examples=30, deadline=None)
def test_it_is_the_definition(seed, top, levels):
    scores, truth = drawn(seed, videos=12, classes=30, levels=levels)
    got = scored(scores, truth, top).result()
    if not truth.any():
        return
    assert got.gap_best == pytest.approx(reference.gap(scores, truth, top, reference.lucky), rel=1e-12)
    assert got.gap_worst == pytest.approx(reference.gap(scores, truth, top, reference.unlucky), rel=1e-12)
    assert got.gap_worst - 1e-12 <= got.gap <= got.gap_best + 1e-12
    assert got.hit_at_1 == pytest.approx(reference.hit_at_1(scores, truth), rel=1e-12)
    assert got.perr == pytest.approx(reference.perr(scores, truth), rel=1e-12)
    best = reference.mean_average_precision(scores, truth, top, reference.lucky)
    worst = reference.mean_average_precision(scores, truth, top, reference.unlucky)
    assert worst - 1e-12 <= got.map <= best + 1e-12
    if best == worst:
        assert got.map == pytest.approx(best, rel=1e-12)


def test_the_expected_gap_is_the_mean_over_orders():
    scores, truth = drawn(1, levels=8)
    got = scored(scores, truth).result()
    seen = [reference.gap(scores, truth, order=lambda pairs, at=at: reference.shuffled(pairs, at)) for at in range(200)]
    assert abs(got.gap - np.mean(seen)) < 4 * np.std(seen) / np.sqrt(len(seen))
    assert got.gap_worst < got.gap < got.gap_best


def test_it_is_scikit_learns_average_precision_of_the_pool():
    from sklearn.metrics import average_precision_score

    scores, truth = drawn(2, videos=300, classes=200)
    kept = scored(scores, truth).kept()
    captured = average_precision_score(kept.hits.ravel(), kept.values.ravel()) * kept.hits.sum() / truth.sum()
    assert len(np.unique(kept.values)) < kept.values.size  # scikit-learn groups equals; here they are rare
    got = scored(scores, truth)
    assert got.result().gap == pytest.approx(captured, abs=2e-4)
    distinct = np.argsort(np.argsort(scores, axis=None)).reshape(scores.shape).astype(np.float32) / scores.size
    kept = scored(distinct, truth).kept()
    captured = average_precision_score(kept.hits.ravel(), kept.values.ravel()) * kept.hits.sum() / truth.sum()
    assert scored(distinct, truth).result().gap == pytest.approx(captured, rel=1e-12)
    # without the cut at 20 the pool is all pairs: micro average precision, another number
    micro = average_precision_score(truth.ravel(), distinct.ravel())
    assert scored(distinct, truth, top=200).result().gap == pytest.approx(micro, rel=1e-12)
    assert micro != pytest.approx(captured, rel=1e-4)
    macro = average_precision_score(truth[:, truth.any(axis=0)], distinct[:, truth.any(axis=0)], average="macro")
    assert scored(distinct, truth, top=200).result().map == pytest.approx(macro, rel=1e-12)


def test_shards_merged_are_the_whole_bit_for_bit():
    scores, truth = drawn(3, videos=90, levels=50)
    whole = scored(scores, truth)
    parts = [scored(scores[some], truth[some], batch=7) for some in (slice(0, 31), slice(31, 32), slice(32, 90))]
    assert parts[0].merge(parts[1]).merge(parts[2]).result() == whole.result()
    assert parts[2].merge(VideoScores(60)).merge(parts[0]).merge(parts[1]).result() == whole.result()
    assert len(parts[0]) == 31  # what was merged stays as it was


def test_the_order_of_videos_is_of_no_consequence():
    scores, truth = drawn(4, videos=80, levels=30)
    mixed = np.random.default_rng(0).permutation(80)
    assert scored(scores[mixed], truth[mixed]).result() == scored(scores, truth).result()
    assert scored(scores, truth).take(mixed).result() == scored(scores, truth).result()


def test_each_group_is_a_set_of_its_own():
    scores, truth = drawn(7, videos=50)
    patterns = np.where(np.arange(50) % 3 == 0, "VA", "V")
    made = quality_by_group(scored(scores, truth), patterns.tolist())
    assert list(made) == ["V", "VA"]
    for name, quality in made.items():
        assert quality == scored(scores[patterns == name], truth[patterns == name]).result()
    with pytest.raises(InvalidValueError, match=r"groups must be \[50\]"):
        quality_by_group(scored(scores, truth), ["V"] * 49)


def test_a_state_is_the_scores():
    scores, truth = drawn(6, rate=0.4)
    whole = scored(scores, truth, batch=9)
    state = whole.state()
    back = VideoScores.from_state(state)
    assert back.result() == whole.result()
    assert back.merge(whole).result().videos == 80
    np.testing.assert_array_equal(back.kept().hits, whole.kept().hits)
    assert state["classes"].dtype == np.int16
    wide = VideoScores(40_000).update(np.full((1, 40_000), 0.5, np.float32), Labels.of([[39_999]], 40_000))
    assert wide.state()["classes"].dtype == np.int32
    assert VideoScores.from_state(wide.state()).result() == wide.result()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values": None}, "must hold"),
        ({"values": np.full((40, 20), 2, np.float32)}, "in range"),
        ({"classes": np.full((40, 20), 60, np.int16)}, "in range"),
        ({"found": np.full(40, 99, np.int32)}, "in range"),
        ({"tied": np.zeros(39, bool)}, r"tied must be \[40\]"),
        ({"classes": np.zeros((40, 20), np.int32)}, "int16"),
    ],
)
def test_a_forged_state_is_refused(change, said):
    state = scored(*drawn(6)).state() | change
    state = {name: array for name, array in state.items() if array is not None}
    with pytest.raises(InvalidValueError, match=said):
        VideoScores.from_state(state)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (
            np.array([[-4.0, 12.0, 0.0]]),
            r"must be 0 to 1, got -4 to 12: pass probabilities; logits .* their order is lost",
        ),
        (np.array([[0.5, 1.01, 0.0]]), "must be 0 to 1"),
        (np.array([[0.5, np.nan, 0.0]]), "got NaN"),
        (np.array([[0.5, 0.5]]), r"\[1, 2\]"),
    ],
)
def test_what_it_refuses(scores, said):
    with pytest.raises(InvalidValueError, match=said):
        VideoScores(3).update(scores.astype(np.float32), Labels.of([[0]], 3))


def test_it_holds_labels_to_the_scores():
    with pytest.raises(InvalidValueError, match="labels must be of 2 videos and 3 classes, got 1 and 3"):
        VideoScores(3).update(np.zeros((2, 3), np.float32), Labels.of([[0]], 3))
    with pytest.raises(InvalidValueError, match="scores to merge must be of 3 classes"):
        VideoScores(3).merge(VideoScores(4))
    with pytest.raises(InvalidValueError, match="at least 1"):
        VideoScores(3, top=0)


def test_a_saturated_sigmoid_is_seen_in_the_bounds():
    rng = np.random.default_rng(0)
    truth = rng.random((200, 30)) < 0.1
    logits = rng.normal(0, 4, truth.shape) + 18 + 4 * truth
    saturated = (1 / (1 + np.exp(-logits.astype(np.float32)))).astype(np.float32)
    got = scored(saturated, truth).result()
    ranked = (np.argsort(np.argsort(logits, axis=None)).reshape(truth.shape) / truth.size).astype(np.float32)
    assert got.gap_best - got.gap_worst > 0.2
    assert got.tied_cuts > 0
    assert scored(ranked, truth).result().gap > got.gap + 0.05


def million_videos(videos, top=20, classes=4716, batch=50_000):
    """A state as of so many videos: falling scores, hits the likelier the higher, a third of the labels beyond."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(videos // batch):
        values = np.sort(rng.random((batch, top), np.float32) ** 6, axis=1)[:, ::-1].copy()
        found = (rng.integers(0, classes // top, (batch, top)) * top + np.arange(top)).astype(np.int16)
        hits = rng.random((batch, top), np.float32) < values * 0.6
        labels = Labels.of([own[hit].tolist() for own, hit in zip(found, hits, strict=True)], classes)
        parts.append({"values": values, "classes": found, "offsets": labels.offsets, "labels": labels.classes})
    return parts


@pytest.mark.slow
def test_1_4_million_videos_take_seconds_and_little_memory():
    import time
    import tracemalloc

    tracemalloc.start()
    whole = VideoScores(4716)
    for part in million_videos(1_400_000):
        rest = {"found": np.zeros(50_000, np.int32), "tied": np.zeros(50_000, bool)}
        whole = whole.merge(VideoScores.from_state({"shape": np.array([4716, 20]), **part, **rest}))
    tracemalloc.reset_peak()
    start = time.process_time()
    gap, best, worst = whole.gap()
    spent = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    precisions = whole.average_precisions()
    later = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spent <= 5
    assert peak <= 600e6
    assert later <= 700e6
    assert worst <= gap <= best
    kept = whole.kept()
    commonest = int(whole.label_counts().argmax())
    for mine, got in ((kept.classes >= 0, gap), (kept.classes == commonest, precisions[commonest])):
        values, hits = kept.values[mine], kept.hits[mine]
        ranks = np.flatnonzero(hits[np.argsort(-values, kind="stable")]) + 1
        slow = float(np.sum(np.arange(1, len(ranks) + 1) / ranks)) / hits.sum()
        assert got == pytest.approx(slow, abs=1e-5)
