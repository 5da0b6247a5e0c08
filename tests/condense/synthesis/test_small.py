"""A small model from a set: whole, resumable bit for bit, refused where another stands."""

import json
from dataclasses import replace

import numpy as np
import pytest
from synthesis_models import StopAfter, bars, captions_of, tiny_recipe, weights

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.synthesis.autoencoder import SmallVae, recon_mse, settle_latents
from lightmeter.condense.synthesis.denoiser import Captioned, SmallDenoiser
from lightmeter.condense.synthesis.fitting import Fitting
from lightmeter.condense.synthesis.folder import diffusion_folder
from lightmeter.condense.synthesis.generator import tiny_generator
from lightmeter.condense.synthesis.small import SmallDiffusion, SmallRun, small_generator
from lightmeter.errors import InvalidValueError

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")


def test_a_stopped_run_goes_on_to_the_same_bits(tiny_folder, tiny_set, tmp_path):
    told, captions = [], captions_of(tiny_set)
    for calls in (2, 5):  # within the autoencoder, within the denoiser
        with pytest.raises(KeyboardInterrupt):
            small_generator(tiny_set, captions, tmp_path, tiny_recipe(), SmallRun(asked=StopAfter(calls)))
    assert (tmp_path / "run").is_dir()
    small_generator(tiny_set, captions, tmp_path, tiny_recipe(), SmallRun(tell=told.append))
    assert weights(tmp_path) == weights(tiny_folder)
    assert not (tmp_path / "run").exists()
    assert any(line.startswith("denoiser: 6 of 6 steps") for line in told)


def test_what_stands_there_is_taken(tiny_folder, tiny_set):
    told = []
    made = small_generator(tiny_set, captions_of(tiny_set), tiny_folder, tiny_recipe(), SmallRun(tell=told.append))
    assert (made.folder, told) == (tiny_folder, [])


def test_another_model_there_is_refused(tiny_folder, tiny_set):
    for changed in ({"recipe": tiny_recipe(words=65)}, {"run": SmallRun(seed=1)}):
        options = {"recipe": tiny_recipe(), "run": SmallRun(), **changed}
        with pytest.raises(InvalidValueError, match="must be free or hold this model"):
            small_generator(tiny_set, captions_of(tiny_set), tiny_folder, **options)
    with pytest.raises(InvalidValueError, match="captions must be one a picture"):
        small_generator(tiny_set, ["one"], tiny_folder, tiny_recipe())


def test_the_folder_says_what_it_came_to(tiny_folder, tiny, tiny_set):
    about = json.loads((tiny_folder / "lightmeter.json").read_text())
    assert about["fit"] == "pad"
    assert about["run"]["data"] == tiny_set.fingerprint
    assert 0 < about["figures"]["recon_mse"] < 0.5
    assert about["cost"]["cpu_s"] > 0
    assert tiny.fitting == Fitting((8, 8), 1, (8, 8), 1, "pad")
    assert sum(each.numel() for each in tiny.parts.unet.parameters()) < 50_000


def test_latents_have_mean_0_and_variance_1_in_each_channel(tiny, tiny_set):
    made = tiny.encode(tiny_set.images)
    np.testing.assert_allclose(made.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(made.std((0, 2, 3)), 1, atol=1e-3)


def test_settling_changes_no_picture():
    torch.manual_seed(0)
    vae = SmallVae(channels=(4, 8), groups=4).build(Fitting((8, 8), 1, (8, 8), 1)).eval()
    pixels = [torch.rand(6, 1, 8, 8) * 2 - 1]
    with torch.no_grad():
        before = vae.encode(pixels[0]).latent_dist
        shown = vae.decode(before.mean).sample
        error = recon_mse(vae, pixels)
        deviation = before.mean.std((0, 2, 3), keepdim=True)
        settle_latents(vae, pixels)
        after = vae.encode(pixels[0]).latent_dist
        torch.testing.assert_close(vae.decode(after.mean).sample, shown, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.std * deviation, before.std, rtol=1e-4, atol=1e-5)
    assert recon_mse(vae, pixels) == pytest.approx(error, rel=1e-4)


def test_error_is_of_pixels_in_0_to_1():
    class Dark:
        def encode(self, pixels):
            return type("", (), {"latent_dist": type("", (), {"mean": pixels})})

        def decode(self, latents):
            return type("", (), {"sample": latents * 0 - 1})

    assert recon_mse(Dark(), [torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)]) == pytest.approx((1 + 0.25) / 2)


