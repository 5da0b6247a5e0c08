"""How close each picture of a small set comes to a real one, and which made ones are as good as copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Condensed
from lightmeter.types import Array

_SAMPLE = 512
_QUERIES, _BLOCK_BYTES = 1024, 16 << 20
_MOST_PRODUCTS = 2e12
"""Multiply-adds above which a picture is compared to its own class alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest real picture of each picture of a small set; of a kept picture, the nearest other one.

    rows: int64 [M], of the real set; -1 where there is none · distances: float32 [M], root of the mean squared
    difference of their pixels, 0 to 1; NaN where there is none
    near: bool [M], a made picture nearer than `limit`; kept pictures are real ones and never marked
    limit: half the median distance of real pictures to their nearest other one · own_class: only those were looked at
    """

    rows: Array
    distances: Array
    near: Array
    limit: float
    own_class: bool

    @property
    def rate(self) -> float:
        """Share of the pictures that are near copies."""
        return float(self.near.mean()) if len(self.near) else 0.0


def nearest_real(small: Condensed, real: ImageSet, *, seed: int = 0) -> Neighbours:
    """Compare every picture to all real ones (to its own class where that would take hours).

    Distances are of pixels: a copy that was shifted or mirrored is not seen, so a low rate is no promise of privacy.
    Cost: M·N·D multiply-adds.  Memory: 50 MB, pictures stay on disk.
    Source: the idea of a threshold relative to usual distances, Carlini et al. 2023, arXiv:2301.13188, section 4.
    """
    own_class = float(len(small)) * real.images.size > _MOST_PRODUCTS
    rows, distances = _nearest(small.images, small.labels, real, small.rows, own_class=own_class)
    sample = np.random.default_rng(seed).permutation(len(real))[:_SAMPLE]
    sample.sort()
    _, usual = _nearest(real.images[sample], real.labels[sample], real, sample, own_class=own_class)
    limit = float(np.nanmedian(usual)) / 2 if np.isfinite(usual).any() else 0.0
    near = np.zeros(len(small), bool) if small.rows is not None else distances < limit
    return Neighbours(rows, distances, near, limit, own_class)


def _nearest(
    images: Array, labels: Array, real: ImageSet, apart_from: Array | None, *, own_class: bool
) -> tuple[Array, Array]:
    """Nearest row of the real set and distance to it.  apart_from: int64 [M], a row each that does not count."""
    rows = np.full(len(images), -1, np.int64)
    distances = np.full(len(images), np.nan, np.float32)
    groups = (
        [(np.flatnonzero(labels == label), real.rows_of(int(label))) for label in np.unique(labels)]
        if own_class
        else [(np.arange(len(images)), np.arange(len(real)))]
    )
    for mine, theirs in groups:
        for start in range(0, len(mine), _QUERIES):
            some = mine[start : start + _QUERIES]
            rows[some] = _nearest_of(images[some], real, theirs, None if apart_from is None else apart_from[some])
    found = np.flatnonzero(rows >= 0)
    for start in range(0, len(found), _QUERIES):
        some = found[start : start + _QUERIES]
        away = images[some].astype(np.float32) - real.images[rows[some]].astype(np.float32)
        distances[some] = np.sqrt((away**2).reshape(len(some), -1).mean(axis=1)) / 255
    return rows, distances


def _nearest_of(images: Array, real: ImageSet, theirs: Array, apart_from: Array | None) -> Array:
    """int64 [M], -1 where `theirs` holds nothing else; the first of equally near ones."""
    queries = images.reshape(len(images), -1).astype(np.float32)
    best = np.full(len(images), np.inf, np.float32)
    rows = np.full(len(images), -1, np.int64)
    step = max(1, _BLOCK_BYTES // (4 * queries.shape[1]))
    for start in range(0, len(theirs), step):
        some = theirs[start : start + step]
        block = real.images[some].reshape(len(some), -1).astype(np.float32)
        apart = np.einsum("nd,nd->n", block, block)[None] - 2 * queries @ block.T  # less |query|², the same for all
        if apart_from is not None:
            apart[apart_from[:, None] == some[None]] = np.inf
        at = apart.argmin(axis=1)
        value = apart[np.arange(len(queries)), at]
        better = value < best
        best[better], rows[better] = value[better], some[at[better]]
    return rows
