"""Three-way decisions as one would write them on a blackboard: one query, one row, one component at a time."""

from __future__ import annotations

import math

import numpy as np


def coordinates(x, queries, components, *, normalise):
    """Principal coordinates of rows and queries, float64, by the SVD of the rows."""
    x, queries = x.astype(np.float64), queries.astype(np.float64)
    if normalise:
        x, queries = _unit(x), _unit(queries)
    mean = x.mean(axis=0)
    _, values, axes = np.linalg.svd(x - mean, full_matrices=False)
    axes = axes[: min(components, int((values > 1e-5 * values[0]).sum()))]
    return (x - mean) @ axes.T, (queries - mean) @ axes.T


def _unit(rows):
    return np.array([row / np.linalg.norm(row) if row.any() else row for row in rows])


def add_up(row, query, start, stop):
    total = 0.0
    for d in range(start, min(stop, len(row))):
        total += (row[d] - query[d]) ** 2
    return total


def by_class(distances, labels):
    """The least distance of each class, as a dictionary."""
    found = {}
    for distance, label in zip(distances, labels, strict=True):
        found[label] = min(distance, found.get(label, math.inf))
    return found


def answer(distances):
    """The row with the least distance, the lowest of equals."""
    return min(distances, key=lambda row: (distances[row], row))


def reliable(rule, found, threshold):
    """Whether a conventional rule accepts the nearest class."""
    ordered = sorted(found.values())
    second = ordered[1] if len(ordered) > 1 else math.inf
    if rule == "posteriors":
        weights = [math.exp(-100 * (each - ordered[0])) for each in ordered]
        return weights[0] / sum(weights[:5]) > threshold
    if rule == "bayes-factor":
        return second - ordered[0] > threshold
    return ordered[0] / second < threshold


def two_levels(rule, x, labels, query, m, threshold):
    """(label, row, levels, reliable level or 0) of a conventional rule."""
    width = len(query)
    edges = [0, m, width] if width > m else [0, width]
    distances = dict.fromkeys(range(len(x)), 0.0)
    for level in range(len(edges) - 1):
        for row in distances:
            distances[row] += add_up(x[row], query, edges[level], edges[level + 1])
        sure = reliable(rule, by_class(distances.values(), labels), threshold)
        if sure:
            break
    best = answer(distances)
    return labels[best], best, level + 1, (level + 1) * sure


def multi_level(x, labels, query, m, delta, *, instances):
    """(label, row, rows left after each level, reliable level or 0) of the proposed rule."""
    distances = dict.fromkeys(range(len(x)), 0.0)
    left = []
    for start in range(0, len(query), m):
        for row in distances:
            distances[row] += add_up(x[row], query, start, start + m)
        best = answer(distances)
        found = by_class(distances.values(), [labels[row] for row in distances])
        least = min(found.values())
        for row in list(distances):
            compared = distances[row] if instances else found[labels[row]]
            if compared / least > delta:
                del distances[row]
        left.append(len(distances))
        if len({labels[row] for row in distances}) == 1:
            return labels[best], best, left, len(left)
    return labels[best], best, left, 0
