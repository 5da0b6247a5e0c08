"""Scores of videos with any number of labels, as YouTube-8M's: GAP, Hit@1, PERR and mAP, streamed, merged exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.pooled import class_precisions, pooled_precisions
from lightmeter.metrics.top import top_scores
from lightmeter.types import Array, Labels, check_axes

_NARROW = 1 << 15


@dataclass(frozen=True, slots=True)
class VideoQuality:
    """What answers for videos are worth, 0..1, higher is better; NaN where there is nothing to score.

    gap: global average precision of the pooled top answers, expected over the orders of equal scores
    gap_best, gap_worst: the same with the luckiest and the unluckiest of these orders
    hit_at_1: share of videos whose first answer is right · perr: precision at equal recall rate
    map: mean average precision of the classes that have a label, each over the videos in whose top answers it is
    videos, labels: how many · tied_cuts: videos whose last answer has the same score as the next that was cut off
    """

    gap: float
    gap_best: float
    gap_worst: float
    hit_at_1: float
    perr: float
    map: float
    videos: int
    labels: int
    tied_cuts: int

    def as_json(self) -> dict[str, Any]:
        """By name; NaN as None."""
        return {name: None if (got := getattr(self, name)) != got else got for name in self.__slots__}


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What is kept of N videos: their k top answers, falling, and all labels.

    values: float32 [N, k] · classes: int16 or int32 [N, k] · hits: bool [N, k], whether the class is a label
    found: int32 [N]  labels among the first |labels| answers of a score above 0 · tied: bool [N], see `tied_cuts`
    """

    values: Array
    classes: Array
    hits: Array
    found: Array
    tied: Array
    labels: Labels

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Array) -> Kept:
        """Some videos, int [R], in this order, repeats allowed."""
        return Kept(
            self.values[rows], self.classes[rows], self.hits[rows], self.found[rows], self.tied[rows],
            self.labels.take(rows),
        )  # fmt: skip


