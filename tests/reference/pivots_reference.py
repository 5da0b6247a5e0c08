"""Pivots, permutations and dissimilarities, one number at a time, in float64."""

from __future__ import annotations

import math

import numpy as np


def l2(p, q):
    return sum((a - b) ** 2 for a, b in zip(p, q, strict=True))


def cosine(p, q):
    size = math.sqrt(sum(a * a for a in p)) * math.sqrt(sum(b * b for b in q))
    return 2 - 2 * (sum(a * b for a, b in zip(p, q, strict=True)) / size if size else 0.0)


def chi2(p, q):
    return sum((a - b) ** 2 / (a + b) for a, b in zip(p, q, strict=True) if a + b > 0)


def kl(p, q):
    p, q = [a / sum(p) for a in p], [b / sum(q) for b in q]
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def jensen_shannon(p, q):
    p, q = [a / sum(p) for a in p], [b / sum(q) for b in q]
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (kl(p, middle) + kl(q, middle)) / 2


OBVIOUS = {"l2": l2, "cosine": cosine, "chi2": chi2, "jensen-shannon": jensen_shannon, "kl": kl}


def farthest_sum(rows, rho, count, first):
    """Pivots, each the row with the greatest sum of distances to those before; the lowest id among equals."""
    pivots = [first]
    while len(pivots) < count:
        sums = [
            -math.inf if r in pivots else sum(rho(rows[r], rows[p]) for p in pivots) for r in range(len(rows))
        ]  # fmt: skip
        pivots.append(sums.index(max(sums)))
    return pivots


def threshold(rows, rho, labels, of, share):
    """The quantile of what the nearest row of another class is from each of some rows; 0 of none."""
    nearest = []
    for p in of:
        others = [rho(rows[r], rows[p]) for r in range(len(rows)) if labels[r] != labels[p]]
        nearest += [min(others)] if others else []
    return sorted(nearest)[int(share * len(nearest))] if nearest else 0.0


def directed(rows, query, rho, pivots, *, stop_below, most, k=1, at_once=1, full=False, variance=False, allowed=None):
    """Maximum-likelihood directed enumeration: → [(distance, id)] nearest first, and the ids measured, in order."""
    allowed = range(len(rows)) if allowed is None else allowed
    measured = {}

    def stopped():
        return sum(measured[r] < stop_below for r in measured if r in allowed) >= k

    def measure(ids):
        for r in ids:
            measured[r] = rho(query, rows[r])
        return stopped()

    def unlikely(r, seen):
        total = 0.0
        for p in seen:
            expected = rho(rows[r], rows[p])
            total += (measured[p] - expected) ** 2 / (expected if variance else 1)
        return total

    done = False
    for at in range(0, len(pivots), at_once):
        done = measure(pivots[at : at + at_once])
        if done:
            break
    while not done:
        left = [r for r in allowed if r not in measured]
        room = most - sum(r in allowed for r in measured)
        if not left or room <= 0:
            break
        seen = list(measured) if full else pivots
        left.sort(key=lambda r: (unlikely(r, seen), r))
        done = measure(left[: min(at_once, room)])
    found = sorted((measured[r], r) for r in measured if r in allowed)
    return found[:k], list(measured)


def permutation(row, rows_of_pivots, rho):
    """The rank of each pivot by its distance from the row."""
    distances = [rho(row, p) for p in rows_of_pivots]
    order = sorted(range(len(distances)), key=lambda i: (distances[i], i))
    return [order.index(i) for i in range(len(distances))]


def by_codes(rows, query, rho, gap, count, k):
    """Exact re-rank of the `count` rows with the least gap(row id): [(distance, id)]."""
    near = sorted(range(len(rows)), key=lambda r: (gap(r), r))[:count]
    return sorted((rho(query, rows[r]), r) for r in near)[:k]


def brute(rows, query, rho, k, allowed=None):
    """All rows: [(distance, id)]."""
    allowed = range(len(rows)) if allowed is None else allowed
    return sorted((rho(query, rows[r]), r) for r in allowed)[:k]


def as_lists(array):
    return np.asarray(array, np.float64).tolist()
