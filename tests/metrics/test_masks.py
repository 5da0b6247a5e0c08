"""Masks: cases by hand, against the obvious version, laws of merging, every threshold at once, intervals in pairs."""

from __future__ import annotations

import numpy as np
import pytest
from masks_reference import boundary_f as slow_boundary_f
from masks_reference import iou as slow_iou

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.boundaries import boundary, dilated
from lightmeter.metrics.masks import MaskScores, bins_of, compared_masks, lower_edges


def random_masks(seed, count=6, size=12):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, size, size)).astype(np.float32)
    masks = (rng.random((count, size, size)) < 0.4).astype(np.uint8)
    masks[rng.random(masks.shape) < 0.05] = 255
    masks[0] = 0
    return logits, masks


def test_by_hand():
    logits = np.full((2, 4, 4), -1, np.float32)
    logits[0, :2, :2] = 1  # four found
    masks = np.zeros((2, 4, 4), np.uint8)
    masks[0, :2, 1:3] = 1  # four true, two of them found
    masks[0, 0, 0] = 255  # a found one is not judged
    got = MaskScores().update(logits, masks).result()
    assert got.iou == 2 / 5  # found 3, true 4, both 2
    assert got.image_iou == (2 / 5 + 1) / 2, "nothing to find and nothing found is right"
    assert got.precision == 2 / 3
    assert got.recall == 2 / 4
    assert (got.height, got.width, got.pictures, got.threshold) == (4, 4, 2, 0.0)


def test_nothing_to_score_is_not_a_number():
    got = MaskScores().update(np.full((1, 2, 2), -1, np.float32), np.zeros((1, 2, 2), np.uint8))
    assert np.isnan(got.result().iou)
    assert got.result().as_json()["iou"] is None
    assert got.best_threshold()[0] == 0.0
    assert np.isnan(got.best_threshold()[1])


@pytest.mark.parametrize("tolerance_px", [0.0, 1.0, 1.5, 3.0])
def test_as_the_obvious_version(tolerance_px):
    logits, masks = random_masks(1)
    got = MaskScores(tolerance_px=tolerance_px).update(logits, masks).result()
    judged, truth, found = masks != 255, masks == 1, logits > 0
    both, either = slow_iou(found, truth, judged)
    edges = [slow_boundary_f(f, t, j, tolerance_px) for f, t, j in zip(found, truth, judged, strict=True)]
    assert got.iou == both / either
    assert got.boundary_f == pytest.approx(np.mean(edges), abs=1e-12)


def test_a_mask_cut_off_by_the_edge_ends_nowhere():
    masks = np.zeros((1, 4, 6), bool)
    masks[0, :, :3] = True
    assert boundary(masks)[0].sum(axis=0).tolist() == [0, 0, 4, 0, 0, 0]


@pytest.mark.parametrize("radius_px", [0.0, 1.0, 1.42, 2.0, 5.0])
def test_dilation_is_a_distance_transform(radius_px):
    from scipy.ndimage import distance_transform_edt

    masks = np.random.default_rng(2).random((3, 9, 14)) < 0.03
    masks[0] = False
    masks[1, 4, 4] = True
    for mask, made in zip(masks[1:], dilated(masks, radius_px)[1:], strict=True):
        np.testing.assert_array_equal(made, distance_transform_edt(~mask) <= radius_px if mask.any() else mask)
    assert not dilated(masks, radius_px)[0].any()


def test_shifting_a_mask_by_one_is_forgiven_within_the_tolerance():
    masks = np.zeros((1, 16, 16), np.uint8)
    masks[0, 4:12, 4:12] = 1
    logits = np.where(np.roll(masks, 1, axis=2) == 1, 1, -1).astype(np.float32)
    assert MaskScores(tolerance_px=1).update(logits, masks).result().boundary_f == 1.0
    assert MaskScores(tolerance_px=0).update(logits, masks).result().boundary_f < 0.8


def test_shards_are_the_whole():
    logits, masks = random_masks(3)
    whole = MaskScores().update(logits, masks)
    parts = MaskScores().update(logits[:2], masks[:2]).merge(MaskScores().update(logits[2:], masks[2:]))
    assert parts.result() == whole.result()
    assert parts.best_threshold() == whole.best_threshold()
    again = MaskScores.from_state(whole.state())
    assert again.result() == whole.result()
    assert again.best_threshold() == whole.best_threshold()
    assert MaskScores().merge(whole).result() == whole.result()


def test_every_threshold_is_exact():
    logits, masks = random_masks(4)
    logits = np.round(logits * 8) / 8  # many fall on thresholds: found is above, not at
    scores = MaskScores().update(logits, masks)
    thresholds, ious = scores.curve()
    for at in [*np.searchsorted(thresholds[128:-128], [-2.5, -1, -0.125, 0, 0.5, 1.0, 3]) + 128, 20000, 45000]:
        threshold = float(thresholds[at])
        assert MaskScores(threshold=threshold).update(logits, masks).result().iou == ious[at], threshold
    threshold, iou = scores.best_threshold()
    assert MaskScores(threshold=threshold).update(logits, masks).result().iou == iou == np.nanmax(ious)


