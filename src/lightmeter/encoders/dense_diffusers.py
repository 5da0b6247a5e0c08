"""Video autoencoders and Wan's transformer from folders that the user names, through diffusers.

Nothing is fetched, nothing is unpickled: config.json and diffusion_pytorch_model.safetensors are all that is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.encoders.by_path import settle
from lightmeter.encoders.dense import Policy, Pool, Windowed, at_least, check_options
from lightmeter.encoders.dense_net import ByNet
from lightmeter.encoders.model_folder import (
    LEAST_SPREAD,
    check_whole,
    config_count,
    config_numbers,
    made_of,
    model_config,
    weight_files,
)
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled, need

WEIGHTS = "diffusion_pytorch_model"
VAES = (
    "AutoencoderKL", "AutoencoderKLCogVideoX", "AutoencoderKLCosmos", "AutoencoderKLHunyuanVideo",
"AutoencoderKLLTXVideo", "AutoencoderKLMagvit", "AutoencoderKLQwenImage",
    "AutoencoderKLTemporalDecoder", "AutoencoderKLWan",
)  # fmt: skip
"""Classes of diffusers that were tried; AutoencoderKL and …TemporalDecoder see frames one by one."""
_PICTURES = ("AutoencoderKL", "AutoencoderKLTemporalDecoder")
_DECODER = ("decoder.", "post_quant_conv.")
"""How the names of an autoencoder's weights begin that never run here."""
_MOST_HALVINGS = 10


@dataclass(frozen=True)
class VideoVae(ByNet, Windowed, Spelled):
    """What the encoder of a video autoencoder sees: `conv_in`, `down_blocks.0` …, `mid_block` and `latents` (means).

    Causal ones see the first frame alone and then 4 or 8 a moment: `frames` must be 1 + a multiple of that; a single
    picture is 1. Channels and strides are the checkpoint's: `feature_sets` tells them.
    Cost: of the whole encoder, whichever maps are taken.
    Source: diffusers' AutoencoderKLWan (arXiv:2503.20314), …Cosmos, …CogVideoX, …HunyuanVideo, …LTXVideo, …Magvit.

    folder: as `save_pretrained` writes it, or a pipeline's `vae` · maps, frames, clip, pool: as in `DenseEncoder`
    device: `cpu` or `cuda`
    """

    folder: Path
    maps: tuple[str, ...] = ()
    frames: int = 1
    clip: Policy = "static"
    pool: Pool = "mean"
    device: Literal["cpu", "cuda"] = "cpu"

    extra: ClassVar[str] = "video"
    causal = True

    def __post_init__(self) -> None:
        check_options(self)
        settle(self, "folder")

    @property
    def size_multiple(self) -> int:
        """Pixels a cell of the latents."""
        return _strides(self.folder)[1]

    def _defaults(self) -> tuple[str, ...]:
        return ("mid_block",)

    def _made(self) -> Any:
        vae = load_vae(self.folder, self.frames)
        from lightmeter.nets.dense_diffusion import VaeMaps

        return VaeMaps(vae)


@dataclass(frozen=True)
class WanTransformer(ByNet, Windowed, Spelled):
    """Hidden states of Wan's text-to-video transformer at one noise level: `block0` … `block29`.

    Cost: the encoder of its autoencoder, and the blocks up to the last that is taken.
    Source: Wan team 2025, arXiv:2503.20314; features of denoisers: Tang et al. 2023, arXiv:2306.03881 (DIFT).

    folder: a pipeline's, with `vae` and `transformer` in it, each as `save_pretrained` writes it
    timestep: noise level, 0 (none) to 1000 (nothing else) · seed: of the noise, alike for every clip
    maps, clip, pool: as in `DenseEncoder`; frames: 1 + a multiple of 4 · device: `cpu` or `cuda`
    """

    folder: Path
    timestep: int = 200
    seed: int = 0
    maps: tuple[str, ...] = ()
    frames: int = 1
    clip: Policy = "static"
    pool: Pool = "mean"
    device: Literal["cpu", "cuda"] = "cpu"

    extra: ClassVar[str] = "video"
    causal = True

    def __post_init__(self) -> None:
        check_options(self)
        settle(self, "folder")
        at_least("seed", self.seed, 0)
        if not 0 <= self.timestep <= 1000:
            raise InvalidValueError(f"timestep must be 0 to 1000, got {self.timestep}")

    @property
    def size_multiple(self) -> int:
        """Pixels a token."""
        config = self._config()
        with made_of(self.folder / "transformer"):
            _, patch, _ = config_numbers(config, "patch_size", 3, 1) if "patch_size" in config else (1, 2, 2)
        return _strides(self.folder / "vae")[1] * int(patch)

    def _config(self) -> dict[str, Any]:
        config = model_config(self.folder / "transformer", WEIGHTS)
        if config.get("_class_name") != "WanTransformer3DModel":
            raise InvalidValueError(
                f"{self.folder / 'transformer'} must hold WanTransformer3DModel, got {config.get('_class_name')!r:.80}"
            )
        return config

    def _defaults(self) -> tuple[str, ...]:
        config = self._config()
        with made_of(self.folder / "transformer"):
            return (f"block{config_count(config, 'num_layers', 40) // 2}",)

    def _made(self) -> Any:
        config, vae = self._config(), load_vae(self.folder / "vae", self.frames)
        with made_of(self.folder / "transformer"):
            channels = config_count(config, "in_channels", 16)
        with made_of(self.folder / "vae"):
            latents = config_count(vae.config, "z_dim")
            config_numbers(vae.config, "latents_mean", latents)
            config_numbers(vae.config, "latents_std", latents, LEAST_SPREAD)
        if channels != latents:
            raise InvalidValueError(
                f"the transformer must take the {latents} channels of its latents, got {channels}: "
                "name a text-to-video model, one of image-to-video takes more"
            )
        network = _transformer(self.folder / "transformer", config)
        from lightmeter.nets.dense_diffusion import WanMaps

        vae.decoder = None  # never run here, and half of the weights
        return WanMaps(vae, network, self.timestep, self.seed)


