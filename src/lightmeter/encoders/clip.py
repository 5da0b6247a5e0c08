"""CLIP and SigLIP from a folder that the user names, through transformers; nothing is fetched, nothing is unpickled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.encoders.by_path import ByPath, Stamp, settle, settle_digits, stamp_of
from lightmeter.encoders.clip_folder import ClipFolder, open_folder
from lightmeter.encoders.protocol import Takes, checked, checked_image, stacked, unit_rows
from lightmeter.encoders.runtime import threads
from lightmeter.encoders.wordpiece import transformer_macs
from lightmeter.errors import InvalidValueError
from lightmeter.parts import SPELLED_IF_SET, Spelled, need
from lightmeter.types import Array, Image


@dataclass(frozen=True)
class ClipEncoder(ByPath, Spelled):
    """Pictures and words in the space that a CLIP or SigLIP checkpoint was trained for.

    encode: N pictures -> float32 [N, dim], unit rows.  Cost: what the checkpoint's config says, see `macs`.
    Source: Radford et al. 2021, arXiv:2103.00020; Zhai et al. 2023, arXiv:2303.15343. Runs transformers' CLIPModel or
    SiglipModel in float32, one picture or text at a time.

    folder: as `save_pretrained` writes it: config.json, model.safetensors (or its shards and index),
    preprocessor_config.json, tokenizer.json · device: `cpu` or `cuda`
    sha256: first digits of the hash of the folder; another content is refused then
    """

    folder: Path
    device: Literal["cpu", "cuda"] = "cpu"
    sha256: str = field(default="", metadata=SPELLED_IF_SET)

    def __post_init__(self) -> None:
        settle(self, "folder")
        settle_digits(self)

    @property
    def dim(self) -> int:
        """Length of the joint vectors."""
        return self._open().dim

    @property
    def takes(self) -> Takes:
        """Pictures; words go through `encode_words`."""
        return "image"

    @property
    def unit(self) -> str:
        """What `macs` counts."""
        return "picture"

    @property
    def macs(self) -> int:
        """Matrix products of the vision tower for one picture, from the checkpoint's config."""
        return vision_macs(self._open())

    @property
    def size_bytes(self) -> int:
        """All weights of the folder."""
        return sum(path.stat().st_size for path in self._open().weights)

    @property
    def short_side(self) -> int | None:
        """What the preprocessor resizes to."""
        height, width = self._open().resize
        return max(height, width or height)

    @property
    def base(self) -> str | None:
        """None: pictures must be seen."""
        return None

    def load(self) -> None:
        """Read the weights."""
        self._model()

    def derive(self, features: Array) -> Array:
        """There is no base encoder to derive from: always InvalidValueError."""
        raise InvalidValueError("clip has no base encoder to derive from: call encode with the pictures")

    def encode(self, items: Sequence[Image]) -> Array:
        """N pictures -> float32 [N, dim], unit rows; one run a picture."""
        images = checked(items, Image, "clip")
        folder = self._open()
        rows = [self._picture(folder, checked_image(each, "clip")) for each in images]
        return unit_rows(stacked(rows, folder.dim))

    def encode_words(self, texts: Sequence[str]) -> Array:
        """N texts -> float32 [N, dim], unit rows; longer texts are cut to what the checkpoint takes."""
        if isinstance(texts, str):
            raise InvalidValueError("encode_words takes a list of texts, got one text: put it in a list")
        folder = self._open()
        return unit_rows(stacked([self._text(folder, text) for text in texts], folder.dim))

    def _picture(self, folder: ClipFolder, image: Image) -> Array:
        torch, model = need("torch", "clip"), self._model()
        pixels = torch.from_numpy(folder.pixels(image)[None]).to(self.device)
        with torch.inference_mode():
            pooled = model.vision_model(pixel_values=pixels).pooler_output
            joint = model.visual_projection(pooled) if folder.kind == "clip" else pooled
        return np.asarray(joint[0].cpu().numpy(), np.float32)

    def _text(self, folder: ClipFolder, text: str) -> Array:
        torch, model = need("torch", "clip"), self._model()
        ids = torch.from_numpy(folder.tokens(text)).to(self.device)
        with torch.inference_mode():
            pooled = model.text_model(input_ids=ids).pooler_output
            joint = model.text_projection(pooled) if folder.kind == "clip" else pooled
        return np.asarray(joint[0].cpu().numpy(), np.float32)

    def _open(self) -> ClipFolder:
        return open_folder(self.folder)

    def _model(self) -> Any:
        need("torch", "clip").set_num_threads(threads())
        kind = self._open().kind  # says what is missing
        self.check_pin()
        return _model(self.folder, kind, self.device, stamp_of(self.folder))


@lru_cache(maxsize=2)
def _model(folder: Path, kind: str, device: str, _stamp: Stamp) -> Any:
    transformers = need("transformers", "clip")
    made = transformers.CLIPModel if kind == "clip" else transformers.SiglipModel
    return made.from_pretrained(folder, local_files_only=True, use_safetensors=True).float().eval().to(device)


def vision_macs(folder: ClipFolder) -> int:
    """Patches, layers and the way out: a projection (CLIP) or a pooling attention with its own MLP (SigLIP)."""
    vision = folder.vision
    width, inner, patch = int(vision["hidden_size"]), int(vision["intermediate_size"]), int(vision["patch_size"])
    patches = (int(vision["image_size"]) // patch) ** 2
    tokens = patches + (folder.kind == "clip")
    total = patches * int(vision.get("num_channels", 3)) * patch**2 * width
    total += transformer_macs(int(vision["num_hidden_layers"]), width, tokens, inner=inner)
    if folder.kind == "clip":
        return total + width * folder.dim
    pooling = width * width * (2 * tokens + 2) + 2 * tokens * width
    return total + pooling + 2 * width * inner
