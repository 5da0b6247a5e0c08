"""diffusers' video autoencoders and Wan's transformer as maps: blocks are tapped while they encode a clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightmeter.nets.dense_maps import Maps, Taps

LATENTS = "latents"


def encoder_blocks(encoder: nn.Module) -> dict[str, str]:
    """Blocks of an autoencoder's encoder whose output is a map, by name: `conv_in`, `down_blocks.0` …, `mid_block`."""
    names = ["conv_in"] if hasattr(encoder, "conv_in") else []
    names += [f"down_blocks.{at}" for at in range(len(encoder.down_blocks))]
    return {name: f"encoder.{name}" for name in [*names, "mid_block"] if hasattr(encoder, name.split(".")[0])}


def latents_of(vae: nn.Module, clips: Tensor) -> Tensor:
    """Means of the latents of clips [N, T, 3, H, W] in 0..1: [N, C, T', h, w]; frame by frame in one of pictures."""
    if flat(vae):
        return vae.encode(clips.flatten(0, 1) * 2 - 1).latent_dist.mode().unflatten(0, clips.shape[:2]).transpose(1, 2)
    return vae.encode(clips.transpose(1, 2) * 2 - 1).latent_dist.mode()


def flat(vae: nn.Module) -> bool:
    """Whether an autoencoder sees pictures instead of clips."""
    return isinstance(getattr(vae.encoder, "conv_in", None), nn.Conv2d)


class VaeMaps(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Clips [N, T, 3, H, W] in 0..1 -> maps of an autoencoder's encoder [N, C, T', h, w]; the decoder does not run."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor, names: Sequence[str] | None = None) -> Maps:
        """The maps of these names, of all where `names` is None; the encoder runs to its end, whichever are taken."""
        blocks = encoder_blocks(self.network.encoder)
        wanted = [*blocks, LATENTS] if names is None else list(names)
        with Taps(self.network, {name: blocks[name] for name in wanted if name != LATENTS}) as taps:
            latents = latents_of(self.network, clips)
        return {name: latents if name == LATENTS else self._joined(taps.caught[name], clips) for name in wanted}

    def _joined(self, pieces: list[Tensor], clips: Tensor) -> Tensor:
        """Causal encoders run piece by piece along time; those of pictures saw all frames as one batch."""
        if flat(self.network):
            return pieces[0].unflatten(0, clips.shape[:2]).transpose(1, 2)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


class WanMaps(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Clips [N, T, 3, H, W] in 0..1 -> `block0` … of Wan's transformer [N, C, T', h, w], at one noise level.

    Latents are normalised, mixed with noise as flow matching has it, x = (1 - s)·latents + s·noise with s = timestep /
    1000, and shown with an empty text. The noise is drawn from the seed, alike for every clip. All embeddings of the
    text are zeros and so alike, and attention over alike tokens is that over one: there is one.
    Source: Lipman et al. 2023, arXiv:2210.02747; Tang et al. 2023, arXiv:2306.03881 (features at a noise level).
    """

    def __init__(self, vae: nn.Module, network: nn.Module, timestep: int, seed: int) -> None:
        super().__init__()
        self.vae, self.network, self.timestep, self.seed = vae, network, timestep, seed
        shape = (1, -1, 1, 1, 1)
        self.register_buffer("mean", torch.tensor(vae.config.latents_mean).view(shape), persistent=False)
        self.register_buffer("deviation", torch.tensor(vae.config.latents_std).view(shape), persistent=False)

    def forward(self, clips: Tensor, names: Sequence[str] | None = None) -> Maps:
        """The maps of these names, of all where `names` is None; no block above the last one runs."""
        wanted = [f"block{at}" for at in range(len(self.network.blocks))] if names is None else list(names)
        latents = (latents_of(self.vae, clips) - self.mean) / self.deviation
        share = self.timestep / 1000
        noisy = (1 - share) * latents + share * self._noise(latents)
        text = noisy.new_zeros(len(noisy), 1, self.network.config.text_dim)
        steps = torch.full((len(noisy),), self.timestep, device=noisy.device)
        blocks = {name: f"blocks.{name.removeprefix('block')}" for name in wanted}
        with Taps(self.network, blocks, stops=True) as taps:
            self.network(noisy, steps, text, return_dict=False)
        patch = self.network.config.patch_size
        grid = [size // cells for size, cells in zip(noisy.shape[2:], patch, strict=True)]
        return {name: taps.caught[name][0].unflatten(1, grid).movedim(-1, 1) for name in wanted}

    def _noise(self, latents: Tensor) -> Tensor:
        drawn = torch.randn(1, *latents.shape[1:], generator=torch.Generator().manual_seed(self.seed))
        return drawn.to(latents)
