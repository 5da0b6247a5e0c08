"""Rows with labels → whose is this? A label, its distance and certificate, or "unknown"."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lightmeter.encoders.protocol import unit_rows
from lightmeter.errors import InvalidValueError
from lightmeter.search.fusion import (
    Fusion,
    LikelihoodMap,
    Map,
    SequentialMap,
    Track,
    between_classes,
    posteriors,
)
from lightmeter.search.protocol import Certificate, FittedIndex, checked_vectors
from lightmeter.search.reject import Rejection, distance_ratio, reject_at_risk
from lightmeter.search.three_way import FittedThreeWay, ThreeWay
from lightmeter.types import Array, check_axes

UNKNOWN = -1
_MOST_ASKED = 1000
_AT_ONCE = 256
NEAR_ROWS = 8
"""Rows that a picture asks for: mostly one of another class is among them."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Features with labels.

    vectors: float32 [N, D] · labels: int64 [N] in 0..K−1 · names: of the K classes
    groups: int64 [N]; rows of one group (one file) are never compared with each other when the gallery is asked itself
    """

    vectors: Array
    labels: Array
    names: tuple[str, ...]
    groups: Array

    def __post_init__(self) -> None:
        check_axes("vectors", self.vectors, "N D")
        for name in ("labels", "groups"):
            check_axes(name, getattr(self, name), str(len(self.vectors)))
        if not len(self.vectors) or self.labels.min() < 0 or self.labels.max() >= len(self.names):
            raise InvalidValueError(
                f"labels must be in 0..{len(self.names) - 1} and at least one, got {self.labels!r:.60}"
            )


@dataclass(frozen=True, slots=True)
class Recognition:
    """One answer.

    label: class, or UNKNOWN where a rejection was set and the answer is not sure enough · guess: the class all the same
    row: the nearest row of that class · distance: to it (of a track: the least over its frames), 2 − 2·cosine, 0..4
    runner_up: the nearest other class, UNKNOWN where there is none · runner_up_distance: to it
    confidence: 1 − distance / runner_up_distance, 0..1 (of a track: of the distances summed over its frames), NaN where
    there is one class only
    certificate: what the search took and whether it is proven; None where the index does not tell
    frames: of the query · cpu_s: what the search took, without decoding and encoding
    """

    label: int
    guess: int
    row: int
    distance: float
    runner_up: int
    runner_up_distance: float
    confidence: float
    certificate: Certificate | None
    frames: int = 1
    cpu_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Recogniser:
    """A gallery, an index of its rows by cosine, and from when on an answer is sure enough."""

    gallery: Gallery
    index: FittedIndex
    rejection: Rejection | None = None

    def recognise(self, rows: Array, *, fusion: Fusion | None = None) -> Recognition:
        """One thing: a picture's row float [1, D], or a track's frames float [T, D], put together by `fusion` (MAP).

        A rejection was learnt on single rows: of tracks it promises nothing.
        Cost: a picture one search, and one more where its nearest rows are all of one class; a track N·D·T.
        """
        rows = checked_vectors("rows", rows, self.gallery.vectors.shape[1])
        if not len(rows):
            raise InvalidValueError("rows must be [T, D] with at least one frame, got none: was the file read?")
        start_s = time.thread_time()
        found = self._still(rows) if len(rows) == 1 else self._track(rows, fusion or Map())
        sure = self.rejection is None or bool(self.rejection.answers(np.array([found.confidence]))[0])
        return replace(found, label=found.guess if sure else UNKNOWN, cpu_s=time.thread_time() - start_s)

    def _still(self, row: Array) -> Recognition:
        found = self.index.search(row, min(NEAR_ROWS, len(self.gallery.vectors)))
        ids, distances = found.ids[0], found.distances[0]
        labels = np.where(ids >= 0, self.gallery.labels[ids], UNKNOWN)
        certificate = found.certificates[0] if len(found.certificates) else self._by_scan()
        other = np.flatnonzero((labels != labels[0]) & (labels >= 0))
        if len(other):
            runner_up, second = int(labels[other[0]]), float(distances[other[0]])
        else:
            runner_up, second, more = self._runner_up(row, int(labels[0]))
            certificate = _both(certificate, more)
        confidence = _confidence(float(distances[0]), second)
        guess = int(labels[0])
        return Recognition(guess, guess, int(ids[0]), float(distances[0]), runner_up, second, confidence, certificate)

    def _by_scan(self) -> Certificate | None:
        """What an exact index without certificates proves by having measured everything; None for others."""
        if not self.index.abilities.exact:
            return None
        return Certificate(True, float("inf"), 0, (), len(self.gallery.vectors), self.gallery.vectors.nbytes)

    def _runner_up(self, row: Array, label: int) -> tuple[int, float, Certificate | None]:
        """The nearest other class, how far it is, and what it took to find out."""
        others = np.flatnonzero(self.gallery.labels != label)
        if not len(others):
            return UNKNOWN, float("inf"), None
        if self.index.abilities.among:
            found = self.index.search(row, 1, among=others)
            took = found.certificates[0] if len(found.certificates) else None
            return int(self.gallery.labels[found.ids[0, 0]]), float(found.distances[0, 0]), took
        distances = _distances(row, self.gallery.vectors[others])[0]
        at = int(distances.argmin())
        return int(self.gallery.labels[others[at]]), float(distances[at]), None

    def _track(self, rows: Array, fusion: Fusion) -> Recognition:
        """Every frame against every row, exactly: the fusions need the distance of each frame to each class."""
        gallery = self.gallery
        to_rows = np.concatenate([_distances(part, gallery.vectors) for part in _parts(rows)])
        to_classes = class_distances(to_rows, gallery.labels, len(gallery.names))
        near = np.argsort(to_classes.mean(axis=0), kind="stable")
        fused = fusion.fuse(self._what_it_needs(rows, to_classes, fusion))
        guess = fused.answer
        summed = to_classes.sum(axis=0)
        others = near[near != guess]
        runner_up = int(others[0]) if len(others) else UNKNOWN
        second = float(to_classes[:, runner_up].min()) if len(others) else float("inf")
        confidence = _confidence(summed[guess], summed[runner_up]) if len(others) else float("nan")
        own = np.flatnonzero(gallery.labels == guess)
        row = int(own[to_rows[:, own].min(axis=0).argmin()])
        distance = float(to_classes[:, guess].min())
        measured = Certificate(True, float("inf"), 0, (), len(gallery.vectors), gallery.vectors.nbytes)
        return Recognition(guess, guess, row, distance, runner_up, second, confidence, measured, frames=fused.frames)

    def _what_it_needs(self, rows: Array, to_classes: Array, fusion: Fusion) -> Track:
        """The track, with what only some fusions look at."""
        track = Track(distances=to_classes, features=rows, measure=self._pooled_distances)
        if isinstance(fusion, LikelihoodMap):
            return replace(track, between=self._between)
        if isinstance(fusion, SequentialMap):
            frames = self._three_way
            survivors = np.zeros(to_classes.shape, bool)
            for frame, left in zip(survivors, frames.decide(rows).left, strict=True):
                frame[left] = True
            return replace(track, survivors=survivors, finish=lambda classes: frames.class_distances(rows, classes))
        return track

    @cached_property
    def _between(self) -> Array:
        """Distances between the classes, for the likelihood of distances."""
        return between_classes(unit_rows(self.gallery.vectors), self.gallery.labels)

    @cached_property
    def _three_way(self) -> FittedThreeWay:
        """The seed's rule for each frame, for sequential fusion."""
        return ThreeWay(rule="multi-level", m=32).fit(self.gallery.vectors, self.gallery.labels)

    def _pooled_distances(self, rows: Array) -> Array:
        gallery = self.gallery
        return class_distances(_distances(rows, gallery.vectors), gallery.labels, len(gallery.names))

    def posteriors(self, rows: Array, *, n: float = 100.0) -> Array:
        """exp(−n·ρ_c) / Σ exp(−n·ρ_c') over the distances to all classes: float [Q, D] → float64 [Q, K], rows sum to 1.

        Cost: N·D a row, exact.  Source: the seed's (4) and (7), see `fusion.posteriors`.
        """
        rows = checked_vectors("rows", rows, self.gallery.vectors.shape[1])
        return posteriors(self._pooled_distances(rows), n)

    def with_unknown(
        self, *, risk: float, certainty: float = 0.95, outside: float = 0.5, seed: int = 0
    ) -> Recogniser:  # fmt: skip
        """The same, answering only where it is sure: at most `risk` of its answers wrong, with `certainty`.

        The gallery asks itself, up to 1,000 rows, each without the file it is from; a share `outside` of them also
        without their whole class, so that every answer to them is wrong. The promise holds for queries that lie to the
        gallery as its rows do to each other, strangers among them in that share.
        Raises InvalidValueError where the index may miss, since the gallery is asked exactly: the confidence of another
        index is another one.  Cost: N·D for each row that asks.
        """
        if not self.index.abilities.exact:
            raise InvalidValueError("to know strangers the index must be exact, and this one may miss: take `granular`")
        if not 0 <= outside <= 1:
            raise InvalidValueError(f"outside must be 0 to 1, got {outside}: 0.5 expects a stranger every other time")
        confidence, wrong, strangers = self._asked_itself(outside, seed)
        rejection = reject_at_risk(confidence, wrong, risk=risk, certainty=certainty, outside=strangers)
        return replace(self, rejection=rejection)

    def _asked_itself(self, outside: float, seed: int) -> tuple[Array, Array, Array]:
        """Confidence float [V], wrong bool [V] and outside bool [V] of rows asked without their like."""
        gallery, rng = self.gallery, np.random.default_rng(seed)
        if len(gallery.names) < 3:
            raise InvalidValueError(
                f"the gallery must have 3 classes or more to learn when not to answer, got {len(gallery.names)}"
            )
        asking = np.sort(rng.permutation(len(gallery.vectors))[:_MOST_ASKED])
        strangers = rng.random(len(asking)) < outside
        confidence, wrong = [], []
        for part, stranger in zip(_parts(asking), _parts(strangers), strict=True):
            distances = _distances(gallery.vectors[part], gallery.vectors)
            distances[gallery.groups[part][:, None] == gallery.groups] = np.inf
            distances[stranger[:, None] & (gallery.labels[part][:, None] == gallery.labels)] = np.inf
            to_classes = class_distances(distances, gallery.labels, len(gallery.names))
            confidence.append(distance_ratio(to_classes))
            wrong.append(to_classes.argmin(axis=1) != gallery.labels[part])
        return np.concatenate(confidence), np.concatenate(wrong), strangers


