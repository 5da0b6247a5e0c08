"""Average precision of many million scored pairs by one sort in place: score and hit packed into one whole number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lightmeter.metrics.ties import Ties
from lightmeter.types import Array

_SLICE = 1 << 18
PART_BITS = 31
"""A score from 0 to 1 as float32 needs 30 bits (0x3F800000 is 1), its hit one more."""


@dataclass(frozen=True, slots=True, eq=False)
class Precisions:
    """Sums of the precisions at the hits of each part, float64 [parts]: divided by its positives, average precision."""

    expected: Array
    best: Array
    worst: Array


def pack(values: Array, hits: Array) -> Array:
    """uint32, rising with the score, hits after misses of the same score.

    values: float32 0..1, no negative zero · hits: bool, same shape.  Source: floats from 0 on sort as their bits do.
    """
    return (values.view(np.uint32) << np.uint32(1)) | hits


def pooled_precisions(pairs: Sequence[tuple[Array, Array]]) -> Precisions:
    """All pairs as one ranking.  pairs: (values, hits) as `pack` takes them.

    Memory: 4 bytes a pair and 20 a hit.  Cost: O(N log N), no argsort.
    """
    keys = np.empty(sum(values.size for values, _ in pairs), np.uint32)
    at = 0
    for values, hits in pairs:
        keys[at : at + values.size] = pack(values.reshape(-1), hits.reshape(-1))
        at += values.size
    keys.sort()
    return _precisions(keys, np.array([len(keys)]))


def class_precisions(pairs: Sequence[tuple[Array, Array, Array]], classes: int) -> Precisions:
    """One ranking a class.  pairs: (values, hits, classes).  Memory: 8 bytes a pair and 20 a hit."""
    keys = np.empty(sum(values.size for values, _, _ in pairs), np.uint64)
    at = 0
    for values, hits, found in pairs:
        piece = keys[at : at + values.size]
        piece[:] = found.reshape(-1)
        piece <<= np.uint64(PART_BITS)
        piece |= pack(values.reshape(-1), hits.reshape(-1))
        at += values.size
    keys.sort()
    ends = np.searchsorted(keys, np.arange(1, classes + 1, dtype=np.uint64) << np.uint64(PART_BITS))
    return _precisions(keys, ends)


def _precisions(keys: Array, ends: Array) -> Precisions:
    """ends: int64 [parts], where each part ends in the sorted keys."""
    sums = np.zeros((3, len(ends)))
    for ties in _ties(keys, ends):
        for total, gains in zip(sums, ties.gains(), strict=True):
            total += [gains.sum()] if len(ends) == 1 else np.bincount(ties.part, gains, len(ends))
    return Precisions(*sums)


def _ties(keys: Array, ends: Array) -> Iterator[Ties]:
    """The groups of equal score that hold a hit, some at a time: only these add to average precision."""
    places = _hit_places(keys)
    last = _last_of_equals(keys[places])
    hit_ends = np.searchsorted(places, ends)
    for start in range(0, len(last), _SLICE):
        end = last[start : start + _SLICE]
        first = np.append(last[start - 1] + 1 if start else 0, end[:-1] + 1)
        low, high = places[first], places[end] + 1
        misses = keys[low] - keys.dtype.type(1)  # the same score without a hit
        tied = np.flatnonzero((low > 0) & (keys[np.maximum(low, 1) - 1] == misses))
        low[tied] = np.searchsorted(keys, misses[tied])
        part = np.searchsorted(ends, low, side="right")
        yield Ties(ends[part] - high, hit_ends[part] - (end + 1), high - low, end + 1 - first, part)


def _last_of_equals(keys: Array) -> Array:
    """Places of the last of each run of equal keys: int64."""
    return np.flatnonzero(np.append(keys[1:] != keys[:-1], True)[: len(keys)])


def _hit_places(keys: Array) -> Array:
    """Where the keys of hits stand: int64, rising."""
    found = [
        np.flatnonzero(keys[start : start + _SLICE] & keys.dtype.type(1)) + start
        for start in range(0, len(keys), _SLICE)
    ]
    return np.concatenate([np.zeros(0, np.int64), *found])
