"""EfficientNet-Lite's maps by stage, in onnxruntime: the packaged image baseline, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.assets.finding import find, hash_of
from lightmeter.assets.table import ASSETS
from lightmeter.encoders import runtime
from lightmeter.encoders.cache import kept
from lightmeter.encoders.dense import Policy, Pool, Volume, Windowed, at_least, check_options
from lightmeter.encoders.efficientnet_lite import lite_stages
from lightmeter.encoders.graph import Graph
from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import hash_of as hash_of_data
from lightmeter.nets.lite_plan import HEAD_CHANNELS, STEM_CHANNELS, Block, LitePlan, lite_plan
from lightmeter.parts import Spelled
from lightmeter.types import Array

MAPS_VERSION = "lite maps 1"
"""Raise it with any change to the graph: graphs are kept on disk under this name."""


@dataclass(frozen=True)
class LiteMaps(Windowed, Spelled):
    """What a small ImageNet classifier sees: `stem` (stride 2), `stage1` (2) … `stage7` (32), `head` (32).

    A stage is a row of table 1 of the paper; its map is what its last block gives. Trained on single pictures with
    labels: the baseline that a video encoder has to beat. It cannot be fine-tuned: the graph holds no gradients.
    Cost: 31 M MACs at 64 x 64 for all of size 0, 9 M up to `stage3`; 18 MB of weights.
    Source: Tan & Le 2019, arXiv:1905.11946; weights as `efficientnet-lite`.

    size: 0, 1 or 2 · enlarge: frames are made this many times larger first (bilinearly), and all strides that much
    smaller · maps, frames, clip, pool: as in `DenseEncoder`; frames are seen one by one
    """

    size: int = 0
    enlarge: int = 1
    frames: int = 1
    clip: Policy = "static"
    pool: Pool = "mean"
    maps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_options(self)
        at_least("enlarge", self.enlarge)
        if self.enlarge not in (1, 2):
            raise InvalidValueError(f"enlarge must be 1 or 2, as the stem has stride 2, got {self.enlarge}")
        lite_plan(self.size)

    @property
    def size_multiple(self) -> int:
        """The largest stride."""
        return 32 // self.enlarge

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights."""
        return ASSETS[self._asset].size_bytes

    @property
    def fingerprint(self) -> str:
        """Of the options and the packaged weights."""
        return hash_of_data([super().fingerprint, hash_of(find(self._asset))])

    def macs(self, height: int, width: int) -> int:
        """Convolutions up to the last chosen map, for all frames."""
        plan, ends, high, wide = lite_plan(self.size), _ends(self.size), height * self.enlarge, width * self.enlarge
        last = max(len(plan.blocks) if name == "head" else ends[name] for name in self.chosen)
        area = high * wide // 4
        total, shrunk = area * 9 * 3 * STEM_CHANNELS, 2
        for block in plan.blocks[: last + 1]:
            total += area * block.channels_in * block.channels_mid if block.expands else 0
            shrunk *= block.stride
            area = (high // shrunk) * (wide // shrunk)
            total += area * block.channels_mid * (block.kernel**2 + block.channels_out)
        if "head" in self.chosen:
            total += area * plan.blocks[-1].channels_out * HEAD_CHANNELS
        return total * self.frames

    def net(self) -> Any:
        """It has none: always InvalidValueError."""
        raise InvalidValueError("lite-maps runs without torch and cannot be fine-tuned: freeze it, or take another one")

    @property
    def _asset(self) -> str:
        return f"efficientnet-lite{self.size}"

    def _volumes(self) -> Mapping[str, Volume]:
        return {
            name: Volume(channels, self.frames, stride // self.enlarge)
            for name, (channels, stride) in _maps(self.size).items()
        }

    def _defaults(self) -> tuple[str, ...]:
        return ("stage3",)

    def _run(self, window: Array, names: tuple[str, ...]) -> Mapping[str, Array]:
        session = runtime.session(f"{self._asset} maps", self._graph)
        runs = [session.run(list(names), {"pixels": enlarged(each, self.enlarge)[None]}) for each in window]
        return {name: np.stack([run[at][0] for run in runs], axis=1) for at, name in enumerate(names)}

    def _graph(self) -> bytes:
        weights = find(self._asset)

        def build() -> bytes:
            return maps_graph(read_checkpoint(weights), lite_plan(self.size), self.size)

        return kept(f"{self._asset}-maps.onnx", f"{hash_of(weights)} {MAPS_VERSION}", build)


def enlarged(frame: Array, times: int) -> Array:
    """A frame made larger bilinearly: uint8 [H, W, 3] -> uint8 [times * H, times * W, 3]."""
    if times == 1:
        return np.ascontiguousarray(frame)
    from PIL import Image as pillow  # noqa: N813

    height, width = frame.shape[:2]
    whole = pillow.fromarray(np.ascontiguousarray(frame))
    return np.asarray(whole.resize((width * times, height * times), pillow.Resampling.BILINEAR))


def maps_graph(weights: Mapping[str, Array], plan: LitePlan, size: int) -> bytes:
    """The network as ONNX: pixels uint8 [n, h, w, 3] of any multiple of 32 -> every map float32 [n, C, h', w']."""
    graph = Graph()
    made = lite_stages(graph, weights, plan)
    blocks = {"stem": "stem", "head": "head"} | {
        name: f"block{last}" for name, last in _ends(size).items() if last >= 0
    }
    for name in _maps(size):
        graph.alias(made[blocks[name]], name)
    outputs: dict[str, list[int | str]] = {
        name: ["n", channels, f"{name}_h", f"{name}_w"] for name, (channels, _) in _maps(size).items()
    }
    return graph.model({"pixels": (np.uint8, ["n", "h", "w", 3])}, outputs)


@cache
def _ends(size: int) -> dict[str, int]:
    """The last block before every map, -1 for none: a stage ends where the next block does not repeat its own."""
    blocks = lite_plan(size).blocks
    last = [at for at in range(len(blocks)) if at + 1 == len(blocks) or _begins(blocks[at + 1])]
    return {"stem": -1} | {f"stage{number}": at for number, at in enumerate(last, 1)}


def _begins(block: Block) -> bool:
    return not block.adds_input


@cache
def _maps(size: int) -> dict[str, tuple[int, int]]:
    """Channels and stride of every map."""
    blocks, stride = lite_plan(size).blocks, 2
    strides = []
    for block in blocks:
        stride *= block.stride
        strides.append(stride)
    stages = {
        name: (blocks[at].channels_out, strides[at]) if at >= 0 else (STEM_CHANNELS, 2)
        for name, at in _ends(size).items()
    }
    return stages | {"head": (HEAD_CHANNELS, strides[-1])}
