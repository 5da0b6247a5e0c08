"""The targets of the study `bair`, declared before it runs, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightmeter.heads.segmenting.cells import paired_intervals
from lightmeter.metrics.bootstrap import Interval
from lightmeter.studies.bair import ROUNDS, BairResult, Outcome
from lightmeter.studies.bair_rows import (
    AIMS,
    BEST,
    BEST_IMAGE,
    BEST_LITE,
    BEST_OWN,
    BEST_PIXELS,
    BEST_RAW,
    BEST_TUNED,
    LABELS,
    UNET,
)

MOST_WEIGHTS = 300_000
"""Of a head that counts as small."""


@dataclass(frozen=True, slots=True)
class Target:
    """An aim. says: in words · block, row: whose IoU · other: the row that it is compared with, "" for none

    least: what the IoU, or the difference, must be at least; of a difference its whole interval
    low: whether it is about few labels · small: whether the head must have at most MOST_WEIGHTS weights
    asked: whether the issue asks for it; the others are told for what they say
    """

    says: str
    row: str
    other: str = ""
    least: float = 0.0
    low: bool = False
    small: bool = False
    asked: bool = True

    @property
    def block(self) -> str:
        """Where its rows stand."""
        return LABELS if self.low else AIMS


TARGETS = (
    Target("frozen video encoder, head of 0.3 M weights or fewer", BEST, least=0.80, small=True),
    Target("frozen video encoder above its own untrained weights", BEST, BEST_RAW),
    Target("frozen video encoder above pixels", BEST, BEST_PIXELS),
    Target("fine-tuned no more than 0.01 below U-Net from scratch", BEST_TUNED, UNET, least=-0.01),
    Target("with few labels, frozen above U-Net from scratch", BEST, UNET, low=True),
    Target("own clips above own pictures: is it the motion?", BEST_OWN, BEST_IMAGE, asked=False),
    Target("frozen video encoder above a network of ImageNet", BEST, BEST_LITE, asked=False),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a target: met, missed, not shown (the interval holds the bound), or not run and why."""

    target: Target
    verdict: str
    interval: Interval | None = None
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """By name."""
        made = {"target": self.target.says, "least": self.target.least, "asked": self.target.asked,
                "rows": [self.target.row, self.target.other], "verdict": self.verdict, "why": self.why}  # fmt: skip
        if self.interval is None:
            return made
        return made | {"value": self.interval.value, "low": self.interval.low, "high": self.interval.high}


def verdicts(result: BairResult) -> list[Verdict]:
    """Every target with what became of it."""
    return [_verdict(result, target) for target in TARGETS]


def _verdict(result: BairResult, target: Target) -> Verdict:
    chosen = []
    for label in (target.row, target.other):
        if label:
            found = _row(result, target, label)
            if found is None or not found.ran:
                return Verdict(target, "not run", why=found.why if found else f"no row {label}")
            chosen.append(found)
    rounds, groups = ROUNDS[result.asked.scale], result.whole.parts["test"].groups
    made = paired_intervals([each.results for each in reversed(chosen)], groups, rounds=rounds)
    interval = made[-1][1]["iou"] if target.other else made[0][0]["iou"]
    if target.small:
        weights = max(each.cost.head_parameters for each in chosen[0].results if each.cost)
        if weights > MOST_WEIGHTS:
            return Verdict(target, "missed", interval, f"the head has {weights:,} weights")
    return Verdict(target, judged(interval, target), interval)


def judged(interval: Interval, target: Target) -> str:
    """`met`, `missed` or `not shown`: an IoU by its value, a difference by its interval (above 0: strictly)."""
    if not target.other:
        return "met" if interval.value >= target.least else "missed"
    if interval.low > target.least:
        return "met"
    return "missed" if interval.high < target.least else "not shown"


def _row(result: BairResult, target: Target, label: str) -> Outcome | None:
    wanted = str(result.sizes.low) if target.low else ""
    rows: Sequence[Outcome] = result.of(target.block)
    return next((each for each in rows if each.row.label == label and each.row.column == wanted), None)
