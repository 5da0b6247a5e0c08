"""What scores mean on this library: one null for each way to ask, measured when indexing ends and kept."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightmeter.encoders.cache import kept
from lightmeter.encoders.protocol import unit_rows
from lightmeter.library.features import Features, Series
from lightmeter.library.store import Library
from lightmeter.library.unrelated import unrelated_queries
from lightmeter.parts import build
from lightmeter.search.exact import scan
from lightmeter.search.null import Null, null_from_pairs, null_from_queries
from lightmeter.types import Array, Words

ALPHA = 0.05
"""Share of unrelated queries that may still be answered, over all sources together."""
PAIRS = 400
"""Members whose pairs stand for the library's own likeness."""
SURE = 0.5
"""Probability from which a built-in label counts as being in a picture, when misses are counted."""
FLOORS = {"image": 0.45, "sound": 0.9}
"""Lowest cosine that counts as near between pictures and between sounds: see docs/results/nulls.json."""
KEPT_TWINS = 64


def keep_twins(library: Library, twins: Mapping[str, Sequence[float]]) -> None:
    """Remember cosines of members with changed copies of themselves (by spec), in the batch that measured them."""
    for spec, cosines in twins.items():
        series = library.series(spec, "item")
        library.set_calibration(series, "twins", {"cosines": [*_twins(library, series), *cosines][-KEPT_TWINS:]})


def _twins(library: Library, series: Series) -> list[float]:
    found = library.calibration(series, "twins")
    return list(found[0]["cosines"]) if found else []


def calibrate(library: Library, *, seed: int = 0) -> None:
    """Measure the null of every series that has moved on since the last time.

    The same contents give the same nulls, in whatever order they came in.
    Cost: one scan of the series that answer words; 400 rows of the others; the first time, 150 short texts.
    """
    for series in library.all_series():
        found = library.calibration(series, "null")
        if found and found[1] and found[0]["seed"] == seed:
            continue
        encoder = build(series.spec, "encoder")
        if encoder.takes == "words" or hasattr(encoder, "encode_words"):
            null = _null_of_words(library, series, encoder, seed)
        else:
            null = _null_of_members(library, series, encoder, seed)
        if null is not None:
            with library.transaction():
                library.set_calibration(series, "null", {"null": null.as_json(), "seed": seed})


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


def _null_of_words(library: Library, series: Series, encoder: Any, seed: int) -> Null | None:
    features = library.features(series)
    if not len(features):
        return None
    scores = scan(features.blocks(), _unrelated_rows(encoder, seed))
    related = _related_words(library, encoder, seed) if getattr(encoder, "base", None) else np.empty(0)
    return null_from_queries(scores.best.max(axis=1), related, alpha=words_alpha())


def _unrelated_rows(encoder: Any, seed: int) -> Array:
    """Query vectors of the unrelated queries, float32 [Q, D]: the same for every library, so they are kept.

    Not those of an encoder from a folder: its spec does not say whether the weights in it are still the same.
    """
    queries = unrelated_queries(seed)
    if hasattr(encoder, "folder"):
        return query_rows(encoder, queries)

    def make() -> bytes:
        file = io.BytesIO()
        np.save(file, query_rows(encoder, queries))
        return file.getvalue()

    body = kept("unrelated.npy", f"{encoder.spec} {queries!r}", make)
    rows: Array = np.load(io.BytesIO(body), allow_pickle=False)
    return rows


def _related_words(library: Library, encoder: Any, seed: int) -> Array:
    """Scores of pictures against the name of the label that they surely carry: float [R]."""
    specs = {series.spec for series in library.all_series()}
    if encoder.base not in specs:
        return np.empty(0)
    image = build(encoder.base, "encoder")
    series = library.series(encoder.base, owner="item")
    features = _rows_of(library.features(series), _drawn(library, series, seed))
    probabilities = image.probabilities(features)
    best, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    members = np.flatnonzero(sure >= SURE)
    if not len(members):
        return np.empty(0)
    names, which = np.unique(best[members], return_inverse=True)
    labels = image.labels()
    queries = unit_rows(encoder.encode_words([labels[name] for name in names]))
    scores: Array = np.einsum("nd,nd->n", unit_rows(encoder.derive(features[members])), queries[which])
    return scores


def _drawn(library: Library, series: Series, seed: int) -> Array:
    """Keys of at most PAIRS items with rows, drawn by their contents. Returns int64 [n], in the order of the draw."""
    start = hashlib.sha256(str(seed).encode()).hexdigest()
    sql = (
        "SELECT i.key FROM items i JOIN features f ON f.owner = i.key AND f.series = ? AND f.rows "
        "WHERE NOT i.removed AND i.id {} ? ORDER BY i.id LIMIT ?"
    )
    after = library.catalogue.keys(sql.format(">="), (series.id, start, PAIRS))
    return np.concatenate([after, library.catalogue.keys(sql.format("<"), (series.id, start, PAIRS - len(after)))])


def _rows_of(features: Features, owners: Array) -> Array:
    """Rows of some owners, as they come in the order of the owners, thinned evenly to PAIRS: float32 [n, D]."""
    order = np.argsort(features.owners, kind="stable")
    known = features.owners[order]
    spans = zip(np.searchsorted(known, owners), np.searchsorted(known, owners, side="right"), strict=True)
    rows = np.concatenate([order[first:last] for first, last in spans])
    return features.take(rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), PAIRS)).astype(int))])


def _null_of_members(library: Library, series: Series, encoder: Any, seed: int) -> Null | None:
    features = library.features(series)
    if not len(features):
        return None
    owners, first = np.unique(features.owners, return_index=True)
    rows = unit_rows(features.take(first[np.searchsorted(owners, _drawn(library, series, seed))]))
    likeness = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    related = np.asarray(_twins(library, series), np.float64)
    return null_from_pairs(likeness, related, owners=len(owners), alpha=ALPHA, floor=FLOORS[encoder.takes])
