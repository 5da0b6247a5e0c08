"""The metrics of YouTube-8M by their definitions, one pair at a time: slow, obvious, and nothing shared with ours.

scores: float [N, K] · truth: bool [N, K].  Equal scores within a video: the lowest class first.
"""

from __future__ import annotations

import numpy as np


def top(row, k):
    """Classes of the k highest scores of one video."""
    return sorted(range(len(row)), key=lambda each: (-row[each], each))[:k]


def average_precision(pairs, positives):
    """Non-interpolated, of (score, hit) pairs in this order."""
    hits, total = 0, 0.0
    for rank, (_, hit) in enumerate(pairs, 1):
        if hit:
            hits += 1
            total += hits / rank
    return total / positives if positives else float("nan")


def pooled_pairs(scores, truth, k=20):
    """(score, hit) of the top k of every video."""
    return [(row[each], bool(own[each])) for row, own in zip(scores, truth, strict=True) for each in top(row, k)]


def shuffled(pairs, seed):
    """Highest first, equals in a random order."""
    mixed = [pairs[each] for each in np.random.default_rng(seed).permutation(len(pairs))]
    return sorted(mixed, key=lambda pair: -pair[0])


def lucky(pairs):
    """Highest first, hits first among equals."""
    return sorted(pairs, key=lambda pair: (-pair[0], not pair[1]))


def unlucky(pairs):
    """Highest first, hits last among equals."""
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1]))


def gap(scores, truth, k=20, order=lucky):
    """All labels are the denominator."""
    return average_precision(order(pooled_pairs(scores, truth, k)), int(truth.sum()))


def hit_at_1(scores, truth):
    """Share of videos whose first class is a label."""
    return float(np.mean([own[top(row, 1)[0]] for row, own in zip(scores, truth, strict=True)]))


def perr(scores, truth):
    """Videos without labels add 0 and count; answers of score 0 are none."""
    total = 0.0
    for row, own in zip(scores, truth, strict=True):
        labels = int(own.sum())
        if labels:
            total += sum(bool(own[each]) for each in top(row, labels) if row[each] > 0) / labels
    return total / len(scores)


def class_average_precisions(scores, truth, k=20, order=lucky):
    """Over the videos in whose top k the class is; all its labels are the denominator; NaN without labels."""
    tops = [top(row, k) for row in scores]
    made = []
    for each in range(scores.shape[1]):
        pairs = [(scores[video, each], bool(truth[video, each])) for video in range(len(scores)) if each in tops[video]]
        made.append(average_precision(order(pairs), int(truth[:, each].sum())))
    return np.array(made)


def mean_average_precision(scores, truth, k=20, order=lucky):
    """Classes without labels are left out."""
    return float(np.nanmean(class_average_precisions(scores, truth, k, order)))