def test_bins_rise_and_their_edges_are_below_them():
    some = np.float32([-3e38, -1.5, -1e-40, -0.0, 0.0, 1e-40, 0.5, 0.50001, 1.0, 3e38])
    bins, edges = bins_of(some), lower_edges()
    assert (np.diff(bins) >= 0).all()
    assert bins[3] == bins[4]
    assert (edges[bins] < some).all()
    assert (some <= edges[bins + 1]).all()
    finite = edges[np.isfinite(edges)]
    assert (np.diff(finite) >= 0).all()
    assert {-5.03125, -1.0, 0.0, 1.0, 0.15625} <= set(finite.tolist())


def test_the_best_threshold_of_separated_logits_keeps_zero_or_lies_between():
    masks = np.array([[[1, 1, 0, 0]]], np.uint8)
    assert MaskScores().update(np.float32([[[3, 2, -2, -3]]]), masks).best_threshold() == (0.0, 1.0)
    threshold, iou = MaskScores().update(np.float32([[[8, 4, 2, -3]]]), masks).best_threshold()
    assert iou == 1.0
    assert 2 < threshold < 4


def test_intervals_hold_the_value_and_pairs_are_narrower():
    rng = np.random.default_rng(5)
    masks = (rng.random((40, 8, 8)) < rng.random((40, 1, 1))).astype(np.uint8)
    logits = (masks * 2.0 - 1 + rng.normal(0, 1.5, masks.shape)).astype(np.float32)
    better = logits + np.where(masks == 1, 0.15, -0.15).astype(np.float32)
    one, other = MaskScores().update(logits, masks), MaskScores().update(better, masks)
    (own, nothing), (theirs, less) = compared_masks([one, other], rounds=300)
    assert nothing == {}
    assert own["iou"].value == one.result().iou
    assert own["image_iou"].value == pytest.approx(one.result().image_iou)
    assert own["boundary_f"].value == pytest.approx(one.result().boundary_f)
    assert own["iou"].low < own["iou"].value < own["iou"].high
    assert less["iou"].value == theirs["iou"].value - own["iou"].value
    assert less["iou"].clear
    assert less["iou"].high - less["iou"].low < own["iou"].high - own["iou"].low


def test_one_group_says_nothing_of_others():
    logits, masks = random_masks(8)
    both = [MaskScores().update(each, masks) for each in (logits, -logits)]
    made = compared_masks(both, rounds=50, groups=np.zeros(6, np.int64))
    assert (made[0][0]["iou"].low, made[0][0]["iou"].high) == (0.0, 1.0)
    assert (made[1][1]["iou"].low, made[1][1]["iou"].high) == (-1.0, 1.0)
    assert not made[1][1]["iou"].clear


def test_groups_are_drawn_together():
    masks = np.zeros((20, 4, 4), np.uint8)
    masks[:, :2] = 1
    logits = np.where(masks == 1, 1, -1).astype(np.float32)
    logits[:10] = 1  # all wrong of the first scene
    scores = MaskScores().update(logits, masks)
    alone = compared_masks([scores], rounds=300)[0][0]["iou"]
    together = compared_masks([scores], rounds=300, groups=np.repeat([0, 1], 10))[0][0]["iou"]
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_refusals():
    logits, masks = random_masks(6)
    with pytest.raises(InvalidValueError, match=r"masks must be 0, 1 or 255 \(not judged\), got 7"):
        MaskScores().update(logits, np.full_like(masks, 7))
    with pytest.raises(InvalidValueError, match=r"logits must be finite, got NaN"):
        MaskScores().update(np.full_like(logits, np.nan), masks)
    with pytest.raises(InvalidValueError, match=r"masks must be \[6, 12, 12\], got \[6, 12, 11\]"):
        MaskScores().update(logits, masks[:, :, 1:])
    with pytest.raises(InvalidValueError, match=r"masks must all be \(12, 12\) as before, got \(12, 11\)"):
        MaskScores().update(logits, masks).update(logits[:, :, 1:], masks[:, :, 1:])
    with pytest.raises(InvalidValueError, match="one threshold, tolerance and size"):
        MaskScores().merge(MaskScores(threshold=1.0))
    with pytest.raises(InvalidValueError, match="the same masks in the same order"):
        compared_masks([MaskScores().update(logits, masks), MaskScores().update(logits, masks[::-1])])
    with pytest.raises(InvalidValueError, match="got none of histogram"):
        MaskScores.from_state(
            {"settings": np.zeros(2), "size": np.zeros(2, np.int64), "rows": np.zeros((0, 8), np.int64)}
        )
    with pytest.raises(InvalidValueError, match="tolerance_px 0 to 100"):
        MaskScores(tolerance_px=-1)
    with pytest.raises(InvalidValueError, match="certainty must be between 0 and 1"):
        compared_masks([MaskScores().update(logits, masks)], certainty=1.0)
