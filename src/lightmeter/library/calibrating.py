"""What scores mean on this library: one null for each way to ask, measured when indexing ends and kept."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lightmeter.encoders.cache import kept
from lightmeter.encoders.protocol import unit_rows
from lightmeter.errors import MissingAssetError, MissingExtraError, UnknownNameError
from lightmeter.library.features import Features, Series
from lightmeter.library.store import Library
from lightmeter.library.unrelated import unrelated_queries
from lightmeter.parts import build
from lightmeter.search.exact import cosine, highest
from lightmeter.search.null import Null, null_from_members, null_from_queries
from lightmeter.types import Array, Words

ALPHA = 0.05
"""Share of unrelated queries that may still be answered, over all sources of one search together."""
MEMBERS = 400
"""Members that are asked about when a null is measured."""
ASKING = 48
"""Members that ask."""
ROWS = 20_000
"""Rows that are looked at for the null of members: long videos count with all of theirs, so fewer of them are drawn."""
SURE = 0.5
"""Probability from which a built-in label counts as being in a picture, when misses are counted."""
FLOORS = {"image": 0.45, "sound": 0.9, "words": 0.35, "joint": 0.22}
"""Lowest cosine that counts as near, whatever the library: between pictures, sounds, texts, and a text and a picture.

Chosen on stamps and sample pictures (docs/results/nulls.json): what larger libraries of unrelated things reach.
"""
KEPT_TWINS = 64
ASKED = {"image": "members asked by their middle half", "sound": "members asked by a quieter, noisy copy"}


def usable(library: Library) -> Iterator[tuple[Series, Any]]:
    """Every series with its encoder; one whose encoder is not here (a plug-in, a damaged import) is passed over."""
    for series in library.all_series():
        try:
            yield series, build(series.spec, "encoder")
        except UnknownNameError:
            continue


def unusable(library: Library) -> list[str]:
    """Specs of the series that `usable` passes over, to be named."""
    known = {series.id for series, _ in usable(library)}
    return [series.spec for series in library.all_series() if series.id not in known]


def answers_words(encoder: Any) -> bool:
    """Whether a series of this encoder can be asked by words."""
    return encoder.takes == "words" or hasattr(encoder, "encode_words")


def keep_twins(library: Library, twins: Mapping[str, Mapping[str, float]]) -> None:
    """Remember cosines of members with changed copies of themselves, spec → id of the content → cosine.

    Part of the batch that measured them. At most 64 a series, those with the lowest ids, so the order does not matter.
    """
    for spec, cosines in twins.items():
        series = library.series(spec, "item")
        both = sorted((_twins(library, series) | dict(cosines)).items())[:KEPT_TWINS]
        library.set_calibration(series, "twins", {"cosines": dict(both)})


def _twins(library: Library, series: Series) -> dict[str, float]:
    """Those of contents that are still here."""
    found = library.calibration(series, "twins")
    cosines: dict[str, float] = found[0]["cosines"] if found else {}
    return {item: cosine for item, cosine in cosines.items() if library.key_of(item) is not None}


def calibrate(library: Library, *, seed: int = 0, tell: Callable[[str], None] | None = None) -> None:
    """Measure the null of every series that has moved on since the last time, and how it is searched; keep both.

    The same contents give the same nulls, in whatever order they came in. tell: hears of what takes over a second
    Cost: one scan of the series that answer words; 20,000 rows of the others; the first time, 150 short texts; of
    series from 20,000 rows, their new codes (`keep_codes`).
    """
    from lightmeter.library.codes import sweep_codes  # every search would pay for these: 0.1 CPU-s
    from lightmeter.library.coding import keep_codes

    for series, encoder in usable(library):
        found = library.calibration(series, "null")
        if found and found[1] and found[0].get("seed") == seed:
            continue
        try:
            null = measured_null(library, series, encoder, seed=seed)
        except (MissingAssetError, MissingExtraError):
            continue  # searches name it; what was measured before stays
        if null is not None:
            with library.transaction():
                library.set_calibration(series, "null", {"null": null.as_json(), "seed": seed})
    for series, encoder in usable(library):
        keep_codes(library, series, asked=partial(_words_that_ask, encoder, seed), seed=seed, tell=tell)
    sweep_codes(library.catalogue)


def _words_that_ask(encoder: Any, seed: int) -> Array | None:
    """Queries of a series that words ask; None where only its like asks it, or its encoder cannot run here."""
    try:
        return _unrelated_rows(encoder, seed) if answers_words(encoder) else None
    except (MissingAssetError, MissingExtraError):
        return None


def null_of(library: Library, series: Series, encoder: Any) -> tuple[Null | None, bool]:
    """The null of a series, and whether it was measured on the library as it is now.

    Where none was kept (an index that was stopped) it is measured now; None where nothing of that kind is indexed.
    """
    found = library.calibration(series, "null")
    if found and "modelled" in found[0]["null"]:
        return Null.from_json(found[0]["null"]), found[1]
    return measured_null(library, series, encoder), True


def measured_null(library: Library, series: Series, encoder: Any, *, seed: int = 0) -> Null | None:
    """Measure the null of one series; None where it has no rows."""
    features = library.features(series)
    if not len(features):
        return None
    if answers_words(encoder):
        return _null_of_words(library, features, encoder, seed)
    return _null_of_members(library, series, features, encoder, seed)


def _null_of_words(library: Library, features: Features, encoder: Any, seed: int) -> Null:
    sources = sum(answers_words(each) for _, each in usable(library))
    related = _asked_by_label(library, encoder, seed) if getattr(encoder, "base", None) else np.empty(0)
    unrelated = highest(features.blocks(), _unrelated_rows(encoder, seed))
    asked = "pictures asked by the built-in label they surely carry"
    floor = FLOORS["words" if encoder.takes == "words" else "joint"]
    return null_from_queries(unrelated, related, alpha=ALPHA / sources, asked=asked, floor=floor)


def query_rows(encoder: Any, texts: Sequence[str]) -> Array:
    """Query vectors of texts: float32 [Q, D]."""
    if hasattr(encoder, "encode_words"):
        rows: Array = encoder.encode_words(texts)
    else:
        rows = encoder.encode([Words(title=text, source="query") for text in texts])
    return rows


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


def _asked_by_label(library: Library, encoder: Any, seed: int) -> Array:
    """Scores of pictures against the name of the built-in label that they surely carry: float [R].

    Kinder than life: the label comes from the classifier that the picture's own vector is made of.
    """
    specs = {series.spec: series for series, _ in usable(library)}
    if encoder.base not in specs:
        return np.empty(0)
    image, features = build(encoder.base, "encoder"), library.features(specs[encoder.base])
    if not len(features):
        return np.empty(0)
    owners, starts, _ = _runs(features)
    drawn = np.searchsorted(owners, _drawn(library, specs[encoder.base], seed))
    rows = features.take(starts[drawn])
    probabilities = image.probabilities(rows)
    best, sure = probabilities.argmax(axis=1), probabilities.max(axis=1) >= SURE
    if not sure.any():
        return np.empty(0)
    names, which = np.unique(best[sure], return_inverse=True)
    queries = unit_rows(encoder.encode_words([image.labels()[name] for name in names]))
    scores: Array = np.einsum("nd,nd->n", unit_rows(encoder.derive(rows[sure])), queries[which])
    return scores


def _null_of_members(library: Library, series: Series, features: Features, encoder: Any, seed: int) -> Null:
    """Let some members ask by their middle row, and see what they reach on the rows of others."""
    owners, starts, counts = _runs(features)
    places = np.searchsorted(owners, _drawn(library, series, seed))
    places = places[: max(2, int(np.searchsorted(np.cumsum(counts[places]), ROWS, side="right")))]
    rows = np.concatenate([starts[at] + np.arange(counts[at]) for at in places])
    asking = places[:ASKING]
    queries = unit_rows(features.take(starts[asking] + counts[asking] // 2))
    scores = cosine(features.take(rows), queries).T
    scores[owners[asking][:, None] == features.owners[rows][None]] = np.nan
    related = np.array(list(_twins(library, series).values()))
    alike = sum(each.takes == encoder.takes and not answers_words(each) for _, each in usable(library))
    floor, asked = FLOORS[encoder.takes], ASKED[encoder.takes]
    return null_from_members(scores, related, rows=len(features), alpha=ALPHA / alike, floor=floor, asked=asked)


QUERY_ROWS = 16
"""Rows of a video or sound that ask; longer ones are thinned evenly, in searches and nulls alike."""


def thinned(rows: Array) -> Array:
    """At most QUERY_ROWS rows of a query, spread evenly: float32 [Q, D]."""
    chosen: Array = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), QUERY_ROWS)).astype(int))]
    return chosen


def _runs(features: Features) -> tuple[Array, Array, Array]:
    """Owners that rise, the place of each one's first row, and how many rows it has; the store keeps them together."""
    edges = np.flatnonzero(np.diff(features.owners)) + 1
    starts = np.concatenate([[0], edges])
    counts = np.diff(np.append(starts, len(features.owners)))
    order = np.argsort(features.owners[starts], kind="stable")
    return features.owners[starts][order], starts[order], counts[order]


def _drawn(library: Library, series: Series, seed: int) -> Array:
    """Keys of at most MEMBERS items with rows, drawn by their contents. Returns int64 [n], in the order of the draw."""
    start = hashlib.sha256(str(seed).encode()).hexdigest()
    sql = (
        "SELECT i.key FROM items i JOIN features f ON f.owner = i.key AND f.series = ? AND f.rows "
        "WHERE NOT i.removed AND i.id {} ? ORDER BY i.id LIMIT ?"
    )
    after = library.catalogue.keys(sql.format(">="), (series.id, start, MEMBERS))
    return np.concatenate([after, library.catalogue.keys(sql.format("<"), (series.id, start, MEMBERS - len(after)))])
