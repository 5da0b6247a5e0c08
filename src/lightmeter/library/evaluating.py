"""A model in depth: what its answers are worth, for which classes, for which items, how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.heads.answering import Answering
from lightmeter.heads.examples import Block, Examples, is_rated
from lightmeter.library.scoring import COUNTS, answered, labels_turned
from lightmeter.metrics.bootstrap import Interval, bootstrap
from lightmeter.metrics.calibration import Calibration
from lightmeter.metrics.frequency import FrequencyBand, FrequencyCurve, by_frequency, moving_average
from lightmeter.metrics.full import FullQuality, FullScores
from lightmeter.metrics.ranking import VideoQuality, VideoScores, quality_by_group
from lightmeter.metrics.thresholds import F1, Thresholds, f1_at, thresholds_for
from lightmeter.report.plots import curves_png
from lightmeter.types import Array

VISIBLE = 0.01
"""Scores from here on are those that anybody looks at; nearly all of thousands of classes score less."""
_WIDEST = 101
_DRAWN = 0xF011
_NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Depth:
    """What is asked.

    top: answers an item that count · precision: that thresholds are to reach · certainty: of all intervals
    most_bytes: of scores that are kept for average precision without a cut; where all do not fit, items are drawn
    """

    top: int = 20
    precision: float = 0.9
    certainty: float = 0.95
    seed: int = 0
    most_bytes: int = 512 << 20


@dataclass(frozen=True, slots=True, eq=False)
class DeepQuality:
    """All that is known of a model's answers.

    scores: as `evaluate` gives them · full: without a cut, of `full.videos` items, drawn where that is not all
    counts: int64 [K], how common each class is: where it was learnt, or here (`counts_of`: `training`, `data`)
    calibration, visible: of all pairs, and of those that score at least `VISIBLE`
    patterns: quality by the blocks that items have, most items first · intervals: of gap, hit_at_1, perr, map
    """

    asked: Depth
    label_names: tuple[str, ...]
    scores: VideoScores
    full: FullQuality
    counts: Array
    counts_of: str
    calibration: Calibration
    visible: Calibration
    patterns: Mapping[str, VideoQuality]
    intervals: Mapping[str, Interval]
    thresholds: Thresholds
    f1: F1

    @property
    def bands(self) -> list[FrequencyBand]:
        """mAP without a cut of each tenth of the classes, commonest first."""
        return by_frequency(self.full.per_class, self.counts, certainty=self.asked.certainty)

    @property
    def curve(self) -> FrequencyCurve:
        """Average precision over the rank by frequency, a mean over a tenth of the classes, 101 at most."""
        known = int((~np.isnan(self.full.per_class)).sum())
        window = min(_WIDEST, known // 10 | 1)
        return moving_average(self.full.per_class, self.counts, window=window, certainty=self.asked.certainty)

    def as_json(self) -> dict[str, Any]:
        """All but the classes (`classes`); NaN as None."""
        return {
            "intervals": {name: interval_json(each) for name, each in self.intervals.items()},
            "certainty": self.asked.certainty,
            "full": {
                "map": _plain(self.full.map), "micro": _plain(self.full.micro), "videos": self.full.videos,
                "labels": self.full.labels,
            },
            "by_frequency": {"counts_of": self.counts_of, "bands": [each.as_json() for each in self.bands]},
            "calibration": {
                "all": _calibration(self.calibration, self.asked.certainty),
                "visible": {"from": VISIBLE, **_calibration(self.visible, self.asked.certainty)},
            },
            "thresholds": {
                "precision": self.asked.precision,
                "classes": len(self.thresholds.threshold), "unreachable": len(self.thresholds.unreachable),
                "answered": int(self.thresholds.answered.sum()), "right": int(self.thresholds.right.sum()),
                "f1_micro": _plain(self.f1.micro), "f1_macro": _plain(self.f1.macro),
            },
            "by_blocks": [{"blocks": name, **each.as_json()} for name, each in self.patterns.items()],
        }  # fmt: skip

    def classes(self) -> Iterator[dict[str, Any]]:
        """One object a class, commonest first; a threshold of None: no threshold is precise enough."""
        cut = self.scores.average_precisions()
        for at in np.argsort(-self.counts, kind="stable").tolist():
            level = float(self.thresholds.threshold[at])
            yield {
                "label": self.label_names[at],
                "count": int(self.counts[at]),
                "labels": int(self.thresholds.labels[at]),
                "ap": _plain(float(cut[at])),
                "ap_full": _plain(float(self.full.per_class[at])),
                "threshold": None if np.isinf(level) else level,
                "answered": int(self.thresholds.answered[at]),
                "right": int(self.thresholds.right[at]),
                "f1": _plain(float(self.f1.per_class[at])),
            }

    def draw(self, folder: Path) -> list[Path]:
        """Write `reliability.png` and `frequency.png` (the seed's figure 5) into a folder."""
        rows = self.visible.rows(self.asked.certainty)
        made = []
        if rows:
            made.append(folder / "reliability.png")
            score, right, low, high = ([row[name] for row in rows] for name in ("score", "right", "low", "high"))
            curves_png(
                {"as said": ([0.0, 1.0], [0.0, 1.0]), "as found": (score, right)}, made[-1],
                title=f"How often answers of a score are right (scores from {VISIBLE:g} on)",
                x_label="score", y_label="share that is right", bands={"as found": (low, high)},
            )  # fmt: skip
        curve = self.curve
        around = np.clip(curve.low, 0, 1).tolist(), np.clip(curve.high, 0, 1).tolist()
        made.append(folder / "frequency.png")
        curves_png(
            {"": (curve.rank.tolist(), curve.mean.tolist())}, made[-1],
            title=f"Average precision by frequency of the class ({int(curve.classes.max())} classes a point at most)",
            x_label=f"rank by labels of {'training' if self.counts_of == 'training' else 'this data'}, commonest first",
            y_label="average precision, no cut", bands={"": around},
        )  # fmt: skip
        return made


def evaluate_deep(
    classifier: Answering, examples: Examples, asked: Depth | None = None, *, tell: Callable[[int], None] | None = None
) -> DeepQuality:
    """A model's answers for a labelled set (as `view` gives it), in depth.

    tell: hears after every batch how many were scored.
    Raises InvalidValueError: no labels, unknown ones; segments of which people rated some pairs; options out of range.
    Memory: about twice `most_bytes`, and 60 bytes a kept answer.
    Cost: one pass over the data, and up to 1,000 rounds of a bootstrap, fewer of many items (`rounds_for`).
    """
    asked = asked or Depth()
    if is_rated(examples):
        raise InvalidValueError(
            "in depth all classes must be known of every item, got segments of which some are rated: leave --deep out"
        )
    _check(asked)
    turn = labels_turned(classifier.label_names, examples)
    classes, drawn = classifier.classes, _drawn(len(examples), classifier.classes, asked)
    scores, full = VideoScores(classes, asked.top), FullScores(classes)
    calibration, visible = Calibration(classes), Calibration(classes, least=VISIBLE)
    present = []
    for rows, batch, found in answered(classifier, examples):
        assert batch.labels is not None, "labels_turned has seen some"
        labels, kept = turn(batch.labels), np.flatnonzero(drawn[rows])
        scores.update(found, labels)
        calibration.update(found, labels)
        visible.update(found, labels)
        if len(kept):
            full.update(found[kept], labels.take(kept))
        present.append(batch.present)
        if tell:
            tell(len(rows))
    learnt = learnt_counts(classifier)
    made = thresholds_for(scores, asked.precision)
    rounds = rounds_for(len(scores))
    return DeepQuality(
        asked, tuple(classifier.label_names), scores, full.result(),
        scores.label_counts() if learnt is None else learnt, "data" if learnt is None else "training",
        calibration, visible, _by_blocks(scores, np.concatenate(present), examples.blocks),
        bootstrap(scores, rounds=rounds, certainty=asked.certainty, seed=asked.seed), made,
        f1_at(scores, made.threshold),
    )  # fmt: skip


def rounds_for(items: int) -> int:
    """Rounds of a bootstrap that take a minute or so: 1,000 up to 20,000 items, 100 at the least."""
    return max(100, min(1000, 20_000_000 // max(1, items)))


def learnt_counts(classifier: Answering) -> Array | None:
    """How often a model saw each label where it learnt: int64 [K]; None where it does not say, or of other classes."""
    told = classifier.about.get(COUNTS)
    fits = isinstance(told, list) and len(told) == classifier.classes
    if not fits or not all(type(each) is int and 0 <= each < 1 << 53 for each in told or []):
        return None
    return np.array(told, np.int64)


def interval_json(each: Interval) -> dict[str, float | int | None]:
    """By name; NaN as None."""
    return {
        "value": _plain(each.value), "low": _plain(each.low), "high": _plain(each.high), "rounds": each.rounds
    }  # fmt: skip


def _check(asked: Depth) -> None:
    for name, value, ends in (
        ("precision", asked.precision, 0 <= asked.precision <= 1),
        ("certainty", asked.certainty, 0 < asked.certainty < 1),
        ("most_bytes", asked.most_bytes, asked.most_bytes > 0),
    ):
        if not ends:
            raise InvalidValueError(f"{name} must be within its range, got {value}: 0.9, 0.95 and some MB are usual")


def _drawn(items: int, classes: int, asked: Depth) -> Array:
    """Of which items all scores are kept: bool [N]; all of them where that fits."""
    room = max(1, asked.most_bytes // (4 * classes))
    kept = np.ones(items, bool)
    if room < items:
        kept[np.random.default_rng([_DRAWN, asked.seed]).permutation(items)[room:]] = False
    return kept


def _by_blocks(scores: VideoScores, present: Array, blocks: tuple[Block, ...]) -> dict[str, VideoQuality]:
    """Quality by the blocks that items have, as `visual+audio`, most items first."""
    patterns, which = np.unique(present, axis=0, return_inverse=True)
    names = np.array([
        "+".join(block.name for block, there in zip(blocks, row, strict=True) if there) or _NOTHING for row in patterns
    ])  # fmt: skip
    made = quality_by_group(scores, names[which.reshape(-1)].tolist())
    return dict(sorted(made.items(), key=lambda each: (-each[1].videos, each[0])))


def _calibration(each: Calibration, certainty: float) -> dict[str, Any]:
    return {
        "pairs": each.pairs, "ece": _plain(each.ece()), "mce": _plain(each.mce()), "brier": _plain(each.brier()),
        "bins": each.rows(certainty),
    }  # fmt: skip


def _plain(value: float) -> float | None:
    return None if value != value else value
