"""A library asked: by words, picture, video or sound; and an honest "nothing is near enough"."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.library.calibrating import (
    answers_words,
    null_of,
    query_rows,
    thinned,
    unusable,
    usable,
)
from lightmeter.library.features import Series
from lightmeter.library.filters import Where
from lightmeter.library.looking import encode_file
from lightmeter.library.store import Library
from lightmeter.media.sniff import is_media_name, sniff
from lightmeter.search.exact import scan_mean, top
from lightmeter.search.null import Null
from lightmeter.types import Array, Item

QueryKind = Literal["words", "image", "video", "sound", "none"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One item that is near enough.

    score: cosine with the query, −1..1 · surprise: how many spreads above unrelated queries
    evidence: what matched: `picture`, `sound`, or `words` with their text · time_s: where in a video or sound
    """

    item: Item
    key: int
    score: float
    surprise: float
    evidence: str
    time_s: float | None

    @property
    def path(self) -> str:
        """Where the item was last seen."""
        return self.item.paths[0] if self.item.paths else ""


@dataclass(frozen=True, slots=True)
class Source:
    """One series that was asked, and the null by which it was judged.

    nearest: best score of any item, None where there was none to look at
    fresh: whether the null was measured on the library as it is now
    """

    evidence: str
    spec: str
    null: Null
    nearest: float | None
    fresh: bool

    def said(self) -> str:
        """How it was judged, for people."""
        nearest = "" if self.nearest is None else f", nearest {self.nearest:.3f}"
        stale = "" if self.fresh else "; measured before the last change, `lightmeter index` measures again"
        return f"{self.evidence}: near enough from {self.null.threshold:.3f}{nearest} · {self.null.said()}{stale}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits, best first, and how they were judged. unusable: specs of series whose encoder is not here."""

    kind: QueryKind
    hits: list[Hit]
    sources: list[Source]
    looked_at: int
    unusable: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Scores of one series: owners int64 [M], values float32 [M], times_s float64 [M]."""

    source: Source
    series: Series
    owners: Array
    values: Array
    times_s: Array


def kind_of_query(query: str) -> QueryKind:
    """What a query is: a file is asked by its content, everything else by its words.

    Raises InvalidValueError where it looks like a file and there is none.
    """
    if not query.strip():
        raise InvalidValueError("QUERY must be words or a file, got nothing: leave it out to list by filters alone")
    path = Path(query)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):
        is_file = False
    if is_file:
        found = sniff(path)
        if found is None:
            raise InvalidValueError(
                f"QUERY must be words or a picture, video or sound, got {query!r}: quote its words instead"
            )
        return found.kind
    if is_media_name(query) and not any(char.isspace() for char in query):
        raise InvalidValueError(f"QUERY must be words or a file that exists, got {query!r}: check the path")
    return "words"


def search(
    library: Library, query: str | None, *, k: int = 10, where: Where | None = None,
    by: Literal["auto", "picture", "sound"] = "auto", everything: bool = False,
) -> Answer:  # fmt: skip
    """The k items that are near enough to a query, best first.

    query: words, or the path of a picture, video or sound; None lists what the filters let through
    by: for a video, whether its pictures or its sound ask (auto: its pictures)
    everything: also what is not near enough, for looking at the scores
    Every series of the right kind is asked and judged by its own null; a video or sound asks with at most 16 rows.
    Raises InvalidValueError, RejectedFileError (a query file that cannot be read).
    Cost: encoding the query, then one pass over the features of the series that are asked.
    """
    if k < 1:
        raise InvalidValueError(f"k must be at least 1, got {k}")
    if query is None:
        return _listed(library, where, k)
    kind = kind_of_query(query)
    if kind == "words":
        found = _ask_words(library, query, where)
    else:
        found = _ask_file(library, Path(query), _asked_by(kind, by), where)
    return _answer(library, kind, found, k, everything)


def _asked_by(kind: QueryKind, by: str) -> Literal["image", "sound"]:
    if by == "sound" and kind == "image":
        raise InvalidValueError("--by sound needs a video or sound, got a picture: leave it out")
    if by == "picture" and kind == "sound":
        raise InvalidValueError("--by picture needs a picture or video, got a sound: leave it out")
    return "sound" if kind == "sound" or by == "sound" else "image"


def _listed(library: Library, where: Where | None, k: int) -> Answer:
    view = library.items(where)
    hits = [Hit(item, int(key), 1.0, 0.0, "filter", None) for item, key in zip(view[:k], view.keys[:k], strict=True)]
    return Answer("none", hits, [], len(view), [])


def _ask_words(library: Library, text: str, where: Where | None) -> list[_Found]:
    found = []
    for series, encoder in usable(library):
        if answers_words(encoder):
            evidence = "words" if encoder.takes == "words" else "picture"
            found += _ask(library, series, encoder, evidence, query_rows(encoder, [text]), where)
    return found


def _ask_file(library: Library, path: Path, takes: Literal["image", "sound"], where: Where | None) -> list[_Found]:
    found = []
    for series, encoder in usable(library):
        if encoder.takes == takes and not answers_words(encoder):
            evidence = "picture" if takes == "image" else "sound"
            rows = thinned(encode_file(path, series.spec, takes))
            found += _ask(library, series, encoder, evidence, rows, where)
    return found


def _ask(
    library: Library, series: Series, encoder: Any, evidence: str, rows: Array, where: Where | None
) -> list[_Found]:  # fmt: skip
    null, fresh = null_of(library, series, encoder)
    if null is None:
        return []
    owners, values, times_s = scan_mean(library.features(series, where).blocks(), rows)
    nearest = float(values.max()) if len(values) else None
    return [_Found(Source(evidence, series.spec, null, nearest, fresh), series, owners, values, times_s)]


def _answer(library: Library, kind: QueryKind, found: Sequence[_Found], k: int, everything: bool) -> Answer:
    """Judge each source by its own null, put them on one scale, keep each item's best evidence."""
    best: dict[int, tuple[float, _Found, int]] = {}
    for each in found:
        surprise = each.source.null.surprise(each.values)
        for item, at in _best_items(library, each, k, everything):
            if item not in best or surprise[at] > best[item][0]:
                best[item] = (float(surprise[at]), each, at)
    ranked = sorted(best.items(), key=lambda pair: (-pair[1][0], pair[0]))[:k]
    view = library.items_of([item for item, _ in ranked])
    hits = [_hit(library, item, key, entry) for item, (key, entry) in zip(view, ranked, strict=True)]
    looked_at = max((len(each.values) for each in found), default=0)
    return Answer(kind, hits, [each.source for each in found], looked_at, unusable(library))


