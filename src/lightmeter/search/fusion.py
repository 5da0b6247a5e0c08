"""One answer from many frames: the rules by which the frames of a track are put together.

Every rule is a frozen dataclass in `FUSIONS` and answers `fuse(track)` with one score a class. A track holds what the
rules start from: the distance of each frame to each class, and, for those that ask for it, the frames' features or the
classes that a three-way rule left in the race.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lightmeter.encoders.protocol import unit_rows
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array, check_axes

FUSIONS: dict[str, str] = {
    "frame-sum": "lightmeter.search.fusion:FrameSum",
    "pooling": "lightmeter.search.fusion:Pooling",
    "map": "lightmeter.search.fusion:Map",
    "noisy-or": "lightmeter.search.fusion:NoisyOr",
    "likelihood-map": "lightmeter.search.fusion:LikelihoodMap",
    "sequential-map": "lightmeter.search.fusion:SequentialMap",
    "early-map": "lightmeter.search.stopping:EarlyMap",
}


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Frames of one thing. Each rule names what it needs and lacks.

    distances: float [T, C] ≥ 0  squared L2 distance of each frame to each class: the least over the class's rows
    features:  float [T, D]      the frames' features, for pooling
    measure:   features float [Q, D] → class distances [Q, C], for pooling
    between:   float [C, C]      distances between classes (`between_classes`), for the likelihood of distances
    survivors: bool [T, C]       classes that a per-frame rule left in the race, for sequential fusion
    finish:    classes int [M] → distances [T, M] of all frames over all components, for sequential fusion
    """

    distances: Array | None = None
    features: Array | None = None
    measure: Callable[[Array], Array] | None = None
    between: Array | None = None
    survivors: Array | None = None
    finish: Callable[[Array], Array] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """What the frames say together.

    scores: float64 [C]  higher is likelier, −inf for a class out of the race · frames: how many were looked at
    posterior: float64 [C]  the classes' shares, sum 1; what the rule's shares mean is the rule's to say
    """

    scores: Array
    posterior: Array
    frames: int

    @property
    def answer(self) -> int:
        """The class with the highest score, the lowest among equals."""
        return int(self.scores.argmax())


class Fusion(Protocol):
    """A rule: a frozen dataclass in `FUSIONS`."""

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    def fuse(self, track: Track) -> Fused:
        """Put the frames together; raises InvalidValueError naming what the track lacks."""
        ...


# -- the equations ---------------------------------------------------------------------------------------------------


def posteriors(distances: Array, n: float) -> Array:
    """p_c(t) = exp(−n·ρ_c(t)) / Σ_c' exp(−n·ρ_c'(t)): class distances float [T, C] → float64 [T, C], rows sum to 1.

    n: how many independent features one distance stands for; the seed's code takes 100 to 100,000, by the features.
    A frame's least distance is taken off before the exponential, which only spares underflow.  Cost: O(T·C).
    Source: Savchenko and Belova 2017, arXiv:1708.07972; the seed's slides, (7).
    """
    values = checked_distances(distances)
    shares = np.exp(-n * (values - values.min(axis=1, keepdims=True)))
    normal: Array = shares / shares.sum(axis=1, keepdims=True)
    return normal


def pooled(features: Array) -> Array:
    """One row from many: the mean of the frames' unit rows, made unit again.  float [T, D] → float32 [D].

    Source: the seed's slides, (2), average pooling of features.
    """
    check_axes("features", features, "T D")
    if not len(features) or not np.isfinite(features).all():
        raise InvalidValueError("features must be finite and at least one frame: check what was encoded")
    row: Array = unit_rows(unit_rows(features).mean(axis=0, keepdims=True))[0]
    return row


def noisy_or(shares: Array) -> Array:
    """s ← s + p·(1 − s) over the frames: the chance that at least one is right.  float [T, C] → float64 [C], 0..1."""
    check_axes("shares", shares, "T C")
    with np.errstate(divide="ignore"):  # a share of 1 settles it
        some: Array = -np.expm1(np.log1p(-np.asarray(shares, np.float64)).sum(axis=0))
    return some


def likelihood_distances(distances: Array, between: Array, candidates: Array, weight: float) -> Array:
    """ρ_c(t) + weight/C · Σ_{c'≠c} (ρ_c'(t) − ρ_{c,c'})² / (4·ρ_{c,c'}): of c, it is as far from c' as c is.

    distances: float [T, C] · between: float [C, C] · candidates: int [M] → float64 [T, M].
    The sum is over all C classes but c; classes at distance 0 from c cannot be told from it and are left out.
    Cost: 3·T·M·C.
    Source: Savchenko and Belova 2017, arXiv:1708.07972: distances to other classes are asymptotically normal around
    ρ_{c,c'} with a variance in proportion to it.
    """
    values = checked_distances(distances)
    classes = values.shape[1]
    check_axes("between", between, f"{classes} {classes}")
    expected = np.asarray(between, np.float64)[candidates]
    told = expected > 0
    told[np.arange(len(candidates)), candidates] = False
    inverse = np.zeros_like(expected)
    np.divide(0.25, expected, out=inverse, where=told)
    # (ρ − e)²/4e = ρ²/4e − ρ/2 + e/4, summed: three products instead of a [T, M, C] array
    surprise = values**2 @ inverse.T - values @ told.T / 2 + (expected * told).sum(axis=1) / 4
    regular: Array = values[:, candidates] + weight / classes * surprise
    return regular


