"""The last step of every back end: the rows it proposes are measured in float64 in our metric, and sorted by it."""

from __future__ import annotations

import numpy as np

from lightmeter.search.dissimilarity import Gallery
from lightmeter.types import Array

_BLOCK = 1 << 16
"""Elements measured at once."""


def measured(metric: str, query: Array, rows: Array) -> Array:
    """Distances in float64: query [D], rows [M, D] → [M], those of `search.protocol.Metric`.

    Row by row, so that equal rows are equally far wherever they stand, and a row is at 0 from itself.
    Cost: 4·M·D operations; the temporaries stay in the cache.

    >>> measured("cosine", np.array([2.0, 0.0]), np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).tolist()
    [0.0, 2.0, 2.0]
    """
    query = np.asarray(query, np.float64)
    out = np.empty(len(rows))
    step = max(1, _BLOCK // max(1, rows.shape[1]))
    unit = _unit(query[None])[0] if metric == "cosine" else query
    for at in range(0, len(rows), step):
        some = rows[at : at + step].astype(np.float64)
        off = (_unit(some) if metric == "cosine" else some) - unit
        found = np.vecdot(off, off)
        if metric == "cosine":
            found[~some.any(axis=1)] = 2.0
        out[at : at + step] = found
    if metric == "cosine" and not query.any():
        out[:] = 2.0
    return out


def _unit(rows: Array) -> Array:
    lengths = np.sqrt(np.vecdot(rows, rows))[..., None]
    unit: Array = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit


def unit_or_same(metric: str, rows: Array) -> Array:
    """What a library that only knows squared L2 is given: float32 rows, of length 1 for cosine; zeros stay zeros."""
    return _unit(rows.astype(np.float64)).astype(np.float32) if metric == "cosine" else rows


def nearest_of_each(gallery: Gallery, queries: Array, proposed: Array, k: int) -> tuple[Array, Array]:
    """The k nearest of each query's rows: queries [Q, D], ids int [Q, M], −1 for none → int64 [Q, k], float64 [Q, k].

    As `nearest_of` finds them, all in a few steps; −1 and inf where there are fewer.  Cost: Q·M·D.
    """
    count, most = proposed.shape
    if count == 1 and k <= most <= _BLOCK // gallery.vectors.shape[1]:
        some, found = _measured_each(gallery, queries, proposed)
        if most > 1:
            best = found[0].argsort(kind="stable")[:k]
            some, found = some[:, best], found[:, best]
        return some, found
    ids, distances = np.full((count, k), -1, np.int64), np.full((count, k), np.inf)
    step = max(1, _BLOCK // max(1, most * gallery.vectors.shape[1]))
    for at in range(0, count, step):
        some, found = _measured_each(gallery, queries[at : at + step], proposed[at : at + step])
        if most > 1:
            order = found.argsort(axis=1, kind="stable")[:, :k]  # stable: the ids rise
            some, found = np.take_along_axis(some, order, 1), np.take_along_axis(found, order, 1)
        ids[at : at + step, : some.shape[1]], distances[at : at + step, : some.shape[1]] = some, found
    return ids, distances


def _measured_each(gallery: Gallery, queries: Array, proposed: Array) -> tuple[Array, Array]:
    """Ids that rise and their distances: [Q, M] both; −1 and inf for none, and for an id that came before."""
    ids = proposed.astype(np.int64)
    ids.sort(axis=1)
    near, asked = gallery.vectors[ids].astype(np.float64), queries.astype(np.float64)  # −1 reads the last row
    if gallery.measure.name == "cosine":
        zero: Array = np.logical_not(near.any(axis=2) & asked.any(axis=1, keepdims=True))
        near, asked = _unit(near), _unit(asked)
    near -= asked[:, None]
    found = np.vecdot(near, near)
    if gallery.measure.name == "cosine":
        found[zero] = 2.0
    if len(ids) > 1 or ids.shape[1] > 1 or ids.item() < 0:
        gone = ids < 0
        gone[:, 1:] |= ids[:, 1:] == ids[:, :-1]
        if gone.any():
            ids[gone], found[gone] = -1, np.inf
    return ids, found


def nearest_of(gallery: Gallery, query: Array, ids: Array, k: int) -> tuple[Array, Array]:
    """The k nearest of some rows, their ids rising: int64 [≤ k], float64 [≤ k]; equals by id.  Cost: M·D."""
    found = measured(gallery.measure.name, query, gallery.vectors[ids])
    order = found.argsort(kind="stable")[:k]
    return ids[order], found[order]
