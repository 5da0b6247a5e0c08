"""Folders of Stable Diffusion's kind: what must lie there, and its parts loaded; nothing is run or unpickled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lightmeter.encoders.by_path import absolute
from lightmeter.encoders.model_folder import model_config, read_json, weight_files
from lightmeter.encoders.runtime import threads
from lightmeter.errors import InvalidValueError, MissingAssetError
from lightmeter.parts import need

Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "float16", "bfloat16"]
_WEIGHTS = {"vae": "diffusion_pytorch_model", "unet": "diffusion_pytorch_model", "text_encoder": "model"}
_SCHEDULER = "scheduler/scheduler_config.json"
_WORDS = (("tokenizer/tokenizer.json",), ("tokenizer/vocab.json", "tokenizer/merges.txt"))
SCHEDULERS = (
    "PNDMScheduler", "DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
LATENT_CHANNELS = 4
"""diffusers' image-to-image pipeline knows latents from pictures by their four channels."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The five parts of a model, as torch modules in eval mode; the tokenizer and the scheduler have no weights."""

    vae: Any
    text_encoder: Any
    tokenizer: Any
    unet: Any
    scheduler: Any

    def pipeline(self) -> Any:
        """diffusers' own image-to-image pipeline over them, without a bar of progress."""
        with quiet():
            made = need("diffusers", "video").StableDiffusionImg2ImgPipeline(
                **self._named(), requires_safety_checker=False
            )
        made.set_progress_bar_config(disable=True)
        return made

    def save(self, folder: Path) -> None:
        """As any folder of Stable Diffusion, weights as safetensors."""
        with quiet():
            made = need("diffusers", "video").StableDiffusionPipeline(**self._named(), requires_safety_checker=False)
            made.save_pretrained(folder, safe_serialization=True)

    def _named(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in ("vae", "text_encoder", "tokenizer", "unet", "scheduler")}
        return {**named, "safety_checker": None, "feature_extractor": None}


@dataclass(frozen=True, slots=True)
class DiffusionFolder:
    """A folder that was looked at: it holds all that is needed. `files` are those that are read."""

    path: Path
    files: tuple[Path, ...]
    vae: dict[str, Any]
    unet: dict[str, Any]
    scheduler: str

    @property
    def resolution(self) -> int:
        """Pixels a side that the model was made for."""
        return int(self.unet.get("sample_size") or 64) * self.stride

    @property
    def stride(self) -> int:
        """Pixels a cell of the latents."""
        return 1 << (len(self.vae["block_out_channels"]) - 1)

    @property
    def channels(self) -> int:
        """Of the pictures that the model makes: 3, or 1 for grey."""
        return int(self.vae.get("in_channels", 3))


def diffusion_folder(path: Path | str) -> DiffusionFolder:
    """Look at a folder as `StableDiffusionPipeline.save_pretrained` writes it: Stable Diffusion 1 or 2, or a tiny one.

    Raises MissingAssetError that names every missing file, UnsafeFileError where weights are a pickle only, and
    InvalidValueError for a model of another kind.  Cost: reads the small files.
    """
    path = absolute(path)
    files = [file for part, stem in _WEIGHTS.items() for file in _files_of(path / part, stem)]
    words = next((some for some in _WORDS if all((path / name).is_file() for name in some)), _WORDS[-1])
    files += [path / name for name in (*words, _SCHEDULER)]
    missing = [file for file in files if not file.is_file()]
    for part, stem in _WEIGHTS.items():
        if any(each in missing for each in weight_files(path / part, stem)):
            _refuse_pickles(path / part, stem)
    if missing:
        named = ", ".join(each.relative_to(path).as_posix() for each in missing)
        raise MissingAssetError(
            f"{path} lacks {named}: name a folder as StableDiffusionPipeline.save_pretrained writes it"
        )
    beside = ("tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json")
    files += [path / name for name in beside if (path / name).is_file()]
    return _checked(path, tuple(files))


def _files_of(folder: Path, stem: str) -> list[Path]:
    return [folder / "config.json", *weight_files(folder, stem)]