def between_classes(vectors: Array, labels: Array) -> Array:
    """Squared L2 distances between classes: the least of any two rows; on the diagonal the mean within the class.

    vectors: float [N, D] · labels: int [N] in 0..C−1, each at least once → float64 [C, C], symmetric.  A class of one
    row gets the mean of the others' diagonal (0 when all have one row).  Cost: N²·D multiply–adds, N a row of it.
    Source: as `likelihood_distances`.
    """
    check_axes("vectors", vectors, "N D")
    check_axes("labels", labels, str(len(vectors)))
    order = np.argsort(labels, kind="stable")
    rows = np.asarray(vectors, np.float64)[order]
    classes, starts = np.unique(np.asarray(labels)[order], return_index=True)
    if not len(classes) or not np.array_equal(classes, np.arange(len(classes))):
        raise InvalidValueError(f"labels must be 0 to C − 1, each at least once, got {classes[:5].tolist()} …")
    ends = np.append(starts[1:], len(rows))
    norms = np.einsum("nd,nd->n", rows, rows)
    made = np.empty((len(classes), len(classes)))
    for own, (start, end) in enumerate(zip(starts, ends, strict=True)):
        apart = np.maximum(norms[start:end, None] + norms - 2 * (rows[start:end] @ rows.T), 0)
        made[own] = np.minimum.reduceat(apart.min(axis=0), starts)
        many = end - start
        made[own, own] = apart[:, start:end].sum() / (many * (many - 1)) if many > 1 else np.nan
    made = (made + made.T) / 2  # the two ways to add up differ in the last bit
    own_distances = np.diagonal(made)
    known = own_distances[~np.isnan(own_distances)]
    np.fill_diagonal(made, np.where(np.isnan(own_distances), known.mean() if len(known) else 0.0, own_distances))
    return made


# -- the rules -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrameSum(Spelled):
    """Sum of the class distances over the frames: the seed's k-NN (1).

    scores: −Σ_t ρ_c(t) · posterior: exp(−n·ρ̄_c), normalised, of the mean distance.  Cost: O(T·C).
    """

    n: float = 100.0

    def __post_init__(self) -> None:
        check_sharpness(self.n)

    def fuse(self, track: Track) -> Fused:
        """Needs distances."""
        distances = needed_distances(track, "frame-sum")
        total = distances.sum(axis=0)
        return Fused(-total, posteriors(total[None] / len(distances), self.n)[0], len(distances))


@dataclass(frozen=True)
class Pooling(Spelled):
    """One query made of all frames: the seed's pooling (2). One search instead of T.

    scores: −ρ_c of the pooled row · posterior: exp(−n·ρ_c), normalised.  Cost: O(T·D) and one search.
    """

    n: float = 100.0

    def __post_init__(self) -> None:
        check_sharpness(self.n)

    def fuse(self, track: Track) -> Fused:
        """Needs features and measure."""
        if track.features is None or track.measure is None:
            raise InvalidValueError("pooling needs the frames' features and how to measure them: give both to Track")
        distances = checked_distances(track.measure(pooled(track.features)[None]))
        return Fused(-distances[0], posteriors(distances, self.n)[0], len(track.features))


@dataclass(frozen=True)
class Map(Spelled):
    """Maximum a posteriori: the class with the highest sum of the frames' posteriors (7).

    scores: Σ_t p_c(t), 0..T · posterior: their mean.  Cost: O(T·C).
    """

    n: float = 100.0

    def __post_init__(self) -> None:
        check_sharpness(self.n)

    def fuse(self, track: Track) -> Fused:
        """Needs distances."""
        shares = posteriors(needed_distances(track, "map"), self.n)
        return Fused(shares.sum(axis=0), shares.mean(axis=0), len(shares))


@dataclass(frozen=True)
class NoisyOr(Spelled):
    """The class that at least one frame shows: `MAX_POSTERIOR` of the seed's code. One sharp frame is enough.

    scores: log of 1/(1 − s), s = 1 − Π_t (1 − p_c(t)), so that sure classes still differ · posterior: s, normalised.
    Cost: O(T·C).
    """

    n: float = 100.0

    def __post_init__(self) -> None:
        check_sharpness(self.n)

    def fuse(self, track: Track) -> Fused:
        """Needs distances."""
        distances = needed_distances(track, "noisy-or")
        shares = posteriors(distances, self.n)
        some = noisy_or(shares)
        return Fused(-_log_rest(shares).sum(axis=0), some / some.sum(), len(distances))


