"""VGGFace from a file that the user names: 4,096 numbers of a face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from lightmeter.encoders import face_net
from lightmeter.nets import face_plans
from lightmeter.parts import Spelled, need
from lightmeter.types import Array, Image

MEAN = np.array([129.186279296875, 104.76238250732422, 93.59396362304688], np.float32)
"""Of the training pictures: R, G, B in 0..255."""
GROWTH = 0.1
"""How much larger than the found box of a face the cut is; ours: their detector's boxes are another's."""


@dataclass(frozen=True)
class VggFaceEncoder(face_net.FaceNet, Spelled):
    """Who it is, as VGG-16 sees it that was trained on 2,622 people.

    encode: N pictures -> float32 [N, 4096], fc7 after its ReLU: all >= 0, not unit rows; compare by cosine.
    Cost: 15.5 G MACs a picture.
    Source: Parkhi, Vedaldi & Zisserman, "Deep face recognition", BMVC 2015; weights by the authors, converted by
    Albanie as `vgg_face_dag.pth` (docs/faces.md).

    file: a checkpoint with those names · view: `whole`: the picture is a crop of a face, squeezed to 224 x 224
    · `face`: the largest face is found and cut out, a tenth larger than its box (extra `faces`; RejectedFileError
    `no-face` where there is none) · sha256: first digits of the file's hash; another file is refused then
    """

    file: Path
    view: Literal["whole", "face"] = "whole"
    sha256: str = ""
    side: ClassVar[int] = face_plans.VGG_SIDE

    def __post_init__(self) -> None:
        face_net.settle_options(self)

    @property
    def dim(self) -> int:
        """Features a row."""
        return face_plans.VGG_DIM

    def _layers(self) -> tuple[face_plans.Layer, ...]:
        return face_plans.vggface_layers()

    def _pixels(self, image: Image) -> Array:
        whole, side = self.view == "whole", self.side
        square = face_net.resized(image, side) if whole else face_net.cut_face(image, GROWTH, side)
        return np.ascontiguousarray((square - MEAN).transpose(2, 0, 1), np.float32)

    def _net(self) -> Any:
        need("torch", "torch")
        from lightmeter.nets.vggface import VggFace

        return face_net.net_of(self._file(), VggFace)

    def _file(self) -> face_net.NetFile:
        return face_net.NetFile(
            self.file,
            self.sha256,
            "vggface",
            "vgg_face_dag.pth, VGGFace as Albanie converted it (docs/faces.md)",
            ("fc8",),
        )
