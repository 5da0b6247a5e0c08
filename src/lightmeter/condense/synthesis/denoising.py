"""How a denoiser learns: latents are made noisy, and it says what the noise was, knowing a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightmeter.parts import need

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Noised:
    """Latents [B, c, h, w] at noise levels of their own: noisy = √signal·latents + √(1 − signal)·noise.

    steps: int64 [B], 0 to those of the schedule · signal: float [B, 1, 1, 1]
    """

    latents: Tensor
    noise: Tensor
    steps: Tensor
    signal: Tensor

    @property
    def noisy(self) -> Tensor:
        """What the denoiser sees."""
        return self.signal.sqrt() * self.latents + (1 - self.signal).sqrt() * self.noise

    def target(self, kind: str) -> Tensor:
        """What it should say: `epsilon`, `v_prediction` or `sample`."""
        if kind == "epsilon":
            return self.noise
        if kind == "v_prediction":
            return self.signal.sqrt() * self.noise - (1 - self.signal).sqrt() * self.latents
        return self.latents

    def seen(self, said: Tensor, kind: str) -> Tensor:
        """The latents that what it says stands for."""
        clean, noise = self.signal.sqrt(), (1 - self.signal).sqrt()
        if kind == "epsilon":
            return (self.noisy - noise * said) / clean
        return clean * self.noisy - noise * said if kind == "v_prediction" else said


def noised(latents: Tensor, scheduler: Any) -> Noised:
    """Noise levels and noise drawn by torch's chance on the CPU, wherever the latents are.

    Source: Ho et al. 2020, arXiv:2006.11239, algorithm 1.
    """
    import torch

    steps = torch.randint(0, len(scheduler.alphas_cumprod), (len(latents),))
    noise = torch.randn(latents.shape).to(latents)
    signal = scheduler.alphas_cumprod[steps].to(latents)[:, None, None, None]
    return Noised(latents, noise, steps.to(latents.device), signal)


def denoising_loss(unet: Any, scheduler: Any, latents: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error of what a denoiser says, a scalar, and the latents [B, c, h, w] that it stands for.

    latents: as the denoiser reads them · texts: float [B, L, D]
    """
    from torch.nn import functional

    kind = scheduler.config.prediction_type
    given = noised(latents, scheduler)
    said = unet(given.noisy, given.steps, encoder_hidden_states=texts).sample
    return functional.mse_loss(said.float(), given.target(kind).float()), given.seen(said, kind)


def new_scheduler() -> Any:
    """Stable Diffusion's own: PNDM over a scaled linear schedule of a thousand levels."""
    return need("diffusers", "video").PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
