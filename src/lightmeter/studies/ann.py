"""The seed's table of approximate nearest neighbours, rerun by L2 and by χ²: which search is cheapest at what error?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lightmeter.parts import build
from lightmeter.search.dissimilarity import Dissimilarity, dissimilarity
from lightmeter.search.protocol import FittedIndex, Neighbours
from lightmeter.studies.candidates import (
    NEIGHBOURS,
    certified,
    class_means_row,
    head_row,
    index_row,
    majority_row,
    ratio_lead,
    rule_row,
    told_by,
)
from lightmeter.studies.comparison import Beside, Fitted, Row, Section, Study
from lightmeter.studies.declared import Asked, Role, Scale
from lightmeter.studies.galleries import Gallery, mixture
from lightmeter.studies.real_galleries import emoji, fashion, photographs
from lightmeter.studies.user_gallery import user_gallery
from lightmeter.types import Array

TREE_S = 6e-9
"""CPU-seconds that a tree takes for one query, row and dimension, measured at 3,000 x 4,096."""
MOST_S = 60.0
"""CPU-seconds that a row may take at `cpu` before it is left out."""


# -- rows -----------------------------------------------------------------------------------------------------------


def measured_row(
    label: str, spec: str, role: Role, *, published: str = "", labelled: bool = False, confident: bool = False
) -> Row:
    """1-NN through an index that knows the gallery's metric, whatever it is.

    spec: without a metric, which is the gallery's · labelled: fit takes the labels too · confident: as `index_row`'s
    """

    def fit(gallery: Gallery) -> Fitted:
        own = f"{spec}{',' if '/' in spec else '/'}metric={gallery.metric}"
        index = build(own, "index").fit(gallery.x, *((gallery.y,) if labelled else ()))
        made = _by_index(index, gallery, lambda queries: index.search(queries, 1).ids[:, 0], own)
        return replace(made, confidence=partial(ratio_lead, index, gallery.y)) if confident else made

    return Row(label, spec, fit, role, published=published)


def rooted_row(row: Row, spec: str) -> Row:
    """A row that knows L2; where the gallery is compared by chi-squared, it searches among square roots.

    Squared L2 of square roots (Hellinger's distance) is half of chi-squared to all of it, term by term: as
    (√p − √q)²·(√p + √q)² = (p − q)², and (√p + √q)² is p + q to 2·(p + q). The ten nearest by it are measured by
    chi-squared, and the nearest of these is the answer.
    """

    def fit(gallery: Gallery) -> Fitted:
        if gallery.metric == "l2":
            return row.fit(gallery)
        index: FittedIndex = build(spec, "index").fit(np.sqrt(gallery.x))
        measure = dissimilarity(gallery.metric)
        count = min(NEIGHBOURS, len(gallery.x))

        def nearest(queries: Any) -> Array:
            found = index.search(np.sqrt(queries), count)
            return _nearest_of(measure, gallery.x, queries, found)

        own = f"{spec} on square roots; nearest {count} by {gallery.metric}"
        return _by_index(index, gallery, nearest, own, asked=lambda queries: index.search(np.sqrt(queries), count))

    return replace(row, fit=fit, skip=_either(row.skip, _not_rootable))


def _nearest_of(measure: Dissimilarity, x: Array, queries: Array, found: Neighbours) -> Array:
    """The nearest of the rows found for each query, −1 where none was, by a measure: int64 [Q]."""
    out = np.full(len(queries), -1)
    for at, (query, ids) in enumerate(zip(queries, found.ids, strict=True)):
        some = np.sort(ids[ids >= 0])
        if len(some):
            out[at] = some[measure.to_rows(query, x, some).argmin()]
    return out


def _by_index(
    index: FittedIndex, gallery: Gallery, nearest: Callable[[Any], Array], spec: str, *,
    asked: Callable[[Any], Neighbours] | None = None,
) -> Fitted:  # fmt: skip
    """A candidate from an index. asked: what it searches with, where that is not the query and its nearest row."""
    y, able = gallery.y, index.abilities

    def labels(queries: Any) -> Array:
        ids = nearest(queries)
        return np.where(ids < 0, -1, y[ids])

    def tell(queries: Any) -> Any:
        told = told_by(certified(asked or partial(index.search, k=1), queries))
        if asked is not None and told.measured is not None:  # proven of square roots only; and ten are measured again
            count, width = min(NEIGHBOURS, len(gallery.x)), gallery.x[0].nbytes
            told = replace(told, proven=None, measured=told.measured + count)
            told = replace(told, bytes_read=(told.bytes_read or 0) + count * width)
        return told

    return Fitted(
        labels, tell=tell, change=index if able.add and able.remove else None, size_bytes=index.size_bytes, spec=spec
    )


def _l2_row(
    label: str, spec: str, role: Role, *, published: str = "", confident: bool = False, skip: Any = None
) -> Row:
    more = {} if skip is None else {"skip": skip}
    return rooted_row(index_row(label, spec, role, published=published, confident=confident, **more), spec)


def _proposed_row(label: str, spec: str, *, published: str = "", confident: bool = False) -> Row:
    """The seed's rule, which knows L2; by chi-squared it decides on square roots, and nothing is measured again."""
    row = rule_row(label, spec, "seed", published=published, confident=confident)

    def fit(gallery: Gallery) -> Fitted:
        if gallery.metric == "l2":
            return row.fit(gallery)
        rooted = row.fit(replace(gallery, x=np.sqrt(gallery.x), queries=np.sqrt(gallery.queries)))
        tell, confidence = rooted.tell, rooted.confidence
        return replace(
            rooted, labels=lambda queries: rooted.labels(np.sqrt(queries)), spec=f"{spec} on square roots",
            tell=tell and (lambda queries: tell(np.sqrt(queries))),
            confidence=confidence and (lambda queries: confidence(np.sqrt(queries))),
        )  # fmt: skip

    return replace(row, fit=fit, skip=_not_rootable)


# -- what is not run ------------------------------------------------------------------------------------------------


def _either(*reasons: Callable[[Gallery, Scale], str]) -> Callable[[Gallery, Scale], str]:
    return lambda gallery, scale: next((why for each in reasons if (why := each(gallery, scale))), "")


def _not_rootable(gallery: Gallery, _scale: Scale) -> str:
    if gallery.metric in ("l2", "chi2"):
        return ""
    return f"it knows L2, and square roots stand in for chi-squared only, not for {gallery.metric}"


def _no_rows(gallery: Gallery, _scale: Scale) -> str:
    """Classifiers that compare no rows have one row of figures, in the section by L2."""
    if gallery.metric == "l2":
        return ""
    return f"it does not compare rows by {gallery.metric}: its figures are those of the section by L2"


def _longer(seconds: Callable[[Gallery], float], most_s: float) -> Callable[[Gallery, Scale], str]:
    """Leave a row out at `cpu` where it would take so long, and say how long; `paper` has the time."""

    def why(gallery: Gallery, scale: Scale) -> str:
        estimate = seconds(gallery)
        if scale == "paper" or estimate <= most_s:
            return ""
        return f"it would take about {estimate:,.0f} CPU-s here, and cpu allows a row {most_s:.0f}"

    return why


def _pairs_s(gallery: Gallery) -> float:
    """Of a kernel machine, which learns and asks every pair of classes; 3.6e-8 and 6e-6 measured at 400 classes."""
    pairs = len(gallery.classes) ** 2
    return 3.6e-8 * len(gallery.queries) * pairs + 6e-6 * pairs


def _margins_s(gallery: Gallery) -> float:
    """Of a linear machine; measured at 400 classes of 2,048 features and at ten of 1,280."""
    return 4e-8 * gallery.x.size * len(gallery.classes)


def _trees_s(gallery: Gallery) -> float:
    """Of a tree in many dimensions, which looks at all rows, twice for ties."""
    return TREE_S * gallery.x.size * len(gallery.queries)


# -- the study ------------------------------------------------------------------------------------------------------

_SCAN = "pivots/pivots=1,check=1.0,false_accept=none,at_once=1000000"
"""Every row is measured, by any dissimilarity."""


def _brute_row() -> Row:
    """BLAS by L2, one row after another by what no matrix product gives."""
    by_l2 = index_row("1-NN (brute force)", "brute", "baseline", published="1-NN (Brute force)")
    by_any = measured_row("", _SCAN, "baseline", confident=True)

    def fit(gallery: Gallery) -> Fitted:
        return (by_l2 if gallery.metric == "l2" else by_any).fit(gallery)

    return replace(by_l2, fit=fit)


def _sections(asked: Asked) -> Sequence[Section]:
    seed, tell = asked.seed, asked.tell
    if asked.data is not None:
        make = partial(user_gallery, asked.data, encoder=asked.encoder, seed=seed, tell=tell)
        return [Section(f"{asked.data.name}, L2", make, _beside("VGGNet, L2"))]
    if asked.scale == "smoke":
        return [
            Section("mixture, L2", partial(mixture, "smoke", seed=seed), _beside("VGGNet, L2")),
            Section(
                "photographs, chi-squared", partial(_by_chi2, partial(photographs, seed=seed, tell=tell)),
                _beside("VGGNet, chi-squared"),
            ),
        ]  # fmt: skip
    vgg = partial(_asked_less, partial(mixture, "ann-vgg", seed=seed), 200)
    lcnn = partial(_asked_less, partial(mixture, "ann-lcnn", seed=seed), 500)
    kinds = partial(emoji, "subcategory", queries=300, seed=seed, tell=tell)
    return [
        Section("VGGNet's size, L2", vgg, _beside("VGGNet, L2")),
        Section("VGGNet's size, chi-squared", partial(_by_chi2, vgg), _beside("VGGNet, chi-squared")),
        Section("LCNN's size, L2", lcnn, _beside("LCNN, L2")),
        Section("emoji, L2", kinds),
        Section("emoji, chi-squared", partial(_by_chi2, kinds)),
        Section("clothes, L2", partial(fashion, 10_000, queries=500, seed=seed, tell=tell)),
    ]


def _beside(column: str) -> Beside:
    return Beside("ann-error", f"{column}, error")


def _by_chi2(make: Callable[[], Gallery]) -> Gallery:
    """The same gallery compared by chi-squared; refused where a feature is below 0."""
    gallery = make()
    dissimilarity("chi2").check(f"x of {gallery.name}", gallery.x)
    dissimilarity("chi2").check(f"queries of {gallery.name}", gallery.queries)
    return replace(gallery, metric="chi2")


def _asked_less(make: Callable[[], Gallery], queries: int) -> Gallery:
    """A mixture asked with fewer queries, evenly spread over its classes."""
    gallery = make()
    some = np.linspace(0, len(gallery.queries) - 1, min(queries, len(gallery.queries))).astype(int)
    return replace(gallery, queries=gallery.queries[some], truth=gallery.truth[some])


ANN = Study(
    name="ann",
    question="Which search finds the nearest neighbour's class cheapest, by L2 and by chi-squared, and at which error?",
    rows=(
        majority_row(),
        class_means_row(),
        head_row(
            "SVM",
            "svm/kernel=rbf",
            "seed",
            published="SVM",
            skip=_either(_no_rows, _longer(_pairs_s, MOST_S)),
        ),
        head_row(
            "linear SVM",
            "svm",
            "baseline",
            skip=_either(_no_rows, _longer(_margins_s, MOST_S)),
        ),
        head_row("ridge", "ridge", "baseline", skip=_no_rows, confident=True),
        _brute_row(),
        _l2_row("randomised KD trees", "kd-forest", "seed", published="Randomized KD tree"),
        measured_row("perm-sort", "permutation", "seed", published="Perm-sort"),
        measured_row("ML-ANN", "pivots", "seed", published="ML-ANN", labelled=True),
        _proposed_row("proposed, m = 32", "three-way/m=32", published="Proposed algorithm", confident=True),
        measured_row("ML-ANN, drawn pivots", "pivots/choice=drawn", "ours", labelled=True),
        _l2_row("granular, exact", "granular", "ours", confident=True),
        _l2_row("granular, calibrated to 1 %", "granular/alpha=0.01", "ours"),
        _l2_row("hyperplanes", "hyperplanes", "ours"),
        _l2_row("one-bit", "one-bit", "ours"),
        _l2_row("KD tree", "trees", "peer", skip=_longer(_trees_s, MOST_S)),
        _l2_row("ball tree", "trees/kind=ball", "peer", skip=_longer(_trees_s, MOST_S)),
        _l2_row("faiss flat", "faiss", "peer"),
        _l2_row("faiss IVF", "faiss/kind=ivf", "peer"),
        _l2_row("faiss HNSW", "faiss/kind=hnsw", "peer"),
        _l2_row("faiss PCA, refined", "faiss/kind=pca-refine", "peer"),
        _l2_row("faiss 1-bit, refined", "faiss/kind=one-bit", "peer"),
        _l2_row("hnswlib", "hnswlib", "peer"),
        _l2_row("usearch", "usearch", "peer"),
    ),
    sections=_sections,
    notes=(
        "measured: rows whose dissimilarity was worked out in full, a query; – where a library does not tell",
        "by chi-squared, what knows L2 only searches square roots, and its ten nearest are measured by chi-squared",
        "the proposed rule decides on square roots alone; nothing is proven by chi-squared but a scan",
    ),
    gallery_notes=(
        "the seed names neither its data set nor its times: published cells are of other data",
        "chi-squared: features are after a ReLU, so 0 or more, of unit length; VGGNet's size is one gallery for both",
        "mixtures are drawn by chance, as hard as the seed's brute force by construction",
    ),
)
