"""From scores to probabilities: one sigmoid a class, held near the sigmoid of all classes where little is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.types import Array

_STEPS = 40
_LEAST_SLOPE = 1e-3
_LEAST_SHARE = 0.1
_POOLED_PAIRS = 1 << 20
_DONE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Platt:
    """p = σ(slope·score + offset), a class each; slopes are above 0, so that the order within a class stays.

    slope, offset: float64 [K] · common: float64 [2], the slope and offset of all classes together
    """

    slope: Array
    offset: Array
    common: Array

    @classmethod
    def fit(cls, scores: Array, hits: Array) -> Platt:
        """From scores float [N, K] of items that were not learnt from, and bool [N, K] where they are right.

        First one sigmoid for all pairs (of 2²⁰ at most, evenly), then one a class, pulled towards the first with the
        weight of a few items: a class with two labels keeps its shape.  Targets are Platt's: (hits + 1)/(hits + 2) and
        1/(misses + 2).  A class never gets less than a tenth of the common slope.
        Cost: some 10 exponentials a score.  Source: Platt 1999; Lin, Lin & Weng 2007 (Newton); the pull is ours.
        """
        step = max(1, scores.size // _POOLED_PAIRS)
        some = scores[::step].reshape(-1, 1).astype(np.float64)
        slope, offset = _newton(some, smoothed(hits[::step].reshape(-1, 1)), 1e-6, _LEAST_SLOPE)
        common = np.array([slope[0], offset[0]])
        return cls(*_own(scores, hits, common), common)

    def with_class(self, scores: Array, hits: Array) -> Platt:
        """One class more: scores float [N] and bool [N]."""
        slope, offset = _own(scores[:, None], hits[:, None], self.common)
        return Platt(np.append(self.slope, slope), np.append(self.offset, offset), self.common)

    def chances(self, scores: Array) -> Array:
        """Scores float [B, K] → float32 [B, K] in 0..1."""
        return sigmoid(scores * self.slope + self.offset).astype(np.float32)


def sigmoid(logits: Array) -> Array:
    """1 / (1 + e^−x), without overflow."""
    small = np.exp(-np.abs(logits))
    made: Array = np.where(logits >= 0, 1.0, small) / (1 + small)
    return made


def smoothed(hits: Array) -> Array:
    """Platt's targets: float64 [N, K] from bool [N, K]."""
    right = hits.sum(axis=0)
    made: Array = np.where(hits, (right + 1) / (right + 2), 1 / (len(hits) - right + 2))
    return made


def _own(scores: Array, hits: Array, common: Array) -> tuple[Array, Array]:
    """A slope and an offset a class, some classes at a time."""
    slopes, offsets = np.empty(scores.shape[1]), np.empty(scores.shape[1])
    step = max(1, _POOLED_PAIRS // max(1, len(scores)))
    for at in range(0, scores.shape[1], step):
        part = slice(at, at + step)
        logits = scores[:, part] * common[0] + common[1]
        share, shift = _newton(logits, smoothed(hits[:, part]), 1.0, _LEAST_SHARE)
        slopes[part], offsets[part] = share * common[0], share * common[1] + shift
    return slopes, offsets


def _newton(logits: Array, targets: Array, pull: float, least: float) -> tuple[Array, Array]:
    """u ≥ least and v [K] that minimise Σ cross entropy of σ(u·logit + v) + pull·((u − 1)² + v²)/2, class by class."""
    u, v = np.ones(logits.shape[1]), np.zeros(logits.shape[1])
    for _ in range(_STEPS):
        p = sigmoid(logits * u + v)
        error, weight = p - targets, p * (1 - p)
        to_u, to_v = (error * logits).sum(axis=0) + pull * (u - 1), error.sum(axis=0) + pull * v
        uu, uv = (weight * logits**2).sum(axis=0) + pull, (weight * logits).sum(axis=0)
        vv = weight.sum(axis=0) + pull
        held = (u <= least) & (to_u > 0)
        both = np.maximum(uu * vv - uv * uv, 1e-300)
        step_u = np.where(held, 0.0, (vv * to_u - uv * to_v) / both)
        step_v = np.where(held, to_v / vv, (uu * to_v - uv * to_u) / both)
        size = np.maximum(np.abs(step_u), np.abs(step_v))
        tamed = 1 / np.maximum(1, size)  # far from the answer Newton's step is too long
        u, v = np.maximum(u - tamed * step_u, least), v - tamed * step_v
        if (size < _DONE).all():
            break
    return u, v
