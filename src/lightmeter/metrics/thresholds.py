"""From scores to labels: thresholds for a precision that is asked for, and F1 at thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.ranking import VideoScores, ratio
from lightmeter.types import Array, check_axes


@dataclass(frozen=True, slots=True, eq=False)
class Thresholds:
    """The lowest scores from which on answers are as precise as was asked, each with what it rests on.

    threshold: float32 [K]  an answer is given when its score is at least this; inf where no threshold is good enough
    answered, right, labels: int64 [K]  answers at or above it, right ones among them, labels in all
    One entry a class, or one in all.  An observed precision is no promise for fresh videos: few answers say little.
    """

    threshold: Array
    answered: Array
    right: Array
    labels: Array

    @property
    def precision(self) -> Array:
        """float64 [K], NaN where nothing is answered."""
        return ratio(self.right, self.answered)

    @property
    def recall(self) -> Array:
        """float64 [K], NaN without labels."""
        return ratio(self.right, self.labels)

    @property
    def unreachable(self) -> Array:
        """Classes that no threshold makes precise enough: int64 [U].  Those without a kept answer are among them."""
        return np.flatnonzero(np.isinf(self.threshold))

    def text(self, precision: float) -> str:
        """One sentence for people."""
        classes, lost = len(self.threshold), len(self.unreachable)
        said = f"{int(self.right.sum())} of {int(self.labels.sum())} labels found by {int(self.answered.sum())} answers"
        unreachable = f"; {lost} of {classes} cannot reach it and answer nothing" if lost else ""
        return f"precision {precision:g}: {said}{unreachable}"


def thresholds_for(scores: VideoScores, precision: float, *, per_class: bool = True, fewest: int = 1) -> Thresholds:
    """The most lenient thresholds whose answers are at least this precise, a class each or one for all.

    precision: 0..1 · fewest: answers that a threshold must rest on
    Only kept answers count: what is not among the `top` of its video is not given, at no threshold.
    Cost: a sort of all kept answers; memory 40 bytes each.
    """
    if not 0 <= precision <= 1 or fewest < 1:
        raise InvalidValueError(f"precision must be 0 to 1 and fewest at least 1, got {precision} and {fewest}")
    kept = scores.kept()
    count = scores.classes if per_class else 1
    values, hits = kept.values.reshape(-1), kept.hits.reshape(-1)
    parts = kept.classes.reshape(-1) if per_class else np.zeros(len(values), np.int8)
    counts = scores.label_counts()
    made = Thresholds(
        np.full(count, np.inf, np.float32), np.zeros(count, np.int64), np.zeros(count, np.int64),
        counts if per_class else counts.sum(keepdims=True),
    )  # fmt: skip
    if not len(values):
        return made
    order = np.lexsort((-values, parts))
    values, hits, parts = values[order], np.concatenate([[0], np.cumsum(hits[order])]), parts[order]
    ends = np.flatnonzero(np.append((values[1:] != values[:-1]) | (parts[1:] != parts[:-1]), True)) + 1
    starts = np.searchsorted(parts, parts[ends - 1])
    answered, right = ends - starts, hits[ends] - hits[starts]
    good = np.flatnonzero((right >= precision * answered - 1e-9) & (answered >= fewest))
    part = parts[ends[good] - 1]
    last = np.flatnonzero(np.append(part[1:] != part[:-1], True)) if len(part) else np.zeros(0, np.int64)
    chosen = good[last]
    made.threshold[part[last]] = values[ends[chosen] - 1]
    made.answered[part[last]], made.right[part[last]] = answered[chosen], right[chosen]
    return made


@dataclass(frozen=True, slots=True, eq=False)
class F1:
    """How well thresholded answers meet the labels, 0..1, higher is better; NaN without labels.

    micro: of all pairs · macro: mean over the classes with a label · precision, recall: of all pairs
    per_class: float64 [K], NaN without labels
    """

    micro: float
    macro: float
    precision: float
    recall: float
    per_class: Array


def f1_at(scores: VideoScores, thresholds: float | Array) -> F1:
    """F1 = 2 right / (answered + labels) of the kept answers with a score of at least their class's threshold.

    thresholds: one for all, or float [K] (inf: the class is never answered)
    Unlike scikit-learn's macro, classes without a label are left out, as in mAP.
    """
    levels = np.asarray(thresholds, np.float32)
    levels = levels if levels.ndim else np.full(scores.classes, levels)
    check_axes("thresholds", levels, str(scores.classes))
    if np.isnan(levels).any():
        raise InvalidValueError("thresholds must be numbers, got NaN")
    kept = scores.kept()
    given = kept.values >= levels[kept.classes]
    answered = np.bincount(kept.classes[given], minlength=scores.classes)
    right = np.bincount(kept.classes[given & kept.hits], minlength=scores.classes)
    labels = scores.label_counts()
    per_class = np.where(labels > 0, ratio(2.0 * right, answered + labels), np.nan)
    total, found, wanted = int(answered.sum()), int(right.sum()), int(labels.sum())
    return F1(
        2 * found / (total + wanted) if wanted else float("nan"),
        float(np.nanmean(per_class)) if wanted else float("nan"),
        found / total if total else float("nan"),
        found / wanted if wanted else float("nan"),
        per_class,
    )
