"""Errors of numbers a pixel: depth (AbsRel, RMSE, δ) and optical flow (end-point error); streamed, merged exactly."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.bootstrap import SHARE, Interval, Range
from lightmeter.metrics.resampling import compared_rows, shares
from lightmeter.types import Array, check_axes

DEPTH_MEASURES = ("abs_rel", "rmse_m", "delta_125")
FLOW_MEASURES = ("epe_px", "outliers")
_LENGTH: Range = (0.0, np.inf)
_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class DepthQuality:
    """What depth maps are worth; NaN where no pixel is judged.

    abs_rel: mean of |d − d*| / d*, lower is better · rmse_m: root of the mean of (d − d*)², metres, lower is better
    delta_125: share of pixels with max(d / d*, d* / d) < 1.25, higher is better
    height, width: at which size they were compared · pictures: how many
    """

    abs_rel: float
    rmse_m: float
    delta_125: float
    height: int
    width: int
    pictures: int

    def as_json(self) -> dict[str, Any]:
        """By name; NaN as None."""
        return {name: None if (got := getattr(self, name)) != got else got for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class FlowQuality:
    """What flow fields are worth, lower is better; NaN where no pixel is judged.

    epe_px: mean end-point error, ‖u − u*‖, pixels · outliers: share of pixels with an error above 3 px and above 5 % of
    ‖u*‖ (KITTI's) · height, width: at which size they were compared · pictures: how many
    """

    epe_px: float
    outliers: float
    height: int
    width: int
    pictures: int

    def as_json(self) -> dict[str, Any]:
        """By name; NaN as None."""
        return {name: None if (got := getattr(self, name)) != got else got for name in self.__slots__}


class _Sums:
    """Sums a picture, of pictures of one size; the last columns count judged pixels and tell one truth from another."""

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None
        self._rows: list[Array] = []

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    @classmethod
    def of_rows(cls, rows: Array, size: tuple[int, int]) -> Self:
        """From the `rows` of other scores, of pictures of this (height, width): for files, and to join some."""
        made = cls()
        if rows.ndim != 2 or rows.shape[1] != _COLUMNS or not (np.isfinite(rows) & (rows >= 0)).all():
            raise InvalidValueError(
                f"rows must be [N, {_COLUMNS}] of sums, finite and 0 or more, got {list(rows.shape)}"
            )
        made.size, made._rows = size, [np.asarray(rows, np.float64)]
        return made

    @property
    def rows(self) -> Array:
        """float64 [N, 5]: three sums, judged pixels, a hash of the truth."""
        return np.concatenate(self._rows) if self._rows else np.zeros((0, _COLUMNS))

    def _sized(self, shape: Sequence[int]) -> None:
        size = (int(shape[1]), int(shape[2]))
        if self.size not in (None, size):
            raise InvalidValueError(
                f"maps must all be {self.size} as before, got {size}: bring them to one size, or score them apart"
            )
        self.size = size

    def _add(self, errors: Sequence[Array], judged: Array, truth: Array) -> None:
        kept = [np.where(judged, each, 0).sum(axis=(1, 2), dtype=np.float64) for each in (*errors, np.ones(()))]
        known = np.where(judged.reshape(judged.shape + (1,) * (truth.ndim - 3)), truth, np.nan)
        digests = np.array([zlib.crc32(each.tobytes()) for each in known], np.float64)
        self._rows.append(np.column_stack([*kept, digests]).reshape(len(truth), _COLUMNS))

    def _merged(self, other: _Sums) -> None:
        for each in (other,):
            if each.size and self.size not in (None, each.size):
                raise InvalidValueError(f"scores to merge must be of one size, got {self.size} and {each.size}")
            self.size = self.size or each.size
            self._rows = [*self._rows, *each._rows]


class DepthScores(_Sums):
    """Depth errors of maps that come batch by batch, pooled over all judged pixels.

    No scale is fitted: metres are compared with metres.  Judged is where the truth is finite and above 0.
    Source: Eigen, Puhrsch and Fergus 2014, arXiv:1406.2283, section 4.

    >>> DepthScores().update(np.full((1, 1, 2), 2.0), np.array([[[1.0, 2.0]]])).result().abs_rel
    0.5
    """

    def update(self, depth: Array, truth: Array) -> DepthScores:
        """Add maps float [B, H, W], metres; returns itself.  Raises InvalidValueError for depths of 0 or less."""
        check_axes("truth", truth, "B H W")
        check_axes("depth", depth, " ".join(map(str, truth.shape)))
        self._sized(truth.shape)
        found, true = depth.astype(np.float64), truth.astype(np.float64)
        judged = np.isfinite(true) & (true > 0)
        if not (np.isfinite(found) & (found > 0))[judged].all():
            raise InvalidValueError("depth must be finite and above 0 metres, got others: clip what a head answers")
        found, true = np.where(judged, found, 1.0), np.where(judged, true, 1.0)
        apart = found - true
        close = np.maximum(found / true, true / found) < 1.25
        self._add([np.abs(apart) / true, apart**2, close], judged, true)
        return self

    def merge(self, other: DepthScores) -> DepthScores:
        """The maps of both, these first."""
        made = DepthScores()
        made._merged(self)
        made._merged(other)
        return made

    def result(self) -> DepthQuality:
        """All errors."""
        abs_rel, rmse_m, delta = (float(each) for each in _depth(self.rows[:, :-1].sum(axis=0)))
        height, width = self.size or (0, 0)
        return DepthQuality(abs_rel, rmse_m, delta, height, width, len(self))


class FlowScores(_Sums):
    """End-point errors of flow fields that come batch by batch, pooled over all pixels of finite truth.

    Source: Baker et al. 2011 (end-point error); Menze and Geiger 2015 (outliers).

    >>> FlowScores().update(np.zeros((1, 1, 1, 2)), np.array([[[[3.0, 4.0]]]])).result().epe_px
    5.0
    """

    def update(self, flow: Array, truth: Array) -> FlowScores:
        """Add fields float [B, H, W, 2], pixels; returns itself.  Raises InvalidValueError for NaN and infinity."""
        check_axes("truth", truth, "B H W 2")
        check_axes("flow", flow, " ".join(map(str, truth.shape)))
        self._sized(truth.shape)
        found, true = flow.astype(np.float64), truth.astype(np.float64)
        judged = np.asarray(np.isfinite(true).all(axis=-1))
        if not np.isfinite(found[judged]).all():
            raise InvalidValueError("flow must be finite, got NaN or infinity: check what was scored")
        true = np.where(judged[..., None], true, 0.0)
        error = np.linalg.norm(np.where(judged[..., None], found, 0.0) - true, axis=-1)
        far = (error > 3) & (error > 0.05 * np.linalg.norm(true, axis=-1))
        self._add([error, far, np.zeros(())], judged, true)
        return self

    def merge(self, other: FlowScores) -> FlowScores:
        """The fields of both, these first."""
        made = FlowScores()
        made._merged(self)
        made._merged(other)
        return made

    def result(self) -> FlowQuality:
        """All errors."""
        epe_px, outliers = (float(each) for each in _flow(self.rows[:, :-1].sum(axis=0)))
        height, width = self.size or (0, 0)
        return FlowQuality(epe_px, outliers, height, width, len(self))


def compared_depths(
    systems: Sequence[DepthScores],
    *,
    rounds: int = 1000,
    certainty: float = 0.95,
    seed: int = 0,
    groups: Array | None = None,
) -> list[tuple[dict[str, Interval], dict[str, Interval]]]:
    """Intervals of each system and of its difference to the first, empty of that one; as `masks.compared_masks`.

    Raises InvalidValueError unless all scored the same truth in the same order.
    """
    ranges = dict(zip(DEPTH_MEASURES, (_LENGTH, _LENGTH, SHARE), strict=True))
    return compared_rows(
        _of_one_truth(systems), _depth, ranges, rounds=rounds, certainty=certainty, seed=seed, groups=groups
    )  # fmt: skip


def compared_flows(
    systems: Sequence[FlowScores],
    *,
    rounds: int = 1000,
    certainty: float = 0.95,
    seed: int = 0,
    groups: Array | None = None,
) -> list[tuple[dict[str, Interval], dict[str, Interval]]]:
    """Intervals of each system and of its difference to the first, empty of that one; as `masks.compared_masks`.

    Raises InvalidValueError unless all scored the same truth in the same order.
    """
    ranges = dict(zip(FLOW_MEASURES, (_LENGTH, SHARE), strict=True))
    return compared_rows(
        _of_one_truth(systems), _flow, ranges, rounds=rounds, certainty=certainty, seed=seed, groups=groups
    )  # fmt: skip


def _of_one_truth(systems: Sequence[_Sums]) -> list[Array]:
    """Sums of each system without the hashes, which must be the same in all."""
    rows = [each.rows for each in systems]
    for each in rows[1:]:
        if not np.array_equal(each[:, -1], rows[0][:, -1]):
            raise InvalidValueError(
                "systems must have scored the same truth in the same order, got others: score them on one set"
            )
    return [each[:, :-1] for each in rows]


def _depth(sums: Array) -> Array:
    relative, square, close, count = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    return np.stack([shares(relative, count), np.sqrt(shares(square, count)), shares(close, count)], axis=-1)


def _flow(sums: Array) -> Array:
    error, far, _, count = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    return np.stack([shares(error, count), shares(far, count)], axis=-1)
