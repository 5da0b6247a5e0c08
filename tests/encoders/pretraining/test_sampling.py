"""Drawn clips: by the seed, as the nets say, refused where they cannot; and how they are scored."""

import shutil

import numpy as np
import pytest

from lightmeter.assets.saving import load_model, save_model
from lightmeter.encoders.dense_future import save_future_codes
from lightmeter.encoders.pretraining.sample_scores import (
    clip_features,
    fitted,
    frame_psnrs,
    frechet_features,
    score_samples,
    write_strip,
)
from lightmeter.encoders.pretraining.sampling import load_sampler
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.metrics.frechet import frechet_distance
from lightmeter.parts import build


@pytest.fixture(params=["prior", "future"])
def model(request, models):
    return models[request.param]


def test_draws_are_of_the_seed_and_the_row(model, footage, tokens):
    sampler = load_sampler(model)
    first, told = footage.learn[:2, 0], []
    made = sampler.clips(first, seed=5, tell=lambda done, whole: told.append((done, whole)))
    assert made.shape == (2, 4, 16, 16, 3)
    assert made.dtype == np.uint8
    assert told[-1] == (100, 100)
    np.testing.assert_array_equal(made[:1], sampler.clips(first[:1], seed=5))
    assert not np.array_equal(made, sampler.clips(first, seed=6))
    alike = sampler.clips(np.repeat(first[:1], 2, 0), seed=5)
    assert not np.array_equal(alike[0], alike[1]), "several futures of one picture"
    likeliest = load_sampler(model, temperature=0.0, steps=1).clips(np.repeat(first[:1], 2, 0), seed=9)
    np.testing.assert_array_equal(likeliest[0], likeliest[1])
    assert sampler.clips(first[:0]).shape == (0, 4, 16, 16, 3)


def test_what_cannot_draw(made, model, tokens, footage, tmp_path):
    with pytest.raises(RejectedFileError, match="must hold a predictor"):
        load_sampler(made)
    with pytest.raises(InvalidValueError, match="temperature"):
        load_sampler(model, temperature=-1.0)
    with pytest.raises(InvalidValueError, match="first"):
        load_sampler(model).clips(footage.learn[:1, 0, :8])
    task = build("future/width=12,heads=2,base=8,levels=1").task(footage, seed=0, tokens=tokens)
    save_future_codes(tmp_path, task.net, {}, whole=False)
    with pytest.raises(InvalidValueError, match="the frame encoder alone"):
        load_sampler(tmp_path)


def test_a_plan_that_cannot_be_is_refused_before_it_is_built(models, tmp_path):
    for name in ("future", "prior"):
        arrays, about = load_model(models[name])
        shutil.copytree(models[name] / "tokens", tmp_path / name / "tokens")
        for change in ({"layers": 10**6}, {"layers": 2}, {"layers": True}, {"heads": "2"}, {"width": 10**30}):
            save_model(tmp_path / name, arrays, about | {"plan": about["plan"] | change})
            with pytest.raises(RejectedFileError):
                load_sampler(tmp_path / name)


class TestScores:
    def test_psnr_by_hand(self):
        truth = np.full((2, 3, 4, 4, 3), 100, np.uint8)
        made = truth.copy()
        made[0, 1] += 10  # of one clip of two: mean square 50
        found = frame_psnrs(made, truth)
        assert found[0] == found[2] == 100
        assert found[1] == pytest.approx(10 * np.log10(255**2 / 50))

    def test_a_frozen_clip_has_no_change(self):
        clips = moving_shapes(2, frames=3, size=16).frames
        rows = clip_features(np.repeat(clips[:, :1], 3, 1), "pixels/patch=4")
        assert rows.shape == (4, 2 * 48)
        assert not rows[:, 48:].any()
        moved = clip_features(clips, "pixels/patch=4")
        before, after = (
            build("pixels/patch=4").features(clips, np.full(2, at))["pixels"].mean((2, 3)) for at in (1, 2)
        )
        np.testing.assert_allclose(moved[1::2, :48], after, rtol=1e-5)
        np.testing.assert_allclose(moved[1::2, 48:], after - before, atol=1e-6)

    def test_truth_is_at_no_distance_and_the_baseline_is_there(self):
        truth = moving_shapes(6, frames=4, size=16).frames
        found = score_samples(truth, {"predicted": truth})
        assert found["clips"] == 6
        assert found["psnr_db"]["predicted"] == [100] * 3
        assert len(found["psnr_db"]["frozen"]) == 3
        assert found["psnr_db"]["frozen"][0] > found["psnr_db"]["frozen"][2]
        far = found["frechet"]
        assert far["features"] == "pixels/patch=4, mean over cells, and its change"
        assert far["predicted"] == pytest.approx(0, abs=1e-7)
        rows = [clip_features(each, "pixels/patch=4") for each in (np.repeat(truth[:, :1], 4, 1), truth)]
        assert far["frozen"] == pytest.approx(frechet_distance(*rows))
        assert far["frozen"] > 1e-5
        assert score_samples(truth[:, :1], {}) == {}
        assert "frechet" not in score_samples(truth[:1, :2], {}), "one row has no spread"

    def test_features_by_size(self):
        assert build(frechet_features((64, 64)), "dense-encoder").feature_sets["stage3"].channels == 40
        assert frechet_features((48, 64)) == "pixels/patch=4"

    def test_the_middle_of_a_picture(self):
        picture = np.zeros((20, 60, 3), np.uint8)
        picture[:, 20:40] = 200
        made = fitted(picture, (10, 10))
        assert made.shape == (10, 10, 3)
        assert (made == 200).all()
        np.testing.assert_array_equal(fitted(made, (10, 10)), made)
        assert fitted(picture[:2, :2], (8, 16)).shape == (8, 16, 3)

    def test_a_strip(self, tmp_path):
        clips = moving_shapes(2, frames=3, size=16).frames
        path = write_strip(tmp_path / "strip.png", {"true": clips[0], "drawn": clips[1][:2]}, tile=32)
        assert path.read_bytes().startswith(b"\x89PNG")
