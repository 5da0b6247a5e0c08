"""A diffusion model of Stable Diffusion's kind as methods of condensation use it: encode, decode, draw."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Drawing, Tell
from lightmeter.condense.synthesis.fitting import Fit, Fitting
from lightmeter.condense.synthesis.folder import (
    Device,
    DiffusionFolder,
    Parts,
    Precision,
    check_place,
    diffusion_folder,
    load_parts,
)
from lightmeter.condense.synthesis.modes import ModeGuidance
from lightmeter.condense.synthesis.prompts import Long, Prompts
from lightmeter.encoders.by_path import digest_of
from lightmeter.encoders.model_folder import read_json
from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import hash_of
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

ABOUT = "lightmeter.json"
"""Beside a model that was made here: what it is of, and how pictures are fitted to it."""


@dataclass(frozen=True)
class DiffusersGenerator:
    """Over a folder as `StableDiffusionPipeline.save_pretrained` writes it; diffusers' own pipeline does the drawing.

    Latents go in as `image=`, texts as embeddings; a picture depends on its latent, its text and its seed alone,
    whatever else is in the batch (to rounding). The folder is checked; loading waits until it is needed.

    size, channels: of the set's pictures · latents: `mean` of what the autoencoder says, or a `sample`, as published,
    drawn from the picture's bytes and the seed · long: `Prompts` · resolution: pixels a side of the model's pictures,
    0 for its own · batch: pictures at once · device, precision: where and in what it computes
    Raises as `diffusion_folder`.  Cost of drawing: two runs of the denoiser a step and picture, one without guidance.
    """

    folder: Path
    size: tuple[int, int]
    channels: int = 3
    latents: Literal["mean", "sample"] = "mean"
    seed: int = 0
    long: Long = "chunk"
    resolution: int = 0
    batch: int = 16
    device: Device = "cpu"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.latents not in ("mean", "sample") or self.long not in get_args(Long):
            raise InvalidValueError(
                f"latents must be mean or sample and long {', '.join(get_args(Long))}, got {self.latents}, {self.long}"
            )
        if self.batch < 1 or self.resolution < 0 or self.resolution % self.about.stride:
            raise InvalidValueError(
                f"batch must be 1 or more and resolution a multiple of {self.about.stride}, got {self.batch} and "
                f"{self.resolution}"
            )
        check_place(self.device, self.precision)
        assert self.fitting is not None

    @classmethod
    def of(cls, folder: Path | str, images: ImageSet, **options: Any) -> DiffusersGenerator:
        """For the pictures of a set."""
        return cls(Path(folder), images.size, int(images.images.shape[-1]), **options)

    @cached_property
    def about(self) -> DiffusionFolder:
        """The folder, looked at."""
        return diffusion_folder(self.folder)

    @cached_property
    def fitting(self) -> Fitting:
        """How pictures go in and come out."""
        told = read_json(self.folder / ABOUT) if (self.folder / ABOUT).is_file() else {}
        fit: Fit = told.get("fit", "resize")
        high, wide = told.get("size") or (self.about.resolution,) * 2
        if self.resolution:
            fit, high, wide = "resize", self.resolution, self.resolution
        return Fitting(self.size, self.channels, (int(high), int(wide)), self.about.channels, fit)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of its weights and settings.  Cost: a read of the files, once."""
        kept = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name not in _ALIKE}
        told = f"{digest_of(self.about.files)} {self.fitting} {kept}"
        return hashlib.sha256(told.encode()).hexdigest()

    @cached_property
    def parts(self) -> Parts:
        """The model, loaded."""
        return load_parts(self.about, device=self.device, precision=self.precision)

    @cached_property
    def pipeline(self) -> Any:
        """diffusers' pipeline over it."""
        return self.parts.pipeline()

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture's latent."""
        high, wide = (side // self.about.stride for side in self.fitting.model_size)
        return int(self.about.vae["latent_channels"]), high, wide

    def with_unet(self, unet: Any, *, mark: str) -> DiffusersGenerator:
        """The same with another denoiser, of which `mark` tells all that it depends on; nothing is written."""
        made = dataclasses.replace(self)
        made.__dict__["parts"] = dataclasses.replace(self.parts, unet=unet.eval().requires_grad_(False))
        made.__dict__["fingerprint"] = hashlib.sha256(f"{self.fingerprint} {mark}".encode()).hexdigest()
        return made

    def encode(self, images: Array) -> Array:
        """Pictures uint8 [M, H, W, C] → latents float32 [M, c, h, w], scaled as the denoiser reads them."""
        import torch

        vae, made = self.parts.vae, np.zeros((len(images), *self.latent_shape), np.float32)
        with torch.no_grad():
            for some in _batches(len(images), self.batch):
                said = vae.encode(self._placed(self.fitting.to_model(images[some]))).latent_dist
                found = said.mean if self.latents == "mean" else said.mean + said.std * self._chance(images[some])
                made[some] = (found * vae.config.scaling_factor).float().cpu().numpy()
        return made

    def decode(self, latents: Array) -> Array:
        """The way back: uint8 [M, H, W, C]."""
        import torch

        vae, made = self.parts.vae, np.zeros((len(latents), *self.size, self.channels), np.uint8)
        with torch.no_grad():
            for some in _batches(len(latents), self.batch):
                given = self._placed(torch.from_numpy(np.ascontiguousarray(latents[some]))) / vae.config.scaling_factor
                made[some] = self.fitting.to_set(vae.decode(given).sample)
        return made

    def draw(self, latents: Array, texts: Sequence[str], drawing: Drawing, *, seeds: Sequence[int]) -> Array:
        """A picture from each latent float32 [M, c, h, w], by its text and its own seed: uint8 [M, H, W, C].

        Raises InvalidValueError for counts that differ, or latents of another shape.
        """
        if not len(latents) == len(texts) == len(seeds) or tuple(latents.shape[1:]) != self.latent_shape:
            raise InvalidValueError(
                f"latents must be [M, {', '.join(map(str, self.latent_shape))}] with a text and a seed each, got "
                f"{list(latents.shape)}, {len(texts)} and {len(seeds)}"
            )
        check_drawing(drawing)
        if not steps_run(drawing):
            return self.decode(latents)
        pairs = Prompts(self.parts.tokenizer, self.parts.text_encoder, self.long).pairs(texts, drawing.negative)
        made = np.zeros((len(latents), *self.latent_shape), np.float32)
        for rows in _alike([len(text) for text, _ in pairs], self.batch):
            made[rows] = self._drawn(latents[rows], [pairs[row] for row in rows], drawing, [seeds[row] for row in rows])
        return self.decode(made)

    def _drawn(
        self, latents: Array, pairs: Sequence[tuple[Tensor, Tensor]], drawing: Drawing, seeds: Sequence[int]
    ) -> Array:
        import torch

        given = self._placed(torch.from_numpy(np.ascontiguousarray(latents)))
        calls = round(drawing.until * steps_run(drawing))
        unet, scheduler = self.parts.unet, self.pipeline.scheduler
        guided = ModeGuidance(unet, scheduler, given, pull=drawing.mode, calls=calls) if drawing.mode else nullcontext()
        with torch.no_grad(), guided:
            made = self.pipeline(
                image=given,
                prompt_embeds=torch.stack([text for text, _ in pairs]),
                negative_prompt_embeds=torch.stack([other for _, other in pairs]),
                strength=drawing.strength,
                guidance_scale=drawing.guidance,
                num_inference_steps=drawing.steps,
                generator=[torch.Generator().manual_seed(int(seed)) for seed in seeds],
                output_type="latent",
            ).images
        found: Array = made.float().cpu().numpy()
        return found

    def _placed(self, tensor: Tensor) -> Tensor:
        import torch

        return tensor.to(self.device, getattr(torch, self.precision))

    def _chance(self, images: Array) -> Tensor:
        """Noise of each picture from its bytes and the seed: the same whatever the batch."""
        import torch

        drawn = np.zeros((len(images), *self.latent_shape), np.float32)
        for row, image in enumerate(images):
            digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
            chance = np.random.default_rng([self.seed, *np.frombuffer(digest, np.uint32).tolist()])
            drawn[row] = chance.standard_normal(self.latent_shape, np.float32)
        return self._placed(torch.from_numpy(drawn))


_ALIKE = ("folder", "batch", "device")
"""Fields that change no picture but by rounding."""


def steps_run(drawing: Drawing) -> int:
    """Steps that are run of those that there are, as diffusers counts them; 0: the latent is decoded as it is."""
    return min(int(drawing.steps * drawing.strength), drawing.steps)


def check_drawing(drawing: Drawing) -> None:
    """Raises InvalidValueError for a drawing that cannot be."""
    for name, most in (("strength", 1.0), ("mode", 1.0), ("until", 1.0), ("guidance", np.inf)):
        value = getattr(drawing, name)
        if not 0 <= value <= most or value == np.inf:
            raise InvalidValueError(f"{name} must be 0 to {'any' if most == np.inf else most}, got {value}")
    if drawing.steps < 1:
        raise InvalidValueError(f"steps must be 1 or more, got {drawing.steps}")


def _batches(count: int, size: int) -> Iterator[slice]:
    return (slice(at, at + size) for at in range(0, count, size))


def _alike(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Rows of one length, so many at once; lengths rise."""
    for length in sorted(set(lengths)):
        rows = [row for row, each in enumerate(lengths) if each == length]
        for some in _batches(len(rows), size):
            yield rows[some]


class Bench(Protocol):
    """A workbench: a set, its captions, and a folder that what is made of it is kept in."""

    images: ImageSet
    folder: Path
    seed: int
    tell: Tell
    generator_folder: Path | None

    def captions(self) -> tuple[str, ...]:
        """A caption a picture."""
        ...


def tiny_generator(bench: Bench) -> DiffusersGenerator:
    """The user's model where a workbench names one, else a small one that learns the set, in the bench's folder.

    Cost: of the small one as `SmallDiffusion`, the first time.
    """
    if bench.generator_folder is not None:
        return DiffusersGenerator.of(bench.generator_folder, bench.images)
    from lightmeter.condense.synthesis.small import SmallDiffusion, SmallRun, small_generator

    recipe, run = SmallDiffusion.of(bench.images), SmallRun(seed=bench.seed, tell=bench.tell)
    captions = bench.captions()
    mark = hash_of([repr(recipe), bench.images.fingerprint, captions, bench.seed])[:16]
    return small_generator(bench.images, captions, bench.folder / f"generator-{mark}", recipe, run)
