"""A small diffusion model that learns a set in minutes: autoencoder, words, text encoder, denoiser; then a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Tell
from lightmeter.condense.synthesis.autoencoder import SmallVae, recon_mse, settle_latents, some_pixels
from lightmeter.condense.synthesis.denoiser import Captioned, SmallDenoiser
from lightmeter.condense.synthesis.denoising import new_scheduler
from lightmeter.condense.synthesis.fitting import Fitting
from lightmeter.condense.synthesis.folder import Parts, quiet
from lightmeter.condense.synthesis.generator import ABOUT, DiffusersGenerator
from lightmeter.condense.synthesis.learning import kept_in, learn, seeded
from lightmeter.condense.synthesis.names import class_name
from lightmeter.condense.synthesis.words import longest, tokenizer_of
from lightmeter.encoders.model_folder import read_json
from lightmeter.encoders.runtime import threads
from lightmeter.engines.checkpoints import differences
from lightmeter.engines.stop import Stop
from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import measure
from lightmeter.parts import need
from lightmeter.types import Array

RUN = "run"
_MEASURED = 2048
_SCORED = 512
_TOKENS = 77
_CELLS = 32 * 32
_LEAST_BATCH = 8
_VAE, _DENOISER, _ROWS = 0x7AE, 0xDE0, 0x2045


@dataclass(frozen=True)
class SmallDiffusion:
    """A recipe of the whole.

    vae, denoiser: how these learn · pixels: the longest side that is learnt; larger pictures are made smaller, and
    drawn ones larger again; below it they are padded to whole cells and no pixel is changed
    most: pictures that the denoiser learns from, drawn by seed; words: at most, in the vocabulary
    Cost: with the defaults about eight CPU-minutes at 32 pixels, and 4 GB at no time.
    """

    vae: SmallVae = field(default_factory=SmallVae)
    denoiser: SmallDenoiser = field(default_factory=SmallDenoiser)
    pixels: int = 64
    most: int = 16_384
    words: int = 2048

    @classmethod
    def of(cls, images: ImageSet) -> SmallDiffusion:
        """With defaults for the size of a set's pictures: fewer at once where they are large, so that time stays."""
        made = cls()
        high, wide = made.fitting(images).model_size
        cells = max(1.0, high * wide / _CELLS)
        vae = replace(made.vae, batch=max(_LEAST_BATCH, round(made.vae.batch / cells)))
        denoiser = replace(made.denoiser, batch=max(_LEAST_BATCH, round(made.denoiser.batch / cells)))
        return replace(made, vae=vae, denoiser=denoiser)

    def fitting(self, images: ImageSet) -> Fitting:
        """How the set's pictures go in and come out."""
        step = self.vae.stride * self.denoiser.stride
        if self.pixels < step or self.pixels % step:
            raise InvalidValueError(f"pixels must be a multiple of {step}, got {self.pixels}")
        channels = int(images.images.shape[-1])
        high, wide = images.size
        if max(high, wide) <= self.pixels:
            size = (-(-high // step) * step, -(-wide // step) * step)
            return Fitting(images.size, channels, size, channels, "pad")
        scale = self.pixels / max(high, wide)
        size = (max(step, round(high * scale / step) * step), max(step, round(wide * scale / step) * step))
        return Fitting(images.size, channels, size, channels, "resize")


@dataclass(frozen=True, slots=True)
class SmallRun:
    """What a run is beyond its recipe. tell: hears a line now and then · checkpoint_s: seconds between two."""

    seed: int = 0
    tell: Tell = lambda line: None
    asked: Callable[[], bool] | None = None
    checkpoint_s: float = 60.0


def small_generator(
    images: ImageSet,
    captions: Sequence[str],
    folder: Path | str,
    recipe: SmallDiffusion | None = None,
    run: SmallRun | None = None,
) -> DiffusersGenerator:
    """A model that learnt the set, kept in a folder as any of Stable Diffusion's; at once where it stands there.

    captions: one a picture; the class's name stands for an empty one. Stopped or killed, the same call goes on; same
    set, captions, recipe and seed: same bits, on one thread of one kind of machine.
    Raises InvalidValueError for a folder that holds another model, KeyboardInterrupt where it was stopped.
    Cost: as the recipe says.
    """
    recipe, run, folder = recipe or SmallDiffusion.of(images), run or SmallRun(), Path(folder)
    if len(captions) != len(images) or not len(images):
        raise InvalidValueError(f"captions must be one a picture of {len(images)}, got {len(captions)}")
    identity = _identity(images, captions, recipe, run.seed)
    if (folder / ABOUT).is_file():
        apart = differences(read_json(folder / ABOUT).get("run", {}), identity)
        if apart:
            raise InvalidValueError(f"{folder} must be free or hold this model, got one whose {apart}: name another")
        return DiffusersGenerator.of(folder, images)
    torch = need("torch", "video")
    torch.set_num_threads(threads())
    with torch.random.fork_rng(devices=[]), Stop(run.asked) as stop, measure() as meter:
        parts, figures = _learnt(images, captions, recipe, run, folder / RUN, identity, stop)
    fitting = recipe.fitting(images)
    parts.save(folder)
    about = {"run": identity, "fit": fitting.fit, "size": fitting.model_size, "figures": figures}
    write_whole(folder / ABOUT, json.dumps({**about, "cost": meter.cost.as_json()}, indent=1) + "\n")
    shutil.rmtree(folder / RUN, ignore_errors=True)
    return DiffusersGenerator.of(folder, images)


def _learnt(
    images: ImageSet,
    captions: Sequence[str],
    recipe: SmallDiffusion,
    run: SmallRun,
    folder: Path,
    identity: dict[str, Any],
    stop: Stop,
) -> tuple[Parts, dict[str, float]]:
    """All parts, and what they came to."""
    fitting = recipe.fitting(images)
    vae, mse = _vae(images, fitting, recipe, run, folder, identity, stop)
    named = [class_name(images, int(label)) for label in images.labels]
    tokenizer = tokenizer_of([*captions, *set(named)], words=recipe.words)
    tokenizer.model_max_length = min(_TOKENS, longest(tokenizer, [*captions, *set(named)]))
    rows = np.sort(np.random.default_rng([_ROWS, run.seed]).permutation(len(images))[: recipe.most])
    latents = _latents(vae, images, fitting, rows)
    texts = Captioned([captions[row] for row in rows.tolist()], [named[row] for row in rows.tolist()])
    need("torch", "video").manual_seed(seeded([_DENOISER, run.seed]))
    with quiet():
        text, unet = recipe.denoiser.build_text(tokenizer), recipe.denoiser.build(max(latents.shape[2:]))
    parts = Parts(vae, text, tokenizer, unet, new_scheduler())
    learner = recipe.denoiser.learner(parts, latents, texts, run.seed)
    kept = kept_in(folder, "denoiser", identity, run.checkpoint_s)
    learn(learner, stop, checkpoints=kept, tell=run.tell, what="denoiser")
    return parts, {"recon_mse": mse, "denoising_loss": learner.told}


def _vae(
    images: ImageSet,
    fitting: Fitting,
    recipe: SmallDiffusion,
    run: SmallRun,
    folder: Path,
    identity: dict[str, Any],
    stop: Stop,
) -> tuple[Any, float]:
    """The autoencoder, its latents settled, and its error on pictures of the set."""
    need("torch", "video").manual_seed(seeded([_VAE, run.seed]))
    with quiet():
        learner = recipe.vae.learner(images, fitting, run.seed)
    kept = kept_in(folder, "vae", identity, run.checkpoint_s)
    learn(learner, stop, checkpoints=kept, tell=run.tell, what="autoencoder")
    rows = np.random.default_rng([_ROWS, run.seed, 1]).permutation(len(images))
    settle_latents(learner.net, some_pixels(images, fitting, rows[:_MEASURED]))
    mse = recon_mse(learner.net, some_pixels(images, fitting, rows[:_SCORED]))
    run.tell(f"autoencoder: mean squared error {mse:.5f} of pictures in 0 to 1")
    return learner.net, mse


def _latents(vae: Any, images: ImageSet, fitting: Fitting, rows: Array) -> Array:
    """Means of the latents of some pictures: float32 [n, c, h, w]."""
    import torch

    with torch.no_grad():
        made = [vae.encode(each).latent_dist.mean for each in some_pixels(images, fitting, rows)]
    found: Array = torch.cat(made).numpy()
    return found


def _identity(images: ImageSet, captions: Sequence[str], recipe: SmallDiffusion, seed: int) -> dict[str, Any]:
    """What a model is of; two runs that agree in it are one run."""
    import hashlib

    digest = hashlib.sha256("\n".join(captions).encode()).hexdigest()
    told = json.loads(json.dumps(asdict(recipe)))
    return {"data": images.fingerprint, "captions": digest, "recipe": told, "seed": seed}