def _refuse_pickles(folder: Path, stem: str) -> None:
    """UnsafeFileError for a folder with a pickle in the place of its weights; what is missing is told of elsewhere."""
    try:
        model_config(folder, stem)
    except MissingAssetError:
        return


def _checked(path: Path, files: tuple[Path, ...]) -> DiffusionFolder:
    vae, unet, text = (read_json(path / part / "config.json") for part in ("vae", "unet", "text_encoder"))
    scheduler = read_json(path / _SCHEDULER).get("_class_name")
    wanted = (
        ("vae", vae.get("_class_name"), ("AutoencoderKL",)),
        ("channels of the latents", vae.get("latent_channels"), (LATENT_CHANNELS,)),
        ("unet", unet.get("_class_name"), ("UNet2DConditionModel",)),
        ("in_channels of the unet", unet.get("in_channels"), (LATENT_CHANNELS,)),
        ("text encoder", (text.get("architectures") or [None])[0], ("CLIPTextModel",)),
        ("scheduler", scheduler, SCHEDULERS),
    )
    for name, got, some in wanted:
        if got not in some:
            raise InvalidValueError(
                f"the {name} of {path} must be {' or '.join(map(str, some))}, got {got!r:.80}: name a text-to-image "
                "model of Stable Diffusion's kind"
            )
    if unet.get("cross_attention_dim") != text.get("hidden_size"):
        raise InvalidValueError(
            f"the unet of {path} must read texts of {text.get('hidden_size')} numbers a token, got "
            f"{unet.get('cross_attention_dim')!r:.80}: its parts are of two models"
        )
    return DiffusionFolder(path, files, vae, unet, str(scheduler))


def load_parts(folder: DiffusionFolder, *, device: Device = "cpu", precision: Precision = "float32") -> Parts:
    """The parts of a folder, on a device; nothing is fetched, and only the classes that were checked are made.

    Raises InvalidValueError for a device that is not there.
    """
    torch = need("torch", "video")
    check_place(device, precision)
    torch.set_num_threads(threads())
    diffusers, transformers = need("diffusers", "video"), need("transformers", "video")
    kind = getattr(torch, precision)
    told = {"local_files_only": True, "use_safetensors": True}
    with quiet():
        vae, unet = (
            made.from_pretrained(folder.path / part, torch_dtype=kind, low_cpu_mem_usage=False, **told)
            for made, part in ((diffusers.AutoencoderKL, "vae"), (diffusers.UNet2DConditionModel, "unet"))
        )
        text = transformers.CLIPTextModel.from_pretrained(folder.path / "text_encoder", dtype=kind, **told)
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder.path / "tokenizer", local_files_only=True)
        scheduler = getattr(diffusers, folder.scheduler).from_pretrained(
            folder.path / "scheduler", local_files_only=True
        )
    vae, unet, text = (each.to(device).eval().requires_grad_(False) for each in (vae, unet, text))
    return Parts(vae, text, tokenizer, unet, scheduler)


def check_place(device: str, precision: str) -> None:
    """Raises InvalidValueError for a device that is not there, or a precision that nobody computes in."""
    if device not in get_args(Device):
        raise InvalidValueError(f"device must be one of {', '.join(get_args(Device))}, got {device!r}")
    if precision not in get_args(Precision):
        raise InvalidValueError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
    if device == "cuda" and not need("torch", "video").cuda.is_available():
        raise InvalidValueError("device must be there, got cuda on a machine without: take device cpu")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep diffusers and transformers from talking of what is chosen here on purpose, and from bars of progress."""
    diffusers, transformers = need("diffusers", "video"), need("transformers", "video")
    logs = [each.utils.logging for each in (diffusers, transformers)]
    before = [each.get_verbosity() for each in logs]
    bars = transformers.utils.logging.is_progress_bar_enabled()
    for each in logs:
        each.set_verbosity_error()
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each, level in zip(logs, before, strict=True):
            each.set_verbosity(level)
            if bars:
                each.enable_progress_bar()
