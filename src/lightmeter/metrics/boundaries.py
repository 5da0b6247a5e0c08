"""Where masks end, and whether two masks end in the same places: precision and recall of boundary pixels."""

from __future__ import annotations

import numpy as np

from lightmeter.types import Array


def boundary(masks: Array) -> Array:
    """Inner boundaries of masks: their pixels of which one of the four neighbours is outside, bool [N, H, W].

    masks: bool [N, H, W].  What lies beyond the picture's edge is not outside: an arm that is cut off ends nowhere.
    """
    inside = masks.copy()
    for axis in (1, 2):
        ahead, behind = np.roll(masks, -1, axis), np.roll(masks, 1, axis)
        last, first = _edge(axis, -1), _edge(axis, 0)
        ahead[last], behind[first] = masks[last], masks[first]
        inside &= ahead & behind
    made: Array = masks & ~inside
    return made


def dilated(masks: Array, radius_px: float) -> Array:
    """Pixels at most so far from a pixel of the mask, centre to centre, Euclidean: bool [N, H, W].

    Cost: a pass over the masks for each of the about π·radius² offsets; exact where a distance transform would be.
    """
    made = masks.copy()
    reach = int(radius_px)
    height, width = masks.shape[1:]
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if 0 < down * down + right * right <= radius_px * radius_px and abs(down) < height and abs(right) < width:
                to = np.s_[:, max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
                start = np.s_[:, max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
                made[to] |= masks[start]
    return made


def boundary_matches(found: Array, truth: Array, judged: Array, tolerance_px: float) -> Array:
    """Boundary pixels of each picture, int64 [N, 4]: found, of these near the truth's; true, of these near the found.

    found, truth, judged: bool [N, H, W].  A boundary pixel counts where it and its four neighbours are judged, so that
    the rim of an unjudged region is nobody's boundary.
    Source: Martin, Fowlkes and Malik 2004 (boundary F); Csurka et al. 2013 (the same a picture, for masks); Perazzi
    et al. 2016 match by dilation as well.
    """
    certain = judged & ~boundary(judged)
    own, other = boundary(found & judged) & certain, boundary(truth & judged) & certain
    near_own, near_other = dilated(own, tolerance_px), dilated(other, tolerance_px)
    parts = (own, own & near_other, other, other & near_own)
    return np.stack([each.sum(axis=(1, 2), dtype=np.int64) for each in parts], axis=1)


def boundary_f(matches: Array) -> Array:
    """F = 2·P·R / (P + R) of each picture from `boundary_matches` int [N, 4]: float64 [N], 0..1.

    No boundary in both: 1, for there was nothing to find; in one of them only: 0.
    """
    found, found_near, true, true_near = matches.T.astype(np.float64)
    precision, recall = found_near / np.maximum(found, 1), true_near / np.maximum(true, 1)
    made: Array = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return np.where((found == 0) & (true == 0), 1.0, made)


def _edge(axis: int, at: int) -> tuple[slice | int, ...]:
    return tuple(at if each == axis else slice(None) for each in range(3))
