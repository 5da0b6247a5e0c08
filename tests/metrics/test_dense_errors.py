"""Depth, flow and effective rank: by hand, merged, compared in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.dense_errors import DepthScores, FlowScores, compared_depths, compared_flows
from lightmeter.metrics.effective_rank import EffectiveRank, effective_rank


def test_depth_by_hand():
    truth = np.array([[[1.0, 2.0], [4.0, 0.0]]])  # the last is not judged
    found = np.array([[[1.2, 2.0], [2.0, -5.0]]])
    got = DepthScores().update(found, truth).result()
    assert got.abs_rel == pytest.approx((0.2 + 0 + 0.5) / 3)
    assert got.rmse_m == pytest.approx(np.sqrt((0.04 + 0 + 4) / 3))
    assert got.delta_125 == pytest.approx(2 / 3)
    assert (got.height, got.width, got.pictures) == (2, 2, 1)


def test_flow_by_hand():
    truth = np.zeros((1, 1, 4, 2))
    truth[0, 0, 1] = (100.0, 0.0)
    truth[0, 0, 3] = np.nan  # not judged
    found = np.zeros((1, 1, 4, 2))
    found[0, 0, 0] = (3.0, 4.0)  # 5 px: an outlier
    found[0, 0, 1] = (96.0, 0.0)  # 4 px, but below 5 % of 100
    got = FlowScores().update(found, truth).result()
    assert got.epe_px == pytest.approx((5 + 4 + 0) / 3)
    assert got.outliers == pytest.approx(1 / 3)


def test_nothing_judged_is_not_a_number():
    assert DepthScores().update(np.ones((1, 1, 1)), np.zeros((1, 1, 1))).result().as_json()["abs_rel"] is None
    assert np.isnan(FlowScores().result().epe_px)


def test_shards_are_the_whole():
    rng = np.random.default_rng(0)
    truth, found = rng.random((5, 3, 4)) + 0.5, rng.random((5, 3, 4)) + 0.5
    whole = DepthScores().update(found, truth)
    assert DepthScores().update(found[:2], truth[:2]).merge(DepthScores().update(found[2:], truth[2:])).result() == (
        whole.result()
    )
    flow, true = rng.random((5, 3, 4, 2)), rng.random((5, 3, 4, 2))
    parts = FlowScores().update(flow[:1], true[:1]).merge(FlowScores().update(flow[1:], true[1:]))
    assert parts.result() == FlowScores().update(flow, true).result()


def test_pairs_show_a_small_difference():
    rng = np.random.default_rng(1)
    truth = rng.random((30, 4, 4)) + 1
    noise = rng.normal(0, 0.2, truth.shape) * rng.random((30, 1, 1))
    one, other = DepthScores().update(truth + noise, truth), DepthScores().update(truth + 0.9 * noise, truth)
    (own, _), (_, less) = compared_depths([one, other], rounds=200)
    assert own["abs_rel"].value == pytest.approx(one.result().abs_rel)
    assert own["rmse_m"].value == pytest.approx(one.result().rmse_m)
    assert less["abs_rel"].high < 0
    flows = FlowScores().update(rng.random((4, 2, 2, 2)), rng.random((4, 2, 2, 2)))
    assert compared_flows([flows], rounds=50)[0][0]["epe_px"].value == pytest.approx(flows.result().epe_px)


@pytest.mark.parametrize(("kind", "compared"), [(DepthScores, compared_depths), (FlowScores, compared_flows)])
def test_pairs_must_be_of_the_same_truth_in_the_same_order(kind, compared):
    rng = np.random.default_rng(2)
    shape = (3, 4, 5) + ((2,) if kind is FlowScores else ())
    truth, found = rng.random(shape).astype(np.float32) + 1, rng.random(shape) + 1
    truth[0, 0, 0] = np.nan  # not judged
    one, other = kind().update(found, truth), kind().update(found + 0.1, truth.astype(np.float64))
    assert len(compared([one, other], rounds=20)) == 2, "the same numbers, however they are kept"
    for order in ([1, 0, 2], [0, 1, 1]):
        with pytest.raises(InvalidValueError, match="the same truth in the same order"):
            compared([one, kind().update(found[order], truth[order])], rounds=20)
    again = kind.of_rows(other.rows, (4, 5))
    assert compared([one, again], rounds=20) == compared([one, other], rounds=20)


def test_refusals():
    with pytest.raises(InvalidValueError, match="depth must be finite and above 0 metres"):
        DepthScores().update(np.zeros((1, 1, 1)), np.ones((1, 1, 1)))
    with pytest.raises(InvalidValueError, match="flow must be finite"):
        FlowScores().update(np.full((1, 1, 1, 2), np.nan), np.ones((1, 1, 1, 2)))
    with pytest.raises(InvalidValueError, match=r"maps must all be \(1, 1\) as before, got \(1, 2\)"):
        DepthScores().update(np.ones((1, 1, 1)), np.ones((1, 1, 1))).update(np.ones((1, 1, 2)), np.ones((1, 1, 2)))
    with pytest.raises(InvalidValueError, match="scores to merge must be of one size"):
        DepthScores().update(np.ones((1, 1, 1)), np.ones((1, 1, 1))).merge(
            DepthScores().update(np.ones((1, 1, 2)), np.ones((1, 1, 2)))
        )


class TestEffectiveRank:
    def test_is_the_entropy_of_singular_values(self):
        rows = np.random.default_rng(2).normal(size=(60, 7)) * np.array([5, 3, 1, 1, 0.5, 0.1, 0.01])
        for centred in (False, True):
            singular = np.linalg.svd(rows - rows.mean(axis=0) * centred, compute_uv=False)
            p = singular / singular.sum()
            assert effective_rank(rows, centred=centred) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-9)

    def test_of_shards_is_of_the_whole_however_they_are_scaled(self):
        maps = np.random.default_rng(3).normal(3, 1, size=(10, 5, 4, 4))
        parts = EffectiveRank(5).update(maps[:3]).merge(EffectiveRank(5).update(maps[3:]))
        assert parts.result() == pytest.approx(effective_rank(maps * 1000), rel=1e-9)
        assert 4.9 < parts.result() <= 5

    def test_of_collapsed_features(self):
        rows = np.outer(np.random.default_rng(4).normal(size=50), np.ones(20))
        assert effective_rank(rows) == pytest.approx(1.0, abs=1e-6)
        assert effective_rank(np.ones((5, 3))) == 0.0
        assert effective_rank(np.ones((5, 3)), centred=False) == pytest.approx(1.0)
        assert np.isnan(EffectiveRank(3).result())

    def test_refuses_other_shapes(self):
        with pytest.raises(InvalidValueError, match=r"features must be finite, \[N, 3\]"):
            EffectiveRank(3).update(np.ones((2, 4)))
        with pytest.raises(InvalidValueError, match="must be finite"):
            EffectiveRank(1).update(np.full((1, 1), np.nan))
        with pytest.raises(InvalidValueError, match="both centred or neither"):
            EffectiveRank(1).merge(EffectiveRank(1, centred=False))


@pytest.mark.parametrize("kind", [DepthScores, FlowScores])
def test_rows_make_the_same_scores(kind):
    rng = np.random.default_rng(0)
    shape = (3, 4, 5) + ((2,) if kind is FlowScores else ())
    made = kind().update(rng.random(shape) + 1, rng.random(shape) + 1)
    again = kind.of_rows(made.rows, (4, 5))
    assert again.result() == made.result()
    for wrong in (made.rows[:, :3], -made.rows, made.rows * np.nan):
        with pytest.raises(InvalidValueError, match="rows must be"):
            kind.of_rows(wrong, (4, 5))