@dataclass(frozen=True)
class LikelihoodMap(Spelled):
    """MAP over distances that also weigh how far the *other* classes should be, among the classes nearest on average.

    nearest: how many classes stay in the race, 8 to 64 in the paper · weight: λ, 4 to 8, up to 40
    scores: Σ_t p_c(t) among them, −inf elsewhere.  Cost: 3·T·nearest·C.  Source: as `likelihood_distances`.
    """

    n: float = 100.0
    nearest: int = 16
    weight: float = 8.0

    def __post_init__(self) -> None:
        check_sharpness(self.n)
        if self.nearest < 1 or not self.weight >= 0:
            raise InvalidValueError(
                f"nearest must be at least 1 and weight 0 or more, got {self.nearest} and {self.weight}"
            )

    def fuse(self, track: Track) -> Fused:
        """Needs distances and between."""
        distances = needed_distances(track, "likelihood-map")
        if track.between is None:
            raise InvalidValueError("likelihood-map needs the distances between classes: between=between_classes(…)")
        candidates = np.sort(np.argsort(distances.sum(axis=0), kind="stable")[: self.nearest])
        regular = likelihood_distances(distances, track.between, candidates, self.weight)
        return _among(posteriors(regular - regular.min(), self.n), candidates, distances.shape[1])


@dataclass(frozen=True)
class SequentialMap(Spelled):
    """Three-way decisions in each frame, then MAP: a class is dropped only when every frame dropped it.

    The per-frame rule runs before (in the seed the multi-level one with m = 32 and δ = 1/0.7 on PCA granules) and
    leaves `survivors`; distances are finished for their union alone.
    scores: Σ_t p_c(t) within the union, −inf elsewhere.  Cost: that of `finish`, and O(T·M).
    Source: Savchenko 2021, Inf. Sci. 560; the seed's video experiments.
    """

    n: float = 100.0

    def __post_init__(self) -> None:
        check_sharpness(self.n)

    def fuse(self, track: Track) -> Fused:
        """Needs survivors, and finish or the final distances."""
        if track.survivors is None:
            raise InvalidValueError("sequential-map needs the classes that survived in each frame: give survivors")
        check_axes("survivors", track.survivors, "T C", "bool")
        frames, classes = track.survivors.shape
        left = np.flatnonzero(track.survivors.any(axis=0))
        if not len(left):
            raise InvalidValueError("survivors must leave at least one class, got none: keep the best of each frame")
        if track.finish is not None:
            distances = checked_distances(track.finish(left))
        else:
            distances = needed_distances(track, "sequential-map")[:, left]
        check_axes("finished distances", distances, f"{frames} {len(left)}")
        return _among(posteriors(distances, self.n), left, classes)


def _among(shares: Array, candidates: Array, classes: int) -> Fused:
    """MAP among some classes, in the numbering of all."""
    scores, posterior = np.full(classes, -np.inf), np.zeros(classes)
    scores[candidates], posterior[candidates] = shares.sum(axis=0), shares.mean(axis=0)
    return Fused(scores, posterior, len(shares))


def _log_rest(shares: Array) -> Array:
    """log(1 − p) of each share; of a frame's highest from the sum of the others, which keeps its digits near 1."""
    best = shares.argmax(axis=1)[:, None]
    others = shares.copy()
    np.put_along_axis(others, best, 0.0, axis=1)
    rest = 1 - shares
    np.put_along_axis(rest, best, others.sum(axis=1, keepdims=True), axis=1)
    logs: Array = np.log(np.maximum(rest, np.finfo(np.float64).tiny))
    return logs


def checked_distances(distances: Array) -> Array:
    """Class distances as float64 [T, C]: one frame and class or more, finite, 0 or more; else InvalidValueError."""
    check_axes("distances", distances, "T C")
    values = np.asarray(distances, np.float64)
    if not values.size:
        raise InvalidValueError(f"distances must hold at least one frame and one class, got {list(values.shape)}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise InvalidValueError("distances must be finite and 0 or more: give squared L2 distances to every class")
    return values


def needed_distances(track: Track, rule: str) -> Array:
    """The track's distances, or an error that says which rule needs them."""
    if track.distances is None:
        raise InvalidValueError(f"{rule} needs the distances of each frame to each class: give distances to Track")
    return checked_distances(track.distances)


def check_sharpness(n: float) -> None:
    """n of `posteriors` must be above 0."""
    if not 0 < n < np.inf:
        raise InvalidValueError(f"n must be above 0 and finite, got {n}: 100 suits unit features")
