"""Vision transformers of other people's making as maps: frames in, tokens layer by layer, tokens back to a grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError
from lightmeter.nets.dense_maps import Maps

Grid = tuple[int, int, int]
"""Cells along T, H, W."""


@dataclass(frozen=True, slots=True)
class TokenPlan:
    """How frames become cells.

    patch: pixels a cell as the model sees them · tubelet: frames a cell · stride: pixels of the frame a cell, as frames
    are resized by patch / stride first · mean, std: of the colours in 0..1 that the model was trained on
    """

    patch: int
    tubelet: int
    stride: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class TokenMaps(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Clips [N, T, 3, H, W] in 0..1 -> `layer0` … and `last` (normed) [N, C, T / tubelet, H / stride, W / stride].

    Layers after the last that is asked for do not run. family: see the subclasses.
    """

    def __init__(self, network: nn.Module, plan: TokenPlan) -> None:
        super().__init__()
        self.network, self.plan = network, plan

    def forward(self, clips: Tensor, names: Sequence[str] | None = None) -> Maps:
        """The maps of these names, of all where `names` is None."""
        plan, (count, frames, _, height, width) = self.plan, clips.shape
        grid = frames // plan.tubelet, height // plan.stride, width // plan.stride
        made: Maps = {}
        for name, tokens in self._layers(self._seen(clips, grid), grid):
            if names is None or name in names:
                made[name] = self._map(tokens, grid, count)
            if names is not None and len(made) == len(names):
                break
        return made

    def _seen(self, clips: Tensor, grid: Grid) -> Tensor:
        """Resized where a cell should cover fewer pixels than a patch has, and normalised."""
        plan, size = self.plan, (grid[1] * self.plan.patch, grid[2] * self.plan.patch)
        pixels = clips.flatten(0, 1)
        if pixels.shape[2:] != size:
            pixels = functional.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
        mean, std = (pixels.new_tensor(each)[:, None, None] for each in (plan.mean, plan.std))
        return ((pixels - mean) / std).unflatten(0, clips.shape[:2])

    def _layers(self, seen: Tensor, grid: Grid) -> Iterator[tuple[str, Tensor]]:
        """The tokens after every layer, then `last`."""
        raise NotImplementedError

    def _map(self, tokens: Tensor, grid: Grid, count: int) -> Tensor:
        """Tokens [N, T·h·w, C], moment by moment -> [N, C, T, h, w]."""
        return tokens.unflatten(1, grid).movedim(-1, 1)


class VJepaMaps(TokenMaps):
    """transformers' VJEPA2Model.encoder: positions are turned into angles (RoPE), so that any grid will do."""

    def _layers(self, seen: Tensor, grid: Grid) -> Iterator[tuple[str, Tensor]]:
        net, side = self.network, max(grid[1:])
        tokens = net.embeddings(seen)
        # the model knows squares only: the cells are numbered as part of one that holds them
        moments, rows, columns = (torch.arange(size, device=tokens.device) for size in grid)
        places = moments[:, None, None] * side * side + rows[:, None] * side + columns
        places = places.flatten().expand(len(tokens), -1)
        for at, layer in enumerate(net.layer):
            layer.attention.grid_size = side
            tokens = layer(tokens, places)[0]
            yield f"layer{at}", tokens
        yield "last", net.layernorm(tokens)


class VideoMaeMaps(TokenMaps):
    """transformers' VideoMAEModel: its table of positions is stretched to other grids."""

    def _layers(self, seen: Tensor, grid: Grid) -> Iterator[tuple[str, Tensor]]:
        net = self.network
        tokens = net.embeddings.patch_embeddings.projection(seen.transpose(1, 2)).flatten(2).transpose(1, 2)
        tokens = tokens + self._positions(grid).to(tokens)
        for at, layer in enumerate(net.encoder.layer):
            tokens = layer(tokens)
            yield f"layer{at}", tokens
        yield "last", tokens if net.layernorm is None else net.layernorm(tokens)

    def _positions(self, grid: Grid) -> Tensor:
        config, table = self.network.config, self.network.embeddings.position_embeddings
        side = config.image_size // config.patch_size
        native = config.num_frames // config.tubelet_size, side, side
        if grid == native:
            return table
        stretched = functional.interpolate(
            table.unflatten(1, native).movedim(-1, 1), grid, mode="trilinear", align_corners=False
        )
        return stretched.flatten(2).transpose(1, 2)


class TimesformerMaps(TokenMaps):
    """transformers' TimesformerModel: a token for the whole clip first, then cell by cell, moment by moment."""

    def _layers(self, seen: Tensor, grid: Grid) -> Iterator[tuple[str, Tensor]]:
        net, config = self.network, self.network.config
        known = net.embeddings.position_embeddings.shape[1] - 1
        if grid[1] * grid[2] == known and grid[1] != grid[2]:
            raise InvalidValueError(f"frames must not have {grid[1]} x {grid[2]} cells: crop them to a square")
        config.num_frames, config.image_size = grid[0], grid[2] * self.plan.patch  # its layers look them up
        tokens = net.embeddings(seen)
        for at, layer in enumerate(net.encoder.layer):
            tokens = layer(tokens)[0]
            yield f"layer{at}", tokens
        yield "last", net.layernorm(tokens)

    def _map(self, tokens: Tensor, grid: Grid, count: int) -> Tensor:
        return tokens[:, 1:].unflatten(1, (grid[1], grid[2], grid[0])).permute(0, 4, 3, 1, 2)


class DinoMaps(TokenMaps):
    """transformers' Dinov2Model, Dinov2WithRegistersModel and DINOv3ViTModel: frames one by one."""

    def _layers(self, seen: Tensor, grid: Grid) -> Iterator[tuple[str, Tensor]]:
        net, pixels = self.network, seen.flatten(0, 1)
        more: dict[str, Any] = {}
        tokens = net.embeddings(pixels)
        if hasattr(net, "rope_embeddings"):
            more["position_embeddings"] = net.rope_embeddings(pixels)
        for at, layer in enumerate((net.model if hasattr(net, "model") else net.encoder).layer):
            made = layer(tokens, **more)
            tokens = made[0] if isinstance(made, tuple) else made
            yield f"layer{at}", tokens
        yield "last", (net.norm if hasattr(net, "norm") else net.layernorm)(tokens)

    def _map(self, tokens: Tensor, grid: Grid, count: int) -> Tensor:
        first = 1 + getattr(self.network.config, "num_register_tokens", 0)
        return tokens[:, first:].unflatten(1, grid[1:]).unflatten(0, (count, grid[0])).permute(0, 4, 1, 2, 3)
