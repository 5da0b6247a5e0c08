"""Minimax criteria: a diffusion model is tuned until its pictures are like all real ones, and unlike each other."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from lightmeter.condense.protocol import Condensed, Drawing, Material
from lightmeter.condense.synthesis.denoiser import tokens_of
from lightmeter.condense.synthesis.denoising import denoising_loss
from lightmeter.condense.synthesis.drawing import Wish, drawn_by
from lightmeter.condense.synthesis.generator import DiffusersGenerator, check_drawing
from lightmeter.condense.synthesis.learning import Learning, PartLearner, kept_in, learn, seeded
from lightmeter.condense.synthesis.names import class_name
from lightmeter.condense.synthesis.prototypes import Finding
from lightmeter.engines.order import Order
from lightmeter.engines.stop import Stop
from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import hash_of
from lightmeter.parts import Spelled, need
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

_MOST_BYTES = 2 << 30
_TUNED = 0x313A
_CHECKPOINT_S = 60.0


@dataclass(eq=False)
class Memories:
    """For each class the newest real latents and the newest that the model expected to see: rings of `size` rows.

    real, made: float32 [K, size, D] · counts: int64 [2, K], how many came in all
    """

    classes: int
    size: int
    dim: int
    real: Array = field(init=False)
    made: Array = field(init=False)
    counts: Array = field(init=False)

    def __post_init__(self) -> None:
        if self.classes * self.size * self.dim * 8 > _MOST_BYTES:
            raise InvalidValueError(
                f"memories must fit in {_MOST_BYTES >> 30} GB, got {self.classes} classes of {self.size} rows of "
                f"{self.dim}: condense some classes at a time, or take a smaller memory"
            )
        self.real, self.made = (np.zeros((self.classes, self.size, self.dim), np.float32) for _ in range(2))
        self.counts = np.zeros((2, self.classes), np.int64)

    def state(self) -> Mapping[str, Array]:
        """All of it, to be kept and to be changed in place."""
        return {"memory.real": self.real, "memory.made": self.made, "memory.counts": self.counts}

    def held(self, label: int, which: Literal["real", "made"]) -> Array:
        """Rows [n, D] of a class so far."""
        count = int(self.counts[0 if which == "real" else 1, label])
        rows: Array = getattr(self, which)[label][: min(count, self.size)]
        return rows

    def add(self, label: int, real: Array, made: Array) -> None:
        """One row each [D]; the oldest goes where there is no room."""
        for number, (ring, row) in enumerate(((self.real, real), (self.made, made))):
            ring[label, self.counts[number, label] % self.size] = row
            self.counts[number, label] += 1


def minimax_terms(seen: Tensor, labels: Array, memories: Memories, *, positive: float, negative: float) -> Tensor:
    """The two criteria, a scalar: mean of positive · (1 − least cosine to real) + negative · greatest cosine to made.

    seen: float [B, D], latents that the model expects to see · labels: int64 [B], their classes
    Least cosine: the real picture that is stood for worst; greatest: the made one that is repeated most. A class of
    which nothing is held yet adds nothing.
    Source: Gu et al. 2024, arXiv:2311.15529, equations 5 and 6.
    """
    import torch
    from torch.nn import functional

    total = seen.sum() * 0.0
    for row, label in zip(seen, labels.tolist(), strict=True):
        real, made = (torch.from_numpy(memories.held(label, which)).to(seen) for which in ("real", "made"))
        if len(real):
            total = total + positive * (1 - functional.cosine_similarity(real, row[None]).min())
        if len(made):
            total = total + negative * functional.cosine_similarity(made, row[None]).max()
    return total / len(seen)


@dataclass(frozen=True)
class Minimax(Spelled):
    """Tunes the generator by Minimax criteria on the set, told by class names, and draws pictures from noise alone.

    learn: steps of tuning · batch, lr: AdamW's, without decay · tunes: `small`: biases and norms, as DiffFit does
    (which has scales besides); `all`: every weight of the denoiser
    positive, negative: weights of the criteria · memory: rows a class
    guidance, steps: `protocol.Drawing`
    Tuning is kept in the material's folder, where it has one, and goes on where it was stopped.
    Cost: three runs of the denoiser a picture and step; drawing: 2 · steps runs a picture.
    Source: Gu et al. 2024, arXiv:2311.15529 (8 epochs, AdamW 1e-3, guidance 4, 50 steps); Xie et al. 2023,
    arXiv:2304.06648 (DiffFit). Changed: any denoiser in place of DiT-XL/2, told by words in place of numbers.
    """

    learn: int = 200
    batch: int = 16
    lr: float = 1e-3
    tunes: Literal["small", "all"] = "small"
    positive: float = 0.002
    negative: float = 0.008
    memory: int = 64
    guidance: float = 4.0
    steps: int = 50

    def __post_init__(self) -> None:
        if min(self.learn, self.batch, self.memory) < 1 or not self.lr > 0 or min(self.positive, self.negative) < 0:
            raise InvalidValueError(f"learn, batch, memory and lr must be above 0 and weights 0 or more, got {self}")
        if self.tunes not in get_args(Literal["small", "all"]):
            raise InvalidValueError(f"tunes must be small or all, got {self.tunes!r}")
        check_drawing(self.drawing())

    @property
    def makes(self) -> bool:
        """It makes pictures."""
        return True

    def drawing(self) -> Drawing:
        """How pictures are drawn: from noise alone."""
        return Drawing(1.0, self.guidance, self.steps, "")

    def condense(self, material: Material, per_class: int, *, seed: int) -> Condensed:
        """`per_class` pictures of every class.  Raises InvalidValueError for a generator that is not diffusers'."""
        base = material.generator()
        if not isinstance(base, DiffusersGenerator):
            raise InvalidValueError(f"minimax must have a generator of diffusers to tune, got {type(base).__name__}")
        tuned = self.tuned(base, material, seed=seed)
        finding = Finding(image="none", text="class", how="mini-batch", starts=1)
        return drawn_by(tuned, material, per_class, finding, Wish(self.drawing()), seed=seed)

    def tuned(self, base: DiffusersGenerator, material: Material, *, seed: int) -> DiffusersGenerator:
        """The generator after tuning; the one given stays as it is."""
        torch = need("torch", "video")
        mark = {"method": self.spec, "data": material.images.fingerprint, "from": base.fingerprint, "seed": seed}
        folder = None if material.folder is None else material.folder / f"minimax-{hash_of([mark])[:16]}"
        unet = copy.deepcopy(base.parts.unet).train()
        for name, weight in unet.named_parameters():
            weight.requires_grad_(self.tunes == "all" or weight.ndim == 1 or name.endswith(".bias"))
        with torch.random.fork_rng(devices=[]), Stop() as stop:
            torch.manual_seed(seeded([_TUNED, seed]))
            learner = self._learner(unet, base, material, seed)
            kept = kept_in(folder, "unet", mark, _CHECKPOINT_S)
            learn(learner, stop, checkpoints=kept, tell=material.tell, what="minimax")
        return base.with_unet(unet, mark=hash_of([mark]))

    def _learner(self, unet: Any, base: DiffusersGenerator, material: Material, seed: int) -> PartLearner:
        import torch

        from lightmeter.nets.descent import DescentPlan

        images, latents = material.images, material.features("latents")
        memories = Memories(len(images.classes), self.memory, latents.shape[1])
        order = Order(len(images), self.batch, -(-self.learn * self.batch // len(images)) + 1, seed)
        parts = base.parts
        with torch.no_grad():
            tokens = tokens_of(parts.tokenizer, [class_name(images, label) for label in range(len(images.classes))])
            hidden = parts.text_encoder(tokens.to(base.device))[0].float()

        def loss(step: int) -> Tensor:
            rows = order.rows(step)
            labels, real = images.labels[rows], np.asarray(latents[rows], np.float32)
            given = torch.from_numpy(real).to(base.device).reshape(-1, *base.latent_shape)
            error, seen = denoising_loss(unet, parts.scheduler, given, hidden[labels])
            flat = seen.flatten(1)
            terms = minimax_terms(flat, labels, memories, positive=self.positive, negative=self.negative)
            for label, row, made in zip(labels.tolist(), real, flat.detach().cpu().numpy(), strict=True):
                memories.add(label, row, made)
            return error + terms

        learning = Learning(self.learn, lambda step: self.lr, loss, more=memories.state())
        return PartLearner(unet, learning, DescentPlan(weight_decay=0.0), seed)
