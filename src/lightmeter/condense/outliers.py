"""Which pictures of a class lie apart from the rest: the local outlier factor."""

from __future__ import annotations

import numpy as np

from lightmeter.condense.rows import Rows, blocks, expect_rows, held, taken
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

_MOST_A_BLOCK = 1024
_BLOCK_BYTES = 8 << 20
_EXACT_BYTES = 16 << 20
_LEAST_REACH = 1e-10
"""Added to a mean reach, so that rows which are all equal have a density."""


def inliers(rows: Rows, contamination: float, *, at_least: int, neighbours: int = 10) -> tuple[Array, str]:
    """Which rows of a class stay: bool [N], and a sentence where fewer went than was asked for, else "".

    rows: finite float [N, D], perhaps on disk as float16 · contamination: share that goes, 0 to 0.5; 0: all stay
    A row goes where its local outlier factor is above the percentile 100 · (1 − contamination) of all of them, as
    scikit-learn's `LocalOutlierFactor(neighbours, contamination=contamination).fit_predict` says.
    at_least: where fewer would stay, the least outlying ones do, equals by row.
    Cost: N²·D; memory below 200 MB and 24·neighbours bytes a row, whatever D.
    Source: Breunig, Kriegel, Ng and Sander 2000; seed 002, section 4 (10 neighbours).
    """
    if not 0 <= contamination <= 0.5:
        raise InvalidValueError(f"contamination must be 0 to 0.5, got {contamination}")
    count, _ = expect_rows(rows, 0)
    if contamination == 0:
        return np.ones(count, bool), ""
    if count <= max(at_least, 2):
        return np.ones(
            count, bool
        ), f"no outliers were taken out where a class has {max(at_least, 2)} pictures or fewer"
    factors = outlier_factors(rows, neighbours)
    stays = factors <= -np.percentile(-factors, 100 * contamination)
    if stays.sum() >= at_least:
        return stays, ""
    best = np.argsort(factors, kind="stable")[:at_least]
    went = count - int(stays.sum())
    stays[:] = False
    stays[best] = True
    return stays, f"{count - at_least} outliers were taken out and not {went}, so that {at_least} pictures stay"


def outlier_factors(rows: Rows, neighbours: int = 10) -> Array:
    """The local outlier factor of each row: float64 [N], about 1 inside a cluster, greater outside.

    rows: finite float [N, D], N of 2 or more; fewer neighbours are taken where there are fewer
    The mean density of a row's neighbours over its own; a density is 1 over the mean reach of the neighbours, and the
    reach of a neighbour is its distance, or its own distance to its last neighbour where that is greater.
    More equal rows than `neighbours` have infinite density but for 1e-10, and rows beside them enormous factors.
    """
    count, _ = expect_rows(rows, 2)
    if neighbours < 1:
        raise InvalidValueError(f"neighbours must be 1 or more, got {neighbours}")
    near, apart = _neighbours(held(rows), min(neighbours, count - 1))
    reach = np.maximum(apart, apart[:, -1][near])
    density = 1 / (reach.mean(axis=1) + _LEAST_REACH)
    factors: Array = (density[near] / density[:, None]).mean(axis=1)
    return factors


def _neighbours(rows: Rows, neighbours: int) -> tuple[Array, Array]:
    """Of each row the nearest others, nearest first: int64 [N, k], and their distances, float64 [N, k]."""
    count, dim = rows.shape
    near, apart = np.empty((count, neighbours), np.int64), np.empty((count, neighbours))
    width = min(_BLOCK_BYTES, _MOST_A_BLOCK * 4 * dim)
    for start, block in blocks(rows, width_bytes=width):
        stop = start + len(block)
        found = _candidates(rows, block.astype(np.float64), start, neighbours, width)
        near[start:stop], apart[start:stop] = _in_order(rows, block, found, neighbours)
    return near, apart


def _candidates(rows: Rows, block: Array, start: int, neighbours: int, width: int) -> Array:
    """Rows that are nearest to each of a block by products, itself left out, in no order: int64 [n, k]."""
    best, ids = np.full((len(block), neighbours), np.inf), np.full((len(block), neighbours), -1)
    own = np.arange(start, start + len(block))
    for at, others in blocks(rows, width_bytes=width):
        double = others.astype(np.float64)
        squares = np.einsum("nd,nd->n", double, double) - 2 * (block @ double.T)  # less the block's own, the same a row
        places = np.arange(at, at + len(others))
        squares[own[:, None] == places] = np.inf
        joined = np.concatenate([best, squares], axis=1)
        kept = np.argpartition(joined, neighbours - 1, axis=1)[:, :neighbours]
        named = np.concatenate([ids, np.broadcast_to(places, squares.shape)], axis=1)
        best, ids = np.take_along_axis(joined, kept, 1), np.take_along_axis(named, kept, 1)
    return ids


def _in_order(rows: Rows, block: Array, ids: Array, neighbours: int) -> tuple[Array, Array]:
    """The same by their distance, which is taken from differences: products leave equal rows a little apart."""
    apart = np.empty(ids.shape)
    step = max(1, _EXACT_BYTES // (8 * neighbours * block.shape[1]))
    for at in range(0, len(block), step):
        some = ids[at : at + step]
        others = taken(rows, some.ravel()).reshape(*some.shape, -1)
        away = others - block[at : at + step, None].astype(np.float64)
        apart[at : at + step] = np.sqrt(np.einsum("nkd,nkd->nk", away, away))
    order = np.lexsort((ids, apart), axis=1)
    return np.take_along_axis(ids, order, 1), np.take_along_axis(apart, order, 1)
