"""Light CNN from a file that the user names: 256 numbers of a face."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from lightmeter.encoders import face_net
from lightmeter.nets import face_plans
from lightmeter.parts import Spelled, need
from lightmeter.types import Array, Image

EYES = np.array([(43.2, 40.0), (84.8, 40.0)])
"""Where the eyes go, of 128 x 128 pixels: 40 from the top as the authors say, half way across, and as far from each
other as 48 pixels from eyes to mouth (theirs) make them on the mean face of Deng et al. 2019, arXiv:1801.07698:
48 * 35.24 / 40.73."""

_NAMES = {(9, 1): "LightCNN_9Layers_checkpoint.pth.tar", (29, 1): "LightCNN_29Layers_checkpoint.pth.tar",
          (29, 2): "LightCNN_29Layers_V2_checkpoint.pth.tar"}  # fmt: skip


@dataclass(frozen=True)
class LightCnn(face_net.FaceNet, Spelled):
    """Who it is, as a small network sees it that was trained on grey faces with noisy labels.

    encode: N pictures -> float32 [N, 256], not unit rows; compare by cosine.
    Cost: 1 G MACs a picture for 9 layers, 3.6 G for 29.
    Source: Wu et al. 2018, arXiv:1511.02683; weights by the authors, github.com/AlfredXiangWu/LightCNN (docs/faces.md).
    Changed: with `view=face` the scale is set by the eyes; theirs is set by eyes and mouth, which dlib's five points
    lack.

    file: a checkpoint of that network · layers, version: 9 or 29; 29 of version 2
    view: `whole`: the picture is an aligned face already, squeezed to 128 x 128 · `face`: the largest face is found and
    turned upright (extra `faces`; RejectedFileError `no-face` where there is none)
    sha256: first digits of the file's hash; another file is refused then
    """

    file: Path
    layers: Literal[9, 29] = 29
    version: Literal[1, 2] = 1
    view: Literal["whole", "face"] = "whole"
    sha256: str = ""
    side: ClassVar[int] = face_plans.LIGHT_CNN_SIDE

    def __post_init__(self) -> None:
        face_plans.check_light_cnn(self.layers, self.version)
        face_net.settle_options(self)

    @property
    def dim(self) -> int:
        """Features a row."""
        return face_plans.LIGHT_CNN_DIM

    def _layers(self) -> tuple[face_plans.Layer, ...]:
        return face_plans.light_cnn_layers(self.layers, self.version)

    def _pixels(self, image: Image) -> Array:
        if self.view == "whole":
            return grey(face_net.resized(image, self.side))
        from lightmeter.encoders.face_finding import largest_face

        return grey(face_net.upright(image, largest_face(image).eyes, EYES, self.side))

    def _net(self) -> Any:
        need("torch", "torch")
        from lightmeter.nets.light_cnn import light_cnn

        return face_net.net_of(self._file(), partial(light_cnn, self.layers, self.version))

    def _file(self) -> face_net.NetFile:
        return face_net.NetFile(
            self.file,
            self.sha256,
            f"light-cnn/layers={self.layers},version={self.version}",
            f"{_NAMES[self.layers, self.version]}, Light CNN by its authors (docs/faces.md)",
            ("fc2",),
        )


def grey(pixels: Array) -> Array:
    """uint8 [H, W, 3] -> float32 [1, H, W] in 0..1, as Pillow and OpenCV make grey: 0.299 R + 0.587 G + 0.114 B."""
    from PIL import Image as pillow  # noqa: N813

    levels = np.asarray(pillow.fromarray(pixels).convert("L"), np.float32)
    return levels[None] / np.float32(255)
