"""aiSFX: a network trained to sort sound effects, run from its PyTorch checkpoint without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.assets.finding import find, hash_of
from lightmeter.assets.table import ASSETS
from lightmeter.encoders import runtime
from lightmeter.encoders.cache import kept
from lightmeter.encoders.graph import Graph
from lightmeter.encoders.mel import MelShape, mel_power
from lightmeter.encoders.protocol import Takes, checked, stacked
from lightmeter.parts import Spelled
from lightmeter.types import Array, Sound

GRAPH_VERSION = "aisfx 1"
"""Raise it with any change to `aisfx_graph`: graphs are kept on disk under this name."""

SHAPE = MelShape(rate_hz=44_100, frame=2048, hop=1024, bands=96, low_hz=0.0, high_hz=22_050.0, area="sum")
BLOCK, BLOCK_STEP = 100, 50  # frames: 2.3 s, half overlapping
LOUDEST = 9.457798957824707  # largest value over the authors' training sets: they divide by it
CHANNELS = (64, 128, 256, 512)
_EPSILON = 1e-5


@dataclass(frozen=True)
class Aisfx(Spelled):
    """What kind of sound effect it is, as a network saw it that was trained on the Universal Category System.

    encode: N sounds -> float32 [N, 512], the mean over half-overlapping blocks of 2.3 s; all numbers are >= 0.
    Cost: 1.7 G MACs a second of sound.
    Source: Ma & Lerch, "Representation Learning for the Automatic Indexing of Sound Effects Libraries", ISMIR 2022;
    weights CC BY 4.0 by the authors (asset `aisfx`).
    Changed: they compute mel bands with Essentia, which we follow in numpy as far as its documentation goes (HTK mel,
    triangles on the mel scale that sum to 1, power, log10(1 + 10000 x)) and do not match bit for bit; they keep every
    block,
    we keep the mean.
    """

    @property
    def dim(self) -> int:
        """Channels of the last block."""
        return CHANNELS[-1]

    @property
    def takes(self) -> Takes:
        """Sounds of any rate and length."""
        return "sound"

    @property
    def unit(self) -> str:
        """What `macs` counts."""
        return "second of sound"

    @property
    def macs(self) -> int:
        """Convolutions of the blocks that start in one second."""
        return round(block_macs() * SHAPE.rate_hz / SHAPE.hop / BLOCK_STEP)

    @property
    def size_bytes(self) -> int:
        """The checkpoint, its unused classifiers included."""
        return ASSETS["aisfx"].size_bytes

    def load(self) -> None:
        """Read the network."""
        self._session()

    def encode(self, items: Sequence[Sound]) -> Array:
        """N sounds -> float32 [N, 512]; one run a block, so that no batch can change a row."""
        sounds = checked(items, Sound, "aisfx")
        session = self._session()
        rows = []
        for sound in sounds:
            outputs = [session.run(None, {"bands": block[None]})[0][0] for block in blocks(sound)]
            rows.append(np.mean(outputs, axis=0))
        return stacked(rows, self.dim)

    def _session(self) -> Any:
        return runtime.session(self.spec, _graph)


def blocks(sound: Sound) -> list[Array]:
    """Log-mel pictures of 100 frames, float32 [100, 96] each; a last partial block counts only when alone."""
    levels = np.log10(1 + 1e4 * mel_power(sound, SHAPE)) / LOUDEST
    if len(levels) < BLOCK:
        levels = np.pad(levels, ((0, BLOCK - len(levels)), (0, 0)))
    return [
        np.ascontiguousarray(levels[start : start + BLOCK], np.float32)
        for start in range(0, len(levels) - BLOCK + 1, BLOCK_STEP)
    ]


def block_macs() -> int:
    """Multiply-accumulates of the eight convolutions for one block."""
    frames, bands, before, total = BLOCK, SHAPE.bands, 1, 0
    for channels in CHANNELS:
        total += frames * bands * 9 * channels * (before + channels)
        frames, bands, before = frames // 2, bands // 2, channels
    return total


def _graph() -> bytes:
    weights = find("aisfx")

    def build() -> bytes:
        return aisfx_graph(read_checkpoint(weights))

    return kept("aisfx.onnx", f"{hash_of(weights)} {GRAPH_VERSION}", build)


def aisfx_graph(weights: Mapping[str, Array]) -> bytes:
    """bands float32 [n, 100, 96] -> features float32 [n, 512]: eight convolutions, mean over bands, max over time."""
    graph = Graph()
    start = next(name for name in weights if name.endswith("embedding_net.conv_block1.conv1.weight"))
    prefix = start.removesuffix("conv_block1.conv1.weight")
    x = graph.add("Unsqueeze", "bands", graph.weight([1]))
    for block in range(1, 5):
        for half in (1, 2):
            kernel, bias = _folded(weights, f"{prefix}conv_block{block}", half)
            x = graph.add("Conv", x, graph.weight(kernel), graph.weight(bias), pads=[1, 1, 1, 1])
            x = graph.add("Relu", x)
        if block < 4:
            x = graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    over_bands = graph.add("ReduceMean", x, axes=[3], keepdims=0)
    graph.alias(graph.add("ReduceMax", over_bands, axes=[2], keepdims=0), "features")
    return graph.model({"bands": (np.float32, ["n", BLOCK, SHAPE.bands])}, {"features": ["n", CHANNELS[-1]]})


def _folded(weights: Mapping[str, Array], name: str, half: int) -> tuple[Array, Array]:
    norm = f"{name}.bn{half}"
    gain = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + _EPSILON)
    kernel = weights[f"{name}.conv{half}.weight"] * gain[:, None, None, None]
    return kernel.astype(np.float32), (weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain).astype(
        np.float32
    )
