"""Encoding, decoding and drawing, against diffusers' own pipeline."""

import json
import shutil

import numpy as np
import pytest
from synthesis_models import bars, captions_of

from lightmeter.condense.protocol import Drawing
from lightmeter.condense.synthesis.generator import DiffusersGenerator, steps_run
from lightmeter.errors import InvalidValueError

torch = pytest.importorskip("torch")
SOME = Drawing(strength=0.6, guidance=3.0, steps=5, negative="wide")


def near(made, wanted, most=1):
    """uint8 pictures alike but for rounding."""
    assert made.dtype == np.uint8
    np.testing.assert_allclose(made.astype(int), wanted.astype(int), atol=most)


def test_latents_are_means_scaled(tiny, tiny_set):
    made = tiny.encode(tiny_set.images[:5])
    with torch.no_grad():
        wanted = tiny.parts.vae.encode(tiny.fitting.to_model(tiny_set.images[:5])).latent_dist.mean
    np.testing.assert_allclose(made, wanted * tiny.parts.vae.config.scaling_factor, rtol=1e-5, atol=1e-6)
    assert made.shape[1:] == tiny.latent_shape == (4, 4, 4)


def test_samples_are_of_the_picture_and_the_seed(tiny, tiny_folder, tiny_set):
    sampled = DiffusersGenerator.of(tiny_folder, tiny_set, latents="sample")
    made = sampled.encode(tiny_set.images[:4])
    np.testing.assert_allclose(sampled.encode(tiny_set.images[2:3])[0], made[2], rtol=1e-4, atol=1e-5)
    other = DiffusersGenerator.of(tiny_folder, tiny_set, latents="sample", seed=1).encode(tiny_set.images[:4])
    with torch.no_grad():
        said = tiny.parts.vae.encode(tiny.fitting.to_model(tiny_set.images)).latent_dist
    means, deviations = said.mean.numpy(), said.std.numpy()
    assert not np.allclose(made, other)
    many = sampled.encode(tiny_set.images)
    standard = (many - means) / deviations
    assert abs(standard.mean()) < 0.1
    assert abs(standard.std() - 1) < 0.1


def test_drawing_is_diffusers_own(tiny, tiny_folder, tiny_set):
    from diffusers import StableDiffusionImg2ImgPipeline

    texts, latents = captions_of(tiny_set)[:3], tiny.encode(tiny_set.images[:3])
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(tiny_folder, local_files_only=True, low_cpu_mem_usage=False)
    pipe.set_progress_bar_config(disable=True)
    wanted = pipe(
        prompt=list(texts), negative_prompt=["wide"] * 3, image=torch.from_numpy(latents), strength=0.6,
        guidance_scale=3.0, num_inference_steps=5, output_type="np",
        generator=[torch.Generator().manual_seed(seed) for seed in (5, 6, 7)],
    ).images  # fmt: skip
    made = tiny.draw(latents, texts, SOME, seeds=[5, 6, 7])
    near(made, np.round(wanted * 255).astype(np.uint8))


def test_a_picture_is_blind_to_its_batch(tiny, tiny_folder, tiny_set):
    texts = ("top", "bar " * 40, "left bar", "wide " * 30)
    latents = tiny.encode(tiny_set.images[:4])
    made = tiny.draw(latents, texts, SOME, seeds=[1, 2, 3, 4])
    small = DiffusersGenerator.of(tiny_folder, tiny_set, batch=2)
    near(small.draw(latents[::-1], texts[::-1], SOME, seeds=[4, 3, 2, 1])[::-1], made)
    for at in range(4):
        near(tiny.draw(latents[at : at + 1], texts[at : at + 1], SOME, seeds=[at + 1]), made[at : at + 1])
    assert (tiny.draw(latents, texts, SOME, seeds=[9, 2, 3, 4])[0] != made[0]).any()


def test_no_strength_is_decoding(tiny, tiny_set):
    latents = tiny.encode(tiny_set.images[:2])
    still = Drawing(strength=0.05, steps=10)
    assert steps_run(still) == 0
    np.testing.assert_array_equal(tiny.draw(latents, ["", ""], still, seeds=[0, 0]), tiny.decode(latents))
    assert steps_run(Drawing(strength=0.7, steps=50)) == 35


