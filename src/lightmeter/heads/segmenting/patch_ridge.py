"""Linear probes for numbers a pixel, depth or flow: least squares from each cell's features, in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.protocol import one_stride
from lightmeter.types import Array, check_axes

if TYPE_CHECKING:
    from lightmeter.encoders.dense import FeatureSet

_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class PatchRidge:
    """A linear layer a cell: stride² · K numbers from its C features, with K = 1 for depth and 2 for flow.

    weights: float64 [C + 1, stride²·K], the last row is the bias · low, high: float64 [K], the range of the training
    targets, to which answers are cut, so that depth stays above 0
    """

    names: tuple[str, ...]
    stride: int
    weights: Array
    low: Array
    high: Array

    @property
    def size_bytes(self) -> int:
        """Bytes of what was learnt."""
        return int(self.weights.nbytes + self.low.nbytes + self.high.nbytes)

    def predict(self, features: Mapping[str, Array]) -> Array:
        """Maps float32 [N, C, h, w] by name → float32 [N, H, W] for K = 1, else [N, H, W, K]."""
        maps = _joined(features, self.names)
        count, _, height, width = maps.shape
        kinds, stride = len(self.low), self.stride
        cells: Array = _cells(maps) @ self.weights[:-1] + self.weights[-1]
        made = cells.reshape(count, height, width, stride, stride, kinds).transpose(0, 1, 3, 2, 4, 5)
        made = made.reshape(count, height * stride, width * stride, kinds).clip(self.low, self.high).astype(np.float32)
        answer: Array = made[..., 0] if kinds == 1 else made
        return answer


def fit_patch_ridge(
    inputs: Mapping[str, FeatureSet], features: Mapping[str, Array], targets: Array, *, l2: float = 1e-3
) -> PatchRidge:
    """Least squares with a penalty from maps to targets.

    features: float32 [N, C, h, w] by name, of one stride · targets: float [N, H, W] or [N, H, W, K]; cells with a pixel
    that is not finite are left out · l2: of the mean square of the channels, each brought to deviation 1
    Cost: C² multiply–adds a cell, and C³; no steps and no seed.
    Raises InvalidValueError for maps of several strides or other sizes than the targets'.
    """
    names, _, stride = one_stride("patch-ridge", inputs)
    wanted = np.asarray(targets, np.float64)
    wanted = wanted[..., None] if wanted.ndim == 3 else wanted
    maps = _joined(features, names)
    count, channels, height, width = maps.shape
    check_axes("targets", wanted, f"{count} {height * stride} {width * stride} K")
    if not l2 > 0:
        raise InvalidValueError(f"l2 must be above 0, got {l2}")
    kinds = wanted.shape[-1]
    wanted = wanted.reshape(count, height, stride, width, stride, kinds).transpose(0, 1, 3, 2, 4, 5)
    wanted = wanted.reshape(count, height * width, -1)
    known = np.asarray(np.isfinite(wanted).all(axis=-1))
    if not known.any():
        raise InvalidValueError("targets must have a cell of finite numbers, got none")
    x_mean, y_mean, scatter, cross = _moments(maps, wanted, known)
    deviation = np.sqrt(np.diag(scatter))
    scale = np.where(deviation > 1e-9, 1 / np.maximum(deviation, 1e-9), 0.0)
    inner = scatter * scale[:, None] * scale + l2 * np.eye(channels)
    weights = scale[:, None] * np.linalg.solve(inner, cross * scale[:, None])
    chosen = wanted[known].reshape(-1, kinds)
    bias = y_mean - x_mean @ weights
    return PatchRidge(names, stride, np.vstack([weights, bias]), chosen.min(axis=0), chosen.max(axis=0))


def _moments(maps: Array, wanted: Array, known: Array) -> tuple[Array, Array, Array, Array]:
    """Means of both, covariance of the features and of both, over the known cells; twice through, for its precision."""
    x_mean = _mean(maps, known)
    y_mean = wanted[known].mean(axis=0)
    scatter = np.zeros((maps.shape[1], maps.shape[1]))
    cross = np.zeros((maps.shape[1], wanted.shape[2]))
    for at in range(0, len(maps), _AT_ONCE):
        rows = slice(at, at + _AT_ONCE)
        x = _cells(maps[rows])[known[rows]] - x_mean
        scatter += x.T @ x
        cross += x.T @ (wanted[rows][known[rows]] - y_mean)
    cells = known.sum()
    return x_mean, y_mean, scatter / cells, cross / cells


def _mean(maps: Array, known: Array) -> Array:
    total = np.zeros(maps.shape[1])
    for at in range(0, len(maps), _AT_ONCE):
        rows = slice(at, at + _AT_ONCE)
        total += _cells(maps[rows])[known[rows]].sum(axis=0)
    mean: Array = total / known.sum()
    return mean


def _joined(features: Mapping[str, Array], names: Sequence[str]) -> Array:
    return features[names[0]] if len(names) == 1 else np.concatenate([features[name] for name in names], axis=1)


def _cells(maps: Array) -> Array:
    """[N, C, h, w] → float64 [N, h·w, C]"""
    return maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1).astype(np.float64)
