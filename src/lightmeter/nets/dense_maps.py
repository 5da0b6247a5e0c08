"""Maps out of networks: a common face for nets that see clips, taps on blocks inside them, and pooling over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Maps = dict[str, Tensor]


class PixelMaps(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Squares of pixels as channels: [N, T, 3, H, W] in 0..1 -> `pixels` [N, 3 * patch**2, T, H / patch, W / patch]."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, clips: Tensor, names: Sequence[str] | None = None) -> Maps:
        """There is one map; `names` is taken for the common face."""
        squares = functional.pixel_unshuffle(clips.flatten(0, 1) - 0.5, self.patch)
        return {"pixels": squares.unflatten(0, clips.shape[:2]).transpose(1, 2)}


class Pooled(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Some maps of a net of maps, time pooled away: what a mask head takes, and what is fine-tuned with it.

    forward: clips float32 [N, T, 3, H, W] in 0..1, place int64 [N] or None -> [N, C, h, w] by name.
    inner: forward(clips, names) -> [N, C, T', h, w] by name · pool, causal: as in `lightmeter.encoders.dense`
    """

    def __init__(self, inner: nn.Module, names: Sequence[str], pool: str, causal: bool = False) -> None:
        super().__init__()
        self.inner, self.names, self.pool, self.causal = inner, tuple(names), pool, causal

    def forward(self, clips: Tensor, place: Tensor | None = None) -> Maps:
        """place: which frame of each clip is meant, for `at`; the middle one where it is None."""
        frames = clips.shape[1]
        if place is None:
            place = torch.full((len(clips),), frames // 2, device=clips.device)
        volumes = self.inner(clips, self.names)
        return {name: self._flat(volumes[name], place, frames) for name in self.names}

    def _flat(self, volume: Tensor, place: Tensor, frames: int) -> Tensor:
        times = volume.shape[2]
        if self.pool == "mean":
            return volume.mean(dim=2)
        if self.pool == "concat":
            return volume.transpose(1, 2).flatten(1, 2)
        if self.pool == "last":
            return volume[:, :, -1]
        first_alone = self.causal and frames > 1
        at = -(-place * (times - 1) // (frames - 1)) if first_alone else place * times // frames
        return volume[torch.arange(len(volume), device=volume.device), :, at]


class _Enough(Exception):  # noqa: N818  # no error: the last map that was asked for is there
    """Nothing after this is needed."""


class Taps:
    """What chosen blocks of a network give while it runs, caught by forward hooks.

    blocks: name of a map -> name of the block inside `network`. A block that runs once a piece of the clip is caught
    every time. stops: the run ends with the last block that is asked for, each of which must run just once.
    """

    def __init__(self, network: nn.Module, blocks: Mapping[str, str], *, stops: bool = False) -> None:
        self.caught: dict[str, list[Tensor]] = {name: [] for name in blocks}
        self._network, self._blocks, self._stops = network, blocks, stops
        self._holds: list[Any] = []

    def __enter__(self) -> Taps:
        self._holds = [
            self._network.get_submodule(block).register_forward_hook(self._catching(name))
            for name, block in self._blocks.items()
        ]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> bool:
        for hold in self._holds:
            hold.remove()
        return kind is _Enough

    def _catching(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def catch(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self.caught[name].append(output[0] if isinstance(output, tuple) else output)
            if self._stops and all(self.caught.values()):
                raise _Enough

        return catch
