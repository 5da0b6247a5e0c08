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
    lengths = np.sqrt(np.vecdot(rows, rows))[:, None]
    unit: Array = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit


def unit_or_same(metric: str, rows: Array) -> Array:
    """What a library that only knows squared L2 is given: float32 rows, of length 1 for cosine; zeros stay zeros."""
    return _unit(rows.astype(np.float64)).astype(np.float32) if metric == "cosine" else rows


def nearest_of(gallery: Gallery, query: Array, ids: Array, k: int) -> tuple[Array, Array]:
    """The k nearest of some rows: int64 [≤ k], float64 [≤ k]; equals by id.  Cost: M·D."""
    ids = np.unique(ids[ids >= 0]).astype(np.int64)
    found = measured(gallery.measure.name, query, gallery.vectors[ids])
    order = np.lexsort((ids, found))[:k]
    return ids[order], found[order]
