"""What goes into every head: features, labels and what was saved, checked at the door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lightmeter.assets.saving import expect, expect_count, insist
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes


def checked_features(x: Array, dim: int | None = None, dtype: str = "float32") -> Array:
    """Features as C-ordered float [N, D] of one type, without a copy where they are that already.

    Raises InvalidValueError on another shape, on what is no number, on NaN and infinity.
    """
    check_axes("x", x, f"N {dim or 'D'}")
    if x.dtype.kind not in "fiu":
        raise InvalidValueError(f"x must be numbers, got {x.dtype}: convert it to float32 first")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(x, dtype)
    if not np.isfinite(rows).all():
        raise InvalidValueError("x must be finite, got NaN or infinity: check what was encoded")
    return rows


def checked_labels(y: Array, rows: int) -> Array:
    """Labels as int64 [N], one a row, 0 or more, at least one; else InvalidValueError."""
    check_axes("y", y, str(rows))
    if not rows:
        raise InvalidValueError("x and y must hold at least one row, got none")
    if y.dtype.kind not in "iu":
        raise InvalidValueError(f"y must be whole numbers, got {y.dtype}: number the classes from 0")
    if y.min() < 0:
        raise InvalidValueError(f"y must be 0 to K − 1, got {y.min()}: number the classes from 0")
    return y.astype(np.int64)


def spread(scores: Array, classes: Array, count: int, absent: float) -> Array:
    """Scores float [N, P] of the classes that were seen, int [P], among all: float32 [N, count], `absent` elsewhere."""
    if len(classes) == count:
        return np.asarray(scores, np.float32)
    wide = np.full((len(scores), count), absent, np.float32)
    wide[:, classes] = scores
    return wide


def loaded_classes(arrays: Mapping[str, Array], about: Mapping[str, Any]) -> tuple[Array, int]:
    """`seen` int64 [P] and `classes` of a saved head: rising from 0 on, the last is the last class that there is.

    Raises RejectedFileError.
    """
    seen, classes = expect(arrays, "seen", "int64", None), expect_count(about, "classes")
    rising = len(seen) and seen[0] >= 0 and (seen[1:] > seen[:-1]).all() and seen[-1] == classes - 1
    insist(rising, f"seen of a model must rise from 0 or more to {classes - 1}, its last class")
    return seen, classes
