"""What lies in the folder of a CLIP or SigLIP checkpoint, and how its pictures and texts are prepared."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.encoders.by_path import Stamp, stamp_of
from lightmeter.encoders.model_folder import read_json
from lightmeter.errors import InvalidValueError, MissingAssetError, UnsafeFileError
from lightmeter.types import Array, Image


@dataclass(frozen=True, eq=False)
class ClipFolder:
    """A checkpoint's configuration, read and checked; the weights are not.

    kind: which family · dim: length of joint vectors · vision, text: the two towers' configs
    resize: (short side, None) or (height, width) · crop: (height, width) or None
    mean, scale: float32 [3]: a pixel x in 0..255 becomes x * scale - mean
    """

    path: Path
    kind: Literal["clip", "siglip"]
    dim: int
    vision: dict[str, Any]
    text: dict[str, Any]
    weights: tuple[Path, ...]
    resize: tuple[int, int | None]
    crop: tuple[int, int] | None
    resample: int
    mean: Array
    scale: Array

    def pixels(self, image: Image) -> Array:
        """A picture as the vision tower takes it: float32 [3, H, W], resized by Pillow, cropped, normalised."""
        from PIL import Image as Pillow

        height, width = image.pixels.shape[:2]
        short, other = self.resize
        if other is None:
            grow = short / min(height, width)
            size = (short, int(width * grow)) if height <= width else (int(height * grow), short)
        else:
            size = (short, other)
        if max(size) > 64 * short:  # a picture 64 times longer than wide: only its middle can be seen anyway
            return self.pixels(Image(_middle(image.pixels, 32)))
        small = Pillow.fromarray(image.pixels).resize((size[1], size[0]), Pillow.Resampling(self.resample))
        cropped = _cropped(np.asarray(small), self.crop)
        return np.ascontiguousarray((cropped * self.scale - self.mean).transpose(2, 0, 1), np.float32)

    def tokens(self, text: str) -> Array:
        """Token numbers int64 [1, L]; SigLIP answers at the last place, so its texts are padded to full length."""
        longest = int(self.text.get("max_position_embeddings", 77 if self.kind == "clip" else 64))
        tokenizer = _tokenizer(self.path / "tokenizer.json", longest, stamp_of(self.path / "tokenizer.json"))
        ids = list(tokenizer.encode(plain(text) if self.kind == "siglip" else text).ids)
        if self.kind == "siglip":
            ids += [int(self.text.get("pad_token_id", 1))] * (longest - len(ids))
        return np.asarray([ids], np.int64)


def plain(text: str) -> str:
    """Text as SigLIP was trained on it: lower case, no punctuation, single spaces.

    Source: Zhai et al. 2023; `canonicalize` of google-research/big_vision.

    >>> plain("A cat,  on a Mat.")
    'a cat on a mat'
    """
    return re.sub(r"\s+", " ", text.lower().translate(str.maketrans("", "", string.punctuation))).strip()


def open_folder(path: Path) -> ClipFolder:
    """A folder's configuration, read again when the folder changes; or an error that says which files are missing."""
    return _opened(path, stamp_of(path))


@lru_cache(maxsize=4)
def _opened(path: Path, _stamp: Stamp) -> ClipFolder:
    weights = _weights(path)
    config, prepare = read_json(path / "config.json"), read_json(path / "preprocessor_config.json")
    kind = config.get("model_type")
    if kind not in ("clip", "siglip"):
        raise InvalidValueError(f"{path} must hold a clip or siglip model, its config.json says {kind!r}")
    vision, text = dict(config.get("vision_config") or {}), dict(config.get("text_config") or {})
    _fill(vision, _VISION_DEFAULTS[kind])
    dim = int(config.get("projection_dim", 512)) if kind == "clip" else int(vision["hidden_size"])
    deviation = np.asarray(prepare.get("image_std", [0.5] * 3), np.float32)
    mean = np.asarray(prepare.get("image_mean", [0.5] * 3), np.float32)
    return ClipFolder(
        path=path,
        kind=kind,
        dim=dim,
        vision=vision,
        text=text,
        weights=weights,
        resize=_size(prepare.get("size", vision["image_size"])),
        crop=_crop(prepare, kind),
        resample=int(prepare.get("resample", 3)),
        mean=mean / deviation,
        scale=np.float32(prepare.get("rescale_factor", 1 / 255)) / deviation,
    )


_VISION_DEFAULTS: dict[str, dict[str, int]] = {
    # what transformers assumes where a config is silent
    "clip": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "image_size": 224,
        "patch_size": 32,
    },
    "siglip": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "image_size": 224,
        "patch_size": 16,
    },
}


def _fill(config: dict[str, Any], defaults: dict[str, int]) -> None:
    for name, value in defaults.items():
        config.setdefault(name, value)


def _weights(path: Path) -> tuple[Path, ...]:
    """The safetensors files of a folder whose needed files are all there."""
    index = path / "model.safetensors.index.json"
    files = [path / "model.safetensors"]
    if index.is_file():
        files = [path / Path(name).name for name in sorted(set(read_json(index).get("weight_map", {}).values()))]
    needed = [path / "config.json", path / "preprocessor_config.json", path / "tokenizer.json", *files]
    missing = [each.name for each in needed if not each.is_file()]
    if missing and (path / "pytorch_model.bin").is_file() and "model.safetensors" in missing:
        raise UnsafeFileError(
            f"{path} holds pytorch_model.bin, a pickle, which is never read: save it as model.safetensors"
        )
    if missing:
        raise MissingAssetError(
            f"{path} lacks {', '.join(missing)}: put there what save_pretrained writes for the model"
        )
    return tuple(files)


def _size(size: Any) -> tuple[int, int | None]:
    if isinstance(size, int):
        return size, None
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), None
    return int(size["height"]), int(size["width"])


def _crop(prepare: dict[str, Any], kind: str) -> tuple[int, int] | None:
    if not prepare.get("do_center_crop", kind == "clip"):
        return None
    crop = prepare.get("crop_size", 224)
    return (crop, crop) if isinstance(crop, int) else (int(crop["height"]), int(crop["width"]))


def _cropped(pixels: Array, crop: tuple[int, int] | None) -> Array:
    if crop is None:
        return pixels
    top, left = (pixels.shape[0] - crop[0]) // 2, (pixels.shape[1] - crop[1]) // 2
    return pixels[top : top + crop[0], left : left + crop[1]]


def _middle(pixels: Array, most: int) -> Array:
    """The middle of a very long picture, at most `most` times as long as wide."""
    height, width = pixels.shape[:2]
    long = most * min(height, width)
    if height > width:
        return pixels[(height - long) // 2 : (height + long) // 2]
    return pixels[:, (width - long) // 2 : (width + long) // 2]


@lru_cache(maxsize=4)
def _tokenizer(path: Path, longest: int, _stamp: Stamp) -> Any:
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(path))
    made.no_padding()
    made.enable_truncation(longest)
    return made
