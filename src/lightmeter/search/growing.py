"""Arrays that grow behind, for galleries that change."""

from __future__ import annotations

import numpy as np

from lightmeter.types import Array


def grown(array: Array, more: Array, *, own: bool) -> Array:
    """The array with rows behind it; it lies in a larger one of ours, so that the next rows need no copy.

    array: [N, …], with `own` a result of this function that nobody else adds to · more: [M, …] → [N + M, …]
    Cost: O(M) amortised; without `own` a copy.
    """
    rows, total = len(array), len(array) + len(more)
    room = array.base if own else None
    if room is None or len(room) < total:
        room = np.empty((max(total, rows + rows // 2), *array.shape[1:]), array.dtype)
        room[:rows] = array
    room[rows:total] = more
    return room[:total]
