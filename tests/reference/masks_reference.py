"""Masks scored pixel by pixel: what `lightmeter.metrics.masks` and `boundaries` must say, written to be obvious."""

from __future__ import annotations


def iou(found, truth, judged):
    both = sum(f and t for f, t, j in zip(found.flat, truth.flat, judged.flat, strict=True) if j)
    either = sum(f or t for f, t, j in zip(found.flat, truth.flat, judged.flat, strict=True) if j)
    return both, either


def boundary_pixels(mask, judged):
    """Pixels inside with a neighbour outside, where they and their neighbours are judged."""
    height, width = mask.shape
    made = []
    for y in range(height):
        for x in range(width):
            near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            near = [(b, a) for b, a in near if 0 <= b < height and 0 <= a < width]
            certain = judged[y, x] and all(judged[place] for place in near)
            if certain and mask[y, x] and not all(mask[place] for place in near):
                made.append((y, x))
    return made


def boundary_f(found, truth, judged, tolerance_px):
    own, other = boundary_pixels(found & judged, judged), boundary_pixels(truth & judged, judged)
    if not own and not other:
        return 1.0

    def share(some, others):
        if not some:
            return 0.0
        near = [any((y - b) ** 2 + (x - a) ** 2 <= tolerance_px**2 for b, a in others) for y, x in some]
        return sum(near) / len(near)

    precision, recall = share(own, other), share(other, own)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
