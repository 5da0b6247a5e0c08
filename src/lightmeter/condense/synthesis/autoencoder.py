"""A small autoencoder that learns the pictures of a set: diffusers' AutoencoderKL, four channels of latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.synthesis.fitting import Fitting
from lightmeter.condense.synthesis.folder import LATENT_CHANNELS
from lightmeter.condense.synthesis.learning import Learning, PartLearner
from lightmeter.engines.order import Order
from lightmeter.errors import InvalidValueError
from lightmeter.parts import need
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class SmallVae:
    """How the autoencoder is built and learns.

    channels: of its levels, from the pictures down; each but the last halves the sides
    groups: of channels that are normalised together, a divisor of all of them
    kl: weight of the Kullback–Leibler term a number of the latents; small: latents are scaled afterwards
    absolute: weight of the absolute error beside the squared one, pixels in −1..1
    steps, batch, lr, warm_up: AdamW, the rate rises over a share of the steps and falls as a cosine
    Source: Rombach et al. 2022, arXiv:2112.10752, §3.1. Changed: no discriminator and no perceptual loss.
    """

    channels: tuple[int, ...] = (16, 32, 64)
    groups: int = 8
    kl: float = 1e-4
    absolute: float = 1.0
    steps: int = 600
    batch: int = 24
    lr: float = 3e-3
    warm_up: float = 0.1

    def __post_init__(self) -> None:
        if not self.channels or any(each % self.groups for each in self.channels):
            raise InvalidValueError(f"channels must be multiples of groups, got {self.channels} and {self.groups}")

    @property
    def stride(self) -> int:
        """Pixels a cell of the latents."""
        return 1 << (len(self.channels) - 1)

    def build(self, fitting: Fitting) -> Any:
        """The network, weights drawn at random."""
        levels = len(self.channels)
        return need("diffusers", "video").AutoencoderKL(
            in_channels=fitting.model_channels,
            out_channels=fitting.model_channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=self.channels,
            layers_per_block=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=self.groups,
            sample_size=max(fitting.model_size),
            mid_block_add_attention=False,
            scaling_factor=1.0,
        )

    def learner(self, images: ImageSet, fitting: Fitting, seed: int) -> PartLearner:
        """A new network, ready to learn; torch's chance must be seeded."""
        from lightmeter.nets.descent import DescentPlan, rate_at

        net = self.build(fitting).train()
        order = Order(len(images), self.batch, -(-self.steps * self.batch // len(images)) + 1, seed)

        def loss(step: int) -> Tensor:
            pixels = fitting.to_model(np.asarray(images.images[order.rows(step)]))
            return self.loss(net, pixels)

        def rate(step: int) -> float:
            return rate_at(step, self.steps, lr=self.lr, warm_up=self.warm_up)

        return PartLearner(net, Learning(self.steps, rate, loss), DescentPlan(weight_decay=0.0), seed)

    def loss(self, net: Any, pixels: Tensor) -> Tensor:
        """Squared and absolute error a pixel, and the divergence of the latents from unit Gaussians."""
        from torch.nn import functional

        said = net.encode(pixels).latent_dist
        made = net.decode(said.sample()).sample
        error = functional.mse_loss(made, pixels) + self.absolute * functional.l1_loss(made, pixels)
        return error + self.kl * said.kl().mean() / said.mean[0].numel()


def settle_latents(vae: Any, pixels: list[Tensor]) -> None:
    """Give latents mean 0 and variance 1 in each channel, by weights alone, so that the scale of the folder is 1.

    vae: changed in place: its last step to the latents, and the first one back, which undoes it
    pixels: batches that mean and variance are taken from
    """
    import torch

    with torch.no_grad():
        latents = torch.cat([vae.encode(each).latent_dist.mean for each in pixels])
        mean = latents.mean((0, 2, 3))
        deviation = latents.std((0, 2, 3)).clamp_min(_LEAST_DEVIATION)
        channels = len(mean)
        said, back = vae.quant_conv, vae.post_quant_conv
        said.weight[:channels] /= deviation[:, None, None, None]
        said.bias[:channels] = (said.bias[:channels] - mean) / deviation
        said.bias[channels:] -= 2 * deviation.log()
        back.bias += back.weight[:, :, 0, 0] @ mean
        back.weight *= deviation[None, :, None, None]


def recon_mse(vae: Any, pixels: list[Tensor]) -> float:
    """Mean squared error of pictures through the autoencoder and back, of pixels in 0..1."""
    import torch

    total, count = 0.0, 0
    with torch.no_grad():
        for each in pixels:
            made = vae.decode(vae.encode(each).latent_dist.mean).sample.clamp(-1, 1)
            total += float(((made - each) / 2).square().sum())
            count += each.numel()
    return total / max(count, 1)


def some_pixels(images: ImageSet, fitting: Fitting, rows: Array, batch: int = 64) -> list[Tensor]:
    """Pictures as the autoencoder takes them, in batches."""
    return [fitting.to_model(np.asarray(images.images[rows[at : at + batch]])) for at in range(0, len(rows), batch)]
