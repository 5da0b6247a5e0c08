"""A small denoiser with its text encoder, which learn the latents and the captions of a set together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.condense.synthesis.denoising import denoising_loss
from lightmeter.condense.synthesis.folder import LATENT_CHANNELS
from lightmeter.condense.synthesis.learning import Learning, PartLearner
from lightmeter.engines.order import Order
from lightmeter.errors import InvalidValueError
from lightmeter.parts import need
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

_DROPS = 0xD209


@dataclass(frozen=True)
class SmallDenoiser:
    """How the denoiser and its text encoder are built and learn.

    channels: of its levels, from the latents down; each but the last halves the sides · groups: as `SmallVae`
    text: numbers a token · layers: of the text encoder · heads: of attention, a divisor of the least of channels
    drop: share of captions that are left out, for classifier-free guidance · named: share in whose place the class's
    name stands alone, so that it is a prompt too
    steps, batch, lr, warm_up: AdamW, the rate rises over a share of the steps and falls as a cosine
    decay: of the running mean of weights that is kept in the end
    Source: Rombach et al. 2022, arXiv:2112.10752, §3.3; Ho and Salimans 2022, arXiv:2207.12598 (10 % drop).
    """

    channels: tuple[int, ...] = (64, 128)
    groups: int = 8
    text: int = 64
    layers: int = 1
    heads: int = 4
    drop: float = 0.1
    named: float = 0.1
    steps: int = 800
    batch: int = 64
    lr: float = 2e-3
    warm_up: float = 0.1
    decay: float = 0.99

    def __post_init__(self) -> None:
        if not self.channels or any(each % self.groups or each % self.heads for each in self.channels):
            raise InvalidValueError(
                f"channels must be multiples of groups and heads, got {self.channels}, {self.groups} and {self.heads}"
            )
        if min(self.drop, self.named) < 0 or self.drop + self.named > 1:
            raise InvalidValueError(f"drop and named must be shares, together at most 1, got {self.drop}, {self.named}")

    @property
    def stride(self) -> int:
        """Cells of latents that must come together: sides are multiples of it."""
        return 1 << (len(self.channels) - 1)

    def build(self, sample_size: int) -> Any:
        """The denoiser, weights drawn at random."""
        below = max(1, len(self.channels) - 1)  # texts are read at all levels but the finest, the dearest
        plain = len(self.channels) - below
        return need("diffusers", "video").UNet2DConditionModel(
            sample_size=sample_size,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * below,
            up_block_types=("CrossAttnUpBlock2D",) * below + ("UpBlock2D",) * plain,
            block_out_channels=self.channels,
            layers_per_block=1,
            cross_attention_dim=self.text,
            attention_head_dim=self.heads,
            norm_num_groups=self.groups,
        )

    def build_text(self, tokenizer: Any) -> Any:
        """The text encoder, weights drawn at random."""
        transformers = need("transformers", "video")
        return transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=self.text,
                intermediate_size=2 * self.text,
                num_hidden_layers=self.layers,
                num_attention_heads=2,
                max_position_embeddings=tokenizer.model_max_length,
                projection_dim=self.text,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )

    def learner(self, parts: Any, latents: Array, texts: Captioned, seed: int) -> PartLearner:
        """Of `parts.unet` and `parts.text_encoder`, on latents float32 [N, c, h, w]; torch's chance must be seeded."""
        import torch

        from lightmeter.nets.descent import DescentPlan, rate_at

        net = torch.nn.ModuleDict({"unet": parts.unet, "text_encoder": parts.text_encoder}).train().requires_grad_(True)
        order = Order(len(latents), self.batch, -(-self.steps * self.batch // len(latents)) + 1, seed)

        def loss(step: int) -> Tensor:
            rows = order.rows(step)
            told = texts.drawn(rows, seed=[_DROPS, seed, step], drop=self.drop, named=self.named)
            hidden = parts.text_encoder(tokens_of(parts.tokenizer, told))[0]
            return denoising_loss(parts.unet, parts.scheduler, torch.from_numpy(latents[rows]), hidden)[0]

        def rate(step: int) -> float:
            return rate_at(step, self.steps, lr=self.lr, warm_up=self.warm_up)

        return PartLearner(net, Learning(self.steps, rate, loss, self.decay), DescentPlan(), seed)


@dataclass(frozen=True, slots=True)
class Captioned:
    """Captions of pictures, and the name of each one's class."""

    captions: Sequence[str]
    names: Sequence[str]

    def drawn(self, rows: Array, *, seed: Sequence[int], drop: float, named: float) -> list[str]:
        """Texts of some pictures: of a share none, of another the class's name; it stands for an empty caption too."""
        chance = np.random.default_rng(list(seed)).random(len(rows))
        told = []
        for row, at in zip(rows.tolist(), chance.tolist(), strict=True):
            text = self.captions[row] if at >= drop + named else ""
            told.append("" if at < drop else text or self.names[row])
        return told


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Tokens int64 [B, L] of texts, filled up or cut to what the encoder takes."""
    tokens: Tensor = tokenizer(
        list(texts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    return tokens