class VideoScores:
    """All that the metrics of YouTube-8M need of scores that come batch by batch: the top answers and the labels.

    classes: K · top: answers kept of a video, 20 as in the challenge
    Nothing is rounded or sampled: shards merged give the result of the whole, bit for bit, and the order of the videos
    is of no consequence.  Memory: about 7 top + 20 bytes a video: 0.25 GB for 1.4 million of 3,862 or 4,716 classes.

    gap: average precision of all kept (score, hit) pairs as one ranking; its denominator is all labels, kept or not.
    hit_at_1, perr, map: as the starter code has them.  PERR of a video: labels among its |labels| highest scores, those
    of 0 left out, over |labels|; videos without labels add 0 and count.  mAP: over the kept answers, with all labels of
    the class as the denominator; classes without a label are left out.
    Equal scores: within a video the lowest class goes first, as in the starter's argmax: the list is an answer that was
    given.  Across videos nobody gave an order, so gap and map are expected values (`ties`).
    Source: google/youtube-8m, eval_util.py and the calculators that it calls; there equal scores are shuffled.

    >>> scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.6, 0.2]], np.float32)
    >>> VideoScores(3).update(scores, Labels.of([[0], [1]], 3)).result().gap  # (1/1 + 2/3) / 2
    0.8333333333333333
    """

    def __init__(self, classes: int, top: int = 20) -> None:
        if classes < 1 or top < 1:
            raise InvalidValueError(f"classes and top must be at least 1, got {classes} and {top}")
        self.classes, self.top = classes, top
        self._parts: list[Kept] = []

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def update(self, scores: Array, labels: Labels) -> VideoScores:
        """Add videos; returns itself.  scores: float32 [B, K], 0..1 · labels: of the same videos and classes.

        Raises InvalidValueError: for NaN, for logits and other scores outside 0..1.
        """
        check_probabilities(scores, labels, self.classes)
        width = min(self.top, self.classes)
        values, found_classes = top_scores(scores, width + 1)
        tied = values[:, width] == values[:, width - 1] if values.shape[1] > width else np.zeros(len(values), bool)
        hits = are_labels(found_classes, labels)
        found = _found(values, hits, labels)
        long = np.flatnonzero(np.diff(labels.offsets) > values.shape[1])
        if len(long):
            own = labels.take(long)
            more, more_classes = top_scores(scores[long], int(np.diff(own.offsets).max()))
            found[long] = _found(more, are_labels(more_classes, own), own)
        kind = np.int16 if self.classes <= _NARROW else np.int32
        kept = np.ascontiguousarray(values[:, :width]), found_classes[:, :width].astype(kind), hits[:, :width].copy()
        self._parts.append(Kept(*kept, found, tied, labels))
        return self

    def merge(self, other: VideoScores) -> VideoScores:
        """The videos of both, these first; what was kept is shared, not copied."""
        if (self.classes, self.top) != (other.classes, other.top):
            raise InvalidValueError(
                f"scores to merge must be of {self.classes} classes and the top {self.top}, got {other.classes} and "
                f"{other.top}: score both with the same classifier's labels"
            )
        return self._with([*self._parts, *other._parts])

    def take(self, rows: Array) -> VideoScores:
        """Some of the videos: int [R], repeats allowed."""
        return self._with([self.kept().take(np.asarray(rows, np.int64))])

    def kept(self) -> Kept:
        """All that is kept, as one; later calls cost nothing."""
        if len(self._parts) != 1:
            self._parts = [_joined(self._parts, self.classes, min(self.top, self.classes))]
        return self._parts[0]

    def label_counts(self) -> Array:
        """Labels of each class: int64 [K]."""
        counts = np.zeros(self.classes, np.int64)
        for part in self._parts:
            counts += np.bincount(part.labels.classes, minlength=self.classes)
        return counts

    def average_precisions(self) -> Array:
        """Average precision of each class over the kept answers, float64 [K], expected under ties; NaN without labels.

        Memory: 8 bytes a kept answer.
        """
        sums = class_precisions([(part.values, part.hits, part.classes) for part in self._parts], self.classes)
        return ratio(sums.expected, self.label_counts())

    def gap(self) -> tuple[float, float, float]:
        """Global average precision: expected, best and worst under ties.  Memory: 4 bytes a kept answer, 20 a hit."""
        sums = pooled_precisions([(part.values, part.hits) for part in self._parts])
        total = np.array([sum(len(part.labels.classes) for part in self._parts)])
        expected, best, worst = (float(ratio(each, total)[0]) for each in (sums.expected, sums.best, sums.worst))
        return expected, best, worst

    def result(self) -> VideoQuality:
        """All metrics.  Cost: two sorts of all kept answers."""
        videos = len(self)
        precisions = self.average_precisions()
        labelled = precisions[~np.isnan(precisions)]
        return VideoQuality(
            *self.gap(),
            hit_at_1=sum(int(part.hits[:, 0].sum()) for part in self._parts) / videos if videos else float("nan"),
            perr=self._perr() / videos if videos else float("nan"),
            map=float(labelled.mean()) if len(labelled) else float("nan"),
            videos=videos,
            labels=int(self.label_counts().sum()),
            tied_cuts=sum(int(part.tied.sum()) for part in self._parts),
        )

    def state(self) -> dict[str, Array]:
        """Arrays that `from_state` makes the same scores of: for files and other processes."""
        kept = self.kept()
        return {
            "shape": np.array([self.classes, self.top], np.int64),
            "values": kept.values, "classes": kept.classes, "found": kept.found, "tied": kept.tied,
            "offsets": kept.labels.offsets, "labels": kept.labels.classes,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> VideoScores:
        """Raises InvalidValueError for what `state` did not make."""
        names = ("shape", "values", "classes", "found", "tied", "offsets", "labels")
        if missing := [name for name in names if name not in state]:
            raise InvalidValueError(f"a state must hold {', '.join(names)}, got none of {', '.join(missing)}")
        check_axes("shape", state["shape"], "2", "int64")
        made = cls(*map(int, state["shape"]))
        labels = Labels(state["offsets"], state["labels"], made.classes)
        width = str(min(made.top, made.classes))
        count = str(len(labels))
        check_axes("values", state["values"], f"{count} {width}", "float32")
        check_axes("classes", state["classes"], f"{count} {width}", "int16" if made.classes <= _NARROW else "int32")
        check_axes("found", state["found"], count, "int32")
        check_axes("tied", state["tied"], count, "bool")
        values, classes, found = state["values"], state["classes"], state["found"]
        sound = (
            (values >= 0).all() and (values <= 1).all() and (values[:, 1:] <= values[:, :-1]).all()
            and (classes >= 0).all() and (classes < made.classes).all()
            and (found >= 0).all() and (found <= np.diff(labels.offsets)).all()
        )  # fmt: skip
        if not sound:
            raise InvalidValueError("values, classes or counts of a state must be in range, got others: save it again")
        return made._with([Kept(values, classes, are_labels(classes, labels), found, state["tied"], labels)])

    def _with(self, parts: Iterable[Kept]) -> VideoScores:
        made = VideoScores(self.classes, self.top)
        made._parts = list(parts)
        return made

    def _perr(self) -> float:
        """Sum over the videos, the same for every order of them."""
        shares: dict[int, int] = {}
        for part in self._parts:
            lengths = np.diff(part.labels.offsets)
            sums = np.bincount(lengths, part.found)  # whole numbers: exact
            for length in np.flatnonzero(sums).tolist():
                shares[length] = shares.get(length, 0) + int(sums[length])
        return sum(shares[length] / length for length in sorted(shares))


def quality_by_group(scores: VideoScores, groups: Sequence[str]) -> dict[str, VideoQuality]:
    """The quality of each group of videos, such as those with the same modalities present, by its name, sorted.

    groups: one name a video, in the order in which they were added.  Each group is a set of its own: its answers are
    pooled, its labels counted alone, so that GAP and mAP of the groups do not average to those of the whole.
    """
    names = np.asarray(groups)
    check_axes("groups", names, str(len(scores)))
    return {str(name): scores.take(np.flatnonzero(names == name)).result() for name in np.unique(names)}


def check_probabilities(scores: Array, labels: Labels, classes: int) -> None:
    """Hold scores to float32 [B, K] in 0..1 and labels to the same videos and classes; else InvalidValueError."""
    check_axes("scores", scores, f"B {classes}", "float32")
    if (len(labels), labels.count) != scores.shape:
        raise InvalidValueError(
            f"labels must be of {len(scores)} videos and {classes} classes, got {len(labels)} and {labels.count}"
        )
    if not scores.size:
        return
    low, high = float(scores.min()), float(scores.max())
    if np.isnan(low):
        raise InvalidValueError("scores must be numbers, got NaN: check what was scored")
    if low < 0 or high > 1:
        raise InvalidValueError(
            f"scores must be 0 to 1, got {low:.4g} to {high:.4g}: pass probabilities; logits are not turned into them "
            "here, for a float32 sigmoid makes all above 17 exactly 1 and their order is lost"
        )


def are_labels(classes: Array, labels: Labels) -> Array:
    """Whether each class of row i is a label of item i: int [N, k] -> bool [N, k]."""
    return are_pairs(np.arange(len(labels))[:, None], classes, labels)


def are_pairs(rows: Array, classes: Array, labels: Labels) -> Array:
    """Whether each class is a label of the item of its row: bool, of the shape that both broadcast to."""
    asked = rows * labels.count + classes
    if not len(labels.classes):
        return np.zeros(asked.shape, bool)
    owners = np.repeat(np.arange(len(labels)), np.diff(labels.offsets))
    known = owners * labels.count + labels.classes  # rises: owners do, and classes within them
    found: Array = known[np.minimum(np.searchsorted(known, asked), len(known) - 1)] == asked
    return found


def ratio(sums: Array, counts: Array) -> Array:
    """sums / counts, NaN where a count is 0."""
    made: Array = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return made


def join_labels(parts: Sequence[Labels], count: int) -> Labels:
    """Labels of some items and then of others."""
    lengths = [np.diff(part.offsets) for part in parts]
    offsets = np.concatenate([np.zeros(1, np.int64), *lengths])
    np.cumsum(offsets, out=offsets)
    return Labels(offsets, np.concatenate([np.zeros(0, np.int32), *(part.classes for part in parts)]), count)


def _found(values: Array, hits: Array, labels: Labels) -> Array:
    """Labels among the first |labels| answers of a score above 0: int32 [B]; short by those that lie beyond."""
    lengths = np.minimum(np.diff(labels.offsets), values.shape[1])
    counted = np.cumsum(hits & (values > 0), axis=1, dtype=np.int32)
    return np.where(lengths > 0, counted[np.arange(len(lengths)), lengths - 1], np.int32(0)).astype(np.int32)


def _joined(parts: Sequence[Kept], classes: int, width: int) -> Kept:
    kind = np.int16 if classes <= _NARROW else np.int32
    empty = Kept(
        np.zeros((0, width), np.float32), np.zeros((0, width), kind), np.zeros((0, width), bool),
        np.zeros(0, np.int32), np.zeros(0, bool), Labels(np.zeros(1, np.int64), np.zeros(0, np.int32), classes),
    )  # fmt: skip
    whole = [empty, *parts]
    return Kept(
        np.concatenate([part.values for part in whole]),
        np.concatenate([part.classes for part in whole]),
        np.concatenate([part.hits for part in whole]),
        np.concatenate([part.found for part in whole]),
        np.concatenate([part.tied for part in whole]),
        join_labels([part.labels for part in whole], classes),
    )
