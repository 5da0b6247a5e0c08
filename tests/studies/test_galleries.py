"""Galleries hold what they say, and nothing of a query is in its gallery."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, UnknownNameError
from lightmeter.studies.comparison import exact_labels
from lightmeter.studies.galleries import MIXTURES, Gallery, holdout, mixture, mixture_tracks, unit
from lightmeter.studies.real_galleries import emoji_tracks


def gallery(**changes):
    values = {
        "name": "toy", "x": np.eye(3, dtype=np.float32), "y": np.array([0, 1, 1]),
        "queries": np.eye(3, dtype=np.float32)[:2], "truth": np.array([0, -1]), "classes": ("a", "b"),
        "licence": "none", "source": "by hand", "seed": 0,
    }  # fmt: skip
    return Gallery(**{**values, **changes})


class TestGallery:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"y": np.array([0, 1])}, "y must be"),
            ({"y": np.array([0, 0, 0])}, "each of its 2 classes"),
            ({"truth": np.array([0, 2])}, "-1 or a class"),
            ({"x": np.full((3, 3), np.nan, np.float32)}, "must be finite"),
            ({"x": np.eye(3)}, "must be float32"),
            ({"queries": np.eye(4, dtype=np.float32)[:2]}, "queries must be"),
            ({"queries": np.zeros((0, 3), np.float32), "truth": np.zeros(0, np.int64)}, "must have rows and queries"),
            ({"tracks": np.array([1, 0])}, "never fall"),
            ({"tracks": np.array([0, 2])}, "count 0, 1, 2"),
            ({"tracks": np.array([0, 0])}, "one class a track"),
        ],
    )
    def test_refuses_what_does_not_fit(self, changes, said):
        with pytest.raises(InvalidValueError, match=said):
            gallery(**changes)

    def test_hash_sees_every_number(self):
        assert gallery().data_hash == gallery(name="other").data_hash
        assert gallery().data_hash != gallery(truth=np.array([1, -1])).data_hash

    def test_asks_with_pictures_or_with_videos(self):
        assert gallery().asked is not None
        assert gallery().answers.tolist() == [0, -1]
        with pytest.raises(InvalidValueError, match="has no tracks"):
            _ = gallery().track_truth
        frames = np.eye(3, dtype=np.float32)
        videos = gallery(queries=frames, truth=np.array([1, 1, 0]), tracks=np.array([0, 0, 1]))
        assert [each.shape for each in videos.asked] == [(2, 3), (1, 3)]
        assert videos.answers.tolist() == [1, 0]
        assert "2 tracks" in videos.said


class TestMixture:
    def test_has_the_seeds_sizes(self):
        sizes = {(each.classes, each.dim) for each in MIXTURES.values()}
        assert {(101, 1024), (101, 4096), (256, 1024), (256, 4096), (1595, 1024), (1595, 4096)} <= sizes

    def test_is_the_same_for_the_same_seed(self):
        assert mixture("smoke", seed=3).data_hash == mixture("smoke", seed=3).data_hash
        assert mixture("smoke", seed=3).data_hash != mixture("smoke", seed=4).data_hash

    def test_no_query_is_a_row(self):
        made = mixture("smoke")
        np.testing.assert_allclose(np.linalg.norm(made.x, axis=1), 1, rtol=1e-5)
        assert (made.queries @ made.x.T).max() < 0.99

    def test_errs_about_as_the_seed_does(self):
        wrong = [np.mean(exact_labels(each) != each.truth) for each in (mixture("smoke", seed=s) for s in range(20))]
        assert np.mean(wrong) == pytest.approx(0.15, abs=0.04)

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [name for name in MIXTURES if name != "smoke"])
    def test_the_large_ones_too(self, size):
        made = mixture(size)
        error = 100 * np.mean(exact_labels(made) != made.truth)
        assert error == pytest.approx(MIXTURES[size].error_percent, abs=4)

    def test_spectrum_falls_as_a_power(self):
        x = mixture("caltech-101").x
        values = np.sqrt(np.linalg.eigvalsh(x.T @ x)[::-1])
        assert 1.5 < values[1] / values[15] < 6
        assert values[-1] < 0.2 * values[1]

    def test_unknown_sizes_suggest_the_nearest(self):
        with pytest.raises(UnknownNameError, match="did you mean 'caltech-101"):
            mixture("caltech-10")


class TestTracks:
    def test_frames_drift_and_never_repeat(self):
        made = mixture_tracks("smoke", tracks=30)
        assert [len(frames) for frames in made.asked] == [20] * 30
        for frames in made.asked:
            assert len(np.unique(frames, axis=0)) == 20
        near, far = [], []
        for frames in made.asked:
            cosines = frames @ frames.T
            near += np.diag(cosines, 1).tolist()
            far += np.diag(cosines, 12).tolist()
        assert np.median(near) > np.median(far) + 0.03, "a frame resembles its neighbours most"

    def test_one_frame_in_eight_is_an_outlier(self):
        made = mixture_tracks("smoke", tracks=100)
        alike = np.concatenate([np.median(frames @ frames.T, axis=1) for frames in made.asked])
        assert 0.08 < np.mean(alike < 0.9 * np.median(alike)) < 0.18

    def test_pooling_helps(self):
        made = mixture_tracks("smoke", tracks=100)
        pooled = np.stack([unit(frames.mean(axis=0)[None])[0] for frames in made.asked])
        alone = np.mean(made.y[(made.queries @ made.x.T).argmax(1)] == made.truth)
        together = np.mean(made.y[(pooled @ made.x.T).argmax(1)] == made.answers)
        assert together > alone

    def test_a_video_has_twenty_frames(self):
        with pytest.raises(InvalidValueError, match="20 or more"):
            mixture_tracks("smoke", frames=19)
        with pytest.raises(InvalidValueError, match="20 or more"):
            emoji_tracks(frames=1)


def test_holdout_by_hand():
    y = np.array([1, 0, 1, 1, 0, 1])
    kept, asked = holdout(y, lambda count: count // 2, seed=0)
    assert sorted([*kept.tolist(), *asked.tolist()]) == list(range(6))
    assert sorted(y[kept].tolist()) == [0, 1, 1]
    assert holdout(y, lambda count: count // 2, seed=0)[0].tolist() == kept.tolist()


def test_unit_takes_whole_numbers_and_keeps_zeros():
    np.testing.assert_allclose(unit(np.array([[3, 4], [0, 0]])), [[0.6, 0.8], [0, 0]])
    with pytest.raises(InvalidValueError, match="NaN"):
        unit(np.array([[np.nan, 1.0]]))
    with pytest.raises(InvalidValueError, match="must be numbers"):
        unit(np.array([["a"]]))
