"""What scores mean on this library: one null for each way to ask, measured when indexing ends and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightmeter.library.features import Series
from lightmeter.library.store import Library
from lightmeter.library.unrelated import unrelated_queries
from lightmeter.parts import build
from lightmeter.search.exact import scan, unit
from lightmeter.search.null import Null, null_from_pairs, null_from_queries
from lightmeter.types import Array, Words

ALPHA = 0.05
"""Share of unrelated queries that may still be answered, over all sources together."""
PAIRS = 400
"""Members whose pairs stand for the library's own likeness."""
SURE = 0.5
"""Probability from which a built-in label counts as being in a picture, when misses are counted."""
FLOORS = {"image": 0.45, "sound": 0.9}
"""Lowest cosine that counts as near between pictures and between sounds: see docs/results/search-floors.json."""
KEPT_TWINS = 64


def calibrate(library: Library, *, twins: Mapping[str, Sequence[float]] | None = None, seed: int = 0) -> None:
    """Measure the null of every series that has moved on since the last time.

    twins: spec → new cosines of members with changed copies of themselves.
    Cost: 150 short texts and one scan of the series that answer words; 400 rows of the others.
    """
    texts: dict[str, Array] = {}
    for series in library.all_series():
        encoder = build(series.spec, "encoder")
        if encoder.takes == "words" or hasattr(encoder, "encode_words"):
            _calibrate_words(library, series, encoder, texts, seed)
        else:
            _calibrate_members(library, series, encoder, list((twins or {}).get(series.spec, ())), seed)


def words_alpha() -> float:
    """A search by words asks two sources, the pictures and what is written about them: each gets half."""
    return ALPHA / 2


def null_of(library: Library, series: Series) -> Null | None:
    """The null of a series; None where none was measured (nothing of that kind is indexed)."""
    found = library.calibration(series, "null")
    return Null.from_json(found[0]["null"]) if found else None


def query_rows(encoder: Any, texts: Sequence[str]) -> Array:
    """Query vectors of texts: float32 [Q, D]."""
    if hasattr(encoder, "encode_words"):
        rows: Array = encoder.encode_words(texts)
    else:
        rows = encoder.encode([Words(title=text, source="query") for text in texts])
    return rows


def _calibrate_words(library: Library, series: Series, encoder: Any, texts: dict[str, Array], seed: int) -> None:
    features = library.features(series)
    if not len(features):
        return
    if series.spec not in texts:
        texts[series.spec] = query_rows(encoder, unrelated_queries(seed))
    scores = scan(features.blocks(), texts[series.spec])
    related = _related_words(library, encoder) if hasattr(encoder, "derive") else np.empty(0)
    null = null_from_queries(scores.best.max(axis=1), related, alpha=words_alpha())
    with library.transaction():
        library.set_calibration(series, "null", {"null": null.as_json()})


def _related_words(library: Library, encoder: Any) -> Array:
    """Scores of pictures against the name of the label that they surely carry: float [R]."""
    specs = {series.spec for series in library.all_series()}
    if encoder.base not in specs:
        return np.empty(0)
    image = build(encoder.base, "encoder")
    rows = library.features(encoder.base, owner="item")
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), PAIRS)).astype(int)
    features = rows.take(np.unique(chosen))
    probabilities = image.probabilities(features)
    best, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    members = np.flatnonzero(sure >= SURE)
    if not len(members):
        return np.empty(0)
    names, which = np.unique(best[members], return_inverse=True)
    labels = image.labels()
    queries = unit(encoder.encode_words([labels[name] for name in names]))
    scores: Array = np.einsum("nd,nd->n", unit(encoder.derive(features[members])), queries[which])
    return scores


def _calibrate_members(library: Library, series: Series, encoder: Any, twins: list[float], seed: int) -> None:
    features = library.features(series)
    if not len(features):
        return
    before = library.calibration(series, "null")
    related = [*(before[0].get("twins", []) if before else []), *twins][-KEPT_TWINS:]
    _, first = np.unique(features.owners, return_index=True)
    drawn = np.random.default_rng(seed).permutation(len(first))[:PAIRS]
    rows = unit(features.take(first[drawn]))
    likeness = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    null = null_from_pairs(
        likeness, np.asarray(related, np.float64), owners=len(first), alpha=ALPHA, floor=FLOORS[encoder.takes]
    )
    with library.transaction():
        library.set_calibration(series, "null", {"null": null.as_json(), "twins": related})