def _both(first: Certificate | None, second: Certificate | None) -> Certificate | None:
    """Of two searches for one answer: proven where both are, and the price of both."""
    if first is None or second is None:
        return first
    return replace(
        first, exact=first.exact and second.exact, gap=min(first.gap, second.gap),
        refined=first.refined + second.refined, bytes_read=first.bytes_read + second.bytes_read,
    )  # fmt: skip


def class_distances(distances: Array, labels: Array, classes: int) -> Array:
    """The least distance to each class: float [Q, N] → float64 [Q, K], inf where a class has no row."""
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    out = np.full((len(distances), classes), np.inf)
    out[:, present] = np.minimum.reduceat(distances[:, order], starts, axis=1)
    return out


def _distances(queries: Array, vectors: Array) -> Array:
    """2 − 2·cosine of every query and row, float64 [Q, N]; a zero vector is 2 from everything."""
    dots = unit_rows(queries) @ unit_rows(vectors).T
    distances: Array = np.maximum(2 - 2 * dots.astype(np.float64), 0)
    return distances


def _parts(rows: Array) -> Iterator[Array]:
    for at in range(0, len(rows), _AT_ONCE):
        yield rows[at : at + _AT_ONCE]


def _confidence(best: float, second: float) -> float:
    if not np.isfinite(second):
        return float("nan")  # there is no other class to be nearer to
    return 1 - best / second if second > 0 else 0.0


def named(recognition: Recognition, names: Sequence[str]) -> dict[str, Any]:
    """An answer with the names of its classes, for JSON; `label` is null for "unknown"."""
    certificate = recognition.certificate
    return {
        "label": None if recognition.label == UNKNOWN else names[recognition.label],
        "guess": names[recognition.guess],
        "distance": recognition.distance,
        "runner_up": None if recognition.runner_up == UNKNOWN else names[recognition.runner_up],
        "runner_up_distance": recognition.runner_up_distance if recognition.runner_up != UNKNOWN else None,
        "confidence": None if np.isnan(recognition.confidence) else recognition.confidence,
        "frames": recognition.frames,
        "cpu_s": recognition.cpu_s,
        "certificate": None
        if certificate is None
        else {
            "exact": certificate.exact, "gap": certificate.gap if np.isfinite(certificate.gap) else None,
            "levels": certificate.levels, "survivors": list(certificate.survivors), "measured": certificate.refined,
            "bytes_read": certificate.bytes_read,
        },
    }  # fmt: skip
