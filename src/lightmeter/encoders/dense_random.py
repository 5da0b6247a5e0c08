"""Random weights: the control that says how much of an encoder is its training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lightmeter.encoders.dense import DenseEncoder, FeatureSet, Policy, Pool, Windowed, at_least, check_options
from lightmeter.encoders.dense_net import ByNet
from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import hash_of
from lightmeter.parts import Spelled, need
from lightmeter.types import Array

_DRAWN = "drawn 2"
"""Raise it with any change to how weights are drawn anew: what is kept of features goes by it."""


@dataclass(frozen=True)
class RandomWeights(ByNet, Windowed, Spelled):
    """Maps of a small residual network that nobody has trained: `down2` `down4` `down8` `up4` `up2`.

    The number is the stride; `up4` has seen as far as `down8` (nets.dense_random.SmallMaps).  Cost: 38 M MACs at
    64 x 64 and width 32 for the default map.

    seed: of the weights · width: channels at stride 2 · maps, frames, clip, pool: as in `DenseEncoder`; frames are
    seen one by one · device: `cpu` or `cuda`
    """

    seed: int = 0
    width: int = 32
    frames: int = 1
    clip: Policy = "static"
    pool: Pool = "mean"
    maps: tuple[str, ...] = ()
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        check_options(self)
        at_least("width", self.width)
        at_least("seed", self.seed, 0)

    @property
    def size_multiple(self) -> int:
        """The largest stride."""
        return 8

    def _defaults(self) -> tuple[str, ...]:
        return ("down4",)

    def _made(self) -> Any:
        need("torch", "torch")
        from lightmeter.nets.dense_random import SmallMaps, redrawn

        return redrawn(SmallMaps(self.width), self.seed)


@dataclass(frozen=True)
class Untrained(Spelled):
    """Another encoder with its weights drawn anew: the same network, maps, frames and cost, nothing learnt.

    A codebook becomes a new one, whose vectors no batch has placed yet: nearly all latents are nearest to one of them,
    so that `codes`, `tokens` and what is made of them tell next to nothing. Compare with maps before quantisation.

    of: a dense encoder that runs a torch network, in brackets, such as (videogpt-frame/path='…') · seed: of the weights
    """

    of: DenseEncoder
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)
        if not isinstance(self.of, ByNet):
            raise InvalidValueError(f"of must be an encoder that runs a torch network, got {self.of.spec}")

    @property
    def feature_sets(self) -> Mapping[str, FeatureSet]:
        """As of `of`."""
        return self.of.feature_sets

    @property
    def chosen(self) -> tuple[str, ...]:
        """As of `of`."""
        return self.of.chosen

    @property
    def size_multiple(self) -> int:
        """As of `of`."""
        return self.of.size_multiple

    @property
    def frames(self) -> int:
        """As of `of`."""
        return self.of.frames

    @property
    def clip(self) -> str:
        """As of `of`."""
        return str(self.of.clip)  # type: ignore[attr-defined]  # an option of all, no part of the protocol

    @property
    def fingerprint(self) -> str:
        """Of seed and `of`, whose weights still say what shape the network has."""
        return hash_of([type(self).__name__, _DRAWN, self.seed, self.of.fingerprint])

    def windows(self, clips: Array, at: Array) -> tuple[Array, Array]:
        """As of `of`."""
        return self.of.windows(clips, at)

    def seen(self, clips: Array, at: Array) -> Iterator[tuple[Array, int]]:
        """As of `of`."""
        return self.of.seen(clips, at)

    def features(self, clips: Array, at: Array) -> dict[str, Array]:
        """Clips uint8 [N, T, H, W, 3], frames int64 [N] -> float32 [N, C, h, w] by name."""
        return self._twin.features(clips, at)

    def macs(self, height: int, width: int) -> int:
        """As of `of`."""
        return self.of.macs(height, width)

    def net(self) -> Any:
        """The network with its random weights, to be trained from scratch."""
        return self._twin.net()

    @property
    def _twin(self) -> DenseEncoder:
        """`of`, told to draw its weights."""
        twin = copy.copy(self.of)
        object.__setattr__(twin, "_redraw", self.seed)
        return twin
