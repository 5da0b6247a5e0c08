"""V-JEPA 2, VideoMAE, TimeSformer, DINOv2 and DINOv3 from a folder that the user names, through transformers.

Nothing is fetched, nothing is unpickled: config.json and model.safetensors are all that is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from lightmeter.encoders.by_path import settle
from lightmeter.encoders.dense import Policy, Pool, Windowed, check_options
from lightmeter.encoders.dense_net import ByNet
from lightmeter.encoders.model_folder import (
    LEAST_SPREAD,
    check_whole,
    config_count,
    config_numbers,
    made_of,
    model_config,
    read_json,
)
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled, need

Colours = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and deviation of red, green and blue."""
_IMAGENET: Colours = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KINETICS: Colours = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
_PREPARED = ("preprocessor_config.json", "video_preprocessor_config.json")


@contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Without transformers' progress bars: progress is for the program to show."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class Tokens(ByNet, Windowed, Spelled):
    """Tokens of a vision transformer as maps: `layer0` …, and `last` after the final norm. The parts are its kinds.

    Colours are normalised as the folder's preprocessor_config.json (or video_…) says, else as the family was trained.
    Cost: of the layers up to the last that is asked for.

    folder: as `save_pretrained` writes it: config.json, model.safetensors (or its shards and index)
    stride: pixels of a frame a cell: frames are resized (bilinearly) so that one patch of the model covers stride x
    stride of them, which makes maps finer and dearer; none: as they are, a cell a patch
    maps, frames, clip, pool: as in `DenseEncoder` · device: `cpu` or `cuda`
    """

    folder: Path
    stride: int | None = None
    maps: tuple[str, ...] = ()
    frames: int = 16
    clip: Policy = "static"
    pool: Pool = "mean"
    device: Literal["cpu", "cuda"] = "cpu"

    extra: ClassVar[str] = "video"
    types: ClassVar[Mapping[str, str]] = {}
    """model_type of config.json -> class in transformers"""
    maps_net: ClassVar[str] = ""
    """class in nets.dense_tokens"""
    spare: ClassVar[tuple[str, ...]] = ()
    """How the names of weights begin that never run here, and so may be missing."""
    colours: ClassVar[Colours] = _IMAGENET

    def __post_init__(self) -> None:
        check_options(self)
        settle(self, "folder")
        if self.stride is not None and self.stride < 1:
            raise InvalidValueError(f"stride must be 1 or more, got {self.stride}")

    @property
    def size_multiple(self) -> int:
        """Pixels of a frame a cell."""
        if self.stride:
            return self.stride
        with made_of(self.folder):
            return config_count(self._config(), "patch_size", 16)

    def _config(self) -> dict[str, Any]:
        config = model_config(self.folder, "model")
        if config.get("model_type") not in tuple(self.types):
            raise InvalidValueError(
                f"{self.folder} must hold a model of type {' or '.join(self.types)}, "
                f"its config.json says {config.get('model_type')!r}"
            )
        if config.get("attention_type") == "space_only":
            raise InvalidValueError(f"{self.folder} holds a space_only timesformer: take one that attends along time")
        return config

    def _made(self) -> Any:
        transformers, config = need("transformers", self.extra), self._config()
        from lightmeter.nets import dense_tokens

        with made_of(self.folder):
            config_count(config, "num_hidden_layers", 12)
            patch = config_count(config, "patch_size", 16)
            tubelet = config_count(config, "tubelet_size", 2) if self.maps_net in ("VJepaMaps", "VideoMaeMaps") else 1
        if self.frames % tubelet:
            raise InvalidValueError(f"frames must be a multiple of {tubelet}, got {self.frames}")
        network = self._network(transformers, getattr(transformers, self.types[config["model_type"]]))
        mean, std = self._colours()
        plan = dense_tokens.TokenPlan(patch, tubelet, self.stride or patch, mean, std)
        return getattr(dense_tokens, self.maps_net)(network, plan)

    def _network(self, transformers: Any, made: Any) -> Any:
        """Read whole, in float32."""
        with _silent(transformers), made_of(self.folder):
            network, told = made.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, dtype="float32", output_loading_info=True
            )
        check_whole(self.folder, network, told, self.spare)
        return network.encoder if self.maps_net == "VJepaMaps" else network  # its predictor is of no use here

    def _colours(self) -> Colours:
        for name in _PREPARED:
            if (self.folder / name).is_file():
                said = read_json(self.folder / name)
                if said.get("image_mean") is not None or said.get("image_std") is not None:
                    with made_of(self.folder / name):
                        mean, std = (
                            config_numbers(said, "image_mean", 3),
                            config_numbers(said, "image_std", 3, LEAST_SPREAD),
                        )
                    return cast(Colours, (mean, std))
        return self.colours


@dataclass(frozen=True)
class VJepa2(Tokens):
    """V-JEPA 2: a video transformer that has learnt to say what is hidden, in features instead of pixels.

    Options: as `Tokens`. Two frames a moment; frames must be even. Trained at 256 x 256 with 16 pixels a patch:
    stride=4 shows it frames of 64 x 64 at that size.
    Source: Assran et al. 2025, arXiv:2506.09985. Runs transformers' VJEPA2Model without its predictor.
    """

    types: ClassVar[Mapping[str, str]] = {"vjepa2": "VJEPA2Model"}
    spare: ClassVar[tuple[str, ...]] = ("predictor.",)
    maps_net: ClassVar[str] = "VJepaMaps"


@dataclass(frozen=True)
class VideoMae(Tokens):
    """VideoMAE: a video transformer that has learnt to fill in nine tenths of a clip.

    Options: as `Tokens`. Two frames a moment; frames must be even. Positions are stretched to grids other than its own.
    Source: Tong et al. 2022, arXiv:2203.12602. Runs transformers' VideoMAEModel.
    """

    types: ClassVar[Mapping[str, str]] = {"videomae": "VideoMAEModel"}
    maps_net: ClassVar[str] = "VideoMaeMaps"


@dataclass(frozen=True)
class Timesformer(Tokens):
    """TimeSformer: a video classifier that attends along time and within frames in turn.

    Options: as `Tokens`. A moment a frame.
    Source: Bertasius et al. 2021, arXiv:2102.05095. Runs transformers' TimesformerModel; not its `space_only` form.
    """

    frames: int = 8
    types: ClassVar[Mapping[str, str]] = {"timesformer": "TimesformerModel"}
    maps_net: ClassVar[str] = "TimesformerMaps"
    colours: ClassVar[Colours] = _KINETICS


@dataclass(frozen=True)
class Dino(Tokens):
    """DINOv2 (with registers or without) and DINOv3: image transformers trained without labels, the image baseline.

    Options: as `Tokens`; frames are seen one by one: more than 1 is of use with clip=real only.
    Source: Oquab et al. 2023, arXiv:2304.07193; Siméoni et al. 2025, arXiv:2508.10104. Runs transformers' models.
    """

    frames: int = 1
    types: ClassVar[Mapping[str, str]] = {
        "dinov2": "Dinov2Model",
        "dinov2_with_registers": "Dinov2WithRegistersModel",
        "dinov3_vit": "DINOv3ViTModel",
    }
    spare: ClassVar[tuple[str, ...]] = ("embeddings.mask_token",)
    maps_net: ClassVar[str] = "DinoMaps"
