"""Mean average precision of segments of which people rated some, as in the YouTube-8M challenge of 2019."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.pooled import class_precisions
from lightmeter.metrics.ranking import are_pairs, check_probabilities, ratio
from lightmeter.types import Array, Labels, check_axes


@dataclass(frozen=True, slots=True, eq=False)
class SegmentQuality:
    """What scores of rated segments are worth, 0..1, higher is better; NaN without labels.

    map: MAP@k, expected under ties · per_class: float64 [K], its average precisions
    segments, rated, labels: segments, rated (segment, class) pairs, and pairs that were rated right
    """

    map: float
    per_class: Array
    segments: int
    rated: int
    labels: int

    def as_json(self) -> dict[str, Any]:
        """By name, without `per_class`; NaN as None."""
        told = {name: getattr(self, name) for name in ("map", "segments", "rated", "labels")}
        return {name: None if got != got else got for name, got in told.items()}


class SegmentScores:
    """Scores of segments, of which only rated (segment, class) pairs count.

    classes: K.  Memory: 9 bytes a rated pair.  Shards merged give the result of the whole.
    Definition: a class lists its segments, highest score first, k of them; pairs that nobody rated are dropped, those
    left are ranked, and AP = sum of the precisions at the right ones / all right ones of the class; MAP is the mean
    over the classes that have one.  Source: Kaggle, "The 3rd YouTube-8M video understanding challenge", evaluation.
    """

    def __init__(self, classes: int) -> None:
        if classes < 1:
            raise InvalidValueError(f"classes must be at least 1, got {classes}")
        self.classes = classes
        self._parts: list[tuple[Array, Array, Array]] = []
        self._segments = 0

    def update(self, scores: Array, labels: Labels, rated: Labels | None = None) -> SegmentScores:
        """Add segments; returns itself.

        scores: float32 [B, K], 0..1 · labels: classes that were rated right · rated: classes that were looked at; None:
        all of them.  Raises InvalidValueError as `VideoScores`, and for labels that were not rated.
        """
        check_probabilities(scores, labels, self.classes)
        if rated is None:
            rows, classes = np.divmod(np.arange(scores.size), self.classes)
        else:
            if (len(rated), rated.count) != (len(labels), labels.count) or not _within(labels, rated):
                raise InvalidValueError("labels must be among the rated classes of the same segments: rate them too")
            rows, classes = np.repeat(np.arange(len(rated)), np.diff(rated.offsets)), rated.classes
        hits = are_pairs(rows, classes, labels)
        self._parts.append((scores[rows, classes] + np.float32(0), hits, classes.astype(np.int32)))
        self._segments += len(scores)
        return self

    def merge(self, other: SegmentScores) -> SegmentScores:
        """The segments of both, these first."""
        if self.classes != other.classes:
            raise InvalidValueError(f"scores to merge must be of {self.classes} classes, got {other.classes}")
        made = SegmentScores(self.classes)
        made._parts, made._segments = [*self._parts, *other._parts], self._segments + other._segments
        return made

    def result(self, *, k: int = 100_000, floor: Array | None = None) -> SegmentQuality:
        """k: longest list of a class; equal scores at its end: who was added first · floor: float32 [K].

        The challenge cut its lists before unrated segments were dropped.  Only rated pairs are kept here, so k cuts
        among these; where a list was cut, pass the score of each class's k-th segment as `floor`: rated pairs below it
        are not in the list, and their labels count as missed.
        """
        if k < 1:
            raise InvalidValueError(f"k must be at least 1, got {k}")
        values, hits, classes = self._joined()
        labels = np.bincount(classes[hits], minlength=self.classes)
        order = np.lexsort((-values, classes))
        ends = np.searchsorted(classes[order], np.arange(self.classes))
        listed = np.arange(len(order)) - ends[classes[order]] < k
        if floor is not None:
            check_axes("floor", floor, str(self.classes))
            listed &= values[order] >= floor[classes[order]]
        kept = order[listed]
        sums = class_precisions([(values[kept], hits[kept], classes[kept])], self.classes)
        per_class = ratio(sums.expected, labels)
        mean = float(np.nanmean(per_class)) if labels.any() else float("nan")
        return SegmentQuality(mean, per_class, self._segments, len(values), int(labels.sum()))

    def state(self) -> dict[str, Array]:
        """Arrays that `from_state` makes the same scores of."""
        values, hits, classes = self._joined()
        return {
            "shape": np.array([self.classes, self._segments], np.int64), "values": values, "hits": hits,
            "classes": classes,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> SegmentScores:
        """Raises InvalidValueError for what `state` did not make."""
        if missing := {"shape", "values", "hits", "classes"} - set(state):
            raise InvalidValueError(f"a state of segments lacks {', '.join(sorted(missing))}: save it again")
        check_axes("shape", state["shape"], "2", "int64")
        made = cls(int(state["shape"][0]))
        check_axes("values", state["values"], "P", "float32")
        count = str(len(state["values"]))
        check_axes("hits", state["hits"], count, "bool")
        check_axes("classes", state["classes"], count, "int32")
        values, classes = state["values"], state["classes"]
        if not ((values >= 0) & (values <= 1) & (classes >= 0) & (classes < made.classes)).all():
            raise InvalidValueError("values and classes of a state must be in range, got others: save it again")
        made._parts, made._segments = [(values, state["hits"], classes)], int(state["shape"][1])
        return made

    def _joined(self) -> tuple[Array, Array, Array]:
        empty = np.zeros(0, np.float32), np.zeros(0, bool), np.zeros(0, np.int32)
        values, hits, classes = (np.concatenate(each) for each in zip(empty, *self._parts, strict=True))
        return values, hits, classes


def _within(labels: Labels, rated: Labels) -> bool:
    rows = np.repeat(np.arange(len(labels)), np.diff(labels.offsets))
    return bool(are_pairs(rows, labels.classes, rated).all())