@pytest.mark.parametrize(
    ("size", "model_size", "fit"),
    [
        ((28, 28), (32, 32), "pad"),
        ((64, 50), (64, 56), "pad"),
        ((100, 200), (32, 64), "resize"),
        ((3, 3), (8, 8), "pad"),
    ],
)
def test_sizes_are_whole_cells(size, model_size, fit):
    images = ImageSet.of(np.zeros((1, *size, 3), np.uint8), np.zeros(1, np.int64), ["a"])
    assert SmallDiffusion().fitting(images) == Fitting(size, 3, model_size, 3, fit)


def test_colours_and_oblong_pictures_are_learnt_too(tmp_path):
    images = bars(12, size=(6, 9), channels=3)
    recipe = replace(tiny_recipe(), vae=SmallVae((4, 8), 4, steps=2, batch=4))
    made = small_generator(images, [""] * 12, tmp_path, recipe)
    assert made.latent_shape == (4, 4, 6)
    assert made.decode(made.encode(images.images)).shape == (12, 6, 9, 3)
    assert diffusion_folder(tmp_path).channels == 3


def test_some_captions_are_dropped_and_some_are_names():
    texts = Captioned(["said"] * 2000 + [""], ["name"] * 2001)
    drawn = texts.drawn(np.arange(2000), seed=[0], drop=0.1, named=0.2)
    shares = [drawn.count(each) / 2000 for each in ("", "name", "said")]
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.7], atol=0.03)
    assert texts.drawn(np.array([2000, 5]), seed=[0], drop=0.0, named=0.0) == ["name", "said"]


def test_recipes_that_cannot_be_are_refused(tiny_set):
    for make in (
        lambda: SmallVae(channels=(4, 6), groups=4),
        lambda: SmallDenoiser(channels=(6, 12), groups=3, heads=4),
        lambda: SmallDenoiser(drop=0.6, named=0.6),
        lambda: SmallDiffusion(pixels=12).fitting(tiny_set),
    ):
        with pytest.raises(InvalidValueError):
            make()


class Bench:
    """What `tiny_generator` wants of a workbench."""

    def __init__(self, images, folder, generator_folder=None):
        self.images, self.folder, self.generator_folder = images, folder, generator_folder
        self.seed, self.lines = 0, []

    def tell(self, line):
        self.lines.append(line)

    def captions(self):
        return captions_of(self.images)


def test_a_workbench_gets_the_users_model_or_a_small_one(tiny_folder, tiny_set, tmp_path, monkeypatch):
    users = tiny_generator(Bench(tiny_set, tmp_path, tiny_folder))
    assert users.folder == tiny_folder
    monkeypatch.setattr("lightmeter.condense.synthesis.small.SmallDiffusion.of", lambda images: tiny_recipe())
    bench = Bench(tiny_set, tmp_path)
    made = tiny_generator(bench)
    assert made.folder.parent == tmp_path
    assert bench.lines[-1].startswith("denoiser: 6 of 6 steps")
    assert weights(made.folder) == weights(tiny_folder)
    assert tiny_generator(Bench(tiny_set, tmp_path)).folder == made.folder


def test_recipes_follow_the_size_of_pictures():
    def recipe(side):
        return SmallDiffusion.of(ImageSet.of(np.zeros((1, side, side, 3), np.uint8), np.zeros(1, np.int64), ["a"]))

    assert recipe(28) == SmallDiffusion()
    assert recipe(64).vae.batch < recipe(28).vae.batch
