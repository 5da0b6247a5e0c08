"""Rows of studies made from parts: any index, any head, the seed's rules, and the dumb baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.parts import build
from lightmeter.search.protocol import Certificate, FittedIndex, Neighbours
from lightmeter.studies.comparison import Fitted, Row, Told, always
from lightmeter.studies.declared import Role, Scale
from lightmeter.studies.galleries import Gallery
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.search.decisions import Decisions
    from lightmeter.search.three_way import FittedThreeWay

NEIGHBOURS = 10
"""How many are looked at for the nearest row of another class, which a confidence needs."""


def index_row(
    label: str, spec: str, role: Role, *, published: str = "", skip: Callable[[Gallery, Scale], str] = always,
    confident: bool = False,
) -> Row:  # fmt: skip
    """1-NN through an index: the class of the nearest row, -1 where it found none.

    confident: add the ratio of the nearest row's distance to that of the nearest of another class (of ten neighbours;
    of the tenth where they agree) as a confidence.
    """

    def fit(gallery: Gallery) -> Fitted:
        index: FittedIndex = build(spec, "index").fit(gallery.x)
        y = gallery.y

        def labels(queries: Any) -> Array:
            ids = index.search(queries, 1).ids[:, 0]
            return np.where(ids < 0, -1, y[ids])

        able = index.abilities
        return Fitted(
            labels,
            confidence=(lambda queries: ratio_lead(index, y, queries)) if confident else None,
            tell=lambda queries: told_by(certified(partial(index.search, k=1), queries)),
            change=index if able.add and able.remove else None,
            size_bytes=index.size_bytes,
        )

    return Row(label, spec, fit, role, published=published, skip=skip)


def ratio_lead(index: FittedIndex, y: Array, queries: Array) -> Array:
    """1 - d1/d2, where d2 is of another class (of the tenth row, where ten agree): 0 to 1 [Q]."""
    found = index.search(queries, min(NEIGHBOURS, len(y)))
    classes, distances = y[found.ids], found.distances
    other = classes != classes[:, :1]
    first = np.where(other.any(axis=1), other.argmax(axis=1), distances.shape[1] - 1)
    second = distances[np.arange(len(distances)), first]
    ratio: Array = np.divide(distances[:, 0], second, out=np.ones(len(second)), where=second > 0)
    return 1 - ratio


def certified(search: Callable[[Array], Neighbours], queries: Array) -> Sequence[Certificate]:
    """The certificates of a search, which is not made where the first query has none."""
    return search(queries).certificates if len(search(queries[:1]).certificates) else ()


def told_by(certificates: Sequence[Certificate]) -> Told:
    """Means over the certificates of queries; a query that stopped early keeps its last survivors at later levels."""
    if not len(certificates):
        return Told()
    levels = max(len(each.survivors) for each in certificates)
    padded = [(*each.survivors, *each.survivors[-1:] * levels)[:levels] for each in certificates if each.survivors]
    return Told(
        bytes_read=float(np.mean([each.bytes_read for each in certificates])),
        survivors=tuple(np.mean(padded, axis=0).tolist()) if padded else (),
        proven=float(np.mean([each.exact for each in certificates])),
        measured=float(np.mean([each.refined for each in certificates])),
    )


def head_row(
    label: str, spec: str, role: Role, *, published: str = "", skip: Callable[[Gallery, Scale], str] = always,
    confident: bool = False,
) -> Row:  # fmt: skip
    """A classifier of features. confident: add the lead of the best score over the second as a confidence."""

    def fit(gallery: Gallery) -> Fitted:
        model = build(spec, "head").fit(gallery.x, gallery.y)
        confidence = (lambda queries: lead(model.scores(queries))) if confident else None
        return Fitted(model.predict, confidence=confidence, size_bytes=model.size_bytes)

    return Row(label, spec, fit, role, published=published, skip=skip)


def lead(scores: Array) -> Array:
    """The best score less the second best: [N, K] → [N]; 0 for one class."""
    if scores.shape[1] < 2:
        return np.zeros(len(scores))
    two = np.partition(scores, -2, axis=1)[:, -2:]
    difference: Array = two[:, 1].astype(np.float64) - two[:, 0]
    return difference


def rule_row(label: str, spec: str, role: Role, *, published: str = "", confident: bool = False) -> Row:
    """A rule of three-way decisions, fitted with the labels. confident: add the rule's own confidence."""

    def fit(gallery: Gallery) -> Fitted:
        rule = build(spec, "index").fit(gallery.x, gallery.y)
        return Fitted(
            lambda queries: rule.decide(queries).labels,
            confidence=(lambda queries: rule.decide(queries).confidence) if confident else None,
            tell=lambda queries: told_by_rule(rule.decide(queries)),
            change=_Labelled(rule),
            size_bytes=rule.size_bytes,
        )

    return Row(label, spec, fit, role, published=published)


def told_by_rule(decisions: Decisions) -> Told:
    """Means; a query that stopped early keeps its last survivors at later levels."""
    survivors = decisions.survivors.astype(np.float64)
    rows = np.arange(len(survivors))
    for level in range(1, survivors.shape[1]):
        early = rows[decisions.levels <= level]
        survivors[early, level] = survivors[early, level - 1]
    return Told(float(decisions.bytes_read.mean()), tuple(survivors.mean(axis=0).tolist()))


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Adds rows to a rule as being of class 0: which one makes no difference to the price."""

    rule: FittedThreeWay

    def add(self, vectors: Array) -> Array:
        return self.rule.add(vectors, np.zeros(len(vectors), np.int64))

    def remove(self, ids: Array) -> None:
        self.rule.remove(ids)


def majority_row() -> Row:
    """The class that most rows of the gallery have, whatever is asked: what no look at the query gives."""

    def fit(gallery: Gallery) -> Fitted:
        most = int(np.bincount(gallery.y).argmax())
        return Fitted(lambda queries: np.full(len(queries), most))

    return Row("most frequent class", "majority", fit, "baseline")


def class_means_row() -> Row:
    """The class whose mean row is nearest (squared L2): a product with K rows."""

    def fit(gallery: Gallery) -> Fitted:
        counts = np.bincount(gallery.y)
        means = np.zeros((len(counts), gallery.x.shape[1]))
        np.add.at(means, gallery.y, gallery.x)
        means = (means / counts[:, None]).astype(np.float32)
        lengths = np.einsum("kd,kd->k", means, means) / 2

        def labels(queries: Any) -> Array:
            nearest: Array = (queries @ means.T - lengths).argmax(axis=1)
            return nearest

        read = float(means.nbytes + lengths.nbytes)
        return Fitted(labels, tell=lambda _: Told(bytes_read=read), size_bytes=int(read))

    return Row("class means", "class-means", fit, "baseline")
