"""k-means of the pictures of a class: in full as published, or in mini-batches where the class is large."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lightmeter.condense.rows import Rows, blocks, expect_rows, taken, whole
from lightmeter.errors import InvalidValueError
from lightmeter.parts import need
from lightmeter.search.pca import fit_basis
from lightmeter.types import Array

How = Literal["auto", "full", "mini-batch"]
MOST_FULL = 5000
"""Rows up to which `auto` takes full k-means."""
_SAMPLE_BYTES = 64 << 20
_SAMPLED_A_CLUSTER = 20
_BATCH_BYTES = 8 << 20
_EXACT_BYTES = 1 << 20
_MOST_A_BATCH = 1024
_PASSES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """K clusters of N rows, none of them empty.

    centres: float32 [K, D] · members: int64 [n] a cluster, rising; together each row once
    medoids: int64 [K], of each cluster the member nearest to its centre, the first among equals; so no two alike
    """

    centres: Array
    members: tuple[Array, ...]
    medoids: Array


def k_means(rows: Rows, count: int, *, seed: int, starts: int = 10, how: How = "auto", components: int = 0) -> Clusters:
    """`count` clusters of rows finite float [N, D], N of `count` or more; rows may lie on disk as float16.

    full: scikit-learn's `KMeans(count, n_init=starts, random_state=seed)` on float32, as published
    mini-batch: full on a sample that is drawn by `seed`; two passes over all rows in batches of at most 1,024, in which
    each centre is the running mean of what came to it; then each row goes to its nearest centre, and centres are the
    means of their rows. auto: full up to 5,000 rows.
    components: clusters are found along so many principal components (of the sample, where rows are many); 0: all of D.
    Centres are means in the rows' own space all the same.
    Where fewer rows differ than clusters are asked for, a cluster that would be empty gets a row of the largest.
    Raises InvalidValueError for fewer rows than clusters.
    Cost: full N·D·K a round and start, memory 4·N·D bytes and some; mini-batch 3·N·D·K and the sample's, memory at most
    64 MB (or 20 rows a cluster) twice, 4·N·components bytes, and 12 bytes a row.
    Source: Lloyd 1982; Arthur and Vassilvitskii 2007; Sculley 2010 (mini-batches); seed 002, section 4.
    """
    total, _ = expect_rows(rows, count)
    if count < 1 or starts < 1 or components < 0:
        raise InvalidValueError(
            f"count and starts must be 1 or more and components 0 or more, got {count}, {starts}, {components}"
        )
    if how not in get_args(How):
        raise InvalidValueError(f"how must be auto, full or mini-batch, got {how!r}")
    seen = _along(rows, components, seed) if components else rows
    in_full = how == "full" or (how == "auto" and total <= MOST_FULL)
    chosen, centres = (_full if in_full else _mini_batches)(seen, count, seed, starts)
    moved = _fill_empty(chosen, count)
    if components or moved or not in_full:
        centres = _means(rows, chosen, count)
    order = np.argsort(chosen, kind="stable")
    members = tuple(np.split(order, np.cumsum(np.bincount(chosen, minlength=count))[:-1]))
    return Clusters(centres, members, _medoids(rows, chosen, centres))


def _full(rows: Rows, count: int, seed: int, starts: int) -> tuple[Array, Array]:
    """The cluster of each row, int64 [N], and the centres, float32 [K, D]."""
    cluster = need("sklearn.cluster", "heads")
    with _alike():
        fitted = cluster.KMeans(count, n_init=starts, random_state=seed, copy_x=False).fit(whole(rows))
    return fitted.labels_.astype(np.int64), fitted.cluster_centers_.astype(np.float32)


@contextmanager
def _alike() -> Iterator[None]:
    """One thread, since sums differ with their order; and no warning of equal rows, which are seen to afterwards."""
    with need("threadpoolctl", "heads").threadpool_limits(1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Number of distinct clusters")
        yield


def _mini_batches(rows: Rows, count: int, seed: int, starts: int) -> tuple[Array, Array]:
    total, dim = rows.shape
    draws = np.random.default_rng([seed, 1])
    sample = _sample(total, dim, count, draws)
    chosen, first = _full(taken(rows, sample), count, seed, starts)
    centres = first.astype(np.float64)
    weights = np.bincount(chosen, minlength=count).astype(np.float64)
    step = min(_MOST_A_BATCH, max(1, _BATCH_BYTES // (4 * dim)))
    for _ in range(_PASSES):
        order = draws.permutation(total)
        for start in range(0, total, step):
            batch = taken(rows, np.sort(order[start : start + step]))
            _move(centres, weights, batch, _nearest(batch, centres))
    found = np.empty(total, np.int64)
    for start, block in blocks(rows):
        found[start : start + len(block)] = _nearest(block, centres)
    return found, centres.astype(np.float32)


def _sample(total: int, dim: int, count: int, draws: np.random.Generator) -> Array:
    """Rows of a sample, rising: at most MOST_FULL and 64 MB of them, 20 a cluster at least."""
    most = min(MOST_FULL, _SAMPLE_BYTES // (4 * dim))
    return np.sort(draws.choice(total, min(total, max(most, _SAMPLED_A_CLUSTER * count)), replace=False))


def _nearest(block: Array, centres: Array) -> Array:
    """The nearest centre of each row, the lowest among equals: int64 [n]."""
    single = centres.astype(np.float32)
    products = block @ single.T
    apart: Array = (np.einsum("kd,kd->k", single, single) - 2 * products).argmin(axis=1)
    return apart


def _move(centres: Array, weights: Array, batch: Array, chosen: Array) -> None:
    """Centres float64 [K, D] go on as means of all that came to them, in place."""
    came = np.bincount(chosen, minlength=len(centres))
    some = np.flatnonzero(came)
    weights[some] += came[some]
    sums = _sums(batch, chosen, len(centres))[some]
    centres[some] += (sums - came[some, None] * centres[some]) / weights[some, None]


def _sums(block: Array, chosen: Array, count: int) -> Array:
    """The sum of each cluster's rows: float64 [K, D]."""
    order = np.argsort(chosen, kind="stable")
    seen, starts = np.unique(chosen[order], return_index=True)
    made = np.zeros((count, block.shape[1]))
    made[seen] = np.add.reduceat(block[order].astype(np.float64), starts)
    return made