def test_whole_strength_all_but_forgets_the_latent(tiny, tiny_set):
    """Stable Diffusion's last level of noise leaves 7 % of the signal."""
    latents = tiny.encode(tiny_set.images[:1])
    full = Drawing(strength=1.0, guidance=1.0, steps=10)
    made, other, chance = (
        tiny.draw(some, ["bar"], full, seeds=[seed]).astype(int)
        for some, seed in ((latents, 3), (latents * 0, 3), (latents, 4))
    )
    assert 3 * abs(made - other).mean() < abs(made - chance).mean()


def test_a_full_pull_ends_at_the_mode(tiny, tiny_set):
    latents = tiny.encode(tiny_set.images[:2])
    pulled = Drawing(strength=1.0, guidance=3.0, steps=10, mode=1.0, until=1.0)
    free = Drawing(strength=1.0, guidance=3.0, steps=10)
    wanted = tiny.decode(latents).astype(int)
    made, loose = (tiny.draw(latents, ["bar"] * 2, each, seeds=[1, 2]).astype(int) for each in (pulled, free))
    assert abs(made - wanted).mean() < 2 < abs(loose - wanted).mean()
    assert not tiny.parts.unet._forward_hooks


def test_fingerprints_tell_weights_and_settings_apart(tiny, tiny_folder, tiny_set, tmp_path):
    moved = shutil.copytree(tiny_folder, tmp_path / "elsewhere")
    assert DiffusersGenerator.of(moved, tiny_set, batch=3).fingerprint == tiny.fingerprint
    assert DiffusersGenerator.of(moved, tiny_set, long="truncate").fingerprint != tiny.fingerprint
    path = moved / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "beta_end": 0.02}))
    assert DiffusersGenerator.of(moved, tiny_set).fingerprint != tiny.fingerprint


def test_another_denoiser_is_another_generator(tiny):
    import copy

    unet = copy.deepcopy(tiny.parts.unet)
    with torch.no_grad():
        unet.conv_out.bias += 1
    made = tiny.with_unet(unet, mark="moved")
    assert made.fingerprint != tiny.fingerprint
    assert made.parts.vae is tiny.parts.vae
    latents = np.zeros((1, *tiny.latent_shape), np.float32)
    assert (made.draw(latents, [""], SOME, seeds=[0]) != tiny.draw(latents, [""], SOME, seeds=[0])).any()


def test_pictures_of_another_size_are_resized_where_a_resolution_is_named(tiny_folder):
    images = bars(3, size=(12, 10))
    made = DiffusersGenerator.of(tiny_folder, images, resolution=16)
    latents = made.encode(images.images)
    assert latents.shape == (3, 4, 8, 8)
    assert made.draw(latents, [""] * 3, SOME, seeds=[0, 1, 2]).shape == (3, 12, 10, 1)


def test_what_cannot_be_drawn_is_refused(tiny, tiny_folder, tiny_set):
    latents = np.zeros((2, *tiny.latent_shape), np.float32)
    with pytest.raises(InvalidValueError, match="a text and a seed each"):
        tiny.draw(latents, [""], SOME, seeds=[0, 1])
    with pytest.raises(InvalidValueError, match="latents must be"):
        tiny.draw(latents[:, :3], ["", ""], SOME, seeds=[0, 1])
    for wrong in ({"strength": 1.5}, {"guidance": -1.0}, {"steps": 0}, {"mode": 2.0}, {"guidance": float("inf")}):
        with pytest.raises(InvalidValueError, match=next(iter(wrong))):
            tiny.draw(latents, ["", ""], Drawing(**wrong), seeds=[0, 1])
    with pytest.raises(InvalidValueError, match="resolution a multiple of 2"):
        DiffusersGenerator.of(tiny_folder, tiny_set, resolution=15)
    with pytest.raises(InvalidValueError, match="mean or sample"):
        DiffusersGenerator.of(tiny_folder, tiny_set, latents="mode")
