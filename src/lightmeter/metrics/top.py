"""The k highest of many scores, exactly, in about the time that it takes to read them."""

from __future__ import annotations

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes

_CHUNK_SCORES = 1 << 18
"""Scores looked at at once: 1 MB, so that the second look finds them in the cache (measured: 0.5 to 2 MB are equal)."""
_ROWS = 4096
_SIGN = np.uint32(1 << 31)


def top_scores(scores: Array, k: int) -> tuple[Array, Array]:
    """The k highest scores of each row, falling, and their classes; equal scores go to the lowest class.

    scores: float32 [B, K], any numbers but NaN, infinite ones too · k: all K are returned where there are fewer
    Returns float32 [B, min(k, K)] and int32 [B, min(k, K)].  Raises InvalidValueError.

    Each row is cut into blocks; the k-th highest of their maxima is a bound that at least k scores reach and few
    others do: only these are sorted.  Rows in which many reach it, being equal, are searched for the k-th highest
    score itself.  Cost: one pass over the scores and a second one in the cache.

    >>> values, classes = top_scores(np.array([[0.25, 0.5, 0.5, 0.0]], np.float32), 3)
    >>> values.tolist(), classes.tolist()
    ([[0.5, 0.5, 0.25]], [[1, 2, 0]])
    """
    check_axes("scores", scores, "B K", "float32")
    count, classes = scores.shape
    if k < 1 or not classes:
        raise InvalidValueError(f"k and the classes of scores must be at least 1, got {k} and {classes}")
    k = min(k, classes)
    bits = max(1, (classes - 1).bit_length())
    values, found = np.empty((count, k), np.float32), np.empty((count, k), np.int32)
    step = min(_ROWS, 1 << (32 - bits))  # row, score and class share the 64 bits of a key
    for start in range(0, count, step):
        part = slice(start, start + step)
        rows = np.ascontiguousarray(scores[part])
        found[part] = _columns(rows, k, np.uint64(bits))
        values[part] = np.take_along_axis(rows, found[part], axis=1) + np.float32(0)
    return values, found


def _columns(rows: Array, k: int, bits: np.uint64) -> Array:
    """Classes of the k highest scores of some rows: int32 [R, k]."""
    row, column = np.divmod(_survivors(rows, k), rows.shape[1])
    sizes = np.bincount(row, minlength=len(rows))
    keys = row.astype(np.uint64) << np.uint64(32)
    keys |= _falling(rows[row, column])
    keys <<= bits
    keys |= column.astype(np.uint64)
    keys.sort()
    best = keys[(np.cumsum(sizes) - sizes)[:, None] + np.arange(k)]
    columns: Array = best & ((np.uint64(1) << bits) - np.uint64(1))
    return columns.astype(np.int32)


def _survivors(rows: Array, k: int) -> Array:
    """Places in the flat rows, rising: at least k a row, the k highest of each among them."""
    step = max(1, _CHUNK_SCORES // rows.shape[1])
    mask = np.empty((min(step, len(rows)), rows.shape[1]), bool)
    found = []
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        reach = np.greater_equal(chunk, _bound(chunk, k)[:, None], out=mask[: len(chunk)])
        if np.count_nonzero(reach) > 2 * k * len(chunk):
            many = np.flatnonzero(np.count_nonzero(reach, axis=1) > 2 * k)
            reach[many] = _exactly(chunk[many], k)
        found.append(np.flatnonzero(reach) + start * rows.shape[1])
    return np.concatenate(found)


def _bound(chunk: Array, k: int) -> Array:
    """A score a row that at least k of it reach and few others: float32 [R].  Raises InvalidValueError for NaN."""
    count, classes = chunk.shape
    blocks = 6 * k + 11
    width = classes // blocks
    if width < 3:
        _refuse_nan(chunk)
        return np.partition(chunk, classes - k, axis=1)[:, classes - k]
    whole, rest = chunk[:, : width * blocks], chunk[:, width * blocks :]
    highest: Array = whole.reshape(count, width, blocks).max(axis=1)  # block b holds the classes b, b + blocks …
    np.maximum(highest[:, : rest.shape[1]], rest, out=highest[:, : rest.shape[1]])
    _refuse_nan(highest)  # max hands NaN on
    highest.partition(blocks - k, axis=1)
    return highest[:, blocks - k]


def _exactly(rows: Array, k: int) -> Array:
    """Which k scores of each row are its highest, bool [R, K]: ties at the end go to the lowest classes."""
    least = np.partition(rows, rows.shape[1] - k, axis=1)[:, rows.shape[1] - k, None]
    above, equal = rows > least, rows == least
    room = k - np.count_nonzero(above, axis=1)
    kept: Array = above | (equal & (np.cumsum(equal, axis=1) <= room[:, None]))
    return kept


def _falling(values: Array) -> Array:
    """Floats as uint64 below 2³² that rise where the floats fall; both zeros are one."""
    bits = (values + np.float32(0)).view(np.uint32)
    negative = bits & _SIGN != 0
    return np.where(negative, bits, ~(bits | _SIGN)).astype(np.uint64)


def _refuse_nan(scores: Array) -> None:
    if np.isnan(scores).any():
        raise InvalidValueError("scores must be numbers, got NaN: check what was scored")