def _means(rows: Rows, chosen: Array, count: int) -> Array:
    """The mean of each cluster's rows: float32 [K, D]."""
    sums = np.zeros((count, rows.shape[1]))
    for start, block in blocks(rows):
        sums += _sums(block, chosen[start : start + len(block)], count)
    made: Array = (sums / np.bincount(chosen, minlength=count)[:, None]).astype(np.float32)
    return made


def _medoids(rows: Rows, chosen: Array, centres: Array) -> Array:
    apart = np.empty(len(chosen))
    for start, block in blocks(rows, width_bytes=_EXACT_BYTES):
        away = block - centres[chosen[start : start + len(block)]].astype(np.float64)
        apart[start : start + len(block)] = np.einsum("nd,nd->n", away, away)
    order = np.lexsort((np.arange(len(chosen)), apart, chosen))
    return order[np.searchsorted(chosen[order], np.arange(len(centres)))]


def _fill_empty(chosen: Array, count: int) -> bool:
    """Give each empty cluster the last row of the largest, in place; says whether there was one."""
    sizes = np.bincount(chosen, minlength=count)
    empty = np.flatnonzero(sizes == 0)
    for cluster in empty.tolist():
        row = np.flatnonzero(chosen == sizes.argmax())[-1]
        sizes[chosen[row]] -= 1
        chosen[row], sizes[cluster] = cluster, 1
    return len(empty) > 0


def _along(rows: Rows, components: int, seed: int) -> Array:
    """Coordinates of the rows along principal components: float32 [N, ≤ components]."""
    total, dim = rows.shape
    sample = _sample(total, dim, components, np.random.default_rng([seed, 2]))
    basis = fit_basis(taken(rows, sample), components, seed=seed)
    made = np.zeros((total, max(1, len(basis.components))), np.float32)  # rows that are all equal: one of zeros
    if len(basis.components):
        for start, block in blocks(rows):
            made[start : start + len(block)] = basis.project(block)
    return made
