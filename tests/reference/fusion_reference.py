"""The rules of fusion as the papers write them: one loop a sum, no array tricks."""

from __future__ import annotations

import math


def posterior(row, n):
    """p_c of one frame."""
    total = sum(math.exp(-n * rho) for rho in row)
    return [math.exp(-n * rho) / total for rho in row]


def frame_sum(distances):
    return [sum(row[c] for row in distances) for c in range(len(distances[0]))]


def map_sums(distances, n):
    return [sum(posterior(row, n)[c] for row in distances) for c in range(len(distances[0]))]


def noisy_or(distances, n):
    made = []
    for c in range(len(distances[0])):
        s = 0.0
        for row in distances:
            p = posterior(row, n)[c]
            s = s + p * (1 - s)
        made.append(s)
    return made


def likelihood_map(distances, between, n, nearest, weight):
    """Class → Σ_t p_c(t), for the nearest classes on average."""
    classes = len(distances[0])
    mean = [sum(row[c] for row in distances) / len(distances) for c in range(classes)]
    candidates = sorted(sorted(range(classes), key=lambda c: (mean[c], c))[:nearest])
    sums = dict.fromkeys(candidates, 0.0)
    for row in distances:
        regular = []
        for c in candidates:
            surprise = 0.0
            for other in range(classes):
                if other != c:
                    surprise += (row[other] - between[c][other]) ** 2 / (4 * between[c][other])
            regular.append(row[c] + weight / classes * surprise)
        for c, p in zip(candidates, posterior(regular, n), strict=True):
            sums[c] += p
    return sums


def class_distances_between(vectors, labels):
    """Least distance of two classes' rows; the mean within a class, as a list of lists."""

    def apart(one, other):
        return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))

    classes = max(labels) + 1
    rows = [[v for v, label in zip(vectors, labels, strict=True) if label == c] for c in range(classes)]
    made = [[min(apart(a, b) for a in rows[c] for b in rows[o]) for o in range(classes)] for c in range(classes)]
    own = []
    for c in range(classes):
        pairs = [apart(rows[c][i], rows[c][j]) for i in range(len(rows[c])) for j in range(len(rows[c])) if i != j]
        own.append(sum(pairs) / len(pairs) if pairs else None)
    known = [each for each in own if each is not None]
    for c in range(classes):
        made[c][c] = own[c] if own[c] is not None else (sum(known) / len(known) if known else 0.0)
    return made


def early_map(distances, n, odds, least_frames):
    """(class, frames): MAP of the frames so far until its odds pass, or the lead is beyond the frames left."""
    total = [0.0] * len(distances[0])
    for seen, row in enumerate(distances, 1):
        total = [t + p for t, p in zip(total, posterior(row, n), strict=True)]
        best = max(range(len(total)), key=lambda c: (total[c], -c))
        share = total[best] / sum(total)
        lead = total[best] - max(t for c, t in enumerate(total) if c != best)
        passed = share / max(1 - share, 1e-300) >= odds or lead > len(distances) - seen
        if (seen >= least_frames and passed) or seen == len(distances):
            return best, seen
    raise AssertionError("a track has frames")
