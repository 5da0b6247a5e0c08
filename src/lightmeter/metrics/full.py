"""Average precision over all videos, without a cut at the top 20: what textbooks and scikit-learn call mAP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.pooled import pooled_precisions
from lightmeter.metrics.ranking import check_probabilities, join_labels, ratio
from lightmeter.types import Array, Labels, check_axes


@dataclass(frozen=True, slots=True, eq=False)
class FullQuality:
    """Average precision without a cut, 0..1, higher is better; expected under ties, NaN without labels.

    map: mean over the classes with a label (macro) · micro: all pairs as one ranking
    per_class: float64 [K] · videos, labels: how many
    """

    map: float
    micro: float
    per_class: Array
    videos: int
    labels: int


class FullScores:
    """All scores of all videos, for average precision without a cut.

    classes: K.  Memory: 4 K bytes a video, `size_bytes`: 19 KB for 4,716 classes, so that 100,000 videos take 1.9 GB,
    1.4 million 26 GB: take a sample there, or `VideoScores`.  Shards merged give the result of the whole, bit for bit.

    >>> scores = np.array([[0.9, 0.5], [0.8, 0.6]], np.float32)
    >>> FullScores(2).update(scores, Labels.of([[1], [0]], 2)).result().map  # class 0: 1/2, class 1: 1/2
    0.5
    """

    def __init__(self, classes: int) -> None:
        if classes < 1:
            raise InvalidValueError(f"classes must be at least 1, got {classes}")
        self.classes = classes
        self._scores: list[Array] = []  # [K, B]: a class's scores lie side by side
        self._labels: list[Labels] = []

    def __len__(self) -> int:
        return sum(map(len, self._labels))

    @property
    def size_bytes(self) -> int:
        """Memory that the scores take."""
        return sum(each.nbytes for each in self._scores)

    def update(self, scores: Array, labels: Labels) -> FullScores:
        """Add videos; returns itself.  scores: float32 [B, K], 0..1.  Raises InvalidValueError as `VideoScores`."""
        check_probabilities(scores, labels, self.classes)
        self._scores.append(np.array(scores.T, np.float32, order="C") + np.float32(0))
        self._labels.append(labels)
        return self

    def merge(self, other: FullScores) -> FullScores:
        """The videos of both, these first; scores are shared, not copied."""
        if self.classes != other.classes:
            raise InvalidValueError(f"scores to merge must be of {self.classes} classes, got {other.classes}")
        made = FullScores(self.classes)
        made._scores, made._labels = [*self._scores, *other._scores], [*self._labels, *other._labels]
        return made

    def result(self, *, micro: bool = True) -> FullQuality:
        """Cost: a sort of N for each class, and with micro one of N·K, which takes as much memory again."""
        labels = join_labels(self._labels, self.classes)
        owners = np.repeat(np.arange(len(labels)), np.diff(labels.offsets))
        order = np.argsort(labels.classes, kind="stable")
        edges = np.searchsorted(labels.classes[order], np.arange(self.classes + 1))
        sums, pairs = np.zeros(self.classes), []
        for each in np.flatnonzero(np.diff(edges)).tolist():
            hits = np.zeros(len(labels), bool)
            hits[owners[order[edges[each] : edges[each + 1]]]] = True
            values = np.concatenate([scores[each] for scores in self._scores])
            sums[each] = pooled_precisions([(values, hits)]).expected[0]
        per_class = ratio(sums, np.diff(edges))
        total = len(labels.classes)
        if micro and total:
            for scores, own in zip(self._scores, self._labels, strict=True):
                pairs.append((scores, own.dense().T))
        return FullQuality(
            float(np.nanmean(per_class)) if total else float("nan"),
            float(pooled_precisions(pairs).expected[0]) / total if micro and total else float("nan"),
            per_class, len(labels), total,
        )  # fmt: skip

    def state(self) -> dict[str, Array]:
        """Arrays that `from_state` makes the same scores of; scores are float32 [K, N]."""
        labels = join_labels(self._labels, self.classes)
        scores = np.concatenate([np.zeros((self.classes, 0), np.float32), *self._scores], axis=1)
        return {"scores": scores, "offsets": labels.offsets, "labels": labels.classes}

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> FullScores:
        """Raises InvalidValueError for what `state` did not make."""
        if missing := {"scores", "offsets", "labels"} - set(state):
            raise InvalidValueError(f"a state of scores lacks {', '.join(sorted(missing))}: save it again")
        check_axes("scores", state["scores"], "K N", "float32")
        made = cls(len(state["scores"]))
        return made.update(state["scores"].T, Labels(state["offsets"], state["labels"], made.classes))