def _best_items(library: Library, found: _Found, k: int, everything: bool) -> list[tuple[int, int]]:
    """The k best items of a source that are near enough, each with the place of its best owner, best first."""
    enough = np.flatnonzero(found.values >= (-np.inf if everything else found.source.null.threshold))
    wanted = k
    while True:  # an item may stand at many paths, each with its own words: look further until there are k items
        chosen = enough[top(found.values[enough], wanted)]
        items: dict[int, int] = {}
        for item, at in zip(_items_of(library, found, chosen), chosen.tolist(), strict=True):
            items.setdefault(item, at)
        if len(items) >= k or len(chosen) == len(enough):
            return list(items.items())[:k]
        wanted *= 4


def _items_of(library: Library, found: _Found, chosen: Array) -> list[int]:
    owners = found.owners[chosen].tolist()
    if found.series.owner == "item":
        return list(owners)
    sql = "SELECT key, item FROM paths WHERE key IN (SELECT value FROM json_each(?))"
    items: dict[int, int] = dict(library.catalogue.rows(sql, (json.dumps(owners),)))
    return [items[owner] for owner in owners]


def _hit(library: Library, item: Item, key: int, entry: tuple[float, _Found, int]) -> Hit:
    surprise, found, at = entry
    evidence = found.source.evidence
    if evidence == "words":
        owner = int(found.owners[at])
        told = [each for each in library.words_of([owner]).get(owner, ()) if each.text]
        evidence = "words: " + " | ".join(f"{each.source} {each.text!r}" for each in told)
    moment = float(found.times_s[at])
    return Hit(item, key, float(found.values[at]), surprise, evidence, moment if np.isfinite(moment) else None)
