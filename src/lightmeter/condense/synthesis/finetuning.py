"""Fine-tuning a model of Stable Diffusion's kind on a captioned set, as published: the denoiser alone, a small rate."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Tell
from lightmeter.condense.synthesis.denoiser import Captioned, tokens_of
from lightmeter.condense.synthesis.denoising import denoising_loss
from lightmeter.condense.synthesis.folder import Device, Parts
from lightmeter.condense.synthesis.generator import ABOUT, DiffusersGenerator
from lightmeter.condense.synthesis.learning import Learning, PartLearner, kept_in, learn, seeded
from lightmeter.condense.synthesis.names import class_name
from lightmeter.encoders.model_folder import read_json
from lightmeter.engines.checkpoints import differences
from lightmeter.engines.order import Order
from lightmeter.engines.stop import Stop
from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import measure
from lightmeter.parts import need
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

RUN = "run"
_MIRROR, _TUNED = 0x3141, 0xF17E


@dataclass(frozen=True)
class FineTuning:
    """Text-to-image fine-tuning. Defaults are the published ones (seed 002, table 1).

    epochs, batch, accumulate: pictures a step are batch · accumulate · lr: constant, no warm-up · weight_decay, clip,
    decay: AdamW's, the longest slope, the running mean of weights that is kept
    mirror: half of the pictures, left to right · resolution: pixels a side, 0 for the model's own
    checkpointing: less memory, a third more time
    Captions of more tokens than the encoder takes are cut, as the published program did.
    Source: seed 002, section 1.2; Rombach et al. 2022. Changed: what has one axis (biases, norms) does not decay, and
    all is computed in float32.
    """

    epochs: int = 8
    batch: int = 8
    accumulate: int = 4
    lr: float = 1e-5
    weight_decay: float = 0.01
    clip: float = 1.0
    decay: float = 0.9999
    mirror: bool = True
    resolution: int = 0
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.accumulate) < 1 or not 0 < self.lr < np.inf:
            raise InvalidValueError(f"epochs, batch and accumulate must be 1 or more and lr above 0, got {self}")


@dataclass(frozen=True, slots=True)
class TuneRun:
    """What a run is beyond its recipe. tell: hears a line now and then · asked: whether to stop · anew: replace."""

    seed: int = 0
    device: Device = "cpu"
    tell: Tell = lambda line: None
    asked: Callable[[], bool] | None = None
    checkpoint_s: float = 600.0
    anew: bool = False


def fine_tune(
    folder: Path | str,
    images: ImageSet,
    captions: Sequence[str],
    out: Path | str,
    recipe: FineTuning | None = None,
    run: TuneRun | None = None,
) -> DiffusersGenerator:
    """The model of a folder, tuned on a set, in a folder `out` of its own; at once where it stands there.

    captions: one a picture; the class's name stands for an empty one. Stopped or killed, the same call goes on; same
    everything: same bits, on one thread of one kind of machine.
    Raises InvalidValueError for an `out` that holds another model, KeyboardInterrupt where it was stopped.
    Cost: three runs of the denoiser and one of the encoder a picture and epoch; 16 bytes a weight of memory.
    """
    recipe, run, out = recipe or FineTuning(), run or TuneRun(), Path(out)
    if len(captions) != len(images) or not len(images):
        raise InvalidValueError(f"captions must be one a picture of {len(images)}, got {len(captions)}")
    base = DiffusersGenerator.of(folder, images, resolution=recipe.resolution, device=run.device)
    identity = _identity(base, images, captions, recipe, run)
    if run.anew:
        shutil.rmtree(out, ignore_errors=True)
    if (out / ABOUT).is_file():
        apart = differences(read_json(out / ABOUT).get("run", {}), identity)
        if apart:
            raise InvalidValueError(f"{out} must be free or hold this model, got one whose {apart}: name another")
        return DiffusersGenerator.of(out, images, device=run.device)
    torch = need("torch", "video")
    with torch.random.fork_rng(devices=[]), Stop(run.asked) as stop, measure() as meter:
        torch.manual_seed(seeded([_TUNED, run.seed]))
        learner = _learner(base, images, captions, recipe, run.seed)
        kept = kept_in(out / RUN, "unet", identity, run.checkpoint_s)
        learn(learner, stop, checkpoints=kept, tell=run.tell, what="fine-tuning")
    base.parts.save(out)
    told = {"fit": base.fitting.fit, "size": base.fitting.model_size, "figures": {"loss": learner.told}}
    about = {"run": identity, **told, "cost": meter.cost.as_json()}
    write_whole(out / ABOUT, json.dumps(about, indent=1) + "\n")
    shutil.rmtree(out / RUN, ignore_errors=True)
    return DiffusersGenerator.of(out, images, device=run.device)


def _learner(
    base: DiffusersGenerator, images: ImageSet, captions: Sequence[str], recipe: FineTuning, seed: int
) -> PartLearner:
    from lightmeter.nets.descent import DescentPlan

    parts, order = base.parts, Order(len(images), recipe.batch * recipe.accumulate, recipe.epochs, seed)
    texts = Captioned(captions, [class_name(images, int(label)) for label in images.labels])
    unet = parts.unet.train().requires_grad_(True)
    if recipe.checkpointing:
        unet.enable_gradient_checkpointing()

    def loss(step: int) -> Tensor:
        """The mean over all pieces of the step; slopes of all but the last are added up here."""
        rows = order.rows(step)
        turned = np.random.default_rng([_MIRROR, seed, step]).random(len(rows)) < 0.5 * recipe.mirror
        pieces = [slice(at, at + recipe.batch) for at in range(0, len(rows), recipe.batch)]
        total = 0.0
        for piece in pieces:
            share = len(rows[piece]) / len(rows)
            told = texts.drawn(rows[piece], seed=[seed, step], drop=0.0, named=0.0)
            made = share * _piece_loss(base, parts, _pixels(images, rows[piece], turned[piece]), told)
            if piece != pieces[-1]:
                made.backward()
                total += float(made.detach())
        return made + total

    plan = DescentPlan(weight_decay=recipe.weight_decay, clip=recipe.clip)
    return PartLearner(unet, Learning(order.steps, lambda step: recipe.lr, loss, recipe.decay), plan, seed)


def _piece_loss(base: DiffusersGenerator, parts: Parts, pixels: Array, texts: Sequence[str]) -> Tensor:
    import torch

    with torch.no_grad():
        said = parts.vae.encode(base.fitting.to_model(pixels).to(base.device)).latent_dist
        latents = (said.mean + said.std * torch.randn(said.mean.shape).to(said.mean)) * parts.vae.config.scaling_factor
        hidden = parts.text_encoder(tokens_of(parts.tokenizer, texts).to(base.device))[0]
    return denoising_loss(parts.unet, parts.scheduler, latents, hidden)[0]


def _pixels(images: ImageSet, rows: Array, turned: Array) -> Array:
    """Pictures uint8 [B, H, W, C], some of them mirrored."""
    pixels = np.array(images.images[rows])
    pixels[turned] = pixels[turned, :, ::-1]
    return pixels


def _identity(
    base: DiffusersGenerator, images: ImageSet, captions: Sequence[str], recipe: FineTuning, run: TuneRun
) -> dict[str, Any]:
    told = asdict(replace(recipe, checkpointing=False))  # it changes memory and time only
    digest = hashlib.sha256("\n".join(captions).encode()).hexdigest()
    return {
        "from": base.fingerprint, "data": images.fingerprint, "captions": digest, "recipe": told, "seed": run.seed,
        "device": run.device,
    }  # fmt: skip
