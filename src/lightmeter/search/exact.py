"""Exact nearest neighbours by one pass over blocks of features: the floor that every index must beat."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lightmeter.encoders.protocol import unit_rows
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes


class Block(NamedTuple):
    """Some rows of features and whose they are.

    vectors: float32 [N, D] · owners: int64 [N] · times_s: float64 [N], NaN where a row has no moment
    """

    vectors: Array
    owners: Array
    times_s: Array


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Each owner's best row against each query; owners rise.

    owners: int64 [M] · best: float32 [Q, M] cosine −1..1 · times_s: float64 [Q, M] moment of the best row, NaN for none
    """

    owners: Array
    best: Array
    times_s: Array


def cosine(vectors: Array, queries: Array) -> Array:
    """Cosine of every row with every unit query, without copying the rows.

    vectors: float32 [N, D] · queries: float32 [Q, D], unit → float32 [N, Q]; a zero row scores 0.
    Cost: N·D·(Q + 1) multiply–adds, one pass over the rows' bytes (two when they leave the cache).
    """
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    dots: Array = vectors @ queries.T
    dots /= np.where(norms == 0, 1, norms)[:, None]
    return dots


def scan(blocks: Iterable[Block], queries: Array, *, rows_at_once: int = 16_384) -> Scores:
    """Score every owner against every query by its best row: exact, one pass.

    queries: float32 [Q, D] of any length.  Raises InvalidValueError on NaN or a wrong D.
    Cost: as `cosine`, plus O(N·Q) to keep each owner's best.  Memory: 12 bytes for each owner and query.
    """
    queries = _checked_queries(queries)
    parts = [
        _best_rows(block, queries, slice(at, at + rows_at_once))
        for block in blocks
        for at in range(0, len(block.owners), rows_at_once)
    ]
    if not parts:
        empty = np.empty((len(queries), 0))
        return Scores(np.empty(0, np.int64), empty.astype(np.float32), empty)
    owners, best, times = (np.concatenate(column, axis=-1) for column in zip(*parts, strict=True))
    return _merge(owners, best, times)


def scan_mean(blocks: Iterable[Block], queries: Array) -> tuple[Array, Array, Array]:
    """One query of several rows, such as a video's frames: each owner's best row for each of them, averaged.

    queries: float32 [Q, D] → owners int64 [M], scores float32 [M], times_s float64 [M] of what the first row matched.
    Cost: as `scan`.
    """
    found = scan(blocks, queries)
    return found.owners, found.best.mean(axis=0), found.times_s[0]


def highest(blocks: Iterable[Block], queries: Array, *, rows_at_once: int = 16_384) -> Array:
    """The best score that each query reaches anywhere: float32 [Q], −1 where there are no rows.

    Cost: as `cosine`.  Memory: one block of rows against the queries, whatever the rows.
    """
    queries = _checked_queries(queries)
    best = np.full(len(queries), -1.0, np.float32)
    for block in blocks:
        for at in range(0, len(block.owners), rows_at_once):
            np.maximum(best, cosine(block.vectors[at : at + rows_at_once], queries).max(axis=0), out=best)
    return best


def _checked_queries(queries: Array) -> Array:
    check_axes("queries", queries, "Q D")
    if not np.isfinite(queries).all():
        raise InvalidValueError("queries must be finite, got NaN or infinity: check what was encoded")
    return unit_rows(np.asarray(queries, np.float32))


def _best_rows(block: Block, queries: Array, rows: slice) -> tuple[Array, Array, Array]:
    vectors = block.vectors[rows]
    check_axes("vectors", vectors, f"N {queries.shape[1]}")
    merged = _merge(
        block.owners[rows],
        cosine(vectors, queries).T,
        np.broadcast_to(block.times_s[rows], (len(queries), len(vectors))),
    )
    return merged.owners, merged.best, merged.times_s


def _merge(owners: Array, best: Array, times: Array) -> Scores:
    """Keep one column an owner: its highest score, the earliest moment among equals."""
    unique, inverse = np.unique(owners, return_inverse=True)
    if len(unique) == len(owners):
        order = np.argsort(owners, kind="stable")
        return Scores(unique, best[:, order], times[:, order])
    kept = np.empty((len(best), len(unique)), np.int64)
    for row, scores in enumerate(best):
        order = np.lexsort((times[row], -scores, inverse))
        kept[row] = order[np.searchsorted(inverse[order], np.arange(len(unique)))]
    return Scores(unique, np.take_along_axis(best, kept, 1), np.take_along_axis(times, kept, 1))


def top(scores: Array, k: int) -> Array:
    """Indices of the k highest scores, best first; ties go to the lowest index.  float [M] → int [≤ k]."""
    check_axes("scores", scores, "M")
    if k < 1:
        raise InvalidValueError(f"k must be at least 1, got {k}")
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    edge = -np.partition(-scores, k - 1)[k - 1]
    above = np.flatnonzero(scores > edge)
    level = np.flatnonzero(scores == edge)[: k - len(above)]
    found = np.concatenate([above, level])
    return found[np.lexsort((found, -scores[found]))]