def load_vae(folder: Path, frames: int) -> Any:
    """The autoencoder of a folder, in float32; raises InvalidValueError where it cannot take so many frames."""
    name, (moment, _) = _vae_config(folder)["_class_name"], _strides(folder)
    if (frames - 1) % moment:
        raise InvalidValueError(f"frames must be 1 + a multiple of {moment} for {name}, got {frames}")
    torch, made = need("torch", "video"), getattr(need("diffusers", "video"), name)
    with made_of(folder):
        vae, told = made.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, torch_dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    check_whole(folder, vae, told, _DECODER)
    return vae


def strides_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """Frames a moment after the first, and pixels a cell, of an autoencoder's latents.

    Raises InvalidValueError where a field of the config is missing or cannot be.
    """
    name = config["_class_name"]
    if name in _PICTURES:
        return 1, 1 << _halvings(config)
    if "temperal_downsample" in config:  # Wan and Qwen, spelled so
        in_time = _flags(config, "temperal_downsample")
        patch = 1 if config.get("patch_size") is None else config_count(config, "patch_size")
        return 1 << sum(in_time), patch << len(in_time)
    if name == "AutoencoderKLLTXVideo":
        scaled = sum(_flags(config, "spatio_temporal_scaling"))
        return config_count(config, "patch_size_t") << scaled, config_count(config, "patch_size") << scaled
    if name == "AutoencoderKLMagvit":
        return 1 << max(_halvings(config) - 1, 0), 1 << _halvings(config)
    in_space = "spatial_compression_ratio"
    told = config.get(in_space) is not None
    return config_count(config, "temporal_compression_ratio"), (
        config_count(config, in_space) if told else 1 << _halvings(config)
    )


def _halvings(config: Mapping[str, Any]) -> int:
    """Of an encoder with a list of channels, one a size."""
    return len(_listed(config, "block_out_channels")) - 1


def _flags(config: Mapping[str, Any], name: str) -> list[bool]:
    flags = _listed(config, name)
    if not all(isinstance(each, bool) for each in flags):
        raise InvalidValueError(f"{name} in config.json must be a list of true and false, got {flags!s:.80}")
    return flags


def _listed(config: Mapping[str, Any], name: str) -> list[Any]:
    told = config.get(name)
    if not isinstance(told, list | tuple) or not 1 <= len(told) <= _MOST_HALVINGS:
        raise InvalidValueError(f"{name} in config.json must be a list of 1 to {_MOST_HALVINGS}, got {told!s:.80}")
    return list(told)


def _strides(folder: Path) -> tuple[int, int]:
    """As `strides_of` the folder's config."""
    config = _vae_config(folder)
    with made_of(folder):
        return strides_of(config)


def _vae_config(folder: Path) -> dict[str, Any]:
    config = model_config(folder, WEIGHTS)
    if config.get("_class_name") not in VAES:
        raise InvalidValueError(
            f"{folder} must hold one of {', '.join(VAES)}, its config.json says {config.get('_class_name')!r:.80}"
        )
    return config


def _transformer(folder: Path, config: Mapping[str, Any]) -> Any:
    """Wan's transformer in float32; read here, as diffusers wants a further package for it."""
    torch, made = need("torch", "video"), need("diffusers", "video").WanTransformer3DModel
    with made_of(folder):
        config_count(config, "num_layers", 40)
        network = made.from_config(dict(config)).float()
    wanted = {name: each.shape for name, each in network.state_dict().items()}
    for path in weight_files(folder, WEIGHTS):  # shard by shard: they are large
        arrays = read_checkpoint(path)
        for name, array in arrays.items():
            if wanted.pop(name, None) != array.shape:
                raise InvalidValueError(
                    f"{path} must hold the weights that its config.json describes, {name} does not fit"
                )
            if not np.isfinite(array).all():
                raise InvalidValueError(f"{path} must hold finite weights, got NaN or infinity in {name}")
        network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, strict=False)
    if wanted:
        raise InvalidValueError(f"{folder} must hold all weights of its transformer, {next(iter(wanted))} is missing")
    return network
