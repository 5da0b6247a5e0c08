"""Looking at no more frames than needed: MAP that stops early, by odds whose rate of changed answers is bounded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.binomial import fewest_without_error, upper_bound
from lightmeter.parts import Spelled
from lightmeter.search.fusion import Fused, Track, check_sharpness, checked_distances, needed_distances, posteriors
from lightmeter.types import Array, check_axes

ODDS = tuple(float(2**power) for power in range(20, -1, -1))
"""Odds that are tried, from strict to lenient; fixed before any track is seen, as the bound needs."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class EarlyMap(Spelled):
    """MAP frame by frame, until the odds of the leading class pass a bound.

    After t frames the posterior is the mean of the frames' (`fusion.posteriors`); its odds are p/(1 − p) of the leader.
    Never before `least_frames`. A track whose length is known also ends once no later frame can change the answer: the
    leader's sum is ahead by more than the frames that are left.

    n: as in `map` · odds: stop at this or more, at least 1; inf: only when certain
    scores: Σ_t p_c(t) over the frames that were looked at.  Cost: O(t·C).
    Source: after Wald 1945, "Sequential tests of statistical hypotheses"; the odds are of averaged posteriors, not of
    independent observations, so its error formulas do not hold and `calibrate_odds` measures instead.
    """

    n: float = 100.0
    odds: float = 100.0
    least_frames: int = 3

    def __post_init__(self) -> None:
        check_sharpness(self.n)
        if not self.odds >= 1:
            raise InvalidValueError(f"odds must be at least 1, got {self.odds}: calibrate_odds finds them")
        if self.least_frames < 1:
            raise InvalidValueError(f"least_frames must be at least 1, got {self.least_frames}")

    def fuse(self, track: Track) -> Fused:
        """Needs distances."""
        distances = needed_distances(track, "early-map")
        return self.watch(distances, length=len(distances))

    def watch(self, frames: Iterable[Array], length: int | None = None) -> Fused:
        """Read class distances float [C] frame by frame and stop when the rule says so; later frames are not asked for.

        length: frames in all, where it is known; more are not read.  Raises InvalidValueError without any frame.
        """
        total: Array | None = None
        seen = 0
        for row in frames:
            shares = posteriors(checked_distances(np.asarray(row)[None]), self.n)[0]
            if total is None:
                total = np.zeros_like(shares)
            check_axes("a frame's distances", shares, str(len(total)))
            total += shares
            seen += 1
            if self._stops(total, seen, length):
                break
        if total is None:
            raise InvalidValueError("a track must have at least one frame, got none")
        return Fused(total, total / total.sum(), seen)

    def _stops(self, total: Array, seen: int, length: int | None) -> bool:
        if length is not None and seen >= length:
            return True
        if seen < self.least_frames:
            return False
        if self.odds < math.inf and float(odds_of(total)) >= self.odds:
            return True
        return length is not None and float(_lead(total)) > length - seen + _ROUNDING


@dataclass(frozen=True, slots=True)
class CalibratedOdds:
    """Odds for `early-map` and what stopping at them costs.

    odds: inf where nothing could be promised · changed: asked for, most answers that may differ from all frames'
    bound: upper bound of that share, with `certainty`; 0 when nothing is stopped by odds · differed: how many did
    tracks: validation tracks · frames: mean share of the frames that were looked at · reason: why odds are inf, else ""
    """

    odds: float
    changed: float
    certainty: float
    bound: float
    differed: int
    tracks: int
    frames: float
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values; infinite odds are null."""
        return {**asdict(self), "odds": None if math.isinf(self.odds) else self.odds}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `as_json` wrote."""
        return cls(**{**values, "odds": math.inf if values["odds"] is None else values["odds"]})


def calibrate_odds(
    tracks: Sequence[Array],
    *,
    n: float = 100.0,
    changed: float = 0.01,
    certainty: float = 0.95,
    least_frames: int = 3,
) -> CalibratedOdds:
    """The lowest odds at which a fresh track's answer differs from that of all its frames with a chance ≤ `changed`.

    The odds of `ODDS` are tested from strict to lenient, each at the full level, until the first that fails: the grid
    and its order are fixed, so the chance that any passes wrongly is ≤ 1 − certainty. No labels are needed.

    tracks: class distances float [T, C] of each, drawn like those to come · Cost: O(frames · C + tracks · len(ODDS)).
    Source: fixed-sequence testing in Angelopoulos et al. 2021, arXiv:2110.01052, 3.2, with exact binomial tails.
    """
    if not tracks:
        raise InvalidValueError("tracks must hold at least one validation track, got none")
    if any(isinstance(each, Track) for each in tracks):
        raise InvalidValueError("tracks must be arrays of class distances [T, C], got Track: give its `distances`")
    runs = [_Run(np.cumsum(posteriors(each, n), axis=0)) for each in tracks]
    passed: CalibratedOdds | None = None
    for odds in ODDS:
        ends = [run.end(odds, least_frames) for run in runs]
        differed = sum(int(run.answers[end] != run.answers[-1]) for run, end in zip(runs, ends, strict=True))
        bound = upper_bound(differed, len(runs), certainty)
        if bound > changed:
            break
        passed = CalibratedOdds(odds, changed, certainty, bound, differed, len(runs), _share(runs, ends))
    if passed is not None:
        return passed
    if len(runs) < (needed := fewest_without_error(changed, certainty)):
        reason = f"{len(runs)} tracks prove nothing under {changed:g}, not even unchanged: bring {needed}"
    else:
        reason = f"even at odds of {ODDS[0]:g} too many answers change"
    never = _share(runs, [run.end(math.inf, least_frames) for run in runs])
    return CalibratedOdds(math.inf, changed, certainty, 0.0, 0, len(runs), never, reason)


class _Run:
    """One track, summed: what any odds would have answered, without going through it again."""

    def __init__(self, sums: Array) -> None:
        counts = np.arange(1, len(sums) + 1)
        self.answers = sums.argmax(axis=1)
        self.odds = odds_of(sums)
        self.certain = _lead(sums) > len(sums) - counts + _ROUNDING
        self.counts = counts

    def end(self, odds: float, least_frames: int) -> int:
        """Index of the frame that `EarlyMap` would stop at."""
        passed = (self.odds >= odds) & (odds < math.inf)  # a posterior of 1 by underflow is not certain
        stops = (passed | self.certain) & (self.counts >= least_frames)
        stops[-1] = True
        return int(stops.argmax())


def odds_of(totals: Array) -> Array:
    """Odds of the leading class, p/(1 − p) of its share: float [..., C] → float64 [...], inf for one class."""
    best = totals.argmax(axis=-1)[..., None]
    others = np.array(totals, np.float64)
    np.put_along_axis(others, best, 0.0, axis=-1)
    rest = others.sum(axis=-1)
    odds = np.full(rest.shape, np.inf)
    np.divide(np.take_along_axis(totals, best, axis=-1)[..., 0], rest, out=odds, where=rest > 0)
    return odds


def _lead(totals: Array) -> Array:
    """How far the leading class is ahead, float [..., C] → [...]."""
    if totals.shape[-1] == 1:
        return np.full(totals.shape[:-1], np.inf)
    two = np.partition(totals, -2, axis=-1)[..., -2:]
    lead: Array = two[..., 1] - two[..., 0]
    return lead


def _share(runs: Sequence[_Run], ends: Sequence[int]) -> float:
    return float(np.mean([(end + 1) / len(run.counts) for run, end in zip(runs, ends, strict=True)]))
