"""VGGFace2 from a file that the user names: 2,048 numbers of a face."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from lightmeter.encoders import face_net
from lightmeter.errors import InvalidValueError
from lightmeter.nets import face_plans
from lightmeter.parts import Spelled, need
from lightmeter.types import Array, Image

MEAN_BGR = np.array([91.4953, 103.8827, 131.0912], np.float32)
"""Of the training pictures: B, G, R in 0..255."""
GROWTH = 0.3
"""How much larger than the found box of a face the cut is, as the authors say of MTCNN's boxes."""


@dataclass(frozen=True)
class VggFace2Encoder(face_net.FaceNet, Spelled):
    """Who it is, as ResNet-50 sees it that was trained on 8,631 people of all poses and ages.

    encode: N pictures -> float32 [N, 2048], the last mean over places: all >= 0, not unit rows; compare by cosine.
    Cost: 3.9 G MACs a picture.
    Source: Cao et al. 2018, arXiv:1710.08092; weights by the authors, converted by Albanie (docs/faces.md).
    Changed: with `view=face` the box is dlib's, not MTCNN's.

    file: a checkpoint with Albanie's names, made for RGB, or with those of cydonia999/VGGFace2-pytorch, made for BGR
    blocks: `resnet` or `senet`, with squeeze-and-excitation
    view: `whole`: the picture is a crop of a face; its middle square is resized to 224 x 224 · `face`: the largest face
    is found and cut out, 0.3 larger than its box (extra `faces`; RejectedFileError `no-face` where there is none)
    sha256: first digits of the file's hash; another file is refused then
    """

    file: Path
    blocks: Literal["resnet", "senet"] = "resnet"
    view: Literal["whole", "face"] = "whole"
    sha256: str = ""
    side: ClassVar[int] = face_plans.VGG2_SIDE

    def __post_init__(self) -> None:
        if self.blocks not in ("resnet", "senet"):
            raise InvalidValueError(f"blocks must be resnet or senet, got {self.blocks!r}")
        face_net.settle_options(self)

    @property
    def dim(self) -> int:
        """Features a row."""
        return face_plans.VGG2_DIM

    def _layers(self) -> tuple[face_plans.Layer, ...]:
        return face_plans.vggface2_layers(squeeze=self.blocks == "senet")

    def _pixels(self, image: Image) -> Array:
        whole, side = self.view == "whole", self.side
        square = face_net.middle(image, side) if whole else face_net.cut_face(image, GROWTH, side)
        return np.ascontiguousarray((square[..., ::-1] - MEAN_BGR).transpose(2, 0, 1), np.float32)

    def _net(self) -> Any:
        need("torch", "torch")
        from lightmeter.nets.vggface2 import VggFace2

        return face_net.net_of(self._file(), partial(VggFace2, squeeze=self.blocks == "senet"))

    def _file(self) -> face_net.NetFile:
        name = "resnet50_ft" if self.blocks == "resnet" else "senet50_ft"
        return face_net.NetFile(
            self.file,
            self.sha256,
            f"vggface2/blocks={self.blocks}",
            f"{name}_dag.pth, VGGFace2 as Albanie converted it (docs/faces.md)",
            ("fc", "classifier"),
            partial(in_bgr, squeeze=self.blocks == "senet"),
        )


def in_bgr(weights: face_net.Weights, *, squeeze: bool) -> face_net.Weights:
    """Albanie's names as the network here has them, its first convolution turned from RGB to BGR; other names stay."""
    from lightmeter.nets.vggface2 import dag_names

    names = dag_names(squeeze=squeeze)
    renamed = {names.get(name, name): each for name, each in weights.items()}
    if "conv1_7x7_s2.weight" in weights and renamed["conv1.weight"].ndim == 4:  # else its shape is refused later
        renamed["conv1.weight"] = renamed["conv1.weight"][:, ::-1]
    return renamed
